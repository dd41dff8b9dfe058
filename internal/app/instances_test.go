package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/core/account"
	"hearth/internal/testserver"
)

// instances are a service under attack, without rate limits: one program, or several that must act as one. Calls name the
// instance that they go to by any number.
type instances struct {
	urls []string
	// mqtt are their addresses for devices.
	mqtt []string
	// keyFile is a file of the signing keys.
	keyFile string
	// admin is an access token.
	admin string
}

func newInstances(t *testing.T, m apitest.Mode, change ...func(*config.Config)) *instances {
	t.Helper()
	w := &instances{}
	for i := range m.Instances {
		cfg := m.Config(t)
		cfg.MQTTAddr = testserver.FreeAddr(t)
		w.mqtt = append(w.mqtt, cfg.MQTTAddr)
		var err error
		if cfg.RateLimits, err = config.ParseRateLimits("off"); err != nil {
			t.Fatal(err)
		}
		for _, c := range change {
			c(cfg)
		}
		if i > 0 {
			w.urls = append(w.urls, apitest.Start(t, cfg))
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
	root := account.NewUser{Name: "Root", Email: "root@example.com", Password: apitest.Password, Role: hearth.RoleAdmin}
	app.CreateUser(t, app.Settings{Config: cfg}, root)
	return apitest.Start(t, cfg)
}

// reply is what a call was answered.
type reply struct {
	status int
	header http.Header
	raw    string
	body   apitest.Object
}

// code returns the problem's code, or "".
func (r reply) code() hearth.Code { return hearth.Code(apitest.Text(r.body, "code")) }

func (r reply) text(field string) string { return apitest.Text(r.body, field) }

// call sends body as JSON, if it is not nil, with the token, if any, and header pairs. It may run in any goroutine: a failure
// of the transport is an error of the test and the zero reply.
func (w *instances) call(t *testing.T, instance int, method, path, token string, body any, header ...string) (r reply) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := &apitest.Client{URL: w.urls[instance%len(w.urls)], Token: token}
	answer, err := c.Send(ctx, method, path, body, header...)
	if err == nil && len(answer.Body) > 0 {
		err = json.Unmarshal(answer.Body, &r.body)
	}
	if err != nil {
		t.Errorf("%s %s answered %q: %v", method, path, answer.Body, err)
	}
	r.header = answer.Header
	r.status, r.raw = answer.Text()
	return r
}

func (w *instances) want(t *testing.T, r reply, status int, code hearth.Code) reply {
	t.Helper()
	if r.status != status || r.code() != code {
		t.Fatalf("answered %d %s, want %d %q", r.status, r.raw, status, code)
	}
	return r
}

// signUp makes an account and returns its id.
func (w *instances) signUp(t *testing.T, email string) string {
	t.Helper()
	made := w.want(t, w.call(t, 0, "POST", "/auth/signup", "", apitest.Object{"name": "Ann", "email": email, "password": apitest.Password}), 201, "")
	return inner(made.body, "user", "id")
}

func (w *instances) login(t *testing.T, email string) reply {
	t.Helper()
	return w.want(t, w.call(t, 0, "POST", "/auth/login", "", apitest.Object{"email": email, "password": apitest.Password}), 200, "")
}

// publishedKey returns the x of the only key that verifies access tokens.
func (w *instances) publishedKey(t *testing.T) string {
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
func (w *instances) rush(n int, call func(i int) reply) map[hearth.Code]int {
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
