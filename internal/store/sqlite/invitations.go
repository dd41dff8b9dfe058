package sqlite

import (
	"context"
	"time"

	"hearth"
)

const invitationColumns = `i.id, i.organization_id, i.email, i.role, i.hash, i.invited_by, i.created_at, i.expires_at`

func scanInvitation(row rowScanner) (i hearth.Invitation, err error) {
	var created, expires int64
	err = row.Scan(&i.ID, &i.OrganizationID, &i.Email, &i.Role, &i.Hash, &i.InvitedBy, &created, &expires)
	i.CreatedAt, i.ExpiresAt = fromMillis(created), fromMillis(expires)
	return i, found(err, "invitation")
}

// CreateInvitation implements hearth.OrganizationStore.
func (s *Store) CreateInvitation(ctx context.Context, i hearth.Invitation, effects hearth.SideEffects) error {
	return s.write(ctx, "CreateInvitation", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		if err := checkOrganization(t, i.OrganizationID); err != nil {
			return err
		}
		// Both by the unique index (organization_id, email).
		if _, err := t.exec(`DELETE FROM invitations WHERE organization_id=? AND email=?`, i.OrganizationID, i.Email); err != nil {
			return err
		}
		var open int
		if err := t.row(`SELECT count(*) FROM invitations WHERE organization_id=?`, i.OrganizationID).Scan(&open); err != nil {
			return err
		}
		if open >= hearth.MaxInvitations {
			return hearth.Errorf(hearth.CodeConflict, "the organization has %d open invitations: that is the most", hearth.MaxInvitations)
		}
		_, err := t.exec(`INSERT INTO invitations(id, organization_id, email, role, hash, invited_by, created_at, expires_at)
			VALUES(?,?,?,?,?,?,?,?)`,
			i.ID, i.OrganizationID, i.Email, string(i.Role), i.Hash, i.InvitedBy, millis(i.CreatedAt), millis(i.ExpiresAt))
		return err
	})
}

// Invitation implements hearth.OrganizationStore.
func (s *Store) Invitation(ctx context.Context, id string) (i hearth.Invitation, err error) {
	err = s.read(ctx, "Invitation", func(r *reader) error {
		i, err = scanInvitation(r.row(`SELECT `+invitationColumns+` FROM invitations i WHERE i.id=?`, id)) // by primary key
		return err
	})
	return i, err
}

// selectInvitationByHash is served by the unique index of hash.
const selectInvitationByHash = `SELECT ` + invitationColumns + ` FROM invitations i WHERE i.hash=?`

// InvitationByHash implements hearth.OrganizationStore.
func (s *Store) InvitationByHash(ctx context.Context, hash []byte) (i hearth.Invitation, err error) {
	err = s.read(ctx, "InvitationByHash", func(r *reader) error {
		i, err = scanInvitation(r.row(selectInvitationByHash, hash))
		return err
	})
	return i, err
}

// Invited implements hearth.OrganizationStore.
func (s *Store) Invited(ctx context.Context, email string, now time.Time) (invited bool, err error) {
	err = s.read(ctx, "Invited", func(r *reader) error {
		// From invitations_email alone.
		return r.row(`SELECT EXISTS(SELECT 1 FROM invitations WHERE email=? AND expires_at>?)`, email, millis(now)).Scan(&invited)
	})
	return invited, err
}

// UseInvitation implements hearth.OrganizationStore.
func (s *Store) UseInvitation(ctx context.Context, use hearth.InvitationUse, effects hearth.SideEffects) (member hearth.Member, err error) {
	err = s.write(ctx, "UseInvitation", func(t *tx) error {
		i, err := scanInvitation(t.row(selectInvitationByHash, use.Hash))
		if err != nil {
			return err
		}
		from, err := roleOf(t, i.OrganizationID, use.UserID)
		if err != nil {
			return err
		}
		to, err := use.Role(i, from)
		if err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM invitations WHERE id=?`, i.ID); err != nil {
			return err
		}
		err = setRole(t, hearth.Member{OrganizationID: i.OrganizationID, UserID: use.UserID, Role: to, JoinedAt: use.At}, from)
		if err != nil {
			return err
		}
		member, err = readMember(t, i.OrganizationID, use.UserID)
		return err
	})
	if err != nil {
		return hearth.Member{}, err
	}
	return member, nil
}

// DeleteExpiredInvitations implements hearth.OrganizationStore.
func (s *Store) DeleteExpiredInvitations(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = s.write(ctx, "DeleteExpiredInvitations", func(t *tx) error {
		// By invitations_expires.
		result, err := t.exec(`DELETE FROM invitations WHERE id IN (SELECT id FROM invitations WHERE expires_at<=? LIMIT ?)`, millis(now), limit)
		if err != nil {
			return err
		}
		count, err := result.RowsAffected()
		n = int(count)
		return err
	})
	return n, err
}
