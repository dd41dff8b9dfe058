package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/core/account"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// site is the API over real accounts and a real store, served over HTTP.
type site struct {
	t        *testing.T
	url      string
	accounts *account.Service
	store    *sqlite.Store
	keys     *account.KeyRing
	keyFile  string
	clock    *siteClock
}

type siteClock struct{ now time.Time }

func (c *siteClock) Now() time.Time { return c.now }

const sitePassword = "a long enough secret"

func newSite(t *testing.T, change ...func(*account.Options)) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, keyFile: filepath.Join(dir, "keys.json"), clock: &siteClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, dir), Clock: s.clock.Now})
	must(err)
	t.Cleanup(func() { must(s.store.Close()) })
	s.keys, err = account.OpenKeyRing(account.KeyRingOptions{Path: s.keyFile, AccessTTL: 15 * time.Minute, Clock: s.clock.Now})
	must(err)
	options := account.Options{
		Store: s.store, Keys: s.keys, Clock: s.clock.Now, BcryptCost: 4, HashSlots: 2, ResetFloor: time.Millisecond,
	}
	for _, f := range change {
		f(&options)
	}
	s.accounts, err = account.New(options)
	must(err)
	a, err := New(Options{People: people.Services{Accounts: s.accounts}, Serving: rest.Options{Devices: resttest.Tokens{"hd_x": {DeviceID: "9"}}, Clock: s.clock.Now, Idempotency: s.store}})
	must(err)
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// reply is what a call was answered.
type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// code returns the problem's code, or "".
func (r reply) code() hearth.Code {
	code, _ := r.body["code"].(string)
	return hearth.Code(code)
}

func (r reply) text(field string) string {
	text, _ := r.body[field].(string)
	return text
}

// call sends body as JSON (a string as it is) with the token, if any, and header pairs.
func (s *site) call(method, path, token string, body any, header ...string) reply {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/.") {
		path = rest.BasePath + path
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &r.body); err != nil {
			s.t.Fatalf("%s %s answered %q", method, path, raw)
		}
	}
	return r
}

func (s *site) want(r reply, status int, code hearth.Code) reply {
	s.t.Helper()
	if r.status != status || r.code() != code {
		s.t.Fatalf("answered %d %s, want %d %q", r.status, r.raw, status, code)
	}
	return r
}

type m = map[string]any

// signUp makes an account over HTTP.
func (s *site) signUp(email string) {
	s.t.Helper()
	s.want(s.call("POST", "/auth/signup", "", m{"name": "Ann", "email": email, "password": sitePassword}), 201, "")
}

func (s *site) login(email string) reply {
	s.t.Helper()
	return s.want(s.call("POST", "/auth/login", "", m{"email": email, "password": sitePassword}), 200, "")
}

// admin makes an admin and returns an access token.
func (s *site) admin() string {
	s.t.Helper()
	_, err := s.accounts.CreateUser(s.t.Context(), account.NewUser{
		Name: "Root", Email: "root@example.com", Password: sitePassword, Role: hearth.RoleAdmin,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.login("root@example.com").text("access_token")
}

func TestAnAccountFromSignUpToLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	up := s.want(s.call("POST", "/auth/signup", "", m{"name": "Ann", "email": " Ann@Example.com ", "password": sitePassword}), 201, "")
	user, _ := up.body["user"].(m)
	if len(up.body) != 1 || user["email"] != "ann@example.com" || user["role"] != "user" || user["last_login_at"] != nil {
		t.Errorf("signing up answered %s", up.raw)
	}
	s.want(s.call("POST", "/auth/signup", "", m{"name": "Ann", "email": "ann@example.com", "password": sitePassword}), 409, hearth.CodeEmailTaken)

	in := s.login("ann@example.com")
	if in.text("token_type") != "Bearer" || in.body["expires_in"] != 900.0 || in.header.Get("Cache-Control") != "no-store" {
		t.Errorf("signing in answered %s with %v", in.raw, in.header)
	}
	token := in.text("access_token")
	me := s.want(s.call("GET", "/users/me", token, nil), 200, "")
	if me.text("name") != "Ann" || me.text("last_login_at") != "2026-03-01T12:00:00.000Z" || me.header.Get("ETag") == "" {
		t.Errorf("the account is %s", me.raw)
	}
	me = s.want(s.call("PATCH", "/users/me", token, m{"name": "Annabel", "email": "New@Example.com", "current_password": sitePassword}), 200, "")
	if me.text("name") != "Annabel" || me.text("email") != "ann@example.com" {
		t.Errorf("the changed account is %s", me.raw)
	}
	next := s.want(s.call("POST", "/auth/refresh", "", m{"refresh_token": in.text("refresh_token")}), 200, "")
	if next.header.Get("Cache-Control") != "no-store" {
		t.Error("the answer of a refresh may be stored")
	}
	sessions := s.want(s.call("GET", "/auth/sessions", token, nil, "User-Agent", "x"), 200, "")
	items, _ := sessions.body["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("the sessions are %s", sessions.raw)
	}
	if item, _ := items[0].(m); item["current"] != true || item["ip"] != "127.0.0.1" {
		t.Errorf("the session is %v", item)
	}
	s.want(s.call("POST", "/auth/logout", token, nil), 204, "")
	s.want(s.call("GET", "/users/me", token, nil), 401, hearth.CodeTokenRevoked)
	s.want(s.call("GET", "/users/me", next.text("access_token"), nil), 401, hearth.CodeTokenRevoked)
	s.want(s.call("POST", "/auth/refresh", "", m{"refresh_token": next.text("refresh_token")}), 401, hearth.CodeTokenRevoked)
}

func TestAccountInputsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	token := s.login("ann@example.com").text("access_token")
	signUp := func(change m) m {
		body := m{"name": "Bob", "email": "bob@example.com", "password": sitePassword}
		maps.Copy(body, change)
		return body
	}
	tests := []struct {
		name, method, path, token string
		body                      any
		status                    int
		code                      hearth.Code
		location                  string
	}{
		{"a role at sign-up", "POST", "/auth/signup", "", signUp(m{"role": "admin"}), 422, hearth.CodeValidationFailed, "body.role"},
		{"an id at sign-up", "POST", "/auth/signup", "", signUp(m{"id": "x"}), 422, hearth.CodeValidationFailed, "body.id"},
		{"a short password", "POST", "/auth/signup", "", signUp(m{"password": "1234567"}), 422, hearth.CodeValidationFailed, "body.password"},
		{"a long password", "POST", "/auth/signup", "", signUp(m{"password": strings.Repeat("é", 37)}), 422, hearth.CodeValidationFailed, "body.password"},
		{"a very long password", "POST", "/auth/signup", "", signUp(m{"password": strings.Repeat("x", 73)}), 422, hearth.CodeValidationFailed, "body.password"},
		{"a common password", "POST", "/auth/signup", "", signUp(m{"password": "Password123"}), 422, hearth.CodeValidationFailed, "body.password"},
		{"an e-mail without @", "POST", "/auth/signup", "", signUp(m{"email": "bob"}), 422, hearth.CodeValidationFailed, "body.email"},
		{"an e-mail with a name", "POST", "/auth/signup", "", signUp(m{"email": "Bob <bob@example.com>"}), 422, hearth.CodeValidationFailed, "body.email"},
		{"an e-mail with a header", "POST", "/auth/signup", "", signUp(m{"email": "bob@example.com\r\nBcc: x@example.com"}), 422, hearth.CodeValidationFailed, "body.email"},
		{"a long e-mail", "POST", "/auth/signup", "", signUp(m{"email": strings.Repeat("b", 250) + "@example.com"}), 422, hearth.CodeValidationFailed, "body.email"},
		{"no name", "POST", "/auth/signup", "", signUp(m{"name": "  "}), 422, hearth.CodeValidationFailed, "body.name"},
		{"a name with NUL", "POST", "/auth/signup", "", signUp(m{"name": "a\x00b"}), 422, hearth.CodeValidationFailed, "body.name"},
		{"an object for a password", "POST", "/auth/login", "", `{"email":"ann@example.com","password":{"$ne":""}}`, 422, hearth.CodeValidationFailed, "body.password"},
		{"an object for an e-mail", "POST", "/auth/login", "", `{"email":{"$gt":""},"password":"x"}`, 422, hearth.CodeValidationFailed, "body.email"},
		{"a field twice", "POST", "/auth/login", "", `{"email":"a@b.c","email":"ann@example.com","password":"x"}`, 400, hearth.CodeMalformedBody, ""},
		{"no refresh token", "POST", "/auth/refresh", "", m{}, 422, hearth.CodeValidationFailed, "body"},
		{"null for the own name", "PATCH", "/users/me", token, m{"name": nil}, 422, hearth.CodeValidationFailed, "body.name"},
		{"the own role", "PATCH", "/users/me", token, m{"role": "admin"}, 422, hearth.CodeValidationFailed, "body.role"},
		{"a bad own e-mail", "PATCH", "/users/me", token, m{"email": "x"}, 422, hearth.CodeValidationFailed, "body.email"},
		{"a common new password", "POST", "/auth/password", token, m{"current_password": sitePassword, "new_password": "password1"}, 422, hearth.CodeValidationFailed, "body.new_password"},
		{"a wrong current password", "POST", "/auth/password", token, m{"current_password": "not the one", "new_password": "another fine secret"}, 401, hearth.CodeInvalidCredentials, ""},
		{"an unknown reset token", "POST", "/auth/password-reset/confirm", "", m{"token": "x", "new_password": "another fine secret"}, 422, hearth.CodeValidationFailed, "body.token"},
		{"another's session", "DELETE", "/auth/sessions/0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b", token, nil, 404, hearth.CodeNotFound, ""},
		{"all users, as a user", "GET", "/users", token, nil, 403, hearth.CodeForbidden, ""},
		{"a user, as a user", "PATCH", "/users/x", token, m{"role": "admin"}, 403, hearth.CodeForbidden, ""},
		{"the own account, by a device", "GET", "/users/me", "hd_x", nil, 403, hearth.CodeForbidden, ""},
		{"setting up with a wrong token", "POST", "/auth/setup", "", m{"token": "x", "name": "Bob", "email": "bob@example.com", "password": sitePassword}, 403, hearth.CodeForbidden, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &site{t: t, url: s.url}
			r := s.want(s.call(test.method, test.path, test.token, test.body), test.status, test.code)
			if test.location != "" && !strings.Contains(r.raw, `"location":"`+test.location) {
				t.Errorf("%s is not named: %s", test.location, r.raw)
			}
			if strings.Contains(r.raw, sitePassword) || strings.Contains(r.raw, "Password123") {
				t.Errorf("the answer shows a password: %s", r.raw)
			}
		})
	}
}

func TestASignUpWithAKeyIsDoneOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := m{"name": "Ann", "email": "ann@example.com", "password": sitePassword}
	first := s.want(s.call("POST", "/auth/signup", "", body, "Idempotency-Key", "k"), 201, "")
	again := s.want(s.call("POST", "/auth/signup", "", body, "Idempotency-Key", "k"), 201, "")
	if first.raw != again.raw {
		t.Errorf("the answers differ: %s and %s", first.raw, again.raw)
	}
	body["name"] = "Bob"
	s.want(s.call("POST", "/auth/signup", "", body, "Idempotency-Key", "k"), 409, hearth.CodeIdempotencyMismatch)
}

func TestAdminsManageUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	admin := s.admin()
	for n := range 3 {
		s.signUp(fmt.Sprintf("p%d@example.com", n))
	}
	list := s.want(s.call("GET", "/users?q=P1@&count=true", admin, nil), 200, "")
	items, _ := list.body["items"].([]any)
	if len(items) != 1 || list.body["total"] != 1.0 {
		t.Fatalf("the users are %s", list.raw)
	}
	found, _ := items[0].(m)
	path := fmt.Sprint("/users/", found["id"])
	user := s.login("p1@example.com").text("access_token")
	s.want(s.call("PATCH", path, admin, m{"role": "admin"}), 200, "")
	s.want(s.call("GET", "/users/me", user, nil), 401, hearth.CodeTokenRevoked)
	s.want(s.call("PATCH", path, admin, m{"role": "user", "disabled": true}), 200, "")
	s.want(s.call("POST", "/auth/login", "", m{"email": "p1@example.com", "password": sitePassword}), 403, hearth.CodeForbidden)
	for _, body := range []m{{"role": "owner"}, {"role": nil}, {"disabled": nil}, {"name": "x"}} {
		s.want(s.call("PATCH", path, admin, body), 422, hearth.CodeValidationFailed)
	}
	s.want(s.call("PATCH", "/users/none", admin, m{"disabled": true}), 404, hearth.CodeNotFound)
	me := s.call("GET", "/users/me", admin, nil).text("id")
	s.want(s.call("PATCH", "/users/"+me, admin, m{"role": "user"}), 409, hearth.CodeConflict)
	s.want(s.call("PATCH", "/users/"+me, admin, m{"disabled": true}), 409, hearth.CodeConflict)
	for range 6 {
		s.call("POST", "/auth/login", "", m{"email": "p2@example.com", "password": "a wrong password"})
	}
	locked := s.want(s.call("POST", "/auth/login", "", m{"email": "p2@example.com", "password": sitePassword}), 429, hearth.CodeAccountLocked)
	if locked.header.Get("Retry-After") != "900" {
		t.Errorf("Retry-After is %q", locked.header.Get("Retry-After"))
	}
	found, _ = s.call("GET", "/users?q=p2@", admin, nil).body["items"].([]any)[0].(m)
	s.want(s.call("PATCH", fmt.Sprint("/users/", found["id"]), admin, m{"unlock": true}), 200, "")
	s.login("p2@example.com")
	page := s.call("GET", "/users?limit=3&fields=email", admin, nil)
	if next := page.text("next_cursor"); next == "" || !strings.Contains(page.raw, `{"email":"p2@example.com"}`) {
		t.Errorf("the page is %s", page.raw)
	}
}

func TestTheFirstAdminIsSetUpOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token, err := s.accounts.SetupToken(t.Context())
	if err != nil || token == "" {
		t.Fatalf("no set-up token: %v", err)
	}
	body := m{"token": token, "name": "Root", "email": "root@example.com", "password": sitePassword}
	in := s.want(s.call("POST", "/auth/setup", "", body), 201, "")
	s.want(s.call("GET", "/users", in.text("access_token"), nil), 200, "")
	body["email"] = "other@example.com"
	s.want(s.call("POST", "/auth/setup", "", body), 403, hearth.CodeForbidden)
	if token, err := s.accounts.SetupToken(t.Context()); err != nil || token != "" {
		t.Errorf("there is a set-up token with a user there: %q, %v", token, err)
	}
}

func TestSigningUpCanBeClosed(t *testing.T) {
	t.Parallel()
	invited := func(o *account.Options) {
		o.SignUp = account.SignUpInvite
		o.Invited = inviteOnly("bob@example.com")
	}
	for _, test := range []struct {
		name, email string
		options     func(*account.Options)
		status      int
		code        hearth.Code
	}{
		{"closed", "bob@example.com", func(o *account.Options) { o.SignUp = account.SignUpClosed }, 403, hearth.CodeForbidden},
		{"no invitations", "bob@example.com", func(o *account.Options) { o.SignUp = account.SignUpInvite }, 403, hearth.CodeForbidden},
		{"not invited", "eve@example.com", invited, 403, hearth.CodeForbidden},
		{"not invited and known", "root@example.com", invited, 403, hearth.CodeForbidden},
		{"invited", "Bob@example.com", invited, 201, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, test.options)
			s.admin()
			body := m{"name": "x", "email": test.email, "password": sitePassword, "invitation_token": "invited"}
			s.want(s.call("POST", "/auth/signup", "", body), test.status, test.code)
		})
	}
}

// inviteOnly knows the token "invited", which is of that e-mail.
func inviteOnly(email string) func(context.Context, string) (string, bool, error) {
	return func(_ context.Context, token string) (string, bool, error) { return email, token == "invited", nil }
}

// resetMail returns what the newest job that mails a password reset is about.
func (s *site) resetMail() account.ResetMail {
	s.t.Helper()
	jobs, err := s.store.PendingOutbox(s.t.Context(), 100)
	if err != nil {
		s.t.Fatal(err)
	}
	jobs = slices.DeleteFunc(jobs, func(j hearth.OutboxJob) bool { return j.Kind != account.ResetMailKind })
	mail, err := s.accounts.ResetMail(s.t.Context(), jobs[len(jobs)-1].Payload)
	if err != nil {
		s.t.Fatal(err)
	}
	return mail
}

func TestAForgottenPasswordIsReset(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	in := s.login("ann@example.com")
	known := s.want(s.call("POST", "/auth/password-reset", "", m{"email": "Ann@example.com"}), 202, "")
	unknown := s.want(s.call("POST", "/auth/password-reset", "", m{"email": "nobody@example.com"}), 202, "")
	if known.raw != unknown.raw || len(known.header) != len(unknown.header) {
		t.Errorf("the answers differ: %q %v and %q %v", known.raw, known.header, unknown.raw, unknown.header)
	}
	mail := s.resetMail()
	confirm := m{"token": mail.Token, "new_password": "password"}
	s.want(s.call("POST", "/auth/password-reset/confirm", "", confirm), 422, hearth.CodeValidationFailed)
	confirm["new_password"] = "another fine secret"
	s.want(s.call("POST", "/auth/password-reset/confirm", "", confirm), 204, "")
	s.want(s.call("POST", "/auth/password-reset/confirm", "", confirm), 422, hearth.CodeValidationFailed)
	s.want(s.call("GET", "/users/me", in.text("access_token"), nil), 401, hearth.CodeTokenRevoked)
	s.want(s.call("POST", "/auth/login", "", m{"email": "ann@example.com", "password": sitePassword}), 401, hearth.CodeInvalidCredentials)
	s.want(s.call("POST", "/auth/login", "", m{"email": "ann@example.com", "password": "another fine secret"}), 200, "")

	s.want(s.call("POST", "/auth/password-reset", "", m{"email": "ann@example.com"}), 202, "")
	mail = s.resetMail()
	s.clock.now = s.clock.now.Add(time.Hour)
	confirm["token"] = mail.Token
	s.want(s.call("POST", "/auth/password-reset/confirm", "", confirm), 422, hearth.CodeValidationFailed)
}
