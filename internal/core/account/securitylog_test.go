package account_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/core/account"
)

// The security log says what happened: what was refused by the store did not.
func TestTheSecurityLogSaysWhatHappened(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := openHouse(t, t.TempDir(), func(o *account.Options) { o.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	taken := account.NewUser{Name: "Ann", Email: email, Password: password, Role: hearth.RoleUser}
	user := h.user(email, hearth.RoleUser)
	if text := log.String(); strings.Count(text, `"user.create"`) != 1 || !strings.Contains(text, `"result":"ok"`) {
		t.Errorf("an account that was made: %s", text)
	}
	for name, attempt := range map[string]func() error{
		"a sign-up":          func() error { _, err := h.SignUp(t.Context(), here, taken, nil); return err },
		"the command line's": func() error { _, err := h.CreateUser(t.Context(), taken); return err },
		"a session that is not there": func() error {
			return h.EndSession(t.Context(), hearth.Caller{UserID: user.ID}, "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
		},
		"a key that is not there": func() error {
			return h.DeleteAPIKey(t.Context(), hearth.Caller{UserID: user.ID}, "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
		},
	} {
		log.Reset()
		if attempt() == nil {
			t.Errorf("%s succeeds", name)
		}
		if log.Len() > 0 {
			t.Errorf("%s: %s", name, log.String())
		}
	}
}
