package api

import (
	"context"
	"errors"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
)

// memLimiter is the real limiter, with the API's words for its decisions.
type memLimiter struct{ *memkv.Limiter }

func (l memLimiter) Allow(ctx context.Context, class, key string, n int) (rest.Decision, error) {
	d, err := l.Limiter.Allow(ctx, class, key, n)
	return rest.Decision(d), err
}

func newMemLimiter(t testing.TB, limits kv.Limits) memLimiter {
	t.Helper()
	l, err := memkv.NewLimiter(memkv.LimiterOptions{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return memLimiter{l}
}

type thing struct {
	Name string `json:"name" minLength:"1"`
}

type credentials struct {
	Email    string `json:"email"`
	Password string `json:"password,omitempty"`
}

func newLimitedAPI(t testing.TB, limiter rest.Limiter) *API {
	t.Helper()
	a, err := New(Options{
		Serving: rest.Options{
			Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "bob": {UserID: "2", Role: hearth.RoleUser}}, Devices: resttest.Tokens{"hd_x": {DeviceID: "9"}, "hd_y": {DeviceID: "10"}}, Limiter: limiter,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	type body struct{ Body thing }
	rest.Register(a.Router, rest.Operation{ID: "test-put-device", Method: "PUT", Path: "/devices/{id}", Access: rest.ForDevices, Key: rest.ClosedToKeys, Tag: "Test"},
		func(_ context.Context, in *struct {
			ID   string `path:"id"`
			Body thing
		}) (*body, error) {
			if in.ID == "gone" {
				return nil, hearth.NotFound("device")
			}
			return &body{Body: in.Body}, nil
		})
	rest.Register(a.Router, rest.Operation{ID: "test-general", Method: "GET", Path: "/things", Access: rest.ForUsers, Key: rest.ClosedToKeys, Tag: "Test"},
		func(context.Context, *struct{}) (*body, error) { return &body{}, nil })
	rest.Register(a.Router, rest.Operation{ID: "test-login", Method: "POST", Path: "/auth/login", Access: rest.ForAnyone, Tag: "Test", CountByBody: people.CountLogins(a.Router, nil)},
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
	login := func(email, ip string) resttest.Call {
		return resttest.Call{Method: "POST", Path: "/api/v1/auth/login", Body: `{"email":"` + email + `"}`, IP: ip}
	}
	for _, step := range []struct {
		name             string
		call             resttest.Call
		status           int
		limit, remaining string
		hit              string
	}{
		{"a success", resttest.Call{Method: "PUT", Path: device, Token: "ann", Body: `{"name":"x"}`}, 200, "5", "4", ""},
		{"invalid input", resttest.Call{Method: "PUT", Path: device, Token: "ann", Body: `{"name":""}`}, 422, "5", "3", ""},
		{"no JSON", resttest.Call{Method: "PUT", Path: device, Token: "ann", Body: `{`}, 400, "5", "2", ""},
		{"an absent object", resttest.Call{Method: "PUT", Path: "/api/v1/devices/gone", Token: "ann", Body: `{"name":"x"}`}, 404, "5", "1", ""},
		{"another media type", resttest.Call{Method: "PUT", Path: device, Token: "ann", Body: `x`, Header: map[string]string{"Content-Type": "text/plain"}}, 415, "5", "0", ""},
		{"one too many", resttest.Call{Method: "PUT", Path: device, Token: "ann", Body: `{"name":"x"}`}, 429, "5", "0", "devices"},
		{"another person", resttest.Call{Method: "PUT", Path: device, Token: "bob", Body: `{"name":"x"}`}, 200, "5", "4", ""},
		{"a device", resttest.Call{Method: "PUT", Path: device, Token: "hd_x", Body: `{"name":"x"}`}, 200, "1", "0", ""},
		{"a device again", resttest.Call{Method: "PUT", Path: device, Token: "hd_x", Body: `{"name":"x"}`}, 429, "1", "0", "device"},
		{"another device", resttest.Call{Method: "PUT", Path: device, Token: "hd_y", Body: `{"name":"x"}`}, 200, "1", "0", ""},
		{"a device where people act", resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "hd_y"}, 429, "1", "0", "device"},
		{"a guessed token", resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "guess", IP: "192.0.2.1:1"}, 401, "3", "2", ""},
		{"no token", resttest.Call{Method: "GET", Path: "/api/v1/things", IP: "192.0.2.1:2"}, 401, "3", "1", ""},
		{"another guess", resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "guess2", IP: "192.0.2.1:3"}, 401, "3", "0", ""},
		{"a guess too many", resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "guess3", IP: "192.0.2.1:4"}, 429, "3", "0", "general"},
		{"from another address", resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "guess", IP: "192.0.2.2:1"}, 401, "3", "2", ""},
		{"a person behind the spent address", resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "ann", IP: "192.0.2.1:5"}, 200, "3", "2", ""},

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
		{"a body without an account", resttest.Call{Method: "POST", Path: "/api/v1/auth/login", Body: `{"email":3}`, IP: "192.0.2.6:1"}, 422, "2", "1", ""},
	} {
		w := step.call.Do(t, a)
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
		p := resttest.ProblemIn(t, w)
		retry, err := strconv.Atoi(header.Get("Retry-After"))
		if p.Code != hearth.CodeRateLimited || p.Limit != step.hit || err != nil || retry < 1 || retry > 3600 {
			t.Errorf("%s: %+v, Retry-After %q", step.name, p, header.Get("Retry-After"))
		}
	}
}

type brokenLimiter struct{ calls atomic.Int64 }

func (l *brokenLimiter) Allow(context.Context, string, string, int) (rest.Decision, error) {
	l.calls.Add(1)
	return rest.Decision{}, errors.New("redis is gone")
}

func TestWithoutALimitNothingIsRefusedOrShown(t *testing.T) {
	t.Parallel()
	broken := &brokenLimiter{}
	for name, limiter := range map[string]rest.Limiter{
		"off":              nil,
		"the class is off": newMemLimiter(t, kv.Limits{"auth": {Limit: 1, Per: time.Hour}}),
		"cannot tell":      broken,
	} {
		a := newLimitedAPI(t, limiter)
		for range 10 {
			w := resttest.Call{Method: "GET", Path: "/api/v1/things", Token: "ann"}.Do(t, a)
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
		if got := classOf(rest.Operation{Method: tt.method, Path: tt.path}); got != tt.class {
			t.Errorf("%s %s: %q, want %q", tt.method, tt.path, got, tt.class)
		}
	}
	if got := classOf(rest.Operation{Method: "GET", Path: "/health", Root: true}); got != "" {
		t.Errorf("/health has the class %q", got)
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, test := range []struct {
		name    string
		limiter rest.Limiter
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
