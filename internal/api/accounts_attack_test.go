package api

import (
	"context"
	"sync"
	"testing"
	"time"

	"hearth"
)

func TestTokensArePlacedInTheHeaderAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	in := s.login("ann@example.com")
	token := in.text("access_token")
	s.want(s.call("GET", "/users/me?access_token="+token, "", nil), 401, hearth.CodeUnauthenticated)
	s.want(s.call("GET", "/users/me", "", nil, "Authorization", "bearer "+token), 200, "")
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + token, token, "Bearer  " + token, "Bearer " + token + " x", "Token " + token} {
		s.want(s.call("GET", "/users/me", "", nil, "Authorization", header), 401, hearth.CodeUnauthenticated)
	}
	for _, kind := range []string{token, "hd_x"} { // neither is a refresh token
		s.want(s.call("POST", "/auth/refresh", "", m{"refresh_token": kind}), 401, hearth.CodeUnauthenticated)
	}
	// A client that still sends a bad token can sign in.
	s.want(s.call("POST", "/auth/login", "x.y.z", m{"email": "ann@example.com", "password": sitePassword}), 200, "")
}

func TestParallelSignUpsMakeOneAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	count := s.parallel(20, func(int) reply {
		return s.call("POST", "/auth/signup", "", m{"name": "Ann", "email": "ann@example.com", "password": sitePassword})
	})
	if count[""] != 1 || count[hearth.CodeEmailTaken] != 19 {
		t.Errorf("the sign-ups were answered by %v", count)
	}
}

// parallel makes n calls at once and counts their codes.
func (s *site) parallel(n int, call func(int) reply) map[hearth.Code]int {
	s.t.Helper()
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

func TestACachedTokenExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	token := s.login("ann@example.com").text("access_token")
	s.want(s.call("GET", "/users/me", token, nil), 200, "")
	s.clock.now = s.clock.now.Add(15 * time.Minute)
	s.want(s.call("GET", "/users/me", token, nil), 401, hearth.CodeTokenExpired)
	if _, err := s.accounts.Authenticate(context.Background(), token); hearth.ErrorCode(err) != hearth.CodeTokenExpired {
		t.Errorf("a cached token that expired is answered by %v", err)
	}
}
