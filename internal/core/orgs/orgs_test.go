package orgs

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

type bundle struct {
	*Service
	t     testing.TB
	store *sqlite.Store
	// ended is what the observer heard.
	ended []string
}

// MembershipEnded implements Observer.
func (b *bundle) MembershipEnded(userID, orgID string) { b.ended = append(b.ended, userID+" "+orgID) }

// setup opens the database in dir and creates the users.
func setup(t testing.TB, dir string) *bundle {
	t.Helper()
	b := open(t, dir)
	for _, name := range []string{"ann", "bob", "carl", "dora", "eve"} {
		u := hearth.User{ID: name, Name: name, Email: name + "@example.com", Role: hearth.RoleUser, CreatedAt: time.Now(), UpdatedAt: time.Now(), PasswordHash: []byte("x")}
		if err := b.store.CreateUser(t.Context(), u, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// open opens the database in dir until the test ends or closes it.
func open(t testing.TB, dir string) *bundle {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{t: t, store: store}
	b.Service, err = New(Options{Store: store, Users: store, Secret: bytes.Repeat([]byte("s"), 32), Observers: []Observer{b}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func (b *bundle) close() {
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

// caller returns a person with the present roles, as the API does.
func (b *bundle) caller(name string) hearth.Caller {
	b.t.Helper()
	if name == "admin" {
		return hearth.Caller{UserID: "root", Role: hearth.RoleAdmin}
	}
	roles, err := b.Roles(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return hearth.Caller{UserID: name, Role: hearth.RoleUser, Orgs: roles}
}

func (b *bundle) must(_ any, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// team makes an organization: ann owns it, bob is an admin, carl a member, dora a viewer. Eve is a stranger.
func (b *bundle) team() hearth.Organization {
	b.t.Helper()
	ctx := b.t.Context()
	org, err := b.Create(ctx, b.caller("ann"), "team", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for name, role := range map[string]hearth.OrgRole{"bob": hearth.OrgAdmin, "carl": hearth.OrgMember, "dora": hearth.OrgViewer} {
		b.must(b.SetMember(ctx, b.caller("ann"), org.ID, name, role))
	}
	return org
}

func wantCode(t testing.TB, what string, err error, code hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != code {
		t.Errorf("%s: got the code %q (%v), want %q", what, got, err, code)
	}
}

func TestWhoMayDoWhatWithAnOrganization(t *testing.T) {
	t.Parallel()
	const (
		ok        = ""
		forbidden = hearth.CodeForbidden
		absent    = hearth.CodeNotFound
		conflict  = hearth.CodeConflict
	)
	ctx := t.Context()
	people := []string{"admin", "ann", "bob", "carl", "dora", "eve"}
	for name, c := range map[string]struct {
		do   func(b *bundle, c hearth.Caller, orgID string) error
		want [6]hearth.Code // in the order of users
	}{
		"read": {func(b *bundle, c hearth.Caller, id string) error { _, err := b.Organization(ctx, c, id); return err },
			[6]hearth.Code{ok, ok, ok, ok, ok, absent}},
		"members": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.Members(ctx, c, id, hearth.Page{})
			return err
		},
			[6]hearth.Code{ok, ok, ok, ok, ok, absent}},
		"rename": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.Rename(ctx, c, id, "new", nil)
			return err
		},
			[6]hearth.Code{ok, ok, ok, forbidden, forbidden, absent}},
		"delete": {func(b *bundle, c hearth.Caller, id string) error { return b.Delete(ctx, c, id) },
			[6]hearth.Code{ok, ok, forbidden, forbidden, forbidden, absent}},
		"invite a viewer": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.Invite(ctx, c, NewInvitation{id, "x@example.com", hearth.OrgViewer}, nil)
			return err
		}, [6]hearth.Code{ok, ok, ok, forbidden, forbidden, absent}},
		"invite an owner": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.Invite(ctx, c, NewInvitation{id, "x@example.com", hearth.OrgOwner}, nil)
			return err
		}, [6]hearth.Code{ok, ok, forbidden, forbidden, forbidden, absent}},
		"add a member": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.SetMember(ctx, c, id, "eve", hearth.OrgMember)
			return err
		}, [6]hearth.Code{ok, ok, ok, forbidden, forbidden, absent}},
		"make an admin of a viewer": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.SetMember(ctx, c, id, "dora", hearth.OrgAdmin)
			return err
		}, [6]hearth.Code{ok, ok, ok, forbidden, forbidden, absent}},
		"make an owner of oneself": {func(b *bundle, c hearth.Caller, id string) error {
			if c.IsAdmin() {
				c.UserID = "eve"
			}
			_, err := b.SetMember(ctx, c, id, c.UserID, hearth.OrgOwner)
			return err
		}, [6]hearth.Code{ok, ok, forbidden, forbidden, forbidden, absent}},
		"demote the last owner": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.SetMember(ctx, c, id, "ann", hearth.OrgViewer)
			return err
		}, [6]hearth.Code{conflict, conflict, forbidden, forbidden, forbidden, absent}},
		"remove a viewer": {func(b *bundle, c hearth.Caller, id string) error { return b.RemoveMember(ctx, c, id, "dora") },
			[6]hearth.Code{ok, ok, ok, forbidden, ok, absent}}, // dora leaves by herself
		"remove the last owner": {func(b *bundle, c hearth.Caller, id string) error { return b.RemoveMember(ctx, c, id, "ann") },
			[6]hearth.Code{conflict, conflict, forbidden, forbidden, forbidden, absent}},
		"remove a stranger": {func(b *bundle, c hearth.Caller, id string) error { return b.RemoveMember(ctx, c, id, "eve") },
			[6]hearth.Code{absent, absent, absent, forbidden, forbidden, absent}},
		"add nobody": {func(b *bundle, c hearth.Caller, id string) error {
			_, err := b.SetMember(ctx, c, id, "nobody", hearth.OrgViewer)
			return err
		}, [6]hearth.Code{absent, absent, absent, forbidden, forbidden, absent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, t.TempDir())
			for i, who := range people {
				org := b.team()
				wantCode(t, who, c.do(b, b.caller(who), org.ID), c.want[i])
			}
		})
	}
}

func TestARoleCountsAtOnceAndEndsWithTheMembership(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir())
	org := b.team()
	before := b.caller("carl")
	b.must(b.SetMember(t.Context(), b.caller("bob"), org.ID, "carl", hearth.OrgAdmin))
	if role := b.caller("carl").Orgs[org.ID]; role != hearth.OrgAdmin || before.Orgs[org.ID] != hearth.OrgMember {
		t.Errorf("carl was %q and is %q", before.Orgs[org.ID], role)
	}
	wantCode(t, "remove", b.RemoveMember(t.Context(), b.caller("ann"), org.ID, "carl"), "")
	if len(b.caller("carl").Orgs) > 0 {
		t.Error("carl still has a role")
	}
	wantCode(t, "delete", b.Delete(t.Context(), b.caller("ann"), org.ID), "")
	slices.Sort(b.ended)
	if want := []string{"ann " + org.ID, "bob " + org.ID, "carl " + org.ID, "dora " + org.ID}; !slices.Equal(b.ended, want) {
		t.Errorf("told of %v, want %v", b.ended, want)
	}
	if len(b.caller("ann").Orgs) > 0 {
		t.Error("ann still has a role")
	}
}

func TestAnotherProcessIsBelievedAfterASecond(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, dir)
		org := b.team()
		b.caller("carl")
		_, err := b.store.ChangeMember(t.Context(), hearth.MemberChange{
			OrganizationID: org.ID, UserID: "carl", Role: func(hearth.OrgRole) (hearth.OrgRole, error) { return "", nil },
		}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		if len(b.caller("carl").Orgs) != 1 {
			t.Error("roles are not kept at all")
		}
		time.Sleep(time.Second)
		if len(b.caller("carl").Orgs) != 0 {
			t.Error("a role of another second is believed")
		}
		b.close()
	})
}

// mailed returns the token that the mail of an invitation would hold.
func (b *bundle) mailed(invitation hearth.Invitation) string {
	b.t.Helper()
	payload, err := json.Marshal(invitationJob{invitation.ID})
	if err != nil {
		b.t.Fatal(err)
	}
	mail, err := b.InvitationMail(b.t.Context(), payload)
	if err != nil {
		b.t.Fatal(err)
	}
	if mail.Email != invitation.Email || mail.Organization != "team" || mail.InvitedBy == "" || len(mail.Token) != 43 {
		b.t.Errorf("the mail is %+v", mail)
	}
	return mail.Token
}

func TestAnInvitationIsNotAcceptedWithoutItsAuditEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := setup(t, dir)
	org := b.team()
	invitation, err := b.Invite(t.Context(), b.caller("ann"), NewInvitation{org.ID, "eve@example.com", hearth.OrgMember}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := b.mailed(invitation)
	db, err := sql.Open("sqlite", filepath.Join(dir, "hearth.db"))
	b.must(nil, err)
	_, err = db.ExecContext(t.Context(), `CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END`)
	b.must(nil, errors.Join(err, db.Close()))
	_, err = b.Accept(t.Context(), b.caller("eve"), token, nil)
	wantCode(t, "without an audit", err, hearth.CodeInternal)
	if roles := b.caller("eve").Orgs; len(roles) != 0 {
		t.Errorf("eve has the roles %v", roles)
	}
}

func TestAnInvitationLetsOnePersonInOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir())
	ctx := t.Context()
	org := b.team()
	invitation, err := b.Invite(ctx, b.caller("bob"), NewInvitation{org.ID, " Eve@Example.com ", hearth.OrgMember}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := b.mailed(invitation)
	if email, ok, err := b.InvitationFor(ctx, token); email != "eve@example.com" || !ok || err != nil {
		t.Errorf("the token is of %q, %v (%v)", email, ok, err)
	}
	_, err = b.Accept(ctx, b.caller("carl"), token, nil)
	wantCode(t, "another's", err, hearth.CodeValidationFailed)
	_, err = b.Accept(ctx, hearth.Caller{DeviceID: "d"}, token, nil)
	wantCode(t, "a device", err, hearth.CodeForbidden)
	var wg sync.WaitGroup
	results := make(chan error, 10)
	eve := b.caller("eve")
	for range 10 {
		wg.Go(func() {
			_, err := b.Accept(context.Background(), eve, token, nil)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	accepted := 0
	for err := range results {
		if err == nil {
			accepted++
		} else {
			wantCode(t, "used", err, hearth.CodeValidationFailed)
		}
	}
	if accepted != 1 || b.caller("eve").Orgs[org.ID] != hearth.OrgMember {
		t.Errorf("accepted %d times; eve is %q", accepted, b.caller("eve").Orgs[org.ID])
	}
	// Who is in already keeps the higher role.
	invitation, err = b.Invite(ctx, b.caller("bob"), NewInvitation{org.ID, "eve@example.com", hearth.OrgViewer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.must(b.Accept(ctx, b.caller("eve"), b.mailed(invitation), nil))
	if role := b.caller("eve").Orgs[org.ID]; role != hearth.OrgMember {
		t.Errorf("an invitation took a role away: eve is %q", role)
	}
	_, err = b.Invite(ctx, b.caller("bob"), NewInvitation{org.ID, "odd", "chief"}, nil)
	wantCode(t, "an odd invitation", err, hearth.CodeValidationFailed)
	if refusal, ok := errors.AsType[*hearth.Error](err); !ok || len(refusal.Fields) != 2 {
		t.Errorf("named %v", err)
	}
}

func TestAnInvitationIsWorthWhatItsSendersRightsAreWorth(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir())
	ctx := t.Context()
	org := b.team()
	user := func(name string, change func(*hearth.User)) {
		t.Helper()
		_, _, err := b.store.UpdateUser(ctx, name, func(u hearth.User) (hearth.UserChange, error) {
			change(&u)
			return hearth.UserChange{User: u}, nil
		})
		b.must(nil, err)
	}
	root := hearth.User{ID: "root", Name: "root", Email: "root@example.com", Role: hearth.RoleAdmin, CreatedAt: time.Now(), UpdatedAt: time.Now(), PasswordHash: []byte("x")}
	other := root
	other.ID, other.Email = "root2", "root2@example.com"
	b.must(nil, b.store.CreateUser(ctx, root, hearth.SideEffects{}))
	b.must(nil, b.store.CreateUser(ctx, other, hearth.SideEffects{}))
	for name, c := range map[string]struct {
		by       string
		role     hearth.OrgRole
		lose, ok func()
	}{
		"a disabled admin of the team": {"bob", hearth.OrgMember, func() { user("bob", func(u *hearth.User) { u.Disabled = true }) },
			func() { user("bob", func(u *hearth.User) { u.Disabled = false }) }},
		"a former admin of the installation": {"admin", hearth.OrgOwner, func() { user("root", func(u *hearth.User) { u.Role = hearth.RoleUser }) },
			func() { user("root", func(u *hearth.User) { u.Role = hearth.RoleAdmin }) }},
	} {
		invitation, err := b.Invite(ctx, b.caller(c.by), NewInvitation{org.ID, "eve@example.com", c.role}, nil)
		b.must(nil, err)
		token := b.mailed(invitation)
		c.lose()
		_, err = b.Accept(ctx, b.caller("eve"), token, nil)
		wantCode(t, name, err, hearth.CodeValidationFailed)
		c.ok()
		b.must(b.Accept(ctx, b.caller("eve"), token, nil))
		b.must(nil, b.RemoveMember(ctx, b.caller("ann"), org.ID, "eve"))
	}
	invitation, err := b.Invite(ctx, b.caller("bob"), NewInvitation{org.ID, "eve@example.com", hearth.OrgAdmin}, nil)
	b.must(nil, err)
	token := b.mailed(invitation)
	b.must(b.SetMember(ctx, b.caller("ann"), org.ID, "bob", hearth.OrgMember)) // demoted
	_, err = b.Accept(ctx, b.caller("eve"), token, nil)
	wantCode(t, "a demoted member's", err, hearth.CodeValidationFailed)
}

func TestOpenInvitationsAreListedAndWithdrawn(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir())
	ctx := t.Context()
	org := b.team()
	elsewhere, err := b.Create(ctx, b.caller("eve"), "another", nil)
	b.must(nil, err)
	invitation, err := b.Invite(ctx, b.caller("bob"), NewInvitation{org.ID, "x@example.com", hearth.OrgMember}, nil)
	b.must(nil, err)
	for name, code := range map[string]hearth.Code{
		"admin": "", "ann": "", "bob": "", "carl": hearth.CodeForbidden, "dora": hearth.CodeForbidden, "eve": hearth.CodeNotFound,
	} {
		list, err := b.Invitations(ctx, b.caller(name), org.ID, hearth.Page{Limit: 10})
		if wantCode(t, name+" lists", err, code); code == "" && (len(list.Items) != 1 || list.Items[0].ID != invitation.ID) {
			t.Errorf("%s sees %v", name, list.Items)
		}
		if code != "" {
			wantCode(t, name+" withdraws", b.Withdraw(ctx, b.caller(name), org.ID, invitation.ID), code)
		}
	}
	wantCode(t, "that of another team", b.Withdraw(ctx, b.caller("eve"), elsewhere.ID, invitation.ID), hearth.CodeNotFound)
	b.must(nil, b.Withdraw(ctx, b.caller("ann"), org.ID, invitation.ID))
	wantCode(t, "one that is gone", b.Withdraw(ctx, b.caller("ann"), org.ID, invitation.ID), hearth.CodeNotFound)
	if _, ok, err := b.InvitationFor(ctx, b.token(invitation.ID)); ok || err != nil {
		t.Errorf("a withdrawn invitation is good: %v", err)
	}
}

func TestAnInvitationEndsAfterSevenDays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, dir)
		org := b.team()
		invitation, err := b.Invite(t.Context(), b.caller("bob"), NewInvitation{org.ID, "eve@example.com", hearth.OrgMember}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token := b.mailed(invitation)
		b.close() // an open store looks for work every few seconds, seven days long
		time.Sleep(7*24*time.Hour - time.Millisecond)
		b = open(t, dir)
		if _, ok, err := b.InvitationFor(t.Context(), token); !ok || err != nil {
			t.Errorf("it ended too early (%v)", err)
		}
		time.Sleep(time.Millisecond)
		_, err = b.Accept(t.Context(), b.caller("eve"), token, nil)
		wantCode(t, "expired", err, hearth.CodeValidationFailed)
		if _, ok, err := b.InvitationFor(t.Context(), token); ok || err != nil {
			t.Errorf("it did not end (%v)", err)
		}
		if n, err := b.CleanUp(t.Context()); n != 1 || err != nil {
			t.Errorf("%d were removed (%v)", n, err)
		}
		b.close()
	})
}

func BenchmarkRoles(b *testing.B) {
	s := setup(b, b.TempDir())
	s.team()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Roles(b.Context(), "carl"); err != nil {
			b.Fatal(err)
		}
	}
}
