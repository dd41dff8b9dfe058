package app_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/core/account"
)

// journal is a log that many goroutines write to.
type journal struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.data.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.data.String()
}

// fetch returns the status and the text of an answer to an anonymous GET.
func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Whatever people do with their secrets, none is in the log (at its most talkative), the audit, the metrics or a refusal.
func TestNoSecretIsShownAnywhere(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	var err error
	if cfg.RateLimits, err = config.ParseRateLimits("off"); err != nil {
		t.Fatal(err)
	}
	cfg.RefreshLeeway = 0 // a second use is a refusal
	log := &journal{}
	a := app.NewProgram(t, cfg, func(s *app.Settings) {
		s.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	root := account.NewUser{Name: "Root", Email: "root@example.com", Password: apitest.Password, Role: hearth.RoleAdmin}
	a.CreateUser(t, root)
	w := &instances{}
	apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error {
		return a.Run(ctx, func(url string) { w.urls = []string{url}; ready() })
	})

	secrets := map[string]string{}
	var refusals strings.Builder
	refuse := func(method, path, token string, body any) {
		t.Helper()
		r := w.call(t, 0, method, path, token, body)
		if r.status < 400 {
			t.Errorf("%s %s is %d", method, path, r.status)
		}
		refusals.WriteString(r.raw)
	}
	keep := func(name, secret string) string {
		t.Helper()
		if len(secret) < 8 {
			t.Fatalf("%s is %q", name, secret)
		}
		secrets[name] = secret[max(0, len(secret)-40):] // of a token, its signature
		return secret
	}
	admin := w.login(t, "root@example.com").text("access_token")
	keep("the password", apitest.Password)
	w.signUp(t, "ann@example.com")
	in := w.login(t, "ann@example.com")
	access, refresh := keep("an access token", in.text("access_token")), keep("a refresh token", in.text("refresh_token"))
	guess, next := keep("a guess", "my other account's secret"), keep("a new password", "a newly made secret")
	refuse("POST", "/auth/login", "", apitest.Object{"email": "ann@example.com", "password": guess})
	refuse("POST", "/auth/login", "", apitest.Object{"email": "ann@example.com", "password": []string{guess}})
	refuse("POST", "/auth/signup", "", apitest.Object{"name": "x", "email": "not an e-mail", "password": guess})
	refuse("POST", "/auth/signup", "", apitest.Object{"name": "x", "email": "x@example.com", "password": "short", "token": guess})
	refuse("POST", "/auth/password-reset/confirm", "", apitest.Object{"token": keep("a reset token", "of the person's own making"), "new_password": next})
	refuse("GET", "/users/me", keep("a forged token", access+"x"), nil)
	refuse("GET", "/users/me?access_token="+access, "", nil)
	w.want(t, w.call(t, 0, "POST", "/auth/password", access, apitest.Object{"current_password": apitest.Password, "new_password": next}), 204, "")
	device := w.want(t, w.call(t, 0, "POST", "/devices", access, apitest.Object{"name": "lamp", "type": "lamp"}), 201, "").text("id")
	token := keep("a device's token", w.want(t, w.call(t, 0, "POST", "/devices/"+device+"/tokens", access, nil), 201, "").text("token"))
	w.want(t, w.call(t, 0, "POST", "/devices/"+device+"/heartbeat", token, apitest.Object{}), 200, "")
	refuse("GET", "/devices", token, nil)
	apiKey := apitest.Object{"name": "ci", "scopes": []string{"devices:read"}}
	key := keep("an API key", w.want(t, w.call(t, 0, "POST", "/users/me/api-keys", access, apiKey, "Idempotency-Key", "k"), 201, "").text("key"))
	w.want(t, w.call(t, 0, "POST", "/users/me/api-keys", access, apiKey, "Idempotency-Key", "k"), 201, "")
	w.want(t, w.call(t, 0, "GET", "/devices", key, nil), 200, "")
	refuse("GET", "/users/me", key, nil)
	refuse("GET", "/devices?api_key="+key, "", nil)
	refuse("GET", "/realtime/sse?ticket="+key, "", nil)
	refuse("GET", "/devices", keep("a forged API key", strings.Replace(key, "hk_", "hk_A", 1)), nil)
	made := w.call(t, 0, "POST", "/provisioning-keys", access, apitest.Object{"name": "x", "device_type": "lamp"}, "Idempotency-Key", "p")
	factory := apitest.Object{"key": keep("a provisioning key", made.text("key")), "serial": "SN-1", "secret": keep("a device's secret", "known to the device alone")}
	provisioned := w.want(t, w.call(t, 0, "POST", "/provision", "", factory, "Idempotency-Key", "d"), 201, "")
	keep("a provisioned token", provisioned.text("token"))
	refuse("POST", "/provision", "", apitest.Object{"key": factory["key"], "serial": "SN-1", "secret": keep("a guessed secret", "guessed by someone else")})
	refuse("POST", "/provision", "", apitest.Object{"key": keep("a forged provisioning key", "hp_A"+strings.Repeat("forged", 7)), "serial": "SN-1"})
	code := w.call(t, 0, "POST", "/devices/"+device+"/claim-codes", access, nil, "Idempotency-Key", "c").text("code")
	refuse("POST", "/claims", access, apitest.Object{"code": keep("a guessed code", "GUES-SED0-C0DE")})
	w.want(t, w.call(t, 0, "POST", "/claims", access, apitest.Object{"code": keep("a claim code", code)}), 200, "")
	ticket := keep("a ticket", w.want(t, w.call(t, 0, "POST", "/realtime/ticket", access, nil), 201, "").text("ticket"))
	streaming, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(streaming, http.MethodGet, w.urls[0]+"/api/v1/realtime/sse?ticket="+ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	leave()
	_ = response.Body.Close()
	refuse("GET", "/realtime/sse?ticket="+ticket, "", nil) // it was used
	second := w.want(t, w.call(t, 0, "POST", "/auth/refresh", "", apitest.Object{"refresh_token": refresh}), 200, "")
	keep("the next refresh token", second.text("refresh_token"))
	refuse("POST", "/auth/refresh", "", apitest.Object{"refresh_token": refresh})

	export, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.urls[0]+"/api/v1/admin/audit/export?format=ndjson", nil)
	if err != nil {
		t.Fatal(err)
	}
	export.Header.Set("Authorization", "Bearer "+admin)
	answer, err := http.DefaultClient.Do(export)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	audit, err := io.ReadAll(answer.Body)
	if err != nil || bytes.Count(audit, []byte("\n")) < 8 || !strings.Contains(log.String(), "/auth/login") {
		t.Fatalf("%d %s %v: the test can tell nothing", answer.StatusCode, audit, err)
	}
	for place, text := range map[string]string{"the log": log.String(), "the audit": string(audit), "the metrics": metricsOf(t, a), "a refusal": refusals.String()} {
		for name, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", place, name)
			}
		}
	}
}

// A server that was only started lets nobody in by a name that others would guess, and its API shows none of its inside.
func TestAFreshServerHasNoAccountAndShowsNoInside(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	var err error
	if cfg.RateLimits, err = config.ParseRateLimits("off"); err != nil {
		t.Fatal(err)
	}
	w := &instances{urls: []string{apitest.Start(t, cfg)}}
	for _, email := range []string{"admin@example.com", "root@localhost", "admin@hearth.local", "demo@example.com"} {
		for _, password := range []string{"admin", "password", "hearth", "changeme", "demo"} {
			r := w.call(t, 0, "POST", "/auth/login", "", apitest.Object{"email": email, "password": password})
			if r.status < 400 {
				t.Errorf("%s with %q is let in: %d", email, password, r.status)
			}
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/api/v1/metrics", "/keys.json", "/hearth.db", "/.git/config"} {
		if status, text := fetch(t, w.urls[0]+path); status != http.StatusNotFound {
			t.Errorf("%s is %d: %.200s", path, status, text)
		}
	}
}

// Keys rotate while two instances serve: each takes the new ones over, and no token or stored field is lost on the way.
func TestKeysRotateBesideTwoInstances(t *testing.T) {
	t.Parallel()
	m := apitest.Distributed(t)
	w := &instances{}
	settings := func() *config.Config {
		cfg := m.Config(t)
		cfg.EncryptionKeys = []config.Key{{31: 7, 3: 1, 9: 200}}
		return cfg
	}
	for range 2 {
		w.urls = append(w.urls, apitest.Start(t, settings()))
	}
	w.signUp(t, "ann@example.com")
	tokens := []string{w.login(t, "ann@example.com").text("access_token")}
	before := w.publishedKey(t)
	done, err := app.RotateKeys(t.Context(), app.Settings{Config: settings()})
	if err != nil || !done.Sealing || done.Fields == 0 || done.Lost != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	tokens = append(tokens, w.login(t, "ann@example.com").text("access_token"))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(30 * time.Second)
	for i, url := range w.urls {
		for {
			_, keys := fetch(t, url+"/.well-known/jwks.json")
			if strings.Count(keys, `"kid"`) == 2 && strings.Contains(keys, before) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("instance %d publishes %s", i, keys)
			}
			<-tick.C
		}
		for _, token := range tokens {
			list := w.want(t, w.call(t, i, "GET", "/auth/sessions", token, nil), 200, "")
			items, _ := list.body["items"].([]any)
			readable := slices.IndexFunc(items, func(item any) bool {
				session, _ := item.(apitest.Object)
				return apitest.Text(session, "ip") != "127.0.0.1"
			}) < 0
			if len(items) != 2 || !readable {
				t.Errorf("instance %d reads the sessions %s", i, list.raw)
			}
		}
	}
}
