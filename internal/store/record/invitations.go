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
var invitations = describe(&Kind[invitation]{Schema: Schema{
	Name: "invitations", Noun: "invitation", Of: map[string]string{"organization_id": "organizations"},
	Indexes: []Index{
		{Fields: []string{"organization_id", "email"}},
		{Fields: []string{"hash"}},
		{Fields: []string{"organization_id", "created_at", "id"}},
		{Fields: []string{"expires_at"}},
	},
}})

func asInvitation(i invitation) hearth.Invitation { return hearth.Invitation(i) }

// CreateInvitation implements hearth.OrganizationStore.
func (a *Aggregates) CreateInvitation(ctx context.Context, i hearth.Invitation, effects hearth.SideEffects) error {
	w := Write{Name: "CreateInvitation", Key: "organizations/" + i.OrganizationID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := organizations.Hold(ctx, tx, i.OrganizationID); err != nil {
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
		if err := invitations.Delete(ctx, tx, i.ID); err != nil {
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

// Invitations implements hearth.OrganizationStore.
func (a *Aggregates) Invitations(ctx context.Context, orgID string, now time.Time, page hearth.Page) (hearth.List[hearth.Invitation], error) {
	where := Filter{Eq("organization_id", orgID), Gt("expires_at", now)}
	return listing[invitation, hearth.Invitation]{"Invitations", invitations, where, newestFirst, asInvitation}.page(ctx, a.b, page)
}

// DeleteInvitation implements hearth.OrganizationStore.
func (a *Aggregates) DeleteInvitation(ctx context.Context, orgID, id string, effects hearth.SideEffects) error {
	w := Write{Name: "DeleteInvitation", Key: "organizations/" + orgID, Effects: effects}
	ofOrg := func(i hearth.Invitation) error { return invitations.FoundIf(i.OrganizationID == orgID) }
	return deleteOne(ctx, a.b, w, invitations, id, asInvitation, ofOrg)
}

// inviterOf returns who sent an invitation, with the roles of now; the zero Caller if that user is gone or disabled.
func inviterOf(ctx context.Context, tx Tx, i invitation) (hearth.Caller, error) {
	u, err := users.Get(ctx, tx, i.InvitedBy)
	if gone, err := absent(err); err != nil || gone || u.Disabled {
		return hearth.Caller{}, err
	}
	m, err := memberOf(ctx, tx, i.OrganizationID, u.ID)
	return hearth.Caller{UserID: u.ID, Role: u.Role, Orgs: map[string]hearth.OrgRole{i.OrganizationID: m.Role}}, err
}

// UseInvitation implements hearth.OrganizationStore.
func (a *Aggregates) UseInvitation(ctx context.Context, use hearth.InvitationUse, effects hearth.SideEffects) (hearth.Member, error) {
	w := Write{Name: "UseInvitation", Key: "invitations/" + string(use.Hash), Effects: effects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Member, error) {
		i, err := invitations.First(ctx, tx, Eq("hash", use.Hash))
		if err != nil {
			return hearth.Member{}, err
		}
		if err := organizations.Hold(ctx, tx, i.OrganizationID); err != nil {
			return hearth.Member{}, err
		}
		from, err := memberOf(ctx, tx, i.OrganizationID, use.UserID)
		if err != nil {
			return hearth.Member{}, err
		}
		inviter, err := inviterOf(ctx, tx, i)
		if err != nil {
			return hearth.Member{}, err
		}
		to, err := use.Role(hearth.Invitation(i), inviter, from.Role)
		if err != nil {
			return hearth.Member{}, err
		}
		if err := invitations.Delete(ctx, tx, i.ID); err != nil {
			return hearth.Member{}, err
		}
		return setRole(ctx, tx, from, to, use.At)
	})
}

// DeleteExpiredInvitations implements hearth.OrganizationStore.
func (a *Aggregates) DeleteExpiredInvitations(ctx context.Context, now time.Time, limit int) (int, error) {
	return a.b.Remove(ctx, "DeleteExpiredInvitations", &invitations.Schema, Filter{Lte("expires_at", now)}, "expires_at", limit)
}
