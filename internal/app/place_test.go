package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/config"
	"hearth/internal/core/account"
)

type fields = map[string]any

// place is a service under attack, without rate limits: one program, or several that must act as one. Calls name the
// instance that they go to by any number.
type place struct {
	urls []string
	// keyFile is a file of the signing keys.
	keyFile string
	// admin is an access token.
	admin string
}

func newPlace(t *testing.T, m mode) *place {
	t.Helper()
	w := &place{}
	for i := range m.instances {
		cfg := m.config(t)
		var err error
		if cfg.RateLimits, err = config.ParseRateLimits("off"); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			w.urls = append(w.urls, start(t, cfg))
			continue
		}
		w.urls = append(w.urls, startWithAdmin(t, cfg))
		w.keyFile = filepath.Join(cfg.DataDir, "keys.json")
	}
	w.admin = w.login(t, "root@example.com").text("access_token")
	return w
}

// startWithAdmin is start with an admin, root@example.com.
func startWithAdmin(t *testing.T, cfg *config.Config) string {
	t.Helper()
	root := account.NewUser{Name: "Root", Email: "root@example.com", Password: townPassword, Role: hearth.RoleAdmin}
	if _, err := CreateUser(t.Context(), Settings{Config: cfg}, root); err != nil {
		t.Fatal(err)
	}
	return start(t, cfg)
}

// reply is what a call was answered.
type reply struct {
	status int
	header http.Header
	raw    string
	body   fields
}

// code returns the problem's code, or "".
func (r reply) code() hearth.Code { return hearth.Code(text(r.body, "code")) }

func (r reply) text(field string) string { return text(r.body, field) }

// call sends body as JSON, if it is not nil, with the token, if any, and header pairs. It may run in any goroutine: a failure
// of the transport is an error of the test and the zero reply.
func (w *place) call(t *testing.T, instance int, method, path, token string, body any, header ...string) (r reply) {
	t.Helper()
	var data []byte
	if body != nil {
		data = []byte(asJSON(t, body))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, w.urls[instance%len(w.urls)]+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		t.Error(err)
		return r
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return r
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err == nil && len(raw) > 0 {
		err = json.Unmarshal(raw, &r.body)
	}
	if err != nil {
		t.Errorf("%s %s answered %q: %v", method, path, raw, err)
	}
	r.status, r.header, r.raw = response.StatusCode, response.Header, string(raw)
	return r
}

func (w *place) want(t *testing.T, r reply, status int, code hearth.Code) reply {
	t.Helper()
	if r.status != status || r.code() != code {
		t.Fatalf("answered %d %s, want %d %q", r.status, r.raw, status, code)
	}
	return r
}

// signUp makes an account and returns its id.
func (w *place) signUp(t *testing.T, email string) string {
	t.Helper()
	made := w.want(t, w.call(t, 0, "POST", "/auth/signup", "", fields{"name": "Ann", "email": email, "password": townPassword}), 201, "")
	return inner(made.body, "user", "id")
}

func (w *place) login(t *testing.T, email string) reply {
	t.Helper()
	return w.want(t, w.call(t, 0, "POST", "/auth/login", "", fields{"email": email, "password": townPassword}), 200, "")
}

// publishedKey returns the x of the only key that verifies access tokens.
func (w *place) publishedKey(t *testing.T) string {
	t.Helper()
	response, err := http.Get(w.urls[0] + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var set struct {
		Keys []struct{ X string } `json:"keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil || len(set.Keys) != 1 || set.Keys[0].X == "" {
		t.Fatalf("the published keys are %v, %v", set, err)
	}
	return set.Keys[0].X
}

// rush makes n calls at once, the one half to another instance than the other, and counts their codes.
func (w *place) rush(n int, call func(i int) reply) map[hearth.Code]int {
	var mu sync.Mutex
	count := map[hearth.Code]int{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := call(i)
			mu.Lock()
			defer mu.Unlock()
			count[r.code()]++
		})
	}
	wg.Wait()
	return count
}
