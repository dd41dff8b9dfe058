package account_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth"
	"hearth/internal/core/account"
)

// buffer is a log that many goroutines write to.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

// query reads text columns of the house's database.
func query(t *testing.T, dir, text string) (rows [][]string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "hearth.db"))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	found, err := db.QueryContext(t.Context(), text)
	must(t, err)
	defer func() { must(t, found.Close()) }()
	columns, err := found.Columns()
	must(t, err)
	for found.Next() {
		row := make([]string, len(columns))
		dest := make([]any, len(columns))
		for i := range row {
			dest[i] = &row[i]
		}
		must(t, found.Scan(dest...))
		rows = append(rows, row)
	}
	must(t, found.Err())
	return rows
}

func TestWhatHappensIsAuditedAndNothingSecretIsKept(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), &buffer{}
	h := openHouse(t, dir, func(o *account.Options) { o.Logger = slog.New(slog.NewJSONHandler(log, nil)) })
	ctx := t.Context()
	setup, err := h.SetupToken(ctx)
	must(t, err)
	admin, err := h.SetUp(ctx, here, setup, account.NewUser{Name: "Root", Email: "root@example.com", Password: "the first of all"})
	must(t, err)
	user, err := h.SignUp(ctx, here, account.NewUser{Name: "Ann", Email: email, Password: password}, nil)
	must(t, err)
	first := h.login()
	other := hearth.Caller{IP: "192.0.2.7", UserAgent: "another/1", RequestID: "r2"}
	second, err := h.Login(ctx, other, account.Credentials{Email: email, Password: password})
	must(t, err)
	third, err := h.Refresh(ctx, here, first.RefreshToken)
	must(t, err)
	_, err = h.Refresh(ctx, here, first.RefreshToken)
	wantCode(t, err, hearth.CodeRefreshReused)
	must(t, h.ChangePassword(ctx, h.caller(second), password, "another fine secret"))
	must(t, h.RequestReset(ctx, here, email))
	must(t, h.RequestReset(ctx, here, "nobody@example.com"))
	mail, err := h.ResetMail(ctx, h.resetJob())
	must(t, err)
	must(t, h.ConfirmReset(ctx, here, mail.Token, "yet another secret"))
	for range 6 {
		_, err = h.Login(ctx, here, account.Credentials{Email: email, Password: "a guess of a secret"})
	}
	wantCode(t, err, hearth.CodeAccountLocked)
	caller := h.caller(admin)
	role, yes := hearth.RoleAdmin, true
	_, err = h.UpdateUser(ctx, caller, user.ID, account.UserUpdate{Role: &role, Unlock: true})
	must(t, err)
	_, err = h.UpdateUser(ctx, caller, user.ID, account.UserUpdate{Disabled: &yes})
	must(t, err)
	must(t, h.Revoke(ctx, here, admin.RefreshToken))

	want := [][]string{
		{"user", "auth.setup", "user", "ok"}, {"user", "auth.login", "user", "ok"}, {"user", "user.signup", "user", "ok"},
		{"user", "auth.login", "user", "ok"}, {"user", "auth.login", "user", "ok"},
		{"system", "auth.refresh", "user", "refresh_reused"}, {"user", "auth.password", "user", "ok"},
		{"", "auth.password_reset", "user", "ok"}, {"", "auth.password_reset", "", "not_found"},
		{"user", "auth.password_reset_confirm", "user", "ok"},
	}
	for range 5 {
		want = append(want, []string{"", "auth.login", "user", "invalid_credentials"})
	}
	want = append(want, []string{"system", "auth.lock", "user", "ok"}, []string{"user", "user.update", "user", "ok"},
		[]string{"user", "user.update", "user", "ok"}, []string{"user", "session.revoke", "session", "ok"})
	got := query(t, dir, `SELECT actor_id, action, target, result FROM audit ORDER BY seq`)
	for _, row := range got {
		row[0], _, _ = strings.Cut(row[0], ":")
		row[2], _, _ = strings.Cut(row[2], ":")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit entries (-want +got)\n%s", diff)
	}

	var notices []string
	for _, row := range query(t, dir, `SELECT kind, CAST(payload AS TEXT) FROM outbox ORDER BY id`) {
		if row[0] != "notify.security" {
			notices = append(notices, row[0])
			continue
		}
		var notice hearth.SecurityNotice
		must(t, json.Unmarshal([]byte(row[1]), &notice))
		if notice.UserID != user.ID || notice.At.IsZero() || len(notice.Origin) == 0 {
			t.Errorf("a notice is %+v", notice)
		}
		notices = append(notices, notice.What)
	}
	slices.Sort(notices)
	if diff := cmp.Diff([]string{
		"account_locked", "mail.password_reset", "new_device", "password_changed", "password_changed", "refresh_reused",
	}, notices); diff != "" {
		t.Errorf("the notices (-want +got)\n%s", diff)
	}

	secrets := map[string]string{
		"the set-up token": setup, "the admin's password": "the first of all", "the password": password,
		"the changed password": "another fine secret", "the reset password": "yet another secret", "a guess": "a guess of a secret",
		"the reset token": mail.Token, "an access token": first.AccessToken, "a signature": first.AccessToken[len(first.AccessToken)-40:],
		"a spent refresh token": first.RefreshToken[3:], "a refresh token": third.RefreshToken[3:], "the admin's refresh token": admin.RefreshToken[3:],
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		must(t, err)
		for name, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds %s", file.Name(), name)
			}
		}
	}
	for name, secret := range secrets {
		if strings.Contains(log.data.String(), secret) {
			t.Errorf("the log holds %s", name)
		}
	}
	if lines := strings.Count(log.data.String(), `"kind":"security"`); lines < len(want) {
		t.Errorf("%d security lines for %d audit entries", lines, len(want))
	}
}

// breakAudit makes the database in dir refuse every audit entry.
func breakAudit(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "hearth.db"))
	must(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END`)
	must(t, err)
	must(t, db.Close())
}

func TestWithoutItsAuditEntryNothingHappens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openHouse(t, dir)
	h.user(email, hearth.RoleUser)
	grant := h.login()
	must(t, h.RequestReset(t.Context(), here, email))
	mail, err := h.ResetMail(t.Context(), h.resetJob())
	must(t, err)
	breakAudit(t, dir)
	first := openHouse(t, t.TempDir())
	setup, err := first.SetupToken(t.Context())
	must(t, err)
	breakAudit(t, first.dir)
	_, setUpErr := first.SetUp(t.Context(), here, setup, account.NewUser{Name: "Root", Email: "root@example.com", Password: password})
	for name, err := range map[string]error{
		"set-up":   setUpErr,
		"reset":    h.ConfirmReset(t.Context(), here, mail.Token, "another fine secret"),
		"logout":   h.Logout(t.Context(), h.caller(grant)),
		"password": h.ChangePassword(t.Context(), h.caller(grant), password, "another fine secret"),
		"login":    wrong(h, email),
	} {
		if code := hearth.ErrorCode(err); code != hearth.CodeInternal {
			t.Errorf("%s: got %q (%v)", name, code, err)
		}
	}
	if code := h.access(grant); code != "" {
		t.Errorf("the session ended without an audit entry: %q", code)
	}
}
