package storetest

import (
	"sync"
	"testing"
	"time"

	"hearth"
)

// invite makes an invitation whose token is the e-mail.
func invite(t *testing.T, s organizations, orgID, email, by string) hearth.Invitation {
	t.Helper()
	i := hearth.Invitation{
		ID: "invitation of " + email + " by " + by, OrganizationID: orgID, Email: email, Role: hearth.OrgMember, Hash: tokenHash(email), InvitedBy: by,
		CreatedAt: epoch, ExpiresAt: epoch.Add(hearth.InvitationTTL),
	}
	if err := s.CreateInvitation(t.Context(), i, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return i
}

func join(t *testing.T, s organizations, token, userID string) (hearth.Member, error) {
	t.Helper()
	return s.UseInvitation(t.Context(), hearth.InvitationUse{
		Hash: tokenHash(token), UserID: userID, At: epoch.Add(time.Hour),
		Role: func(i hearth.Invitation, _ hearth.Caller, _ hearth.OrgRole) (hearth.OrgRole, error) {
			return i.Role, nil
		},
	}, hearth.SideEffects{})
}

func invitationsOnce(t *testing.T, s OrganizationStore) {
	ann := person(t, s, "ann")
	organization(t, s, "o1", ann, 0)
	i := invite(t, s, "o1", "bob@example.com", ann)
	for _, read := range []func() (hearth.Invitation, error){
		func() (hearth.Invitation, error) { return s.Invitation(t.Context(), i.ID) },
		func() (hearth.Invitation, error) { return s.InvitationByHash(t.Context(), i.Hash) },
	} {
		got, err := read()
		if err != nil {
			t.Fatal(err)
		}
		sameDevices(t, got, i)
	}
	bob := person(t, s, "bob")
	refusal := hearth.Errorf(hearth.CodeValidationFailed, "no")
	_, err := s.UseInvitation(t.Context(), hearth.InvitationUse{
		Hash: i.Hash, UserID: bob, Role: func(hearth.Invitation, hearth.Caller, hearth.OrgRole) (hearth.OrgRole, error) { return "", refusal },
	}, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeValidationFailed)
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for range 8 {
		wg.Go(func() {
			member, err := join(t, s, i.Email, bob)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				accepted++
				if member.Role != hearth.OrgMember || member.Email != "bob@example.com" || !member.JoinedAt.Equal(epoch.Add(time.Hour)) {
					t.Errorf("joined as %+v", member)
				}
				return
			}
			wantCode(t, err, hearth.CodeNotFound)
		})
	}
	wg.Wait()
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
	wantRoles(t, s, bob, map[string]hearth.OrgRole{"o1": hearth.OrgMember})
}

func invitationsReplace(t *testing.T, s OrganizationStore) {
	ann := person(t, s, "ann")
	organization(t, s, "o1", ann, 0)
	first := invite(t, s, "o1", "bob@example.com", ann)
	second := first
	second.ID, second.Hash = "second", tokenHash("second")
	if err := s.CreateInvitation(t.Context(), second, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.InvitationByHash(t.Context(), first.Hash)
	wantCode(t, err, hearth.CodeNotFound)
	if _, err := s.InvitationByHash(t.Context(), second.Hash); err != nil {
		t.Error(err)
	}
	second.OrganizationID = "nothing"
	wantCode(t, s.CreateInvitation(t.Context(), second, hearth.SideEffects{}), hearth.CodeNotFound)
}

func invitationsOfTheDemoted(t *testing.T, s OrganizationStore) {
	ann, bob := person(t, s, "ann"), person(t, s, "bob")
	organization(t, s, "o1", ann, 0)
	mustSetRole(t, s, "o1", bob, hearth.OrgAdmin)
	invite(t, s, "o1", "x@example.com", bob)
	invite(t, s, "o1", "y@example.com", ann)
	mustSetRole(t, s, "o1", bob, hearth.OrgMember)
	_, err := s.InvitationByHash(t.Context(), tokenHash("x@example.com"))
	wantCode(t, err, hearth.CodeNotFound)
	if _, err := s.InvitationByHash(t.Context(), tokenHash("y@example.com")); err != nil {
		t.Error(err)
	}
}

func invitationsExpire(t *testing.T, s OrganizationStore) {
	ann := person(t, s, "ann")
	organization(t, s, "o1", ann, 0)
	i := invite(t, s, "o1", "x@example.com", ann)
	for _, c := range []struct {
		email string
		at    time.Time
		want  bool
	}{
		{i.Email, epoch, true},
		{"y@example.com", epoch, false},
		{i.Email, i.ExpiresAt.Add(-time.Millisecond), true},
		{i.Email, i.ExpiresAt, false},
	} {
		list, err := s.Invitations(t.Context(), "o1", c.at, hearth.Page{Limit: 10})
		if open := len(list.Items) == 1 && list.Items[0].Email == c.email; err != nil || open != c.want {
			t.Errorf("%s at %v: %v (%v), want %v", c.email, c.at, list.Items, err, c.want)
		}
	}
	for _, c := range []struct {
		at   time.Time
		want int
	}{{i.ExpiresAt.Add(-time.Millisecond), 0}, {i.ExpiresAt, 1}, {i.ExpiresAt, 0}} {
		if n, err := s.DeleteExpiredInvitations(t.Context(), c.at, 10); err != nil || n != c.want {
			t.Errorf("at %v %d were removed (%v), want %d", c.at, n, err, c.want)
		}
	}
}
