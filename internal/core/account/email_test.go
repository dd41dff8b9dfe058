package account_test

import (
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/account"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
)

// change is what a user sends for another e-mail.
func change(email, current string) account.MeUpdate {
	return account.MeUpdate{Email: &email, CurrentPassword: current}
}

// emailJob returns the payload of the newest job that mails a link to confirm an e-mail.
func (h *house) emailJob() []byte {
	h.t.Helper()
	jobs := query(h.t, h.dir, `SELECT payload FROM outbox WHERE kind = 'mail.email' ORDER BY id`)
	return []byte(jobs[len(jobs)-1][0])
}

func TestANewEmailCountsOnceItIsConfirmed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	h.user("taken@example.com", hearth.RoleUser)
	caller := h.caller(h.login())
	for name, test := range map[string]struct {
		update account.MeUpdate
		code   hearth.Code
	}{
		"no password":      {change("other@example.com", ""), hearth.CodeValidationFailed},
		"a wrong password": {change("other@example.com", "a guess of a secret"), hearth.CodeInvalidCredentials},
		"no e-mail":        {change("other", password), hearth.CodeValidationFailed},
		"one of another":   {change("taken@example.com", password), hearth.CodeEmailTaken},
	} {
		_, err := h.UpdateMe(t.Context(), caller, test.update)
		if hearth.ErrorCode(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	user, err := h.UpdateMe(t.Context(), caller, change("Other@Example.com", password))
	must(t, err)
	if user.Email != email {
		t.Errorf("the e-mail is %s before it is confirmed", user.Email)
	}
	payload := h.emailJob()
	link, err := h.EmailMail(t.Context(), payload)
	must(t, err)
	if link.Email != "other@example.com" || strings.Contains(string(payload), link.Token) {
		t.Errorf("the link goes to %s, the job is %s", link.Email, payload)
	}
	for _, forged := range []string{"", "x", ".", link.Token + "A", link.Token[1:], strings.Split(link.Token, ".")[0]} {
		wantCode(t, h.ConfirmEmail(t.Context(), here, forged), hearth.CodeValidationFailed)
	}
	must(t, h.ConfirmEmail(t.Context(), here, link.Token))
	me, err := h.Me(t.Context(), caller)
	must(t, err)
	if me.Email != "other@example.com" {
		t.Errorf("the e-mail is %s", me.Email)
	}
	wantCode(t, h.ConfirmEmail(t.Context(), here, link.Token), hearth.CodeValidationFailed)
	if notices := query(t, h.dir, `SELECT payload FROM outbox WHERE CAST(payload AS TEXT) LIKE '%email_changed%'`); len(notices) != 1 || !strings.Contains(notices[0][0], email) {
		t.Errorf("the notices to the old address: %v", notices)
	}
	_, err = h.EmailMail(t.Context(), payload)
	wantCode(t, err, hearth.CodeNotFound)
}

// A link ends with its day, with the password, and where another account has the address meanwhile.
func TestALinkToConfirmAnEmailEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(h *house, caller hearth.Caller)
		code   hearth.Code
	}{
		"a day later": {func(h *house, _ hearth.Caller) { h.clock.advance(25 * time.Hour) }, hearth.CodeValidationFailed},
		"another password": {func(h *house, caller hearth.Caller) {
			must(h.t, h.ChangePassword(h.t.Context(), caller, password, "another fine secret"))
		}, hearth.CodeValidationFailed},
		"taken meanwhile": {func(h *house, _ hearth.Caller) { h.user("other@example.com", hearth.RoleUser) }, hearth.CodeEmailTaken},
	} {
		h := newHouse(t)
		h.user(email, hearth.RoleUser)
		caller := h.caller(h.login())
		_, err := h.UpdateMe(t.Context(), caller, change("other@example.com", password))
		must(t, err)
		link, err := h.EmailMail(t.Context(), h.emailJob())
		must(t, err)
		test.before(h, caller)
		if err := h.ConfirmEmail(t.Context(), here, link.Token); hearth.ErrorCode(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Guesses of the password by this way lock the account as those at login do.
func TestGuessingByANewEmailLocks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	caller := h.caller(h.login())
	for range 5 {
		_, err := h.UpdateMe(t.Context(), caller, change("other@example.com", "a guess of a secret"))
		wantCode(t, err, hearth.CodeInvalidCredentials)
	}
	_, err := h.UpdateMe(t.Context(), caller, change("other@example.com", password))
	wantCode(t, err, hearth.CodeAccountLocked)
}

// Users cause so many e-mails a day, and an address gets so many; resets beyond theirs are accepted and send nothing.
func TestEmailsAreBoundedByDay(t *testing.T) {
	t.Parallel()
	h := openHouse(t, t.TempDir(), func(o *account.Options) {
		limiter, err := memkv.NewLimiter(memkv.LimiterOptions{Limits: kv.MailLimits(), Clock: o.Clock})
		if err != nil {
			t.Fatal(err)
		}
		o.Mails = kv.Mails{Limiter: limiter}
	})
	h.user(email, hearth.RoleUser)
	caller := h.caller(h.login())
	for range 10 {
		_, err := h.UpdateMe(t.Context(), caller, change("victim@example.com", password))
		must(t, err)
	}
	_, err := h.UpdateMe(t.Context(), caller, change("victim@example.com", password))
	wantCode(t, err, hearth.CodeRateLimited)
	_, err = h.UpdateMe(t.Context(), caller, change("other@example.com", password))
	must(t, err)
	for range 60 { // five minutes apart, so that each would be mailed
		h.clock.advance(5 * time.Minute)
		must(t, h.RequestReset(t.Context(), here, email))
	}
	if sent := len(h.resetJobs()); sent < 24 || sent > 30 {
		t.Errorf("%d links in five hours, want the 24 of a day and one more an hour", sent)
	}
}
