package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
)

// memLimiter is the real limiter, with the API's words for its decisions.
type memLimiter struct{ *memkv.Limiter }

func (l memLimiter) Allow(ctx context.Context, class, key string, n int) (Decision, error) {
	d, err := l.Limiter.Allow(ctx, class, key, n)
	return Decision(d), err
}

func newMemLimiter(t testing.TB, limits kv.Limits) memLimiter {
	t.Helper()
	l, err := memkv.NewLimiter(memkv.LimiterOptions{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return memLimiter{l}
}

// call is one request of a test.
type call struct {
	method, path, token, body, ip string
	header                        map[string]string
}

func (c call) do(t testing.TB, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.ip != "" {
		r.RemoteAddr = c.ip
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func problemIn(t testing.TB, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return p
}

type credentials struct {
	Email    string `json:"email"`
	Password string `json:"password,omitempty"`
}

func newLimitedAPI(t testing.TB, limiter Limiter) *API {
	t.Helper()
	a, err := New(Options{
		Serving: ServingOptions{
			Users: tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "bob": {UserID: "2", Role: hearth.RoleUser}}, Devices: tokens{"hd_x": {DeviceID: "9"}, "hd_y": {DeviceID: "10"}}, Limiter: limiter,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	type body struct{ Body thing }
	register(a.Router, operation{ID: "test-put-device", Method: "PUT", Path: "/devices/{id}", Access: forDevices, Key: closedToKeys, Tag: "Test"},
		func(_ context.Context, in *struct {
			ID   string `path:"id"`
			Body thing
		}) (*body, error) {
			if in.ID == "gone" {
				return nil, hearth.NotFound("device")
			}
			return &body{Body: in.Body}, nil
		})
	register(a.Router, operation{ID: "test-general", Method: "GET", Path: "/things", Access: forUsers, Key: closedToKeys, Tag: "Test"},
		func(context.Context, *struct{}) (*body, error) { return &body{}, nil })
	register(a.Router, operation{ID: "test-login", Method: "POST", Path: "/auth/login", Access: forAnyone, Tag: "Test", CountByBody: a.limitLogin},
		func(context.Context, *struct{ Body credentials }) (*struct{}, error) {
			return nil, hearth.Errorf(hearth.CodeInvalidCredentials, "wrong")
		})
	return a
}

func TestEveryAnswerOfALimitedRouteShowsTheLimit(t *testing.T) {
	t.Parallel()
	hour := func(n int) kv.Rate { return kv.Rate{Limit: n, Per: time.Hour} }
	a := newLimitedAPI(t, newMemLimiter(t, kv.Limits{
		"auth": hour(2), "devices": hour(5), "device": hour(1), "general": hour(3),
	}))
	const device = "/api/v1/devices/1"
	login := func(email, ip string) call {
		return call{method: "POST", path: "/api/v1/auth/login", body: `{"email":"` + email + `"}`, ip: ip}
	}
	for _, step := range []struct {
		name             string
		call             call
		status           int
		limit, remaining string
		hit              string
	}{
		{"a success", call{method: "PUT", path: device, token: "ann", body: `{"name":"x"}`}, 200, "5", "4", ""},
		{"invalid input", call{method: "PUT", path: device, token: "ann", body: `{"name":""}`}, 422, "5", "3", ""},
		{"no JSON", call{method: "PUT", path: device, token: "ann", body: `{`}, 400, "5", "2", ""},
		{"an absent object", call{method: "PUT", path: "/api/v1/devices/gone", token: "ann", body: `{"name":"x"}`}, 404, "5", "1", ""},
		{"another media type", call{method: "PUT", path: device, token: "ann", body: `x`, header: map[string]string{"Content-Type": "text/plain"}}, 415, "5", "0", ""},
		{"one too many", call{method: "PUT", path: device, token: "ann", body: `{"name":"x"}`}, 429, "5", "0", "devices"},
		{"another person", call{method: "PUT", path: device, token: "bob", body: `{"name":"x"}`}, 200, "5", "4", ""},
		{"a device", call{method: "PUT", path: device, token: "hd_x", body: `{"name":"x"}`}, 200, "1", "0", ""},
		{"a device again", call{method: "PUT", path: device, token: "hd_x", body: `{"name":"x"}`}, 429, "1", "0", "device"},
		{"another device", call{method: "PUT", path: device, token: "hd_y", body: `{"name":"x"}`}, 200, "1", "0", ""},
		{"a device where people act", call{method: "GET", path: "/api/v1/things", token: "hd_y"}, 429, "1", "0", "device"},
		{"a guessed token", call{method: "GET", path: "/api/v1/things", token: "guess", ip: "192.0.2.1:1"}, 401, "3", "2", ""},
		{"no token", call{method: "GET", path: "/api/v1/things", ip: "192.0.2.1:2"}, 401, "3", "1", ""},
		{"another guess", call{method: "GET", path: "/api/v1/things", token: "guess2", ip: "192.0.2.1:3"}, 401, "3", "0", ""},
		{"a guess too many", call{method: "GET", path: "/api/v1/things", token: "guess3", ip: "192.0.2.1:4"}, 429, "3", "0", "general"},
		{"from another address", call{method: "GET", path: "/api/v1/things", token: "guess", ip: "192.0.2.2:1"}, 401, "3", "2", ""},
		{"a person behind the spent address", call{method: "GET", path: "/api/v1/things", token: "ann", ip: "192.0.2.1:5"}, 200, "3", "2", ""},

		{"a wrong password", login("a@x.example", "192.0.2.3:1"), 401, "2", "1", ""},
		{"the same account from elsewhere", login(" A@X.example", "192.0.2.4:1"), 401, "2", "0", ""},
		{"the account is spent, the address is not", login("a@x.example", "192.0.2.5:1"), 429, "2", "0", "auth"},
		{"another account from that address", login("b@x.example", "192.0.2.5:1"), 401, "2", "1", ""},
		{"one more", login("b2@x.example", "192.0.2.5:1"), 401, "2", "0", ""},
		{"the address is spent, the account is not", login("c@x.example", "192.0.2.5:1"), 429, "2", "0", "auth"},
		{"one address of a /64", login("d@x.example", "[2001:db8:1:2:3::1]:1"), 401, "2", "1", ""},
		{"another of it", login("e@x.example", "[2001:db8:1:2:ffff::]:1"), 401, "2", "0", ""},
		{"a third of it", login("f@x.example", "[2001:db8:1:2::9]:1"), 429, "2", "0", "auth"},
		{"the next /64", login("g@x.example", "[2001:db8:1:3::9]:1"), 401, "2", "1", ""},
		{"a body without an account", call{method: "POST", path: "/api/v1/auth/login", body: `{"email":3}`, ip: "192.0.2.6:1"}, 422, "2", "1", ""},
	} {
		w := step.call.do(t, a)
		header := w.Header()
		if w.Code != step.status || header.Get("RateLimit-Limit") != step.limit || header.Get("RateLimit-Remaining") != step.remaining {
			t.Fatalf("%s: %d, limit %q, remaining %q, want %d, %q, %q: %s", step.name, w.Code, header.Get("RateLimit-Limit"),
				header.Get("RateLimit-Remaining"), step.status, step.limit, step.remaining, w.Body)
		}
		if reset, err := strconv.Atoi(header.Get("RateLimit-Reset")); err != nil || reset < 1 || reset > 3600 {
			t.Errorf("%s: reset %q", step.name, header.Get("RateLimit-Reset"))
		}
		if step.status != 429 {
			continue
		}
		p := problemIn(t, w)
		retry, err := strconv.Atoi(header.Get("Retry-After"))
		if p.Code != hearth.CodeRateLimited || p.Limit != step.hit || err != nil || retry < 1 || retry > 3600 {
			t.Errorf("%s: %+v, Retry-After %q", step.name, p, header.Get("Retry-After"))
		}
	}
}

type brokenLimiter struct{ calls atomic.Int64 }

func (l *brokenLimiter) Allow(context.Context, string, string, int) (Decision, error) {
	l.calls.Add(1)
	return Decision{}, errors.New("redis is gone")
}

func TestWithoutALimitNothingIsRefusedOrShown(t *testing.T) {
	t.Parallel()
	broken := &brokenLimiter{}
	for name, limiter := range map[string]Limiter{
		"off":              nil,
		"the class is off": newMemLimiter(t, kv.Limits{"auth": {Limit: 1, Per: time.Hour}}),
		"cannot tell":      broken,
	} {
		a := newLimitedAPI(t, limiter)
		for range 10 {
			w := call{method: "GET", path: "/api/v1/things", token: "ann"}.do(t, a)
			if w.Code != 200 || w.Header().Get("RateLimit-Limit") != "" {
				t.Errorf("%s: %d %v", name, w.Code, w.Header())
			}
		}
	}
	if n := broken.calls.Load(); n != 10 {
		t.Errorf("the limiter was asked %d times, want 10", n)
	}
}

func TestOperationsHaveTheClassOfTheirPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, path, class string }{
		{"POST", "/auth/login", "auth"},
		{"POST", "/auth/signup", "auth"},
		{"POST", "/auth/refresh", "refresh"},
		{"POST", "/auth/password", "auth"},
		{"POST", "/auth/password-reset", "auth"},
		{"POST", "/auth/password-reset/confirm", "auth"},
		{"GET", "/auth/sessions", "general"},
		{"POST", "/auth/logout", "general"},
		{"GET", "/users/me", "general"},
		{"GET", "/devices", "devices"},
		{"POST", "/devices/{id}/heartbeat", "devices"},
		{"GET", "/devices/{id}/usage", "devices"},
		{"POST", "/heartbeats", "devices"},
		{"POST", "/logs", "devices"},
		{"GET", "/logsomething", "general"},
		{"GET", "/analytics/dashboard", "analytics"},
		{"POST", "/exports", "exports"},
		{"GET", "/exports", "general"},
		{"POST", "/exports/{id}/cancel", "general"},
		{"GET", "/realtime/ws", "streams"},
		{"GET", "/realtime/sse", "streams"},
		{"POST", "/realtime/ticket", "general"},
		{"GET", "/admin/audit", "general"},
	} {
		if got := classOf(operation{Method: tt.method, Path: tt.path}); got != tt.class {
			t.Errorf("%s %s: %q, want %q", tt.method, tt.path, got, tt.class)
		}
	}
	if got := classOf(operation{Method: "GET", Path: "/health", Root: true}); got != "" {
		t.Errorf("/health has the class %q", got)
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, test := range []struct {
		name    string
		limiter Limiter
	}{
		{"limits off", nil},
		{"limits on", newMemLimiter(b, kv.Limits{"general": {Limit: 1_000_000, Per: time.Millisecond}})},
	} {
		b.Run(test.name, func(b *testing.B) {
			a := newLimitedAPI(b, test.limiter)
			r := httptest.NewRequest("GET", "/api/v1/things", nil)
			r.Header.Set("Authorization", "Bearer ann")
			b.ReportAllocs()
			for b.Loop() {
				a.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
