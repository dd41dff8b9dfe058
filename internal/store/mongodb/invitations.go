package mongodb

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
)

// inviteDoc is an invitation inside of its organization.
type inviteDoc struct {
	ID      string         `bson:"id"`
	Email   string         `bson:"email"`
	Role    hearth.OrgRole `bson:"role"`
	Hash    []byte         `bson:"hash"`
	By      string         `bson:"by"`
	Created int64          `bson:"created"`
	Expires int64          `bson:"expires"`
}

func newInviteDoc(i hearth.Invitation) inviteDoc {
	return inviteDoc{
		ID: i.ID, Email: i.Email, Role: i.Role, Hash: i.Hash, By: i.InvitedBy, Created: millis(i.CreatedAt), Expires: millis(i.ExpiresAt),
	}
}

func (i inviteDoc) invitation(orgID string) hearth.Invitation {
	return hearth.Invitation{
		ID: i.ID, OrganizationID: orgID, Email: i.Email, Role: i.Role, Hash: i.Hash, InvitedBy: i.By,
		CreatedAt: fromMillis(i.Created), ExpiresAt: fromMillis(i.Expires),
	}
}

// memberAfter reads a cursor of a list of members.
func memberAfter(cursor hearth.Cursor) (memberDoc, error) {
	if cursor.IsZero() {
		return memberDoc{}, nil
	}
	joined, err := strconv.ParseInt(cursor.Key, 10, 64)
	if err != nil {
		return memberDoc{}, badCursor()
	}
	return memberDoc{User: cursor.ID, Joined: joined}, nil
}

// CreateInvitation implements hearth.OrganizationStore.
func (s *Store) CreateInvitation(ctx context.Context, i hearth.Invitation, effects hearth.SideEffects) error {
	w := writing{name: "CreateInvitation", line: collOrganizations + "/" + i.OrganizationID, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := loadOrganization(ctx, st, i.OrganizationID)
		if err != nil {
			return err
		}
		d.Invites = slices.DeleteFunc(d.Invites, func(old inviteDoc) bool { return old.Email == i.Email })
		if len(d.Invites) >= hearth.MaxInvitations {
			return hearth.Errorf(hearth.CodeConflict, "the organization has %d open invitations: that is the most", hearth.MaxInvitations)
		}
		d.Invites = append(d.Invites, newInviteDoc(i))
		st.update(collOrganizations, d.ID, d.V, set(bson.D{{Key: "invites", Value: d.Invites}}))
		return nil
	})
}

// Invitation implements hearth.OrganizationStore.
func (s *Store) Invitation(ctx context.Context, id string) (hearth.Invitation, error) {
	return s.findInvitation(ctx, "Invitation", bson.E{Key: "invites.id", Value: id}, func(i inviteDoc) bool { return i.ID == id })
}

// InvitationByHash implements hearth.OrganizationStore.
func (s *Store) InvitationByHash(ctx context.Context, hash []byte) (hearth.Invitation, error) {
	return s.findInvitation(ctx, "InvitationByHash", bson.E{Key: "invites.hash", Value: hash},
		func(i inviteDoc) bool { return bytes.Equal(i.Hash, hash) })
}

// findInvitation reads the one invitation that is; its condition has an index.
func (s *Store) findInvitation(ctx context.Context, name string, condition bson.E, is func(inviteDoc) bool) (invitation hearth.Invitation, err error) {
	err = s.do(ctx, name, func(ctx context.Context) error {
		var d orgDoc
		err := s.db.Collection(collOrganizations).FindOne(ctx, live(condition)).Decode(&d)
		if i := slices.IndexFunc(d.Invites, is); err == nil && i >= 0 {
			invitation = d.Invites[i].invitation(d.ID)
			return nil
		}
		return found(err, "invitation")
	})
	return invitation, err
}

// Invited implements hearth.OrganizationStore.
func (s *Store) Invited(ctx context.Context, email string, now time.Time) (invited bool, err error) {
	err = s.do(ctx, "Invited", func(ctx context.Context) error {
		// By (invites.email, invites.expires).
		invited, err = s.exists(ctx, collOrganizations, live(bson.E{Key: "invites", Value: bson.D{{Key: "$elemMatch", Value: bson.D{
			{Key: "email", Value: email}, {Key: "expires", Value: bson.D{{Key: "$gt", Value: millis(now)}}},
		}}}}))
		return err
	})
	return invited, err
}

// UseInvitation implements hearth.OrganizationStore.
func (s *Store) UseInvitation(ctx context.Context, use hearth.InvitationUse, effects hearth.SideEffects) (member hearth.Member, err error) {
	w := writing{name: "UseInvitation", line: "invitation/" + string(use.Hash), effects: effects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := load[orgDoc](ctx, st, collOrganizations, bson.D{{Key: "invites.hash", Value: use.Hash}})
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
		i := slices.IndexFunc(d.Invites, func(i inviteDoc) bool { return bytes.Equal(i.Hash, use.Hash) })
		if i < 0 {
			return hearth.NotFound("invitation")
		}
		to, err := use.Role(d.Invites[i].invitation(d.ID), d.role(use.UserID))
		if err != nil {
			return err
		}
		d.Invites = slices.Delete(d.Invites, i, i+1)
		member, err = s.setRole(ctx, st, &d, memberDoc{User: use.UserID, Role: to, Joined: millis(use.At)})
		if err == nil {
			st.updatePeople(d)
		}
		return err
	})
	if err != nil {
		return hearth.Member{}, err
	}
	return member, nil
}

// DeleteExpiredInvitations implements hearth.OrganizationStore. Each organization is a write of its own: what a crash leaves
// is removed the next time.
func (s *Store) DeleteExpiredInvitations(ctx context.Context, now time.Time, limit int) (deleted int, err error) {
	var ids bson.A
	err = s.do(ctx, "DeleteExpiredInvitations", func(ctx context.Context) error {
		// By invites.expires; every one of these organizations has one at least.
		ids, err = s.firstIDs(ctx, collOrganizations,
			bson.D{{Key: "invites.expires", Value: bson.D{{Key: "$lte", Value: millis(now)}}}}, "_id", limit)
		return err
	})
	for _, id := range ids {
		if err != nil || deleted >= limit {
			break
		}
		removed := 0
		err = s.commit(ctx, writing{name: "DeleteExpiredInvitations"}, func(ctx context.Context, st *step) error {
			removed = 0
			d, err := load[orgDoc](ctx, st, collOrganizations, byID(id))
			if errors.Is(err, errGone) {
				return nil
			}
			if err != nil {
				return err
			}
			d.Invites = slices.DeleteFunc(d.Invites, func(i inviteDoc) bool {
				old := i.Expires <= millis(now) && deleted+removed < limit
				if old {
					removed++
				}
				return old
			})
			if removed > 0 {
				st.update(collOrganizations, d.ID, d.V, set(bson.D{{Key: "invites", Value: d.Invites}}))
			}
			return nil
		})
		if err == nil {
			deleted += removed
		}
	}
	return deleted, err
}
