package account_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/account"
)

func TestNewPasswordsAreChecked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tests := []struct {
		password string
		ok       bool
	}{
		{"", false}, {"1234567", false}, {strings.Repeat("x", 73), false}, {strings.Repeat("é", 37), false},
		{"password", false}, {"PASSWORD", false}, {"12345678", false}, {"iloveyou", false}, {"baseball", false}, {"qwertyuiop", false},
		{"michelle", false}, {"password1", false}, {"trustno1", false}, {"football", false}, {"11111111", false}, {"zzzzzzzz", false}, {"!qaz2wsx", false}, {"zzzzzzz1", false}, // the ends of the list
		{"abc def!", true}, {strings.Repeat("é", 36), true}, {"passwordpasswordx", true}, {"\x00\x00\x00\x00\x00\x00\x00\x01", true}, {"        ", false},
		{"~~~~~~~~~~a", true}, {"!!!!!!!!!!!b", true}, {"éèéèé", true},
	}
	for n, test := range tests {
		_, err := h.CreateUser(t.Context(), account.NewUser{
			Name: "Ann", Email: fmt.Sprintf("ann%d@example.com", n), Password: test.password, Role: hearth.RoleUser,
		})
		if (err == nil) != test.ok {
			t.Errorf("%q: %v", test.password, err)
		}
		if err != nil {
			wantCode(t, err, hearth.CodeValidationFailed)
			if test.password != "" && strings.Contains(err.Error(), test.password) && test.password != "password" {
				t.Errorf("%q is repeated: %v", test.password, err)
			}
		}
	}
}

func TestSetUpMakesOneAdmin(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	token, err := h.SetupToken(t.Context())
	must(t, err)
	again, err := h.SetupToken(t.Context())
	must(t, err)
	if token != again || len(token) < 40 {
		t.Errorf("the tokens are %q and %q", token, again)
	}
	other, err := openHouse(t, h.dir).SetupToken(t.Context()) // a process with the same keys
	must(t, err)
	if other != again {
		t.Errorf("another instance has the token %q", other)
	}
	h.user("stranger@example.com", hearth.RoleUser)
	var mu sync.Mutex
	seen := map[hearth.Code]int{}
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			_, err := h.SetUp(t.Context(), here, token, account.NewUser{Name: "Root", Email: fmt.Sprintf("r%d@example.com", n), Password: password})
			mu.Lock()
			defer mu.Unlock()
			seen[hearth.ErrorCode(err)]++
		})
	}
	wg.Wait()
	if seen[""] != 1 || seen[hearth.CodeForbidden] != 19 {
		t.Errorf("20 set-ups at once were answered by %v", seen)
	}
}

func TestAnEmptySetUpTokenIsNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := h.SetUp(t.Context(), here, "", account.NewUser{Name: "Root", Email: email, Password: password})
	wantCode(t, err, hearth.CodeForbidden)
}

func TestSignUpGivesNoRole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user, err := h.SignUp(t.Context(), here, account.NewUser{Name: "Ann", Email: email, Password: password, Role: hearth.RoleAdmin}, nil)
	must(t, err)
	if user.Role != hearth.RoleUser {
		t.Errorf("the role is %s", user.Role)
	}
}

func TestOnlyAdminsManageUsers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user := h.user(email, hearth.RoleUser)
	role := hearth.RoleAdmin
	for _, caller := range []hearth.Caller{{}, {UserID: user.ID, Role: hearth.RoleUser}, {DeviceID: "d"}, {DeviceID: "d", Role: hearth.RoleAdmin}} {
		_, err := h.UpdateUser(t.Context(), caller, user.ID, account.UserUpdate{Role: &role})
		wantCode(t, err, hearth.CodeForbidden)
		_, err = h.Users(t.Context(), caller, hearth.UserFilter{}, hearth.Page{})
		wantCode(t, err, hearth.CodeForbidden)
	}
}

func TestANewEmailMakesAnOldResetWorthless(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	must(t, h.RequestReset(t.Context(), here, email))
	payload := h.resetJob()
	mail, err := h.ResetMail(t.Context(), payload)
	must(t, err)
	_, err = h.UpdateMe(t.Context(), h.caller(h.login()), change("other@example.com", password))
	must(t, err)
	link, err := h.EmailMail(t.Context(), h.emailJob())
	must(t, err)
	must(t, h.ConfirmEmail(t.Context(), here, link.Token))
	wantCode(t, h.ConfirmReset(t.Context(), here, mail.Token, "another fine secret"), hearth.CodeValidationFailed)
	_, err = h.ResetMail(t.Context(), payload)
	wantCode(t, err, hearth.CodeNotFound)
}

func TestAResetIsUsedOnceByManyAndUnlocks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	for range 6 {
		_ = wrong(h, email)
	}
	must(t, h.RequestReset(t.Context(), here, email))
	mail, err := h.ResetMail(t.Context(), h.resetJob())
	must(t, err)
	var mu sync.Mutex
	seen := map[hearth.Code]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := h.ConfirmReset(t.Context(), here, mail.Token, "another fine secret")
			mu.Lock()
			defer mu.Unlock()
			seen[hearth.ErrorCode(err)]++
		})
	}
	wg.Wait()
	if seen[""] != 1 || seen[hearth.CodeValidationFailed] != 19 {
		t.Errorf("20 uses at once were answered by %v", seen)
	}
	_, err = h.Login(t.Context(), here, account.Credentials{Email: email, Password: "another fine secret"})
	must(t, err)
}

func TestAPasswordHashFollowsTheCost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openHouse(t, dir)
	user := h.user(email, hearth.RoleUser)
	dearer, err := account.New(account.Options{Store: h.store, Keys: h.keys, Clock: h.clock.Now, BcryptCost: 5})
	must(t, err)
	for range 2 { // the second login checks against the new hash
		_, err = dearer.Login(t.Context(), here, account.Credentials{Email: email, Password: password})
		must(t, err)
	}
	stored, err := h.store.User(t.Context(), user.ID)
	must(t, err)
	if !strings.HasPrefix(string(stored.PasswordHash), "$2a$05$") {
		t.Errorf("the hash is still %q", stored.PasswordHash[:7])
	}
}

// A stranger who asks for resets neither ends a link that is on its way nor sends more than an e-mail in five minutes.
func TestALaterResetLeavesTheEarlierOneGood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	must(t, h.RequestReset(t.Context(), here, email))
	first, err := h.ResetMail(t.Context(), h.resetJob())
	must(t, err)
	jobs := len(h.resetJobs())
	h.clock.advance(5*time.Minute - time.Millisecond)
	must(t, h.RequestReset(t.Context(), here, email))
	if n := len(h.resetJobs()); n != jobs {
		t.Errorf("a second request within five minutes sends %d e-mails", n-jobs)
	}
	for range 10 { // no flood ends it
		h.clock.advance(5 * time.Minute)
		must(t, h.RequestReset(t.Context(), here, email))
	}
	if n := len(h.resetJobs()); n != jobs+10 {
		t.Errorf("ten requests five minutes apart send %d e-mails", n-jobs)
	}
	last, err := h.ResetMail(t.Context(), h.resetJob())
	must(t, err)
	h.clock.advance(4 * time.Minute) // 59 minutes after the first
	must(t, h.ConfirmReset(t.Context(), here, first.Token, "another fine secret"))
	wantCode(t, h.ConfirmReset(t.Context(), here, last.Token, "yet another secret"), hearth.CodeValidationFailed) // one use ends all
}

// Knowing an invited address is not enough: the token is asked for, before anything else is looked at.
func TestSigningUpByInvitationTakesItsToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) {
		o.SignUp = account.SignUpInvite
		o.Invited = func(_ context.Context, token string) (string, bool, error) { return email, token == "good", nil }
	})
	for name, c := range map[string]struct {
		user account.NewUser
		code hearth.Code
	}{
		"no token":                       {account.NewUser{Name: "Ann", Email: email, Password: password}, hearth.CodeForbidden},
		"another token":                  {account.NewUser{Name: "Ann", Email: email, Password: password, Invitation: "bad"}, hearth.CodeForbidden},
		"no token and a short password":  {account.NewUser{Name: "Ann", Email: email, Password: "x"}, hearth.CodeForbidden},
		"another's token":                {account.NewUser{Name: "Bob", Email: "bob@example.com", Password: password, Invitation: "good"}, hearth.CodeForbidden},
		"the token and a short password": {account.NewUser{Name: "Ann", Email: email, Password: "x", Invitation: "good"}, hearth.CodeValidationFailed},
	} {
		_, err := h.SignUp(t.Context(), here, c.user, nil)
		if got := hearth.ErrorCode(err); got != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	_, err := h.SignUp(t.Context(), here, account.NewUser{Name: "Ann", Email: " ANN@example.com", Password: password, Invitation: "good"}, nil)
	must(t, err)
}
