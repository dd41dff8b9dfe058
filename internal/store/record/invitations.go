package record

import (
	"context"
	"time"

	"hearth"
)

// invitation is the stored form of hearth.Invitation.
type invitation struct {
	ID             string         `json:"id"`
	OrganizationID string         `json:"organization_id"`
	Email          string         `json:"email"`
	Role           hearth.OrgRole `json:"role"`
	Hash           []byte         `json:"hash,omitempty"`
	InvitedBy      string         `json:"invited_by"`
	CreatedAt      time.Time      `json:"created_at,omitzero"`
	ExpiresAt      time.Time      `json:"expires_at,omitzero"`
}

// An organization has one invitation of an e-mail, and MaxInvitations in all: the steps that add one hold the organization.
var invitations = describe(Kind[invitation]{Schema: Schema{
	Name: "invitations", Noun: "invitation", Of: map[string]string{"organization_id": "organizations"},
	Indexes: []Index{
		{Fields: []string{"organization_id", "email"}},
		{Fields: []string{"hash"}},
		{Fields: []string{"email", "expires_at"}},
		{Fields: []string{"expires_at"}},
	},
}})

func asInvitation(i invitation) hearth.Invitation { return hearth.Invitation(i) }

// CreateInvitation implements hearth.OrganizationStore.
func (a *Aggregates) CreateInvitation(ctx context.Context, i hearth.Invitation, effects hearth.SideEffects) error {
	w := Write{Name: "CreateInvitation", Key: "organizations/" + i.OrganizationID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := tx.Hold(ctx, &organizations.Schema, []any{i.OrganizationID}); err != nil {
			return err
		}
		others, err := invitations.Count(ctx, tx, Eq("organization_id", i.OrganizationID), Ne("email", i.Email))
		if err != nil || others >= hearth.MaxInvitations {
			return orError(err, hearth.Errorf(hearth.CodeConflict, "the organization has %d open invitations: that is the most", hearth.MaxInvitations))
		}
		if err := dropInvitations(ctx, tx, Eq("organization_id", i.OrganizationID), Eq("email", i.Email)); err != nil {
			return err
		}
		return invitations.Insert(ctx, tx, invitation(i))
	})
}

// dropInvitations removes those that the filter picks.
func dropInvitations(ctx context.Context, tx Tx, where ...Condition) error {
	all, err := invitations.Find(ctx, tx, Query{Where: where})
	if err != nil {
		return err
	}
	for _, i := range all {
		if err := tx.Delete(ctx, &invitations.Schema, []any{i.ID}); err != nil {
			return err
		}
	}
	return nil
}

// Invitation implements hearth.OrganizationStore.
func (a *Aggregates) Invitation(ctx context.Context, id string) (hearth.Invitation, error) {
	return get(ctx, a.b, "Invitation", invitations, asInvitation, id)
}

// InvitationByHash implements hearth.OrganizationStore.
func (a *Aggregates) InvitationByHash(ctx context.Context, hash []byte) (hearth.Invitation, error) {
	return first(ctx, a.b, "InvitationByHash", invitations, asInvitation, Eq("hash", hash))
}

// Invited implements hearth.OrganizationStore.
func (a *Aggregates) Invited(ctx context.Context, email string, now time.Time) (bool, error) {
	return view(ctx, a.b, "Invited", func(ctx context.Context, r Reader) (bool, error) {
		return invitations.Exists(ctx, r, Eq("email", email), Gt("expires_at", now))
	})
}

// UseInvitation implements hearth.OrganizationStore.
func (a *Aggregates) UseInvitation(ctx context.Context, use hearth.InvitationUse, effects hearth.SideEffects) (hearth.Member, error) {
	w := Write{Name: "UseInvitation", Key: "invitations/" + string(use.Hash), Effects: effects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Member, error) {
		i, err := invitations.First(ctx, tx, Eq("hash", use.Hash))
		if err != nil {
			return hearth.Member{}, err
		}
		if err := tx.Hold(ctx, &organizations.Schema, []any{i.OrganizationID}); err != nil {
			return hearth.Member{}, err
		}
		from, err := memberOf(ctx, tx, i.OrganizationID, use.UserID)
		if err != nil {
			return hearth.Member{}, err
		}
		to, err := use.Role(hearth.Invitation(i), from.Role)
		if err != nil {
			return hearth.Member{}, err
		}
		if err := tx.Delete(ctx, &invitations.Schema, []any{i.ID}); err != nil {
			return hearth.Member{}, err
		}
		return setRole(ctx, tx, from, to, use.At)
	})
}

// DeleteExpiredInvitations implements hearth.OrganizationStore.
func (a *Aggregates) DeleteExpiredInvitations(ctx context.Context, now time.Time, limit int) (int, error) {
	return a.b.Remove(ctx, "DeleteExpiredInvitations", &invitations.Schema, Filter{Lte("expires_at", now)}, "expires_at", limit)
}
