// Package integrations manages the connections to brokers that run already. What keeps the connections is internal/bridge.
package integrations

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"hearth"
	"hearth/internal/audited"
	"hearth/internal/dialect"
	"hearth/internal/newid"
	"hearth/internal/sealed"
)

// Options are what a Service works with. Store is required.
type Options struct {
	Store hearth.IntegrationStore
	// Sealer encrypts passwords at rest; nil leaves them as they are.
	Sealer sealed.Sealer
	Clock  hearth.Clock
	// Changed is called after an integration was made, changed or deleted in this process; nil is not called.
	Changed func()
}

// Service manages integrations. Only admins may. Its methods may be called at once from many goroutines.
type Service struct{ o Options }

// New returns a service.
func New(o Options) (*Service, error) {
	if o.Store == nil {
		return nil, errors.New("integrations: no store was given")
	}
	o.Sealer = sealed.OrPlain(o.Sealer)
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Service{o}, nil
}

// NewIntegration is what a user sets of an integration.
type NewIntegration struct {
	Name           string
	Kind           string
	URL            string
	Username       string
	Password       string
	OrganizationID string
	Dialects       []string
	Topics         []string
	TimeZone       string
	Enabled        bool
}

// Change is what to change of an integration: nil fields stay.
type Change struct {
	Name     *string
	URL      *string
	Username *string
	Password *string
	Dialects *[]string
	Topics   *[]string
	TimeZone *string
	Enabled  *bool
}

func allow(caller hearth.Caller) error {
	if !caller.IsAdmin() || !caller.IsUser() {
		return hearth.Errorf(hearth.CodeForbidden, "only administrators may do this")
	}
	return nil
}

// Create makes an integration. Errors: CodeForbidden, CodeValidationFailed, CodeNotFound (the organization), CodeConflict (too many),
// CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Create(ctx context.Context, caller hearth.Caller, n NewIntegration, key *hearth.IdempotencyRequest) (hearth.Integration, error) {
	if err := allow(caller); err != nil {
		return hearth.Integration{}, err
	}
	now := hearth.Millis(s.o.Clock.Now())
	i := hearth.Integration{
		ID: newid.New(), Name: n.Name, Kind: n.Kind, URL: n.URL, Username: n.Username, UserID: caller.UserID, OrganizationID: n.OrganizationID,
		Dialects: n.Dialects, Topics: n.Topics, TimeZone: n.TimeZone, Enabled: n.Enabled, Version: 1, CreatedAt: now, UpdatedAt: now,
		Status: hearth.IntegrationOff,
	}
	problems, err := s.seal(&i, n.Password)
	if err != nil {
		return hearth.Integration{}, err
	}
	if problems = append(problems, validate(i)...); len(problems) > 0 {
		return hearth.Integration{}, hearth.Invalid(problems...)
	}
	entry := caller.Entry(now, "integration.create", "integration:"+i.ID)
	entry.Changes = changes(hearth.Integration{}, i)
	if i.OrganizationID != "" {
		entry.Changes["organization_id"] = hearth.Change{After: i.OrganizationID}
	}
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}
	if effects.Idempotency, err = key.Record(i); err != nil {
		return hearth.Integration{}, err
	}
	if err := s.o.Store.CreateIntegration(ctx, i, effects); err != nil {
		return hearth.Integration{}, err
	}
	s.o.Changed()
	return i, nil
}

// seal sets the password; "" is none.
func (s *Service) seal(i *hearth.Integration, password string) (problems []hearth.FieldError, err error) {
	if i.Password = nil; password == "" {
		return nil, nil
	}
	if len(password) > hearth.MaxIntegrationLogin {
		return []hearth.FieldError{{Location: "body.password", Message: "must be up to 1024 bytes"}}, nil
	}
	i.Password, err = s.o.Sealer.Seal([]byte(password))
	return nil, err
}

func validate(i hearth.Integration) []hearth.FieldError {
	problems := i.Validate("body.")
	for _, topic := range i.Topics {
		if message := dialect.CheckPattern(topic); message != "" {
			problems = append(problems, hearth.FieldError{Location: "body.topics", Message: message})
			break
		}
	}
	return problems
}

// changes returns the fields that users set and that differ. Of a password it says only that it is another.
func changes(before, after hearth.Integration) audited.Changes {
	out := audited.Changes{}
	out.Note("name", before.Name != after.Name, before.Name, after.Name)
	out.Note("url", before.URL != after.URL, host(before.URL), host(after.URL))
	out.Note("username", before.Username != after.Username, before.Username, after.Username)
	out.Note("password", !slices.Equal(before.Password, after.Password), before.Password != nil, after.Password != nil)
	out.Note("dialects", !slices.Equal(before.Dialects, after.Dialects), before.Dialects, after.Dialects)
	out.Note("topics", !slices.Equal(before.Topics, after.Topics), before.Topics, after.Topics)
	out.Note("time_zone", before.TimeZone != after.TimeZone, before.TimeZone, after.TimeZone)
	out.Note("enabled", before.Enabled != after.Enabled, before.Enabled, after.Enabled)
	return out
}

func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// Integration returns one integration; CodeForbidden, CodeNotFound.
func (s *Service) Integration(ctx context.Context, caller hearth.Caller, id string) (hearth.Integration, error) {
	if err := allow(caller); err != nil {
		return hearth.Integration{}, err
	}
	return s.o.Store.Integration(ctx, id)
}

// Integrations lists all, newest first; CodeForbidden, CodeValidationFailed (the cursor).
func (s *Service) Integrations(ctx context.Context, caller hearth.Caller, page hearth.Page) (hearth.List[hearth.Integration], error) {
	if err := allow(caller); err != nil {
		return hearth.List[hearth.Integration]{}, err
	}
	return s.o.Store.Integrations(ctx, page)
}

// Update changes an integration; check sees it first, and its error stops the change. CodeForbidden, CodeNotFound, CodeValidationFailed, check's.
func (s *Service) Update(
	ctx context.Context, caller hearth.Caller, id string, change Change, check func(hearth.Integration) error,
) (hearth.Integration, error) {
	if err := allow(caller); err != nil {
		return hearth.Integration{}, err
	}
	now := hearth.Millis(s.o.Clock.Now())
	entry := caller.Entry(now, "integration.update", "integration:"+id)
	after, changed, err := audited.Update(ctx, s.o.Store.UpdateIntegration, id, entry, func(i hearth.Integration) (hearth.Integration, error) {
		if err := check(i); err != nil {
			return i, err
		}
		i, problems, err := s.apply(change, i)
		if err != nil {
			return i, err
		}
		if problems = append(problems, validate(i)...); len(problems) > 0 {
			return i, hearth.Invalid(problems...)
		}
		i.UpdatedAt, i.Status, i.LastError = now, hearth.IntegrationOff, nil
		i.Version++
		return i, nil
	}, changes)
	if changed {
		s.o.Changed()
	}
	return after, err
}

func (s *Service) apply(c Change, i hearth.Integration) (after hearth.Integration, problems []hearth.FieldError, err error) {
	audited.Set(&i.Name, c.Name)
	audited.Set(&i.URL, c.URL)
	audited.Set(&i.Username, c.Username)
	audited.Set(&i.Dialects, c.Dialects)
	audited.Set(&i.Topics, c.Topics)
	audited.Set(&i.TimeZone, c.TimeZone)
	audited.Set(&i.Enabled, c.Enabled)
	if c.Password != nil {
		problems, err = s.seal(&i, *c.Password)
	}
	return i, problems, err
}

// Delete removes an integration; its devices stay. check is as in Update. CodeForbidden, CodeNotFound, check's.
func (s *Service) Delete(ctx context.Context, caller hearth.Caller, id string, check func(hearth.Integration) error) error {
	if err := allow(caller); err != nil {
		return err
	}
	audit := []hearth.AuditEntry{caller.Entry(hearth.Millis(s.o.Clock.Now()), "integration.delete", "integration:"+id)}
	err := s.o.Store.DeleteIntegration(ctx, id, func(i hearth.Integration) error {
		audit[0].Changes = changes(i, hearth.Integration{})
		return check(i)
	}, hearth.SideEffects{Audit: audit})
	if err == nil {
		s.o.Changed()
	}
	return err
}

// Password returns the password of an integration; "" if it has none. It fails for one that was sealed with a key that is lost.
func (s *Service) Password(i hearth.Integration) (string, error) {
	if i.Password == nil {
		return "", nil
	}
	plain, err := s.o.Sealer.Open(i.Password)
	return string(plain), err
}

// Reseal seals every password anew that is not sealed with the newest key. It returns how many it changed, and how many no key opens.
func (s *Service) Reseal(ctx context.Context) (changed, lost int, err error) {
	return sealed.Stored[hearth.Integration]{
		List: s.o.Store.Integrations, Update: s.o.Store.UpdateIntegration,
		ID:     func(i hearth.Integration) string { return i.ID },
		Fields: func(i *hearth.Integration) []*[]byte { return []*[]byte{&i.Password} },
	}.Reseal(ctx, s.o.Sealer)
}
