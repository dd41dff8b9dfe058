package record

import (
	"context"
	"time"

	"hearth"
)

var _ hearth.OrganizationStore = (*Aggregates)(nil)

// organization is the stored form of hearth.Organization.
type organization struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at,omitzero" bson:"created"`
	UpdatedAt time.Time `json:"updated_at,omitzero" bson:"updated"`
}

// organizations are held by every step that changes what hangs on them: their members, invitations and devices.
var organizations = describe(&Kind[organization]{Schema: Schema{
	Name: "organizations", Noun: "organization", Indexes: []Index{{Fields: []string{"created_at", "id"}}},
}})

// member is a person in an organization.
type member struct {
	OrganizationID string         `json:"organization_id"`
	UserID         string         `json:"user_id"`
	Role           hearth.OrgRole `json:"role"`
	JoinedAt       time.Time      `json:"joined_at,omitzero"`
}

var members = describe(&Kind[member]{Schema: Schema{
	Name: "members", Noun: "member", ID: []string{"organization_id", "user_id"},
	Of: map[string]string{"organization_id": "organizations", "user_id": "users"},
	Indexes: []Index{
		{Fields: []string{"user_id", "organization_id", "role"}},
		{Fields: []string{"organization_id", "joined_at", "user_id"}},
	},
}})

func asOrganization(o organization) hearth.Organization { return hearth.Organization(o) }

// CreateOrganization implements hearth.OrganizationStore.
func (a *Aggregates) CreateOrganization(ctx context.Context, org hearth.Organization, ownerID string, effects hearth.SideEffects) error {
	w := Write{Name: "CreateOrganization", Key: "users/" + ownerID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := joins(ctx, tx, ownerID); err != nil {
			return err
		}
		if err := organizations.Insert(ctx, tx, organization(org)); err != nil {
			return err
		}
		return members.Insert(ctx, tx, member{org.ID, ownerID, hearth.OrgOwner, org.CreatedAt})
	})
}

// joins makes sure that a person may come into one more organization. The step holds the person, so that of two that do not both
// are the last that fits.
func joins(ctx context.Context, tx Tx, userID string) error {
	if err := users.Hold(ctx, tx, userID); err != nil {
		return err
	}
	count, err := members.Count(ctx, tx, Eq("user_id", userID))
	if err != nil || count >= hearth.MaxOrganizations {
		return orError(err, hearth.Errorf(hearth.CodeConflict, "the person is in %d organizations: that is the most", hearth.MaxOrganizations))
	}
	return nil
}

// Organization implements hearth.OrganizationStore.
func (a *Aggregates) Organization(ctx context.Context, id string) (hearth.Organization, error) {
	return get(ctx, a.b, "Organization", organizations, asOrganization, id)
}

// Organizations implements hearth.OrganizationStore. One person's are bounded by MaxOrganizations.
func (a *Aggregates) Organizations(
	ctx context.Context, filter hearth.OrganizationFilter, page hearth.Page,
) (hearth.List[hearth.Organization], error) {
	var where Filter
	if filter.UserID != "" {
		ids, err := find(ctx, a.b, "Organizations", members, func(m member) string { return m.OrganizationID },
			Query{Where: Filter{Eq("user_id", filter.UserID)}, MayLag: true})
		if err != nil {
			return hearth.List[hearth.Organization]{Total: -1}, err
		}
		where = Filter{In("id", ids...)}
	}
	return listing[organization, hearth.Organization]{"Organizations", organizations, where, newestFirst, asOrganization}.page(ctx, a.b, page)
}

// UpdateOrganization implements hearth.OrganizationStore.
func (a *Aggregates) UpdateOrganization(
	ctx context.Context, id string, change func(hearth.Organization) (hearth.Organization, error), effects hearth.SideEffects,
) (hearth.Organization, error) {
	w := Write{Name: "UpdateOrganization", Key: "organizations/" + id, Effects: effects}
	return changeOne(ctx, a.b, w, organizations, id, asOrganization, func(o hearth.Organization) organization { return organization(o) }, change)
}

// DeleteOrganization implements hearth.OrganizationStore.
func (a *Aggregates) DeleteOrganization(ctx context.Context, id string, effects hearth.SideEffects) ([]string, error) {
	w := Write{Name: "DeleteOrganization", Key: "organizations/" + id, Effects: effects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (memberIDs []string, err error) {
		if _, err := organizations.Get(ctx, tx, id); err != nil {
			return nil, err
		}
		if used, err := devices.Exists(ctx, tx, Eq("scope", hearth.OrgScope(id))); err != nil || used {
			return nil, orError(err, hearth.Errorf(hearth.CodeConflict, "the organization has devices: delete them first"))
		}
		all, err := members.Find(ctx, tx, Query{Where: Filter{Eq("organization_id", id)}})
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			memberIDs = append(memberIDs, m.UserID)
		}
		of := Filter{Eq("organization_id", id)}
		hooks, err := webhooks.Find(ctx, tx, Query{Where: of})
		if err != nil {
			return nil, err
		}
		for _, w := range hooks {
			if err := forgetDeliveries(ctx, tx, w.ID); err != nil {
				return nil, err
			}
		}
		if err := forgetIntegrations(ctx, tx, id); err != nil {
			return nil, err
		}
		for _, s := range []*Schema{&members.Schema, &invitations.Schema, &apiKeys.Schema, &provisioningKeys.Schema, &webhooks.Schema, &rules.Schema} {
			if err := tx.DeleteWhere(ctx, s, of); err != nil {
				return nil, err
			}
		}
		return memberIDs, organizations.Delete(ctx, tx, id)
	})
}

// Roles implements hearth.OrganizationStore.
func (a *Aggregates) Roles(ctx context.Context, userID string) (map[string]hearth.OrgRole, error) {
	return view(ctx, a.b, "Roles", func(ctx context.Context, r Reader) (map[string]hearth.OrgRole, error) {
		roles := map[string]hearth.OrgRole{}
		all, err := members.Find(ctx, r, Query{Where: Filter{Eq("user_id", userID)}})
		for _, m := range all {
			roles[m.OrganizationID] = m.Role
		}
		return roles, err
	})
}

// Members implements hearth.OrganizationStore.
func (a *Aggregates) Members(ctx context.Context, orgID string, page hearth.Page) (hearth.List[hearth.Member], error) {
	item := func(m member) hearth.Member {
		return hearth.Member{OrganizationID: m.OrganizationID, UserID: m.UserID, Role: m.Role, JoinedAt: m.JoinedAt}
	}
	order := Order{By: "joined_at", Tie: "user_id"}
	list, err := listing[member, hearth.Member]{"Members", members, Filter{Eq("organization_id", orgID)}, order, item}.page(ctx, a.b, page)
	if err != nil || len(list.Items) == 0 {
		return list, err
	}
	ids := make([]string, len(list.Items))
	for i, m := range list.Items {
		ids[i] = m.UserID
	}
	people, err := find(ctx, a.b, "Members", users, asUser, Query{Where: Filter{In("id", ids...)}, MayLag: true})
	if err != nil {
		return hearth.List[hearth.Member]{Total: -1}, err
	}
	named := map[string]hearth.User{}
	for _, u := range people {
		named[u.ID] = u
	}
	for i := range list.Items {
		m := &list.Items[i]
		m.Name, m.Email = named[m.UserID].Name, named[m.UserID].Email
	}
	return list, nil
}

// ChangeMember implements hearth.OrganizationStore.
func (a *Aggregates) ChangeMember(ctx context.Context, change hearth.MemberChange, effects hearth.SideEffects) (hearth.Member, error) {
	w := Write{Name: "ChangeMember", Key: "organizations/" + change.OrganizationID, Effects: effects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Member, error) {
		if err := organizations.Hold(ctx, tx, change.OrganizationID); err != nil {
			return hearth.Member{}, err
		}
		from, err := memberOf(ctx, tx, change.OrganizationID, change.UserID)
		if err != nil {
			return hearth.Member{}, err
		}
		to, err := change.Role(from.Role)
		if err != nil {
			return hearth.Member{}, err
		}
		return setRole(ctx, tx, from, to, change.At)
	})
}

// memberOf returns what a person is in an organization; the role "" is no member.
func memberOf(ctx context.Context, tx Tx, orgID, userID string) (member, error) {
	m, err := members.Get(ctx, tx, orgID, userID)
	if isNone, err := absent(err); err != nil || isNone {
		return member{OrganizationID: orgID, UserID: userID}, err
	}
	return m, nil
}

// setRole gives a person a role, and keeps the organization, which the step holds, from being without an owner.
func setRole(ctx context.Context, tx Tx, from member, to hearth.OrgRole, at time.Time) (hearth.Member, error) {
	after := from
	after.Role = to
	if from.Role == hearth.OrgOwner && to != hearth.OrgOwner {
		others, err := members.Exists(ctx, tx, Eq("organization_id", from.OrganizationID), Eq("role", hearth.OrgOwner), Ne("user_id", from.UserID))
		if err != nil || !others {
			return hearth.Member{}, orError(err, hearth.Errorf(hearth.CodeConflict, "the last owner must stay: make somebody else an owner first"))
		}
	}
	if to.Rank() < from.Role.Rank() {
		// Nobody leaves an invitation open that they could not send any more.
		err := dropInvitations(ctx, tx, Eq("organization_id", from.OrganizationID), Eq("invited_by", from.UserID))
		if err != nil {
			return hearth.Member{}, err
		}
	}
	var err error
	switch {
	case to == "" && from.Role == "":
		return hearth.Member{}, members.NotFound()
	case to == "":
		return hearth.Member{OrganizationID: from.OrganizationID, UserID: from.UserID, JoinedAt: at},
			members.Delete(ctx, tx, from.OrganizationID, from.UserID)
	case from.Role != "":
		err = members.Replace(ctx, tx, after)
	default:
		after.JoinedAt = at
		if err = joins(ctx, tx, from.UserID); err == nil {
			err = members.Insert(ctx, tx, after)
		}
	}
	if err != nil {
		return hearth.Member{}, err
	}
	u, err := users.Get(ctx, tx, from.UserID)
	return hearth.Member{
		OrganizationID: after.OrganizationID, UserID: after.UserID, Name: u.Name, Email: u.Email, Role: to, JoinedAt: hearth.Millis(after.JoinedAt),
	}, err
}
