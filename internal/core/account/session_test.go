package account_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
	"hearth/internal/core/account"
)

func TestARefreshTokenIsSpentByItsUse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	first := h.login()
	second, err := h.Refresh(t.Context(), here, first.RefreshToken)
	must(t, err)
	if second.RefreshToken == first.RefreshToken || h.access(second) != "" || h.access(first) != "" {
		t.Error("a refresh did not give a new pair, or took the old access token")
	}
	third, err := h.Refresh(t.Context(), here, second.RefreshToken)
	must(t, err)
	_, err = h.Refresh(t.Context(), here, first.RefreshToken)
	wantCode(t, err, hearth.CodeRefreshReused)
	for _, grant := range []account.Grant{first, second, third} {
		if code := h.access(grant); code != hearth.CodeTokenRevoked {
			t.Errorf("an access token of the session is answered by %q", code)
		}
	}
	_, err = h.Refresh(t.Context(), here, third.RefreshToken)
	wantCode(t, err, hearth.CodeTokenRevoked)
	_, err = h.Refresh(t.Context(), here, second.RefreshToken)
	wantCode(t, err, hearth.CodeRefreshReused)
	if got := h.ended.take(); len(got) != 1 {
		t.Errorf("observers were told %v", got)
	}
}

func TestOfFiftyParallelRefreshesOneSucceeds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	grant := h.login()
	h.caller(grant) // cached
	var mu sync.Mutex
	seen := map[hearth.Code]int{}
	var won account.Grant
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			next, err := h.Refresh(t.Context(), here, grant.RefreshToken)
			mu.Lock()
			defer mu.Unlock()
			if seen[hearth.ErrorCode(err)]++; err == nil {
				won = next
			}
		})
	}
	wg.Wait()
	if seen[""] != 1 || seen[hearth.CodeRefreshReused] != 49 {
		t.Errorf("the refreshes were answered by %v", seen)
	}
	if code := h.access(won); code != hearth.CodeTokenRevoked {
		t.Errorf("the reuse left the winner's access token: %q", code)
	}
	if code := h.access(grant); code != hearth.CodeTokenRevoked {
		t.Errorf("the reuse left the first access token: %q", code)
	}
}

func TestAUsedRefreshTokenReturnsItsSuccessorWithinTheLeeway(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) { o.RefreshLeeway = 10 * time.Second })
	h.user(email, hearth.RoleUser)
	first := h.login()
	refresh := func(token string) account.Grant {
		t.Helper()
		grant, err := h.Refresh(t.Context(), here, token)
		must(t, err)
		return grant
	}
	second := refresh(first.RefreshToken)
	h.clock.advance(10 * time.Second)
	if again := refresh(first.RefreshToken); again.RefreshToken != second.RefreshToken || h.access(again) != "" {
		t.Error("a second use within the leeway returned another token, or no good access token")
	}
	third := refresh(second.RefreshToken)
	if again := refresh(second.RefreshToken); again.RefreshToken != third.RefreshToken {
		t.Error("the successor has another successor")
	}
	other := openSecond(t, h) // an instance without a leeway
	_, err := other.Refresh(t.Context(), here, second.RefreshToken)
	wantCode(t, err, hearth.CodeRefreshReused)

	for name, after := range map[string]time.Duration{"late": 10*time.Second + time.Millisecond, "on a clock that went back": -time.Minute} {
		grant := h.login()
		next := refresh(grant.RefreshToken)
		h.clock.advance(after)
		_, err := h.Refresh(t.Context(), here, grant.RefreshToken)
		if wantCode(t, err, hearth.CodeRefreshReused); h.access(next) == "" {
			t.Errorf("%s: the session goes on", name)
		}
	}
	grant := h.login()
	next := refresh(grant.RefreshToken)
	must(t, h.Logout(t.Context(), h.caller(next)))
	_, err = h.Refresh(t.Context(), here, grant.RefreshToken)
	wantCode(t, err, hearth.CodeRefreshReused)
}

func TestRefreshingDoesNotExtendTheLogin(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	grant := h.login()
	var err error
	for range 7*24 - 1 {
		h.clock.advance(time.Hour)
		grant, err = h.Refresh(t.Context(), here, grant.RefreshToken)
		must(t, err)
	}
	h.clock.advance(55 * time.Minute)
	grant, err = h.Refresh(t.Context(), here, grant.RefreshToken)
	must(t, err)
	if grant.ExpiresIn != 5*time.Minute {
		t.Errorf("the last access token lives %v, longer than its session", grant.ExpiresIn)
	}
	h.clock.advance(5 * time.Minute)
	if code := h.access(grant); code != hearth.CodeTokenExpired {
		t.Errorf("an access token outlives the session: %q", code)
	}
	_, err = h.Refresh(t.Context(), here, grant.RefreshToken)
	wantCode(t, err, hearth.CodeTokenExpired)
}

func TestUnknownRefreshTokensAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	grant := h.login()
	for _, token := range []string{"", "x", grant.AccessToken, "hd_device", grant.RefreshToken + "x", grant.RefreshToken[:20]} {
		_, err := h.Refresh(t.Context(), here, token)
		wantCode(t, err, hearth.CodeUnauthenticated)
	}
}

func TestWhatEndsWhichSessions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(h *house, mine, other account.Grant) error
		// mine and other are the answers to the two sessions' access tokens afterwards.
		mine, other hearth.Code
	}{
		{"logout", func(h *house, mine, _ account.Grant) error { return h.Logout(h.t.Context(), h.caller(mine)) }, hearth.CodeTokenRevoked, ""},
		{"logout everywhere", func(h *house, mine, _ account.Grant) error {
			n, err := h.LogoutAll(h.t.Context(), h.caller(mine))
			if n != 2 {
				h.t.Errorf("%d sessions were revoked", n)
			}
			return err
		}, hearth.CodeTokenRevoked, hearth.CodeTokenRevoked},
		{"ending another session", func(h *house, mine, other account.Grant) error {
			return h.EndSession(h.t.Context(), h.caller(mine), h.caller(other).SessionID)
		}, "", hearth.CodeTokenRevoked},
		{"revoking a refresh token", func(h *house, _, other account.Grant) error { return h.Revoke(h.t.Context(), here, other.RefreshToken) }, "", hearth.CodeTokenRevoked},
		{"revoking an access token", func(h *house, _, other account.Grant) error { return h.Revoke(h.t.Context(), here, other.AccessToken) }, "", hearth.CodeTokenRevoked},
		{"revoking nonsense", func(h *house, _, _ account.Grant) error {
			return errors.Join(h.Revoke(h.t.Context(), here, "hr_x"), h.Revoke(h.t.Context(), here, "x.y.z"), h.Revoke(h.t.Context(), here, ""))
		}, "", ""},
		{"changing the password", func(h *house, mine, _ account.Grant) error {
			return h.ChangePassword(h.t.Context(), h.caller(mine), password, "another fine secret")
		}, "", hearth.CodeTokenRevoked},
		{"changing the role", func(h *house, mine, _ account.Grant) error {
			role := hearth.RoleAdmin
			_, err := h.UpdateUser(h.t.Context(), hearth.Caller{UserID: "a", Role: hearth.RoleAdmin}, h.caller(mine).UserID, account.UserUpdate{Role: &role})
			return err
		}, hearth.CodeTokenRevoked, hearth.CodeTokenRevoked},
		{"changing the name", func(h *house, mine, _ account.Grant) error {
			name := "Annabel"
			_, err := h.UpdateMe(h.t.Context(), h.caller(mine), account.MeUpdate{Name: &name})
			return err
		}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.user(email, hearth.RoleUser)
			mine, other := h.login(), h.login()
			h.caller(mine)
			h.caller(other)
			must(t, test.do(h, mine, other))
			if got := h.access(mine); got != test.mine {
				t.Errorf("the own access token is answered by %q, want %q", got, test.mine)
			}
			if got := h.access(other); got != test.other {
				t.Errorf("the other access token is answered by %q, want %q", got, test.other)
			}
			if told := h.ended.take(); (len(told) > 0) != (test.mine != "" || test.other != "") {
				t.Errorf("observers were told %v", told)
			}
		})
	}
}

func TestRevokedSessionsCannotBeRefreshed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	grant := h.login()
	must(t, h.Logout(t.Context(), h.caller(grant)))
	_, err := h.Refresh(t.Context(), here, grant.RefreshToken)
	wantCode(t, err, hearth.CodeTokenRevoked)
	must(t, h.Revoke(t.Context(), here, grant.RefreshToken))
}

func TestARoleChangeNeedsANewAccessTokenOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user := h.user(email, hearth.RoleUser)
	grant := h.login()
	admin := hearth.Caller{UserID: "a", Role: hearth.RoleAdmin}
	for _, role := range []hearth.Role{hearth.RoleAdmin, hearth.RoleUser} { // there and back: the first token stays refused
		if role == hearth.RoleUser {
			h2 := hearth.RoleAdmin
			second := h.user("second@example.com", hearth.RoleUser)
			_, err := h.UpdateUser(t.Context(), admin, second.ID, account.UserUpdate{Role: &h2})
			must(t, err)
		}
		_, err := h.UpdateUser(t.Context(), admin, user.ID, account.UserUpdate{Role: &role})
		must(t, err)
	}
	if code := h.access(grant); code != hearth.CodeTokenRevoked {
		t.Errorf("the access token is answered by %q", code)
	}
	next, err := h.Refresh(t.Context(), here, grant.RefreshToken)
	must(t, err)
	if code := h.access(next); code != "" {
		t.Errorf("the new access token is answered by %q", code)
	}
}

func TestAnotherInstancesChangesShowWithinASecond(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*house, hearth.Caller) error{
		"logout": func(h *house, caller hearth.Caller) error { return h.Logout(h.t.Context(), caller) },
		"role": func(h *house, caller hearth.Caller) error {
			role := hearth.RoleAdmin
			_, err := h.UpdateUser(h.t.Context(), hearth.Caller{UserID: "a", Role: role}, caller.UserID, account.UserUpdate{Role: &role})
			return err
		},
		"role, there and back": func(h *house, caller hearth.Caller) error {
			h.user("root@example.com", hearth.RoleAdmin) // the last one stays
			for _, role := range []hearth.Role{hearth.RoleAdmin, hearth.RoleUser} {
				if _, err := h.UpdateUser(h.t.Context(), hearth.Caller{UserID: "a", Role: hearth.RoleAdmin}, caller.UserID,
					account.UserUpdate{Role: &role}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // time here is the bubble's
				h := newHouse(t)
				second := openSecond(t, h)
				h.user(email, hearth.RoleUser)
				grant := h.login()
				caller := h.caller(grant)
				if _, err := second.Authenticate(t.Context(), grant.AccessToken); err != nil {
					t.Fatal(err)
				}
				must(t, change(h, caller))
				wantCode(t, h.Alive(t.Context(), caller), hearth.CodeTokenRevoked)
				time.Sleep(900 * time.Millisecond)
				_, err := second.Authenticate(t.Context(), grant.AccessToken)
				wantCode(t, err, hearth.CodeTokenRevoked)
				wantCode(t, second.Alive(t.Context(), caller), hearth.CodeTokenRevoked)
			})
		})
	}
}

func TestSessionsSayWhereTheyCameFrom(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) { o.Sealer = reversing{} })
	h.user(email, hearth.RoleUser)
	grant := h.login()
	h.clock.advance(time.Minute)
	_, err := h.Login(t.Context(), hearth.Caller{IP: "192.0.2.9", UserAgent: "other/2"}, account.Credentials{Email: email, Password: password})
	must(t, err)
	sessions, err := h.Sessions(t.Context(), h.caller(grant))
	must(t, err)
	if len(sessions) != 2 || sessions[0].IP != "192.0.2.9" || sessions[0].UserAgent != "other/2" || sessions[0].Current ||
		sessions[1].IP != here.IP || !sessions[1].Current || !sessions[1].ExpiresAt.Equal(sessions[1].CreatedAt.Add(7*24*time.Hour)) {
		t.Errorf("the sessions are %+v", sessions)
	}
	wantCode(t, h.EndSession(t.Context(), hearth.Caller{UserID: "another"}, sessions[0].ID), hearth.CodeNotFound)
	wantCode(t, h.EndSession(t.Context(), h.caller(grant), "none"), hearth.CodeNotFound)
}

func TestASessionWhoseKeyIsGoneIsListedAndEnds(t *testing.T) {
	t.Parallel()
	lost := &losing{}
	h := newHouse(t, func(o *account.Options) { o.Sealer = lost })
	h.user(email, hearth.RoleUser)
	grant, other := h.login(), h.login()
	lost.key = true
	sessions, err := h.Sessions(t.Context(), h.caller(grant))
	if err != nil || len(sessions) != 2 || sessions[0].IP+sessions[0].UserAgent != "" {
		t.Fatalf("the sessions are %+v, %v", sessions, err)
	}
	if changed, lost, err := h.Reseal(t.Context()); err != nil || changed != 0 || lost != 2 {
		t.Errorf("sealing anew changed %d and lost %d, %v", changed, lost, err)
	}
	must(t, h.EndSession(t.Context(), h.caller(grant), h.caller(other).SessionID))
}

// losing is a Sealer that can lose its key.
type losing struct {
	reversing
	key bool
}

func (l *losing) Open(sealed []byte) ([]byte, error) {
	if l.key {
		return nil, errors.New("the key is gone")
	}
	return l.reversing.Open(sealed)
}

func (l *losing) Current([]byte) bool { return !l.key }

// reversing is a Sealer whose work shows.
type reversing struct{}

func (reversing) Seal(plain []byte) ([]byte, error) {
	sealed := make([]byte, len(plain))
	for i, b := range plain {
		sealed[len(plain)-1-i] = b
	}
	return sealed, nil
}

func (r reversing) Open(sealed []byte) ([]byte, error) { return r.Seal(sealed) }

func (reversing) Current([]byte) bool { return true }

func TestWithoutAStoreNobodyIsLetIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	revoked, open := h.login(), h.login()
	must(t, h.Logout(t.Context(), h.caller(revoked)))
	must(t, h.store.Close())
	if code := h.access(revoked); code != hearth.CodeTokenRevoked {
		t.Errorf("a revoked token is answered by %q", code)
	}
	if code := h.access(open); code == "" {
		t.Error("a session that nobody could look up was let in")
	}
}

func TestOldSessionsAreCleanedUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	h.login()
	h.clock.advance(36 * 24 * time.Hour)
	if n, err := h.CleanUp(t.Context()); err != nil || n != 0 {
		t.Errorf("cleaned up %d, %v", n, err)
	}
	h.clock.advance(2 * 24 * time.Hour)
	if n, err := h.CleanUp(t.Context()); err != nil || n != 1 {
		t.Errorf("cleaned up %d, %v", n, err)
	}
}

func TestARotatedKeyTakesOverWithoutABreak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openHouse(t, dir)
	h.user(email, hearth.RoleUser)
	before := h.login()
	must(t, h.keys.Rotate())
	if n := len(h.JWKS()); n != 2 {
		t.Errorf("%d keys are published, want 2", n)
	}
	soon := h.login()
	h.clock.advance(21 * time.Second)
	after := h.login()
	for name, grant := range map[string]account.Grant{"before": before, "soon": soon, "after": after} {
		if code := h.access(grant); code != "" {
			t.Errorf("the token of %s is answered by %q", name, code)
		}
	}
	if keyOf(t, before) != keyOf(t, soon) || keyOf(t, before) == keyOf(t, after) {
		t.Error("the new key did not take over after its delay")
	}
	fresh, err := account.OpenKeyRing(account.KeyRingOptions{Path: filepath.Join(dir, "keys.json"), AccessTTL: 15 * time.Minute, Clock: h.clock.Now})
	must(t, err)
	if len(fresh.Public()) != 2 {
		t.Error("the file does not hold both keys")
	}
	h.clock.advance(16 * time.Minute)
	if n := len(h.JWKS()); n != 1 {
		t.Errorf("%d keys are published after the old one's last token, want 1", n)
	}
	must(t, h.keys.Rotate())
	if n := len(h.JWKS()); n != 2 {
		t.Errorf("%d keys are published, want 2", n)
	}
}

func TestARotationInAnotherProcessIsFollowed(t *testing.T) {
	t.Parallel()
	options := account.KeyRingOptions{Path: filepath.Join(t.TempDir(), "keys.json"), AccessTTL: time.Minute}
	server, err := account.OpenKeyRing(options)
	must(t, err)
	command, err := account.OpenKeyRing(options)
	must(t, err)
	must(t, command.Rotate())
	if n := len(server.Public()); n != 1 {
		t.Errorf("the server knows %d keys before it looks, want 1", n)
	}
	must(t, server.Follow(t.Context()))
	if n := len(server.Public()); n != 2 {
		t.Errorf("the server knows %d keys, want 2", n)
	}
	must(t, os.WriteFile(options.Path, []byte("damaged"), 0o600))
	if server.Follow(t.Context()) == nil || len(server.Public()) != 2 {
		t.Error("a damaged file took the keys away, or went unnoticed")
	}
}
