package account_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/account"
)

func wrong(h *house, email string) error {
	_, err := h.Login(h.t.Context(), here, account.Credentials{Email: email, Password: "a wrong password"})
	return err
}

func TestFiveWrongPasswordsLockTheAccount(t *testing.T) {
	t.Parallel()
	for _, who := range []string{email, "nobody@example.com"} { // the answers must be alike
		h := newHouse(t)
		h.user(email, hearth.RoleUser)
		for range 5 {
			wantCode(t, wrong(h, who), hearth.CodeInvalidCredentials)
		}
		err := wrong(h, who)
		wantCode(t, err, hearth.CodeAccountLocked)
		if e, ok := errors.AsType[*hearth.Error](err); !ok || e.RetryAfter != 15*time.Minute {
			t.Errorf("the refusal is %#v", err)
		}
		h.clock.advance(15*time.Minute - time.Millisecond)
		_, err = h.Login(t.Context(), here, account.Credentials{Email: who, Password: password})
		wantCode(t, err, hearth.CodeAccountLocked)
		h.clock.advance(time.Millisecond)
		for range 5 {
			wantCode(t, wrong(h, who), hearth.CodeInvalidCredentials)
		}
		wantCode(t, wrong(h, who), hearth.CodeAccountLocked)
	}
}

func TestALockHoldsWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	for range 5 {
		wantCode(t, wrong(h, email), hearth.CodeInvalidCredentials)
	}
	h.clock.advance(-time.Hour)
	err := wrong(h, email)
	wantCode(t, err, hearth.CodeAccountLocked)
	if e, ok := errors.AsType[*hearth.Error](err); !ok || e.RetryAfter > 15*time.Minute {
		t.Errorf("the refusal is %#v", err)
	}
}

// A clock that jumps makes a lock neither shorter nor longer.
func TestALockTakesItsTimeWhateverTheClockSays(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		var elapsed atomic.Int64
		h := newHouse(t, func(o *account.Options) { o.Elapsed = func() time.Duration { return time.Duration(elapsed.Load()) } })
		h.user(email, hearth.RoleUser)
		for range 5 {
			wantCode(t, wrong(h, email), hearth.CodeInvalidCredentials)
		}
		h.clock.advance(jump)
		elapsed.Store(int64(15*time.Minute - time.Millisecond))
		_, err := h.Login(t.Context(), here, account.Credentials{Email: email, Password: password})
		wantCode(t, err, hearth.CodeAccountLocked)
		elapsed.Store(int64(15 * time.Minute))
		h.login()
	}
}

func TestARightPasswordResetsTheCount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	for range 3 {
		for range 4 {
			wantCode(t, wrong(h, email), hearth.CodeInvalidCredentials)
		}
		h.login()
	}
}

func TestParallelGuessesDoNotPassTheLockout(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	other := openSecond(t, h) // another instance over the same store
	var mu sync.Mutex
	seen := map[hearth.Code]int{}
	var wg sync.WaitGroup
	for n := range 200 {
		wg.Go(func() {
			service := h.Service
			if n%2 == 1 {
				service = other
			}
			_, err := service.Login(t.Context(), here, account.Credentials{Email: email, Password: "guess guess guess"})
			mu.Lock()
			defer mu.Unlock()
			seen[hearth.ErrorCode(err)]++
		})
	}
	wg.Wait()
	if seen[hearth.CodeInvalidCredentials] != 5 || seen[hearth.CodeAccountLocked] != 195 {
		t.Errorf("200 guesses were answered by %v", seen)
	}
}

// openSecond returns another service over the same store and keys.
func openSecond(t *testing.T, h *house) *account.Service {
	t.Helper()
	service, err := account.New(account.Options{Store: h.store, Keys: h.keys, Clock: h.clock.Now, BcryptCost: 4, HashSlots: 2})
	must(t, err)
	return service
}

func TestParallelLoginsWithTheRightPasswordDoNotLock(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) { o.HashSlots = 50 })
	h.user(email, hearth.RoleUser)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := h.Login(t.Context(), here, account.Credentials{Email: email, Password: password}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestOpenSessionsLiveOnDuringALock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	grant := h.login()
	for range 6 {
		_ = wrong(h, email)
	}
	if code := h.access(grant); code != "" {
		t.Errorf("the access token is refused with %s", code)
	}
	if _, err := h.Refresh(t.Context(), here, grant.RefreshToken); err != nil {
		t.Errorf("the refresh token is refused: %v", err)
	}
}

func TestAnAdminUnlocks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user := h.user(email, hearth.RoleUser)
	for range 6 {
		_ = wrong(h, email)
	}
	admin := hearth.Caller{UserID: "a", Role: hearth.RoleAdmin}
	_, err := h.UpdateUser(t.Context(), admin, user.ID, account.UserUpdate{Unlock: true})
	must(t, err)
	h.login()
}

func TestLoginNamesNoReason(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	var answers []string
	for _, c := range []account.Credentials{
		{Email: email, Password: "a wrong password"}, {Email: "nobody@example.com", Password: password},
		{Email: "not an e-mail", Password: password}, {Email: email, Password: password + strings.Repeat("x", 72)},
		{Email: email, Password: ""}, {Email: "", Password: ""}, {Email: email + "\x00", Password: password},
	} {
		_, err := h.Login(t.Context(), here, c)
		wantCode(t, err, hearth.CodeInvalidCredentials)
		answers = append(answers, err.Error())
	}
	if slices.Sort(answers); answers[0] != answers[len(answers)-1] {
		t.Errorf("the answers differ: %q", answers)
	}
}

func TestAPasswordIsNeverCut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	long := strings.Repeat("p4ss", 18) // 72 bytes
	_, err := h.CreateUser(t.Context(), account.NewUser{Name: "Ann", Email: email, Password: long, Role: hearth.RoleUser})
	must(t, err)
	for _, test := range []struct {
		password string
		code     hearth.Code
	}{{long[:71], hearth.CodeInvalidCredentials}, {long + "x", hearth.CodeInvalidCredentials}, {long, ""}} {
		_, err := h.Login(t.Context(), here, account.Credentials{Email: email, Password: test.password})
		wantCode(t, err, test.code)
	}
}

func TestEmailsAreComparedNormalized(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user("  Ann@Example.COM ", hearth.RoleUser)
	h.login()
	_, err := h.SignUp(t.Context(), here, account.NewUser{Name: "x", Email: "ANN@example.com", Password: password}, nil)
	wantCode(t, err, hearth.CodeEmailTaken)
}

func TestADisabledUserIsKeptOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user := h.user(email, hearth.RoleUser)
	grant := h.login()
	h.caller(grant)
	admin, yes, no := hearth.Caller{UserID: "a", Role: hearth.RoleAdmin}, true, false
	_, err := h.UpdateUser(t.Context(), admin, user.ID, account.UserUpdate{Disabled: &yes})
	must(t, err)
	if code := h.access(grant); code != hearth.CodeTokenRevoked {
		t.Errorf("the access token is answered by %q", code)
	}
	_, err = h.Refresh(t.Context(), here, grant.RefreshToken)
	wantCode(t, err, hearth.CodeTokenRevoked)
	for range 7 { // a right password never locks
		_, err = h.Login(t.Context(), here, account.Credentials{Email: email, Password: password})
		wantCode(t, err, hearth.CodeForbidden)
	}
	wantCode(t, wrong(h, email), hearth.CodeInvalidCredentials)
	_, err = h.UpdateUser(t.Context(), admin, user.ID, account.UserUpdate{Disabled: &no})
	must(t, err)
	if code := h.access(grant); code != hearth.CodeTokenRevoked {
		t.Errorf("an old access token works again: %q", code)
	}
	h.login()
}

func TestTheFullHashQueueIsRefusedAndCountsNoTry(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) { o.HashSlots = 1; o.BcryptCost = 6 })
	var mu sync.Mutex
	seen := map[hearth.Code]int{}
	var wg sync.WaitGroup
	for n := range 200 {
		wg.Go(func() {
			name := "p" + strings.Repeat("x", n) + "@example.com" // accounts that do not wait for one another
			_, err := h.Login(t.Context(), here, account.Credentials{Email: name, Password: password})
			if tries := len(name); hearth.ErrorCode(err) == hearth.CodeUnavailable {
				if e, ok := errors.AsType[*hearth.Error](err); !ok || e.RetryAfter == 0 {
					t.Errorf("%d: the refusal is %#v", tries, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			seen[hearth.ErrorCode(err)]++
		})
	}
	wg.Wait()
	if seen[hearth.CodeUnavailable]+seen[hearth.CodeInvalidCredentials] != 200 || seen[hearth.CodeUnavailable] == 0 {
		t.Errorf("200 logins at once were answered by %v", seen)
	}
}

// Strangers who guess must not keep out the user, who signed in from somewhere before; guesses from there lock the account all the same.
func TestALockLeavesTheUsersOwnNetworkAlone(t *testing.T) {
	t.Parallel()
	stranger := hearth.Caller{IP: "203.0.113.9", UserAgent: "curl/8"}
	from := func(h *house, caller hearth.Caller, password string) error {
		_, err := h.Login(h.t.Context(), caller, account.Credentials{Email: email, Password: password})
		return err
	}
	h := newHouse(t)
	user := h.user(email, hearth.RoleUser)
	h.login()
	for range 5 {
		wantCode(t, from(h, stranger, "wrong wrong"), hearth.CodeInvalidCredentials)
	}
	wantCode(t, from(h, stranger, password), hearth.CodeAccountLocked)
	h.login()
	wantCode(t, from(h, stranger, password), hearth.CodeAccountLocked) // the user's login opened it for no one else
	for range 4 {
		wantCode(t, from(h, here, "wrong wrong"), hearth.CodeInvalidCredentials)
	}
	h.login() // a success resets the count
	for range 5 {
		wantCode(t, from(h, here, "wrong wrong"), hearth.CodeInvalidCredentials)
	}
	wantCode(t, from(h, here, password), hearth.CodeAccountLocked)

	admin := hearth.Caller{UserID: "a", Role: hearth.RoleAdmin}
	_, err := h.UpdateUser(t.Context(), admin, user.ID, account.UserUpdate{Unlock: true})
	must(t, err)
	must(t, from(h, here, password))
	must(t, from(h, stranger, password))

	other := hearth.Caller{IP: "198.51.100.7"}
	for range 5 { // guesses from a network that the user knows count for the account too
		wantCode(t, from(h, here, "wrong wrong"), hearth.CodeInvalidCredentials)
	}
	wantCode(t, from(h, other, password), hearth.CodeAccountLocked)
	must(t, h.RequestReset(t.Context(), here, email))
	mail, err := h.ResetMail(t.Context(), h.resetJob())
	must(t, err)
	must(t, h.ConfirmReset(t.Context(), here, mail.Token, "another fine secret"))
	must(t, from(h, here, "another fine secret"))
	must(t, from(h, other, "another fine secret"))
}

func TestANetworkIsAnAddressOrASixtyFour(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1": "2001:db8::/64", "::ffff:192.0.2.1": "::ffff:192.0.2.1", "": "",
	} {
		if got := (hearth.Caller{IP: ip}).Network(); got != want {
			t.Errorf("%q is in %q, want %q", ip, got, want)
		}
	}
}

func TestAPasswordIsTheSameHoweverItIsComposed(t *testing.T) {
	t.Parallel()
	const composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
	for _, set := range []string{composed, decomposed} {
		h := newHouse(t)
		_, err := h.CreateUser(t.Context(), account.NewUser{Name: "Ann", Email: email, Password: set, Role: hearth.RoleUser})
		must(t, err)
		for _, typed := range []string{composed, decomposed} {
			_, err := h.Login(t.Context(), here, account.Credentials{Email: email, Password: typed})
			must(t, err)
		}
	}
}

func TestTheTwoSpellingsOfADomainAreOneAccount(t *testing.T) {
	t.Parallel()
	const unicode, ascii = "Ann@B\u00fccher.example", "ann@xn--bcher-kva.example"
	h := newHouse(t)
	if user := h.user(unicode, hearth.RoleUser); user.Email != ascii {
		t.Errorf("the e-mail is kept as %s", user.Email)
	}
	for _, spelling := range []string{unicode, ascii, "ann@bu\u0308cher.example"} {
		_, err := h.Login(t.Context(), here, account.Credentials{Email: spelling, Password: password})
		must(t, err)
		_, err = h.SignUp(t.Context(), here, account.NewUser{Name: "x", Email: spelling, Password: password}, nil)
		wantCode(t, err, hearth.CodeEmailTaken)
	}
	// An account of before keeps the spelling that it was made with.
	old := h.user("bob@example.com", hearth.RoleUser)
	_, _, err := h.store.UpdateUser(t.Context(), old.ID, func(u hearth.User) (hearth.UserChange, error) {
		u.Email = "bob@b\u00fccher.example"
		return hearth.UserChange{User: u}, nil
	})
	must(t, err)
	_, err = h.Login(t.Context(), here, account.Credentials{Email: "bob@xn--bcher-kva.example", Password: password})
	must(t, err)
	_, err = h.SignUp(t.Context(), here, account.NewUser{Name: "x", Email: "bob@b\u00fccher.example", Password: password}, nil)
	wantCode(t, err, hearth.CodeEmailTaken)
}
