package e2e

import (
	"net/http"
	"testing"

	"hearth/internal/apitest"
)

// What was refused before a crash is refused after it: a restart returns nobody new guesses and no new exports.
func TestLimitsAndLocksHoldOverACrashInBothModes(t *testing.T) {
	t.Parallel()
	limits := "HEARTH_RATE_LIMITS=auth=12/1h,exports=2/1h,general=off,devices=off,analytics=off,device=off,streams=off"
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		refuseOverACrash(t, serve(t, limits))
	})
	t.Run("fleet", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, fleetOptions{env: []string{limits}})
		refuseOverACrash(t, f.apis[0])
	})
}

// refuseOverACrash uses up the limits and locks an account, kills the program, starts it again, and tries once more.
func refuseOverACrash(t *testing.T, s *server) {
	t.Helper()
	order, wrong := map[string]any{"type": "logs", "format": "csv"}, map[string]any{"email": "bob@example.com", "password": "a wrong guess"}
	right := map[string]any{"email": "bob@example.com", "password": password}
	ann, _ := s.signup("ann@example.com")
	nobody := s.anonymous()
	nobody.do("POST", "/auth/signup", map[string]any{"name": "Bob", "email": "bob@example.com", "password": password}, http.StatusCreated)
	for range 5 {
		refusal(t, nobody.do("POST", "/auth/login", wrong, http.StatusUnauthorized), "invalid_credentials", "")
	}
	for range 2 {
		ann.do("POST", "/exports", order, http.StatusAccepted)
	}
	check := func() {
		t.Helper()
		refusal(t, nobody.do("POST", "/auth/login", right, http.StatusTooManyRequests), "account_locked", "")
		refusal(t, ann.do("POST", "/exports", order, http.StatusTooManyRequests), "rate_limited", "exports")
	}
	check()
	s.kill()
	s.start()
	check()
	for range 5 { // the last of the twelve from here on the account
		nobody.do("POST", "/auth/login", right, http.StatusTooManyRequests)
	}
	refusal(t, nobody.do("POST", "/auth/login", right, http.StatusTooManyRequests), "rate_limited", "auth")
	s.kill()
	s.start()
	refusal(t, nobody.do("POST", "/auth/login", right, http.StatusTooManyRequests), "rate_limited", "auth")
}

// refusal expects a problem of that code and of that limit, and when to come back.
func refusal(t *testing.T, a apitest.Answer, code, limit string) {
	t.Helper()
	var problem struct{ Code, Limit string }
	a.Into(t, &problem)
	if problem.Code != code || problem.Limit != limit {
		t.Errorf("%s, want %s of the limit %q", a.Body, code, limit)
	}
	if a.Status == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
		t.Errorf("%s says nothing of when to come back", a.Body)
	}
}
