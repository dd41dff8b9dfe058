// Package orgs is organizations: who is in one, who may invite whom, and what each may do.
package orgs

import (
	"context"
	"errors"
	"time"

	"hearth/internal/boundedcache"
	"hearth/internal/kv"
	"hearth/internal/newid"

	"hearth"
)

// Users finds the user who accepts an invitation; see hearth.UserStore.
type Users interface {
	User(ctx context.Context, id string) (hearth.User, error)
}

// Observer hears of ended memberships once their end is durable, and stops what they opened. It must be quick.
type Observer interface {
	// MembershipEnded says that the person is no longer in the organization.
	MembershipEnded(userID, orgID string)
}

// Options are what a Service works with.
type Options struct {
	Store hearth.OrganizationStore
	Users Users
	// Clock is the time of everything; nil is the system's.
	Clock hearth.Clock
	// Secret is what the tokens of invitations are derived from, so that they are stored nowhere: at least 32 random
	// bytes, the same after a restart and on every instance.
	Secret []byte
	// Mails bounds the e-mails that users cause to addresses.
	Mails kv.Mails
	// Observers hear of ended memberships.
	Observers []Observer
	// OnRoles is called, after a change is durable, for each user whose roles it may have changed; nil is not called. It must be
	// quick.
	OnRoles func(userID string)
}

func (o Options) validate() (Options, error) {
	switch {
	case o.Store == nil || o.Users == nil:
		return o, errors.New("orgs: a store and users are needed")
	case len(o.Secret) < 32:
		return o, errors.New("orgs: the secret has less than 32 bytes")
	}
	if o.OnRoles == nil {
		o.OnRoles = func(string) {}
	}
	return o, nil
}

// Service is organizations. All its methods may be called at once from many goroutines.
type Service struct {
	options Options
	store   hearth.OrganizationStore
	// roles are the roles of users, at most rolesTTL old.
	roles *boundedcache.Cache[string, map[string]hearth.OrgRole]
}

// New makes a service.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	roles := boundedcache.New(boundedcache.Options[string, map[string]hearth.OrgRole]{Entries: maxRoles, TTL: rolesTTL})
	return &Service{options: options, store: options.Store, roles: roles}, nil
}

func (s *Service) now() time.Time { return s.options.Clock.Now() }

func target(orgID string) string { return "organization:" + orgID }

// Create makes an organization; the caller becomes its owner. Errors: CodeValidationFailed, CodeForbidden (a device),
// CodeConflict (the caller is in too many), CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Create(ctx context.Context, caller hearth.Caller, name string, key *hearth.IdempotencyRequest) (hearth.Organization, error) {
	if !caller.IsUser() {
		return hearth.Organization{}, hearth.Errorf(hearth.CodeForbidden, "a device may not do this")
	}
	now := s.now()
	org := hearth.Organization{ID: newid.New(), Name: name, CreatedAt: now, UpdatedAt: now}
	if problems := org.Validate("body."); len(problems) > 0 {
		return org, hearth.Invalid(problems...)
	}
	record, err := key.Record(org)
	if err != nil {
		return org, err
	}
	entry := caller.Entry(now, "organization.create", target(org.ID))
	entry.Changes = map[string]hearth.Change{"name": {After: name}}
	err = s.store.CreateOrganization(ctx, org, caller.UserID, hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}})
	if err != nil {
		return hearth.Organization{}, err
	}
	s.rolesChanged(caller.UserID)
	return org, nil
}

// Organization returns one organization; CodeNotFound.
func (s *Service) Organization(ctx context.Context, caller hearth.Caller, id string) (hearth.Organization, error) {
	if err := caller.AllowOrg(id, hearth.MayReadOrg); err != nil {
		return hearth.Organization{}, err
	}
	return s.store.Organization(ctx, id)
}

// Organizations lists those that the caller is in, newest first; all of them for an admin. CodeForbidden,
// CodeValidationFailed.
func (s *Service) Organizations(ctx context.Context, caller hearth.Caller, page hearth.Page) (hearth.List[hearth.Organization], error) {
	if !caller.IsUser() {
		return hearth.List[hearth.Organization]{}, hearth.Errorf(hearth.CodeForbidden, "a device may not do this")
	}
	filter := hearth.OrganizationFilter{UserID: caller.UserID}
	if caller.IsAdmin() {
		filter.UserID = ""
	}
	return s.store.Organizations(ctx, filter, page)
}

// Rename sets the name of an organization, unless check refuses the organization as it is; nil checks nothing. Errors: CodeNotFound, CodeForbidden,
// CodeValidationFailed, and those of check.
func (s *Service) Rename(
	ctx context.Context, caller hearth.Caller, id, name string, check func(hearth.Organization) error,
) (hearth.Organization, error) {
	if err := caller.AllowOrg(id, hearth.MayEditOrg); err != nil {
		return hearth.Organization{}, err
	}
	now := s.now()
	audit := []hearth.AuditEntry{caller.Entry(now, "organization.update", target(id))}
	return s.store.UpdateOrganization(ctx, id, func(org hearth.Organization) (hearth.Organization, error) {
		if check != nil {
			if err := check(org); err != nil {
				return org, err
			}
		}
		audit[0].Changes = map[string]hearth.Change{"name": {Before: org.Name, After: name}}
		org.Name, org.UpdatedAt = name, now
		if problems := org.Validate("body."); len(problems) > 0 {
			return org, hearth.Invalid(problems...)
		}
		return org, nil
	}, hearth.SideEffects{Audit: audit})
}

// Delete removes an organization. Errors: CodeNotFound, CodeForbidden, CodeConflict while it has devices.
func (s *Service) Delete(ctx context.Context, caller hearth.Caller, id string) error {
	if err := caller.AllowOrg(id, hearth.MayDeleteOrg); err != nil {
		return err
	}
	entry := caller.Entry(s.now(), "organization.delete", target(id))
	members, err := s.store.DeleteOrganization(ctx, id, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
	if err != nil {
		return err
	}
	for _, userID := range members {
		s.ended(userID, id)
	}
	return nil
}

// ended is called after a membership is gone.
func (s *Service) ended(userID, orgID string) {
	s.rolesChanged(userID)
	for _, observer := range s.options.Observers {
		observer.MembershipEnded(userID, orgID)
	}
}

// Members lists the users of an organization, in the order in which they joined. CodeNotFound, CodeValidationFailed.
func (s *Service) Members(ctx context.Context, caller hearth.Caller, orgID string, page hearth.Page) (hearth.List[hearth.Member], error) {
	if err := caller.AllowOrg(orgID, hearth.MayReadOrg); err != nil {
		return hearth.List[hearth.Member]{}, err
	}
	if caller.IsAdmin() { // who may read all of them must still learn which are there
		if _, err := s.store.Organization(ctx, orgID); err != nil {
			return hearth.List[hearth.Member]{}, err
		}
	}
	return s.store.Members(ctx, orgID, page)
}

// SetMember returns a person with an account a role in an organization, whether or not they had one. Errors:
// CodeNotFound (the organization or the person), CodeForbidden (see Caller.AllowRole), CodeConflict (the last owner),
// CodeValidationFailed.
func (s *Service) SetMember(ctx context.Context, caller hearth.Caller, orgID, userID string, role hearth.OrgRole) (hearth.Member, error) {
	if !role.Valid() {
		return hearth.Member{}, hearth.Invalid(hearth.FieldError{Location: "body.role", Message: "must be owner, admin, member or viewer"})
	}
	return s.change(ctx, caller, orgID, userID, role)
}

// RemoveMember removes a user from an organization; every member may leave. Errors: CodeNotFound, CodeForbidden,
// CodeConflict (the last owner).
func (s *Service) RemoveMember(ctx context.Context, caller hearth.Caller, orgID, userID string) error {
	_, err := s.change(ctx, caller, orgID, userID, "")
	return err
}

func (s *Service) change(ctx context.Context, caller hearth.Caller, orgID, userID string, to hearth.OrgRole) (hearth.Member, error) {
	// The rule is held against the role that the person has when the change is made.
	now := s.now()
	action := "member.set"
	if to == "" {
		action = "member.remove"
	}
	audit := []hearth.AuditEntry{caller.Entry(now, action, target(orgID))}
	member, err := s.store.ChangeMember(ctx, hearth.MemberChange{
		OrganizationID: orgID, UserID: userID, At: now,
		Role: func(from hearth.OrgRole) (hearth.OrgRole, error) {
			if err := caller.AllowRole(orgID, userID, from, to); err != nil {
				return from, err
			}
			audit[0].Changes = map[string]hearth.Change{"user_id": {After: userID}, "role": {Before: from, After: to}}
			return to, nil
		},
	}, hearth.SideEffects{Audit: audit})
	if err != nil {
		return hearth.Member{}, err
	}
	if to == "" {
		s.ended(userID, orgID)
	} else {
		s.rolesChanged(userID)
	}
	return member, nil
}
