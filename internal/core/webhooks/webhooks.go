// Package webhooks sends events to URLs of users and organizations, as the Standard Webhooks specification says.
//
// An event is stored with the write that it comes of, as a job in the store's outbox that names the webhooks. A process that works
// makes a delivery for each webhook of it, and attempts deliveries until they end. Deliveries of one device wait in one line for each
// webhook, all others in a line of their own. A process takes over a line for as long as an attempt may take: so several processes
// share the work, and one that dies loses its lines after that time.
package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/audited"
	"hearth/internal/boundedcache"
	"hearth/internal/guardedhttp"
	"hearth/internal/newid"
	"hearth/internal/queue"
	"hearth/internal/sealed"
)

// Devices finds devices.
type Devices interface {
	// DevicesByID returns those that exist, in any order.
	DevicesByID(ctx context.Context, ids []string) ([]hearth.Device, error)
}

// Options are what a Service works with. Store, Encode and Client are required.
type Options struct {
	Store hearth.WebhookStore
	// Encode returns the JSON of the data of an event, which is a type of the root package.
	Encode func(at time.Time, data any) (json.RawMessage, error)
	// Sealer encrypts secrets at rest; nil leaves them as they are.
	Sealer sealed.Sealer
	// Client makes the requests, and decides which URLs may be reached.
	Client *guardedhttp.Client
	// Wake is signalled after a write that left events behind; nil leaves only the poll.
	Wake  <-chan struct{}
	Clock hearth.Clock
	// Logger records failures in the background; nil discards them.
	Logger *slog.Logger

	// Devices are read by id where their connection has changed; nil: connections are not watched.
	Devices Devices
	// Leads reports whether this process is the one that looks for changed connections that were missed; nil: it is.
	Leads func() bool
}

func (o Options) validate() (Options, error) {
	if o.Store == nil || o.Encode == nil || o.Client == nil {
		return o, errors.New("webhooks: a store, an encoder and a client are needed")
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	o.Sealer = sealed.OrPlain(o.Sealer)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

// Service manages webhooks and sends their deliveries. All its methods may be called at once from many goroutines.
type Service struct {
	o Options

	startOnce, stopOnce sync.Once
	// stopping ends the work that waits, cancel that which is under way.
	stopping chan struct{}
	cancel   context.CancelFunc
	running  sync.WaitGroup
	couriers couriers
	clock    hearth.PutBack
	turned   turned
	// full says which webhooks have no room for further deliveries.
	full *boundedcache.Cache[string, bool]

	attempts map[hearth.DeliveryState]*atomic.Uint64 // never written to after New
}

// New returns a service. Start begins to send.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	s := &Service{o: options, stopping: make(chan struct{}), attempts: map[hearth.DeliveryState]*atomic.Uint64{}}
	for _, state := range []hearth.DeliveryState{hearth.DeliveryPending, hearth.DeliverySucceeded, hearth.DeliveryFailed} {
		s.attempts[state] = &atomic.Uint64{}
	}
	s.full = boundedcache.New(boundedcache.Options[string, bool]{Entries: 10_000, TTL: countFor, Clock: options.Clock})
	s.turned = turned{ids: map[string]bool{}, wake: make(chan struct{}, 1)}
	s.couriers.wakes = map[string]chan struct{}{}
	return s, nil
}

func (s *Service) now() time.Time { return hearth.Millis(s.o.Clock.Now()) }

// Attempts returns how many attempts of this process left their delivery in a state.
func (s *Service) Attempts(state hearth.DeliveryState) uint64 { return s.attempts[state].Load() }

// newSecret returns a secret as it is shown, and sealed.
func (s *Service) newSecret() (shown string, sealed []byte, err error) {
	raw, shown := guardedhttp.NewSecret()
	sealed, err = s.o.Sealer.Seal(raw)
	return shown, sealed, err
}

// Issued is a webhook with a new secret, which is known this once.
type Issued struct {
	hearth.Webhook
	Shown string
}

// NewWebhook is what a user sets of a webhook.
type NewWebhook struct {
	Name           string
	URL            string
	OrganizationID string
	Events         []hearth.WebhookEvent
	Enabled        bool
}

// Change is what to change of a webhook: nil fields stay.
type Change struct {
	Name    *string
	URL     *string
	Events  *[]hearth.WebhookEvent
	Enabled *bool
}

// Create makes a webhook. Errors: CodeValidationFailed, CodeForbidden, CodeNotFound (the organization), CodeConflict (too many),
// CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Create(ctx context.Context, caller hearth.Caller, n NewWebhook, key *hearth.IdempotencyRequest) (Issued, error) {
	if err := mayCreate(caller, n.OrganizationID); err != nil {
		return Issued{}, err
	}
	shown, sealed, err := s.newSecret()
	if err != nil {
		return Issued{}, err
	}
	now := s.now()
	issued := Issued{hearth.Webhook{
		ID: newid.New(), Name: n.Name, URL: n.URL, UserID: caller.UserID, OrganizationID: n.OrganizationID, Events: n.Events, Enabled: n.Enabled,
		Secret: sealed, Version: 1, CreatedAt: now, UpdatedAt: now,
	}, shown}
	if problems := s.validate(issued.Webhook); len(problems) > 0 {
		return Issued{}, hearth.Invalid(problems...)
	}
	entry := caller.Entry(now, "webhook.create", "webhook:"+issued.ID)
	entry.Changes = changes(hearth.Webhook{}, issued.Webhook)
	if n.OrganizationID != "" {
		entry.Changes["organization_id"] = hearth.Change{After: n.OrganizationID}
	}
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}
	if effects.Idempotency, err = key.Record(issued); err != nil {
		return Issued{}, err
	}
	if err := s.o.Store.CreateWebhook(ctx, issued.Webhook, effects); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

func mayCreate(caller hearth.Caller, orgID string) error {
	switch {
	case !caller.IsUser():
		return hearth.Errorf(hearth.CodeForbidden, "a device has no webhooks")
	case orgID != "":
		return caller.AllowOrg(orgID, hearth.MayEditOrg)
	case caller.OnlyOrg != "":
		return hearth.Errorf(hearth.CodeForbidden, "the API key is bound to an organization: name it in organization_id")
	}
	return nil
}

func (s *Service) validate(w hearth.Webhook) []hearth.FieldError {
	problems := w.Validate("body.")
	if message := s.o.Client.CheckURL(w.URL); message != "" {
		problems = append(problems, hearth.FieldError{Location: "body.url", Message: message})
	}
	return problems
}

// changes returns the fields that users set and that differ. Paths and queries of URLs may be secrets.
func changes(before, after hearth.Webhook) audited.Changes {
	out := audited.Changes{}
	out.Note("name", before.Name != after.Name, before.Name, after.Name)
	out.Note("url", before.URL != after.URL, guardedhttp.HostOf(before.URL), guardedhttp.HostOf(after.URL))
	out.Note("events", !slices.Equal(before.Events, after.Events), before.Events, after.Events)
	out.Note("enabled", before.Enabled != after.Enabled, before.Enabled, after.Enabled)
	return out
}

// Webhook returns one webhook; CodeNotFound, CodeForbidden.
func (s *Service) Webhook(ctx context.Context, caller hearth.Caller, id string) (hearth.Webhook, error) {
	w, err := s.o.Store.Webhook(ctx, id)
	if err == nil {
		err = caller.AllowWebhook(w)
	}
	if err != nil {
		return hearth.Webhook{}, err
	}
	return w, nil
}

// Webhooks lists the webhooks that the caller may see, newest first; with orgID those of that organization. CodeNotFound,
// CodeForbidden, CodeValidationFailed (the cursor).
func (s *Service) Webhooks(ctx context.Context, caller hearth.Caller, orgID string, page hearth.Page) (hearth.List[hearth.Webhook], error) {
	reach, err := caller.WebhookReach(orgID)
	if err != nil {
		return hearth.List[hearth.Webhook]{}, err
	}
	return s.o.Store.Webhooks(ctx, reach, page)
}

// Update changes a webhook; check sees it first, and its error stops the change. One that is enabled begins anew, whatever failed
// before. CodeNotFound, CodeForbidden, CodeValidationFailed, check's.
func (s *Service) Update(ctx context.Context, caller hearth.Caller, id string, change Change, check func(hearth.Webhook) error) (hearth.Webhook, error) {
	now := s.now()
	entry := caller.Entry(now, "webhook.update", "webhook:"+id)
	after, _, err := audited.Update(ctx, s.o.Store.UpdateWebhook, id, entry, func(w hearth.Webhook) (hearth.Webhook, error) {
		if err := allow(caller, w, check); err != nil {
			return w, err
		}
		change.apply(&w)
		if problems := s.validate(w); len(problems) > 0 {
			return w, hearth.Invalid(problems...)
		}
		w.UpdatedAt = now
		w.Version++
		return w, nil
	}, changes)
	return after, err
}

func allow(caller hearth.Caller, w hearth.Webhook, check func(hearth.Webhook) error) error {
	if err := caller.AllowWebhook(w); err != nil || check == nil {
		return err
	}
	return check(w)
}

func (c Change) apply(w *hearth.Webhook) {
	if c.URL != nil && *c.URL != w.URL {
		w.URL, w.FailingSince = *c.URL, time.Time{}
	}
	if c.Enabled != nil && *c.Enabled != w.Enabled {
		w.Enabled, w.DisabledReason, w.FailingSince = *c.Enabled, "", time.Time{}
	}
	audited.Set(&w.Name, c.Name)
	audited.Set(&w.Events, c.Events)
}

// Delete removes a webhook with its deliveries; check is as in Update. CodeNotFound, CodeForbidden, check's.
func (s *Service) Delete(ctx context.Context, caller hearth.Caller, id string, check func(hearth.Webhook) error) error {
	audit := []hearth.AuditEntry{caller.Entry(s.now(), "webhook.delete", "webhook:"+id)}
	return s.o.Store.DeleteWebhook(ctx, id, func(w hearth.Webhook) error {
		audit[0].Changes = changes(w, hearth.Webhook{})
		return allow(caller, w, check)
	}, hearth.SideEffects{Audit: audit})
}

// Rotate makes a new secret; the one before signs too for hearth.RotationTTL, and one before that no more. CodeNotFound, CodeForbidden.
func (s *Service) Rotate(ctx context.Context, caller hearth.Caller, id string) (Issued, error) {
	shown, sealed, err := s.newSecret()
	if err != nil {
		return Issued{}, err
	}
	now := s.now()
	entry := caller.Entry(now, "webhook.rotate_secret", "webhook:"+id)
	w, err := s.o.Store.UpdateWebhook(ctx, id, func(w hearth.Webhook) (hearth.Webhook, error) {
		if err := caller.AllowWebhook(w); err != nil {
			return w, err
		}
		w.OldSecret, w.OldSecretUntil, w.Secret, w.UpdatedAt = w.Secret, now.Add(hearth.RotationTTL), sealed, now
		w.Version++
		return w, nil
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
	return Issued{w, shown}, err
}

// Test sends the event hearth.WebhookTest, also to a webhook that is not enabled, and returns the delivery. CodeNotFound,
// CodeForbidden, CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Test(ctx context.Context, caller hearth.Caller, id string, key *hearth.IdempotencyRequest) (hearth.WebhookDelivery, error) {
	w, err := s.Webhook(ctx, caller, id)
	if err != nil {
		return hearth.WebhookDelivery{}, err
	}
	now := s.now()
	data, err := json.Marshal(map[string]string{"webhook_id": w.ID, "name": w.Name})
	if err != nil {
		return hearth.WebhookDelivery{}, err
	}
	d := newDelivery(w.ID, waiting{Seq: newid.New(), At: now, Event: hearth.WebhookTest, Body: body(hearth.WebhookTest, now, data)})
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{caller.Entry(now, "webhook.test", "webhook:"+id)}}
	if effects.Idempotency, err = key.Record(d); err != nil {
		return hearth.WebhookDelivery{}, err
	}
	if err := s.o.Store.CreateDeliveries(ctx, []hearth.WebhookDelivery{d}, effects); err != nil {
		return hearth.WebhookDelivery{}, err
	}
	s.couriers.wake(id)
	return d, nil
}

// Deliveries lists those of a webhook, newest first. CodeNotFound, CodeForbidden, CodeValidationFailed (the cursor).
func (s *Service) Deliveries(
	ctx context.Context, caller hearth.Caller, filter hearth.DeliveryFilter, page hearth.Page,
) (hearth.List[hearth.WebhookDelivery], error) {
	if _, err := s.Webhook(ctx, caller, filter.WebhookID); err != nil {
		return hearth.List[hearth.WebhookDelivery]{}, err
	}
	return s.o.Store.Deliveries(ctx, filter, page)
}

// Retry has a delivery attempted at once, and as often as a new one. CodeNotFound (the webhook, the delivery), CodeForbidden;
// CodeConflict while the webhook is not enabled.
func (s *Service) Retry(ctx context.Context, caller hearth.Caller, webhookID, id string) (hearth.WebhookDelivery, error) {
	w, err := s.Webhook(ctx, caller, webhookID)
	if err != nil {
		return hearth.WebhookDelivery{}, err
	}
	now := s.now()
	entry := caller.Entry(now, "webhook.retry", "webhook:"+webhookID)
	entry.Changes = map[string]hearth.Change{"delivery_id": {After: id}}
	d, err := s.o.Store.RetryDelivery(ctx, webhookID, id, func(d hearth.WebhookDelivery) (hearth.WebhookDelivery, error) {
		if !w.Enabled && d.Event != hearth.WebhookTest {
			return d, hearth.Errorf(hearth.CodeConflict, "the webhook is not enabled")
		}
		d.State, d.Tries, d.NextAt, d.EndedAt, d.Line = hearth.DeliveryPending, 0, now, time.Time{}, lineOf(webhookID, d.ID)
		return d, nil
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
	if err != nil {
		return hearth.WebhookDelivery{}, err
	}
	s.couriers.wake(webhookID)
	return d, nil
}

// Reseal seals every secret anew that is not sealed with today's key, and returns how many it changed and how many it could not open.
func (s *Service) Reseal(ctx context.Context) (changed, lost int, err error) {
	return sealed.Stored[hearth.Webhook]{
		List: func(ctx context.Context, page hearth.Page) (hearth.List[hearth.Webhook], error) {
			return s.o.Store.Webhooks(ctx, hearth.Reach{All: true}, page)
		},
		Update: s.o.Store.UpdateWebhook,
		ID:     func(w hearth.Webhook) string { return w.ID },
		Fields: func(w *hearth.Webhook) []*[]byte { return []*[]byte{&w.Secret, &w.OldSecret} },
	}.Reseal(ctx, s.o.Sealer)
}

// CleanUp removes deliveries that ended hearth.DeliveryTTL ago, and of each webhook those beyond the latest hearth.MaxDeliveries, in
// small steps; it returns how many.
func (s *Service) CleanUp(ctx context.Context) (total int, err error) {
	page := hearth.Page{Limit: hearth.MaxLimit}
	for {
		list, err := s.o.Store.Webhooks(ctx, hearth.Reach{All: true}, page)
		if err != nil {
			return total, err
		}
		for _, w := range list.Items {
			n, err := s.cleanUp(ctx, w.ID)
			total += n
			if err != nil {
				return total, err
			}
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			return total, nil
		}
	}
}

func (s *Service) cleanUp(ctx context.Context, webhookID string) (total int, err error) {
	const step = 500
	counts, err := s.o.Store.CountDeliveries(ctx, webhookID)
	if err != nil {
		return 0, err
	}
	now := s.now()
	excess := int(counts[hearth.DeliverySucceeded]+counts[hearth.DeliveryFailed]) - hearth.MaxDeliveries
	for _, part := range []struct {
		before time.Time
		most   int
	}{{now, excess}, {now.Add(-hearth.DeliveryTTL), hearth.MaxDeliveries}} {
		for left := part.most; left > 0; {
			n, err := s.o.Store.RemoveDeliveries(ctx, webhookID, part.before, min(step, left))
			total += n
			if left -= n; err != nil {
				return total, err
			}
			if n == 0 {
				break
			}
		}
	}
	return total, nil
}

// lineOf returns the line of deliveries of a device, or of the one delivery with that id.
func lineOf(webhookID, id string) string { return webhookID + "/" + id }

// deliveryID makes the id of the delivery of an event to a webhook: always the same.
func deliveryID(at time.Time, seq, webhookID string) string {
	return queue.DeriveID(at, seq+"\x00"+webhookID)
}
