package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"hearth"
)

var _ hearth.OrganizationStore = (*Store)(nil)

const organizationColumns = `o.id, o.name, o.created_at, o.updated_at`

func scanOrganization(row rowScanner) (o hearth.Organization, err error) {
	var created, updated int64
	err = row.Scan(&o.ID, &o.Name, &created, &updated)
	o.CreatedAt, o.UpdatedAt = fromMillis(created), fromMillis(updated)
	return o, err
}

// selectOrganization is served by the primary key.
const selectOrganization = `SELECT ` + organizationColumns + ` FROM organizations o WHERE o.id=?`

// CreateOrganization implements hearth.OrganizationStore.
func (s *Store) CreateOrganization(ctx context.Context, org hearth.Organization, ownerID string, effects hearth.SideEffects) error {
	return s.write(ctx, "CreateOrganization", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO organizations(id, name, created_at, updated_at) VALUES(?,?,?,?)`,
			org.ID, org.Name, millis(org.CreatedAt), millis(org.UpdatedAt))
		if isUnique(err) {
			return hearth.Errorf(hearth.CodeConflict, "there is an organization with that id")
		}
		if err != nil {
			return err
		}
		return setRole(t, hearth.Member{
			OrganizationID: org.ID, UserID: ownerID, Role: hearth.OrgOwner, JoinedAt: org.CreatedAt,
		}, "")
	})
}

// Organization implements hearth.OrganizationStore.
func (s *Store) Organization(ctx context.Context, id string) (org hearth.Organization, err error) {
	err = s.read(ctx, "Organization", func(r *reader) error {
		org, err = scanOrganization(r.row(selectOrganization, id))
		return found(err, "organization")
	})
	return org, err
}

// Organizations implements hearth.OrganizationStore.
func (s *Store) Organizations(
	ctx context.Context, filter hearth.OrganizationFilter, page hearth.Page,
) (hearth.List[hearth.Organization], error) {
	list := hearth.List[hearth.Organization]{Total: -1}
	before, id, err := timeCursor(page.Cursor, true)
	if err != nil {
		return list, err
	}
	// Everybody's walk organizations_created backwards; one person's come from members_user, bounded by MaxOrganizations.
	from := ` FROM organizations o WHERE ?1=''`
	if filter.UserID != "" {
		from = ` FROM members m CROSS JOIN organizations o ON o.id=m.organization_id WHERE m.user_id=?1`
	}
	err = s.read(ctx, "Organizations", func(r *reader) (err error) {
		if page.Count {
			if err := r.row(`SELECT count(*)`+from, filter.UserID).Scan(&list.Total); err != nil {
				return err
			}
		}
		rows, err := r.query(`SELECT `+organizationColumns+from+` AND (o.created_at, o.id) < (?2, ?3)
			ORDER BY o.created_at DESC, o.id DESC LIMIT ?4`, filter.UserID, before, id, page.Size()+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			org, err := scanOrganization(rows)
			if err != nil {
				return err
			}
			list.Items = append(list.Items, org)
		}
		return rows.Err()
	})
	if err != nil {
		return hearth.List[hearth.Organization]{Total: -1}, err
	}
	if size := page.Size(); len(list.Items) > size {
		list.Items = list.Items[:size]
		last := list.Items[size-1]
		list.Next = hearth.Cursor{Sort: page.Sort, Key: strconv.FormatInt(millis(last.CreatedAt), 10), ID: last.ID}
	}
	return list, nil
}

// timeCursor reads a cursor of a list that is sorted by a time and an id; the beginning is beyond every row.
func timeCursor(cursor hearth.Cursor, descending bool) (at int64, id string, err error) {
	switch {
	case cursor.IsZero() && descending:
		return 1<<63 - 1, "", nil
	case cursor.IsZero():
		return -1 << 63, "", nil
	}
	if at, err = strconv.ParseInt(cursor.Key, 10, 64); err != nil {
		return 0, "", hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
	}
	return at, cursor.ID, nil
}

// UpdateOrganization implements hearth.OrganizationStore.
func (s *Store) UpdateOrganization(
	ctx context.Context, id string, change func(hearth.Organization) (hearth.Organization, error), effects hearth.SideEffects,
) (after hearth.Organization, err error) {
	err = s.write(ctx, "UpdateOrganization", func(t *tx) error {
		before, err := scanOrganization(t.row(selectOrganization, id))
		if err != nil {
			return found(err, "organization")
		}
		if after, err = change(before); err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE organizations SET name=?, updated_at=? WHERE id=?`, after.Name, millis(after.UpdatedAt), id)
		return err
	})
	if err != nil {
		return hearth.Organization{}, err
	}
	return after, nil
}

// DeleteOrganization implements hearth.OrganizationStore.
func (s *Store) DeleteOrganization(ctx context.Context, id string, effects hearth.SideEffects) (memberIDs []string, err error) {
	err = s.write(ctx, "DeleteOrganization", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var devices bool
		// By an index that starts with the scope.
		if err := t.row(`SELECT EXISTS(SELECT 1 FROM devices WHERE scope=(SELECT key FROM scopes WHERE name=?))`,
			string(hearth.OrgScope(id))).Scan(&devices); err != nil {
			return err
		}
		if devices {
			return hearth.Errorf(hearth.CodeConflict, "the organization has devices: delete them first")
		}
		memberIDs, err = scanTexts(t.query(`SELECT user_id FROM members WHERE organization_id=?`, id))
		if err != nil {
			return err
		}
		// Memberships and invitations go with it.
		result, err := t.exec(`DELETE FROM organizations WHERE id=?`, id)
		return changedOne(result, err, "organization")
	})
	if err != nil {
		return nil, err
	}
	return memberIDs, nil
}

func scanTexts(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var texts []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, rows.Err()
}

// checkOrganization makes sure that an organization is there to take a device; CodeNotFound.
func checkOrganization(t *tx, id string) error {
	if id == "" {
		return nil
	}
	var one int
	return found(t.row(`SELECT 1 FROM organizations WHERE id=?`, id).Scan(&one), "organization")
}

// Roles implements hearth.OrganizationStore.
func (s *Store) Roles(ctx context.Context, userID string) (map[string]hearth.OrgRole, error) {
	roles := map[string]hearth.OrgRole{}
	err := s.read(ctx, "Roles", func(r *reader) error {
		// From members_user alone.
		rows, err := r.query(`SELECT organization_id, role FROM members WHERE user_id=?`, userID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var role hearth.OrgRole
			if err := rows.Scan(&id, &role); err != nil {
				return err
			}
			roles[id] = role
		}
		return rows.Err()
	})
	return roles, err
}

const memberColumns = `m.organization_id, m.user_id, u.name, u.email, m.role, m.joined_at`

func scanMember(row rowScanner) (m hearth.Member, err error) {
	var joined int64
	err = row.Scan(&m.OrganizationID, &m.UserID, &m.Name, &m.Email, &m.Role, &joined)
	m.JoinedAt = fromMillis(joined)
	return m, err
}

// Members implements hearth.OrganizationStore.
func (s *Store) Members(ctx context.Context, orgID string, page hearth.Page) (hearth.List[hearth.Member], error) {
	list := hearth.List[hearth.Member]{Total: -1}
	after, id, err := timeCursor(page.Cursor, false)
	if err != nil {
		return list, err
	}
	err = s.read(ctx, "Members", func(r *reader) error {
		if page.Count {
			if err := r.row(`SELECT count(*) FROM members WHERE organization_id=?`, orgID).Scan(&list.Total); err != nil {
				return err
			}
		}
		// Off members_joined, in its order; each person by primary key.
		rows, err := r.query(`SELECT `+memberColumns+` FROM members m CROSS JOIN users u ON u.id=m.user_id
			WHERE m.organization_id=?1 AND (m.joined_at, m.user_id) > (?2, ?3) ORDER BY m.joined_at, m.user_id LIMIT ?4`,
			orgID, after, id, page.Size()+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			member, err := scanMember(rows)
			if err != nil {
				return err
			}
			list.Items = append(list.Items, member)
		}
		return rows.Err()
	})
	if err != nil {
		return hearth.List[hearth.Member]{Total: -1}, err
	}
	if size := page.Size(); len(list.Items) > size {
		list.Items = list.Items[:size]
		last := list.Items[size-1]
		list.Next = hearth.Cursor{Sort: page.Sort, Key: strconv.FormatInt(millis(last.JoinedAt), 10), ID: last.UserID}
	}
	return list, nil
}

// ChangeMember implements hearth.OrganizationStore.
func (s *Store) ChangeMember(ctx context.Context, change hearth.MemberChange, effects hearth.SideEffects) (member hearth.Member, err error) {
	err = s.write(ctx, "ChangeMember", func(t *tx) error {
		if err := checkOrganization(t, change.OrganizationID); err != nil {
			return err
		}
		from, err := roleOf(t, change.OrganizationID, change.UserID)
		if err != nil {
			return err
		}
		to, err := change.Role(from)
		if err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		member = hearth.Member{OrganizationID: change.OrganizationID, UserID: change.UserID, Role: to, JoinedAt: change.At}
		if err := setRole(t, member, from); err != nil || to == "" {
			return err
		}
		member, err = readMember(t, change.OrganizationID, change.UserID)
		return err
	})
	if err != nil {
		return hearth.Member{}, err
	}
	return member, nil
}

// roleOf returns a person's role in an organization, by primary key; "" for none.
func roleOf(t *tx, orgID, userID string) (role hearth.OrgRole, err error) {
	err = t.row(`SELECT role FROM members WHERE organization_id=? AND user_id=?`, orgID, userID).Scan(&role)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return role, err
}

func readMember(t *tx, orgID, userID string) (hearth.Member, error) {
	return scanMember(t.row(`SELECT `+memberColumns+` FROM members m JOIN users u ON u.id=m.user_id
		WHERE m.organization_id=? AND m.user_id=?`, orgID, userID))
}

// setRole returns member the role in place of from, and keeps the organization from being without an owner.
func setRole(t *tx, member hearth.Member, from hearth.OrgRole) error {
	orgID, userID, to := member.OrganizationID, member.UserID, member.Role
	if from == hearth.OrgOwner && to != hearth.OrgOwner {
		var others bool
		if err := t.row(`SELECT EXISTS(SELECT 1 FROM members WHERE organization_id=? AND role='owner' AND user_id<>?)`,
			orgID, userID).Scan(&others); err != nil {
			return err
		}
		if !others {
			return hearth.Errorf(hearth.CodeConflict, "the last owner must stay: make somebody else an owner first")
		}
	}
	if to.Rank() < from.Rank() {
		// Nobody leaves a door open that they could not open any more.
		if _, err := t.exec(`DELETE FROM invitations WHERE organization_id=? AND invited_by=?`, orgID, userID); err != nil {
			return err
		}
	}
	switch {
	case to == "" && from == "":
		return hearth.NotFound("member")
	case to == "":
		_, err := t.exec(`DELETE FROM members WHERE organization_id=? AND user_id=?`, orgID, userID)
		return err
	case from != "":
		_, err := t.exec(`UPDATE members SET role=? WHERE organization_id=? AND user_id=?`, string(to), orgID, userID)
		return err
	}
	var count int
	err := t.row(`SELECT (SELECT count(*) FROM members WHERE user_id=u.id) FROM users u WHERE id=?`, userID).Scan(&count)
	if err != nil {
		return found(err, "user")
	}
	if count >= hearth.MaxOrganizations {
		return hearth.Errorf(hearth.CodeConflict, "the person is in %d organizations: that is the most", hearth.MaxOrganizations)
	}
	_, err = t.exec(`INSERT INTO members(organization_id, user_id, role, joined_at) VALUES(?,?,?,?)`,
		orgID, userID, string(to), millis(member.JoinedAt))
	return err
}
