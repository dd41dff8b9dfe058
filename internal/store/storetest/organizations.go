package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
)

// OrganizationStore is what the suite of organizations is about.
type OrganizationStore interface {
	organizations
	hearth.DeviceStore
}

// organizations is organizations and the people in them.
type organizations interface {
	hearth.OrganizationStore
	CreateUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error
}

// Organizations is the suite for hearth.OrganizationStore. open returns an empty store; it is called once a test, in
// parallel.
func Organizations(t *testing.T, open func(*testing.T) OrganizationStore) {
	for name, test := range map[string]func(*testing.T, OrganizationStore){
		"gives back the organization that was created":   orgsRoundTrip,
		"lists newest first, a person's own or all":      orgsPages,
		"an organization with devices stays":             orgsWithDevices,
		"deleting takes members and invitations with it": orgsDelete,
		"members join, change and leave":                 membersLife,
		"lists members as they joined":                   membersPages,
		"the last owner stays":                           membersLastOwner,
		"concurrent departures leave an owner":           membersConcurrent,
		"an invitation is used once":                     invitationsOnce,
		"a later invitation replaces the earlier":        invitationsReplace,
		"whoever loses rank loses their invitations":     invitationsOfTheDemoted,
		"invitations are of an e-mail, and expire":       invitationsExpire,
		"a device needs its organization":                devicesNeedTheirOrganization,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// person makes a user with that id and returns the id.
func person(t *testing.T, s organizations, id string) string {
	t.Helper()
	u := hearth.User{ID: id, Name: "Name of " + id, Email: id + "@example.com", Role: hearth.RoleUser, CreatedAt: epoch, UpdatedAt: epoch, PasswordHash: []byte("x")}
	if err := s.CreateUser(t.Context(), u, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return id
}

// organization makes an organization with that owner, minutes after epoch.
func organization(t *testing.T, s organizations, id, owner string, minutes int) hearth.Organization {
	t.Helper()
	at := epoch.Add(time.Duration(minutes) * time.Minute)
	org := hearth.Organization{ID: id, Name: "Name of " + id, CreatedAt: at, UpdatedAt: at}
	if err := s.CreateOrganization(t.Context(), org, owner, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return org
}

// setRole returns a person a role, whatever it was.
func setRole(t *testing.T, s organizations, orgID, userID string, to hearth.OrgRole) (hearth.Member, error) {
	t.Helper()
	return s.ChangeMember(t.Context(), hearth.MemberChange{
		OrganizationID: orgID, UserID: userID, At: epoch.Add(time.Hour),
		Role: func(hearth.OrgRole) (hearth.OrgRole, error) { return to, nil },
	}, hearth.SideEffects{})
}

func mustSetRole(t *testing.T, s organizations, orgID, userID string, to hearth.OrgRole) hearth.Member {
	t.Helper()
	member, err := setRole(t, s, orgID, userID, to)
	if err != nil {
		t.Fatal(err)
	}
	return member
}

func wantRoles(t *testing.T, s organizations, userID string, want map[string]hearth.OrgRole) {
	t.Helper()
	got, err := s.Roles(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, got, want)
}

func orgsRoundTrip(t *testing.T, s OrganizationStore) {
	ann := person(t, s, "ann")
	org := organization(t, s, "o1", ann, 0)
	got, err := s.Organization(t.Context(), "o1")
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, got, org)
	wantRoles(t, s, ann, map[string]hearth.OrgRole{"o1": hearth.OrgOwner})
	wantRoles(t, s, "nobody", nil)
	org.Name, org.UpdatedAt = "new", epoch.Add(time.Hour)
	changed, err := s.UpdateOrganization(t.Context(), "o1", func(hearth.Organization) (hearth.Organization, error) { return org, nil }, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, changed, org)
	refusal := hearth.Errorf(hearth.CodeForbidden, "no")
	_, err = s.UpdateOrganization(t.Context(), "o1", func(o hearth.Organization) (hearth.Organization, error) { return o, refusal }, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeForbidden)
	for _, call := range []func() error{
		func() error { _, err := s.Organization(t.Context(), "o2"); return err },
		func() error {
			_, err := s.UpdateOrganization(t.Context(), "o2", func(o hearth.Organization) (hearth.Organization, error) { return o, nil }, hearth.SideEffects{})
			return err
		},
		func() error { _, err := s.DeleteOrganization(t.Context(), "o2", hearth.SideEffects{}); return err },
		func() error { _, err := setRole(t, s, "o2", ann, hearth.OrgOwner); return err },
		func() error {
			return s.CreateOrganization(t.Context(), hearth.Organization{ID: "o3", Name: "x"}, "nobody", hearth.SideEffects{})
		},
		func() error { _, err := s.Organization(t.Context(), "o3"); return err },
	} {
		wantCode(t, call(), hearth.CodeNotFound)
	}
}

func orgsPages(t *testing.T, s OrganizationStore) {
	ann, bob := person(t, s, "ann"), person(t, s, "bob")
	var own, all []string
	for n := range 7 {
		id, owner := fmt.Sprintf("o%d", n), []string{ann, bob}[n%2]
		organization(t, s, id, owner, n/2)
		all = append([]string{id}, all...)
		if owner == ann {
			own = append([]string{id}, own...)
		}
	}
	for userID, want := range map[string][]string{"": all, ann: own, "nobody": nil} {
		for _, limit := range []int{1, 2, 200} {
			var got []string
			page := hearth.Page{Limit: limit, Count: true}
			for {
				list, err := s.Organizations(t.Context(), hearth.OrganizationFilter{UserID: userID}, page)
				if err != nil {
					t.Fatal(err)
				}
				if list.Total != int64(len(want)) {
					t.Errorf("of %q: counted %d, want %d", userID, list.Total, len(want))
				}
				for _, org := range list.Items {
					got = append(got, org.ID)
				}
				if page.Cursor = list.Next; list.Next.IsZero() {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("of %q, by %d: got %v, want %v", userID, limit, got, want)
			}
		}
	}
	_, err := s.Organizations(t.Context(), hearth.OrganizationFilter{}, hearth.Page{Cursor: hearth.Cursor{Key: "x", ID: "y"}})
	wantCode(t, err, hearth.CodeValidationFailed)
}

func orgsWithDevices(t *testing.T, s OrganizationStore) {
	organization(t, s, "o1", person(t, s, "ann"), 0)
	d := device(1)
	d.OrganizationID = "o1"
	createDevices(t, s, d)
	_, err := s.DeleteOrganization(t.Context(), "o1", hearth.SideEffects{})
	wantCode(t, err, hearth.CodeConflict)
	remove(t, s, d.ID)
	if _, err := s.DeleteOrganization(t.Context(), "o1", hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
}

func devicesNeedTheirOrganization(t *testing.T, s OrganizationStore) {
	d := device(1)
	d.OrganizationID = "o1"
	_, err := s.CreateDevices(t.Context(), []hearth.Device{device(2), d}, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.Device(t.Context(), device(2).ID)
	wantCode(t, err, hearth.CodeNotFound)
}

func orgsDelete(t *testing.T, s OrganizationStore) {
	ann, bob := person(t, s, "ann"), person(t, s, "bob")
	organization(t, s, "o1", ann, 0)
	mustSetRole(t, s, "o1", bob, hearth.OrgViewer)
	invite(t, s, "o1", "x@example.com", ann)
	members, err := s.DeleteOrganization(t.Context(), "o1", hearth.SideEffects{})
	slices.Sort(members)
	if err != nil || !slices.Equal(members, []string{ann, bob}) {
		t.Errorf("members were %v (%v)", members, err)
	}
	wantRoles(t, s, ann, nil)
	wantRoles(t, s, bob, nil)
	_, err = s.InvitationByHash(t.Context(), tokenHash("x@example.com"))
	wantCode(t, err, hearth.CodeNotFound)
}

func membersLife(t *testing.T, s OrganizationStore) {
	ann, bob := person(t, s, "ann"), person(t, s, "bob")
	organization(t, s, "o1", ann, 0)
	want := hearth.Member{
		OrganizationID: "o1", UserID: bob, Name: "Name of bob", Email: "bob@example.com", Role: hearth.OrgViewer, JoinedAt: epoch.Add(time.Hour),
	}
	sameDevices(t, mustSetRole(t, s, "o1", bob, hearth.OrgViewer), want)
	want.Role = hearth.OrgAdmin
	sameDevices(t, mustSetRole(t, s, "o1", bob, hearth.OrgAdmin), want)
	wantRoles(t, s, bob, map[string]hearth.OrgRole{"o1": hearth.OrgAdmin})
	refusal := hearth.Errorf(hearth.CodeForbidden, "no")
	_, err := s.ChangeMember(t.Context(), hearth.MemberChange{OrganizationID: "o1", UserID: bob, Role: func(from hearth.OrgRole) (hearth.OrgRole, error) {
		if from != hearth.OrgAdmin {
			t.Errorf("the present role is %q", from)
		}
		return "", refusal
	}}, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeForbidden)
	mustSetRole(t, s, "o1", bob, "")
	wantRoles(t, s, bob, nil)
	_, err = setRole(t, s, "o1", bob, "")
	wantCode(t, err, hearth.CodeNotFound)
	_, err = setRole(t, s, "o1", "nobody", hearth.OrgViewer)
	wantCode(t, err, hearth.CodeNotFound)
}

func membersPages(t *testing.T, s OrganizationStore) {
	organization(t, s, "o1", person(t, s, "ann"), 0)
	want := []string{"ann"}
	for n := range 5 {
		id := person(t, s, fmt.Sprintf("p%d", n))
		mustSetRole(t, s, "o1", id, hearth.OrgMember)
		want = append(want, id)
	}
	var got []string
	page := hearth.Page{Limit: 2, Count: true}
	for {
		list, err := s.Members(t.Context(), "o1", page)
		if err != nil || list.Total != 6 {
			t.Fatalf("total %d (%v)", list.Total, err)
		}
		for _, member := range list.Items {
			got = append(got, member.UserID)
		}
		if page.Cursor = list.Next; list.Next.IsZero() {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func membersLastOwner(t *testing.T, s OrganizationStore) {
	ann, bob := person(t, s, "ann"), person(t, s, "bob")
	organization(t, s, "o1", ann, 0)
	mustSetRole(t, s, "o1", bob, hearth.OrgAdmin)
	for _, to := range []hearth.OrgRole{"", hearth.OrgAdmin, hearth.OrgViewer} {
		_, err := setRole(t, s, "o1", ann, to)
		wantCode(t, err, hearth.CodeConflict)
	}
	wantRoles(t, s, ann, map[string]hearth.OrgRole{"o1": hearth.OrgOwner})
	mustSetRole(t, s, "o1", bob, hearth.OrgOwner)
	mustSetRole(t, s, "o1", ann, "")
	wantRoles(t, s, ann, nil)
}

func membersConcurrent(t *testing.T, s OrganizationStore) {
	const owners = 8
	organization(t, s, "o1", person(t, s, "p0"), 0)
	for n := 1; n < owners; n++ {
		mustSetRole(t, s, "o1", person(t, s, fmt.Sprintf("p%d", n)), hearth.OrgOwner)
	}
	var wg sync.WaitGroup
	refused := make(chan error, owners)
	for n := range owners {
		wg.Go(func() {
			if _, err := setRole(t, s, "o1", fmt.Sprintf("p%d", n), ""); err != nil {
				refused <- err
			}
		})
	}
	wg.Wait()
	close(refused)
	count := 0
	for err := range refused {
		wantCode(t, err, hearth.CodeConflict)
		count++
	}
	if count != 1 {
		t.Errorf("%d owners stayed, want 1", count)
	}
}
