package orgs

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"hearth/internal/newid"

	"hearth"
)

// InvitationMailKind is the kind of the job that mails an invitation; see InvitationMail.
const InvitationMailKind = "mail.invitation"

// invitationJob is the payload of a job of kind InvitationMailKind. It holds no secret: the token is derived when the mail
// is made.
type invitationJob struct {
	InvitationID string `json:"invitation_id"`
}

// token derives the token of an invitation: 256 bits that look random without the secret.
func (s *Service) token(id string) string {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("hearth invitation " + id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// NewInvitation is whom to invite as what.
type NewInvitation struct {
	OrganizationID string
	Email          string
	Role           hearth.OrgRole
}

// Invite mails a link into an organization; an earlier invitation of the same e-mail ends. Whether a user has
// an account with that e-mail makes no difference. Errors: CodeNotFound, CodeForbidden (see Caller.AllowRole),
// CodeValidationFailed, CodeRateLimited (too many e-mails), CodeConflict (too many open ones), CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Invite(ctx context.Context, caller hearth.Caller, input NewInvitation, key *hearth.IdempotencyRequest) (hearth.Invitation, error) {
	orgID := input.OrganizationID
	if err := caller.AllowOrg(orgID, hearth.MayManageMembers); err != nil {
		return hearth.Invitation{}, err
	}
	var problems []hearth.FieldError
	email, ok := hearth.NormalizeEmail(input.Email)
	if !ok {
		problems = append(problems, hearth.FieldError{Location: "body.email", Message: "must be an e-mail address of at most 254 bytes"})
	}
	if !input.Role.Valid() {
		problems = append(problems, hearth.FieldError{Location: "body.role", Message: "must be owner, admin, member or viewer"})
	}
	if len(problems) > 0 {
		return hearth.Invitation{}, hearth.Invalid(problems...)
	}
	if err := caller.AllowRole(orgID, "", "", input.Role); err != nil {
		return hearth.Invitation{}, err
	}
	if err := s.options.Mails.Allow(ctx, caller.UserID, email); err != nil {
		return hearth.Invitation{}, err
	}
	now := s.now()
	invitation := hearth.Invitation{
		ID: newid.New(), OrganizationID: orgID, Email: email, Role: input.Role, InvitedBy: caller.UserID,
		CreatedAt: now, ExpiresAt: now.Add(hearth.InvitationTTL),
	}
	invitation.Hash = hashToken(s.token(invitation.ID))
	payload, err := json.Marshal(invitationJob{invitation.ID})
	if err != nil {
		return hearth.Invitation{}, err
	}
	record, err := key.Record(invitation)
	if err != nil {
		return hearth.Invitation{}, err
	}
	entry := caller.Entry(now, "invitation.create", target(orgID))
	entry.Changes = map[string]hearth.Change{"email": {After: email}, "role": {After: input.Role}}
	err = s.store.CreateInvitation(ctx, invitation, hearth.SideEffects{
		Idempotency: record, Audit: []hearth.AuditEntry{entry},
		Jobs: []hearth.OutboxJob{{ID: newid.New(), Kind: InvitationMailKind, Queue: "notification", Payload: payload}},
	})
	if err != nil {
		return hearth.Invitation{}, err
	}
	return invitation, nil
}

// InvitationMail is what the mail of an invitation needs.
type InvitationMail struct {
	Email        string
	Organization string
	// InvitedBy is the name of the person who invites; "" if there is no such person any more.
	InvitedBy string
	Role      hearth.OrgRole
	// Token goes into the link, behind the #.
	Token     string
	ExpiresAt time.Time
}

// InvitationMail reads the payload of a job of kind InvitationMailKind. CodeNotFound: the invitation was used, replaced,
// taken back or has expired, and no mail is due.
func (s *Service) InvitationMail(ctx context.Context, payload []byte) (InvitationMail, error) {
	var job invitationJob
	if err := json.Unmarshal(payload, &job); err != nil {
		return InvitationMail{}, fmt.Errorf("read the job of an invitation: %w", err)
	}
	invitation, err := s.store.Invitation(ctx, job.InvitationID)
	if err != nil {
		return InvitationMail{}, err
	}
	if !s.now().Before(invitation.ExpiresAt) {
		return InvitationMail{}, hearth.NotFound("invitation")
	}
	org, err := s.store.Organization(ctx, invitation.OrganizationID)
	if err != nil {
		return InvitationMail{}, err
	}
	inviter, err := s.options.Users.User(ctx, invitation.InvitedBy)
	if err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
		return InvitationMail{}, err
	}
	return InvitationMail{
		Email: invitation.Email, Organization: org.Name, InvitedBy: inviter.Name, Role: invitation.Role,
		Token: s.token(invitation.ID), ExpiresAt: invitation.ExpiresAt,
	}, nil
}

// errInvitation is the one answer to a token that does not let the caller in, whatever the reason.
func errInvitation() *hearth.Error {
	return hearth.Invalid(hearth.FieldError{Location: "body.token", Message: "is unknown, used, expired or not for your e-mail"})
}

// Accept makes the caller a member by an invitation for the caller's e-mail, once, if its sender may still invite to that role. A member already keeps the higher of
// the two roles. CodeValidationFailed for any other token; CodeForbidden (a device), CodeConflict (in too many
// organizations), CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Accept(ctx context.Context, caller hearth.Caller, token string, key *hearth.IdempotencyRequest) (hearth.Member, error) {
	if !caller.IsUser() {
		return hearth.Member{}, hearth.Errorf(hearth.CodeForbidden, "a device may not do this")
	}
	user, err := s.options.Users.User(ctx, caller.UserID)
	if err != nil {
		return hearth.Member{}, err
	}
	hash := hashToken(token)
	invitation, err := s.store.InvitationByHash(ctx, hash)
	if err != nil {
		return hearth.Member{}, orRefusal(err)
	}
	now := s.now()
	// The idempotency record is made before the write, so it says what the write is expected to create.
	expected := hearth.Member{
		OrganizationID: invitation.OrganizationID, UserID: user.ID, Name: user.Name, Email: user.Email, JoinedAt: now,
		Role: higher(invitation.Role, caller.Orgs[invitation.OrganizationID]),
	}
	record, err := key.Record(expected)
	if err != nil {
		return hearth.Member{}, err
	}
	audit := []hearth.AuditEntry{caller.Entry(now, "invitation.accept", target(invitation.OrganizationID))}
	member, err := s.store.UseInvitation(ctx, hearth.InvitationUse{
		Hash: hash, UserID: user.ID, At: now,
		Role: func(invitation hearth.Invitation, inviter hearth.Caller, from hearth.OrgRole) (hearth.OrgRole, error) {
			if invitation.Email != user.Email || !now.Before(invitation.ExpiresAt) {
				return "", errInvitation()
			}
			// An invitation is worth what its sender's rights are worth now.
			if inviter.AllowRole(invitation.OrganizationID, "", "", invitation.Role) != nil {
				return "", errInvitation()
			}
			to := higher(invitation.Role, from)
			audit[0].Changes = map[string]hearth.Change{"role": {Before: from, After: to}}
			return to, nil
		},
	}, hearth.SideEffects{Idempotency: record, Audit: audit})
	if err != nil {
		return hearth.Member{}, orRefusal(err)
	}
	s.rolesChanged(user.ID)
	return member, nil
}

func higher(a, b hearth.OrgRole) hearth.OrgRole {
	if b.Rank() > a.Rank() {
		return b
	}
	return a
}

func orRefusal(err error) error {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return errInvitation()
	}
	return err
}

// Invitations lists the open invitations of an organization, newest first. CodeNotFound, CodeForbidden (see MayManageMembers),
// CodeValidationFailed.
func (s *Service) Invitations(ctx context.Context, caller hearth.Caller, orgID string, page hearth.Page) (hearth.List[hearth.Invitation], error) {
	if err := caller.AllowOrg(orgID, hearth.MayManageMembers); err != nil {
		return hearth.List[hearth.Invitation]{}, err
	}
	if _, err := s.store.Organization(ctx, orgID); err != nil { // an admin of the installation may read all of them
		return hearth.List[hearth.Invitation]{}, err
	}
	return s.store.Invitations(ctx, orgID, s.now(), page)
}

// Withdraw removes an open invitation. CodeNotFound, CodeForbidden (see MayManageMembers).
func (s *Service) Withdraw(ctx context.Context, caller hearth.Caller, orgID, id string) error {
	if err := caller.AllowOrg(orgID, hearth.MayManageMembers); err != nil {
		return err
	}
	entry := caller.Entry(s.now(), "invitation.delete", target(orgID))
	entry.Changes = map[string]hearth.Change{"invitation_id": {Before: id}}
	return s.store.DeleteInvitation(ctx, orgID, id, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
}

// InvitationFor returns the e-mail that a token invites; not ok for a token that is unknown, used or expired.
func (s *Service) InvitationFor(ctx context.Context, token string) (email string, ok bool, err error) {
	invitation, err := s.store.InvitationByHash(ctx, hashToken(token))
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return invitation.Email, s.now().Before(invitation.ExpiresAt), nil
}

// CleanUp removes expired invitations and returns their number.
func (s *Service) CleanUp(ctx context.Context) (n int, err error) {
	const part = 500
	for {
		removed, err := s.store.DeleteExpiredInvitations(ctx, s.now(), part)
		n += removed
		if err != nil || removed < part {
			return n, err
		}
	}
}
