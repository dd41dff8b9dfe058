package mongodb

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.OrganizationStore = (*Store)(nil)

// maxMembers bounds the people in one organization, and so its document to some 6 MB of MongoDB's 16.
const maxMembers = 50_000

// orgDoc is an organization with everything that is of it alone: so every rule about its members and invitations is about one
// document, and they all end with it.
type orgDoc struct {
	ID      string `bson:"_id"`
	Meta    `bson:",inline"`
	Name    string      `bson:"name"`
	Created int64       `bson:"created"`
	Updated int64       `bson:"updated"`
	Members []memberDoc `bson:"members"`
	Invites []inviteDoc `bson:"invites"`
}

type memberDoc struct {
	User   string         `bson:"user"`
	Role   hearth.OrgRole `bson:"role"`
	Joined int64          `bson:"joined"`
}

func (d orgDoc) organization() hearth.Organization {
	return hearth.Organization{ID: d.ID, Name: d.Name, CreatedAt: fromMillis(d.Created), UpdatedAt: fromMillis(d.Updated)}
}

func (d orgDoc) role(userID string) hearth.OrgRole {
	for _, m := range d.Members {
		if m.User == userID {
			return m.Role
		}
	}
	return ""
}

// withoutPeople leaves the long parts of an organization where they are.
var withoutPeople = []string{"members", "invites"} // never written to

// CreateOrganization implements hearth.OrganizationStore.
func (s *Store) CreateOrganization(ctx context.Context, org hearth.Organization, ownerID string, effects hearth.SideEffects) error {
	w := writing{name: "CreateOrganization", line: collUsers + "/" + ownerID, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		if err := s.joins(ctx, st, ownerID); err != nil {
			return err
		}
		st.insert(collOrganizations, org.ID, orgDoc{
			ID: org.ID, Meta: Meta{V: 1}, Name: org.Name, Created: millis(org.CreatedAt), Updated: millis(org.UpdatedAt),
			Members: []memberDoc{{User: ownerID, Role: hearth.OrgOwner, Joined: millis(org.CreatedAt)}}, Invites: []inviteDoc{},
		}, hearth.Errorf(hearth.CodeConflict, "there is an organization with that id"))
		return nil
	})
}

// joins makes sure that a person may come into one more organization. The step changes the person's version, so that two
// that do are not both the last that fits.
func (s *Store) joins(ctx context.Context, st *step, userID string) error {
	u, err := loadUser(ctx, st, userID)
	if err != nil {
		return err
	}
	count, err := s.db.Collection(collOrganizations).CountDocuments(ctx, live(bson.E{Key: "members.user", Value: userID}))
	if err != nil {
		return err
	}
	if count >= hearth.MaxOrganizations {
		return hearth.Errorf(hearth.CodeConflict, "the person is in %d organizations: that is the most", hearth.MaxOrganizations)
	}
	st.update(collUsers, u.ID, u.V, nil)
	return nil
}

// Organization implements hearth.OrganizationStore.
func (s *Store) Organization(ctx context.Context, id string) (org hearth.Organization, err error) {
	err = s.do(ctx, "Organization", func(ctx context.Context) error {
		var d orgDoc
		err := s.db.Collection(collOrganizations).FindOne(ctx, live(bson.E{Key: "_id", Value: id}),
			options.FindOne().SetProjection(hidden(withoutPeople))).Decode(&d)
		org = d.organization()
		return found(err, "organization")
	})
	if err != nil {
		return hearth.Organization{}, err
	}
	return org, nil
}

// Organizations implements hearth.OrganizationStore.
func (s *Store) Organizations(
	ctx context.Context, filter hearth.OrganizationFilter, page hearth.Page,
) (hearth.List[hearth.Organization], error) {
	// Everybody's walk (created, _id) backwards; one person's (members.user, created, _id).
	list := listing[orgDoc, hearth.Organization]{
		name: "Organizations", coll: collOrganizations, filter: append(live(), equal([2]string{"members.user", filter.UserID})...),
		field: "created", descending: true, hide: withoutPeople,
		item: orgDoc.organization, place: func(d orgDoc) hearth.Cursor { return at(d.Created, d.ID) },
	}
	return list.page(ctx, s, page)
}

// loadOrganization reads an organization for a step; CodeNotFound.
func loadOrganization(ctx context.Context, st *step, id string) (orgDoc, error) {
	d, err := load[orgDoc](ctx, st, collOrganizations, byID(id))
	if errors.Is(err, errGone) {
		err = hearth.NotFound("organization")
	}
	return d, err
}

// UpdateOrganization implements hearth.OrganizationStore.
func (s *Store) UpdateOrganization(
	ctx context.Context, id string, change func(hearth.Organization) (hearth.Organization, error), effects hearth.SideEffects,
) (after hearth.Organization, err error) {
	w := writing{name: "UpdateOrganization", line: collOrganizations + "/" + id, effects: effects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := loadOrganization(ctx, st, id)
		if err != nil {
			return err
		}
		if after, err = change(d.organization()); err != nil {
			return err
		}
		st.update(collOrganizations, id, d.V, set(bson.D{{Key: "name", Value: after.Name}, {Key: "updated", Value: millis(after.UpdatedAt)}}))
		return nil
	})
	if err != nil {
		return hearth.Organization{}, err
	}
	return after, nil
}

// DeleteOrganization implements hearth.OrganizationStore. A device goes into an organization by a step that changes the
// organization's version (see intoOrganization): so none does between the look for devices and the removal.
func (s *Store) DeleteOrganization(ctx context.Context, id string, effects hearth.SideEffects) (memberIDs []string, err error) {
	w := writing{name: "DeleteOrganization", line: collOrganizations + "/" + id, effects: effects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		memberIDs = nil
		d, err := loadOrganization(ctx, st, id)
		if err != nil {
			return err
		}
		devices, err := s.exists(ctx, collDevices, alive(bson.E{Key: "scope", Value: hearth.OrgScope(id)}))
		if err != nil {
			return err
		}
		if devices {
			return hearth.Errorf(hearth.CodeConflict, "the organization has devices: delete them first")
		}
		for _, m := range d.Members {
			memberIDs = append(memberIDs, m.User)
		}
		st.remove(collOrganizations, id, d.V)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return memberIDs, nil
}

// intoOrganization makes the step one that puts a device into an organization: the organization must be there, and stays
// until the step is done. An empty id is none. CodeNotFound.
func (st *step) intoOrganization(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	d, err := loadOrganization(ctx, st, id)
	if err == nil {
		st.update(collOrganizations, id, d.V, nil)
	}
	return err
}

// Roles implements hearth.OrganizationStore.
func (s *Store) Roles(ctx context.Context, userID string) (map[string]hearth.OrgRole, error) {
	roles := map[string]hearth.OrgRole{}
	err := s.do(ctx, "Roles", func(ctx context.Context) error {
		// By (members.user, created, _id); of the members only the person's own entry comes back.
		docs, err := findAll[orgDoc](ctx, s.db.Collection(collOrganizations), live(bson.E{Key: "members.user", Value: userID}),
			options.Find().SetProjection(bson.D{{Key: "members", Value: bson.D{
				{Key: "$elemMatch", Value: bson.D{{Key: "user", Value: userID}}},
			}}}))
		for _, d := range docs {
			roles[d.ID] = d.role(userID)
		}
		return err
	})
	return roles, err
}

// Members implements hearth.OrganizationStore.
func (s *Store) Members(ctx context.Context, orgID string, page hearth.Page) (hearth.List[hearth.Member], error) {
	list := hearth.List[hearth.Member]{Total: -1}
	after, err := memberAfter(page.Cursor)
	if err != nil {
		return list, err
	}
	err = s.do(ctx, "Members", func(ctx context.Context) error {
		docs, err := findAll[orgDoc](ctx, s.reads.Collection(collOrganizations), live(bson.E{Key: "_id", Value: orgID}),
			options.Find().SetProjection(bson.D{{Key: "members", Value: 1}}))
		if err != nil {
			return err
		}
		var members []memberDoc
		for _, d := range docs {
			members = d.Members
		}
		if page.Count {
			list.Total = int64(len(members))
		}
		slices.SortFunc(members, compareMembers)
		members = slices.DeleteFunc(members, func(m memberDoc) bool { return !page.Cursor.IsZero() && compareMembers(m, after) <= 0 })
		if size := page.Size(); len(members) > size {
			members = members[:size]
			list.Next = at(members[size-1].Joined, members[size-1].User)
			list.Next.Sort = page.Sort
		}
		list.Items, err = s.people(ctx, orgID, members)
		return err
	})
	if err != nil {
		return hearth.List[hearth.Member]{Total: -1}, err
	}
	return list, nil
}

func compareMembers(a, b memberDoc) int {
	return cmp.Or(cmp.Compare(a.Joined, b.Joined), cmp.Compare(a.User, b.User))
}

// people returns members with their names and e-mails as they are now.
func (s *Store) people(ctx context.Context, orgID string, members []memberDoc) ([]hearth.Member, error) {
	ids := make(bson.A, 0, len(members))
	for _, m := range members {
		ids = append(ids, m.User)
	}
	users, err := findAll[userDoc](ctx, s.db.Collection(collUsers), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetProjection(bson.D{{Key: "name", Value: 1}, {Key: "email", Value: 1}}))
	if err != nil {
		return nil, err
	}
	named := map[string]userDoc{}
	for _, u := range users {
		named[u.ID] = u
	}
	var all []hearth.Member
	for _, m := range members {
		u := named[m.User]
		all = append(all, hearth.Member{
			OrganizationID: orgID, UserID: m.User, Name: u.Name, Email: u.Email, Role: m.Role, JoinedAt: fromMillis(m.Joined),
		})
	}
	return all, nil
}

// ChangeMember implements hearth.OrganizationStore.
func (s *Store) ChangeMember(ctx context.Context, change hearth.MemberChange, effects hearth.SideEffects) (member hearth.Member, err error) {
	w := writing{name: "ChangeMember", line: collOrganizations + "/" + change.OrganizationID, effects: effects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := loadOrganization(ctx, st, change.OrganizationID)
		if err != nil {
			return err
		}
		to, err := change.Role(d.role(change.UserID))
		if err != nil {
			return err
		}
		member, err = s.setRole(ctx, st, &d, memberDoc{User: change.UserID, Role: to, Joined: millis(change.At)})
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

// updatePeople notes the members and invitations of d.
func (st *step) updatePeople(d orgDoc) {
	st.update(collOrganizations, d.ID, d.V, set(bson.D{{Key: "members", Value: d.Members}, {Key: "invites", Value: d.Invites}}))
}

// setRole returns a person a role in d, and returns the member as it is then; an organization is never without an owner.
func (s *Store) setRole(ctx context.Context, st *step, d *orgDoc, to memberDoc) (hearth.Member, error) {
	from := d.role(to.User)
	if from == hearth.OrgOwner && to.Role != hearth.OrgOwner {
		if !slices.ContainsFunc(d.Members, func(m memberDoc) bool { return m.Role == hearth.OrgOwner && m.User != to.User }) {
			return hearth.Member{}, hearth.Errorf(hearth.CodeConflict, "the last owner must stay: make somebody else an owner first")
		}
	}
	if to.Role.Rank() < from.Rank() {
		// Nobody leaves a door open that they could not open any more.
		d.Invites = slices.DeleteFunc(d.Invites, func(i inviteDoc) bool { return i.By == to.User })
	}
	i := slices.IndexFunc(d.Members, func(m memberDoc) bool { return m.User == to.User })
	switch {
	case to.Role == "" && from == "":
		return hearth.Member{}, hearth.NotFound("member")
	case to.Role == "":
		d.Members = slices.Delete(d.Members, i, i+1)
		return hearth.Member{OrganizationID: d.ID, UserID: to.User, JoinedAt: fromMillis(to.Joined)}, nil
	case from != "":
		d.Members[i].Role = to.Role
		to = d.Members[i]
	default:
		if err := s.joins(ctx, st, to.User); err != nil {
			return hearth.Member{}, err
		}
		if len(d.Members) >= maxMembers {
			return hearth.Member{}, hearth.Errorf(hearth.CodeConflict, "the organization has %d members: that is the most", maxMembers)
		}
		d.Members = append(d.Members, to)
	}
	people, err := s.people(ctx, d.ID, []memberDoc{to})
	if err != nil {
		return hearth.Member{}, err
	}
	return people[0], nil
}
