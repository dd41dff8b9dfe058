package app_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
)

func TestTheServiceHoldsUnderAttack(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newInstances(t, m)
		t.Run("forged access tokens are refused", w.forgeTokens)
		t.Run("fifty parallel refreshes give one successor", w.refreshAtOnce)
		t.Run("two hundred parallel guesses get five verdicts", w.guessAtOnce)
		t.Run("a hundred parallel posts with one key make one object", w.postAtOnce)
		t.Run("an ended session is refused everywhere", w.endSessions)
	})
}

func (w *instances) refreshAtOnce(t *testing.T) {
	w.signUp(t, "rita@example.com")
	in := w.login(t, "rita@example.com")
	refresh := func(i int, token string) reply {
		return w.call(t, i, "POST", "/auth/refresh", "", apitest.Object{"refresh_token": token})
	}
	var successors sync.Map
	count := w.rush(50, func(i int) reply {
		r := refresh(i, in.text("refresh_token"))
		successors.Store(r.text("refresh_token"), true)
		return r
	})
	var next []string
	successors.Range(func(token, _ any) bool { next = append(next, token.(string)); return true })
	if count[""] != 50 || len(next) != 1 {
		t.Fatalf("the refreshes were answered by %v and %d new tokens", count, len(next))
	}
	third := w.want(t, refresh(0, next[0]), http.StatusOK, "") // spends the successor
	w.want(t, refresh(1, in.text("refresh_token")), http.StatusUnauthorized, hearth.CodeRefreshReused)
	w.want(t, refresh(1, third.text("refresh_token")), http.StatusUnauthorized, hearth.CodeTokenRevoked)
	w.refused(t, in.text("access_token"))
	w.refused(t, third.text("access_token"))
}

func (w *instances) guessAtOnce(t *testing.T) {
	w.signUp(t, "gus@example.com")
	for _, email := range []string{"gus@example.com", "nobody@example.com"} { // neither can be told from the other
		guess := apitest.Object{"email": email, "password": "guess guess guess"}
		count := w.rush(200, func(i int) reply { return w.call(t, i, "POST", "/auth/login", "", guess) })
		if count[hearth.CodeInvalidCredentials] != 5 || count[hearth.CodeAccountLocked] != 195 {
			t.Errorf("%s: the guesses were answered by %v", email, count)
		}
		guess["password"] = apitest.Password
		for i := range w.urls { // the right password does not show that it is
			w.want(t, w.call(t, i, "POST", "/auth/login", "", guess), http.StatusTooManyRequests, hearth.CodeAccountLocked)
		}
	}
}

func (w *instances) postAtOnce(t *testing.T) {
	var mu sync.Mutex
	answers := map[string]int{}
	count := w.rush(100, func(i int) reply {
		r := w.call(t, i, "POST", "/devices", w.admin, apitest.Object{"name": "once", "type": "lamp"}, "Idempotency-Key", strings.Repeat("k", 255))
		mu.Lock()
		defer mu.Unlock()
		answers[r.header.Get("Location")+r.raw]++
		return r
	})
	list := w.want(t, w.call(t, 0, "GET", "/devices?count=true", w.admin, nil), http.StatusOK, "")
	if items, _ := list.body["items"].([]any); len(items) != 1 || len(answers) != 1 || count[""] != 100 {
		t.Errorf("%d devices, %d different answers, by code %v", len(items), len(answers), count)
	}
}

// refused fails the test if an access token is still taken at any instance a second from now.
func (w *instances) refused(t *testing.T, token string) {
	t.Helper()
	deadline := time.Now().Add(time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range w.urls {
		for {
			asked := time.Now()
			r := w.call(t, i, "GET", "/users/me", token, nil)
			if r.status == http.StatusUnauthorized && r.code() == hearth.CodeTokenRevoked {
				break
			}
			if asked.After(deadline) {
				t.Errorf("instance %d still answers %d %s", i, r.status, r.raw)
				break
			}
			<-tick.C
		}
	}
}

// victim is a person whose session is about to end.
type victim struct{ id, email, access, refresh string }

// ends are the ways in which a session ends, asked of the first instance.
func (w *instances) ends() map[string]func(t *testing.T, v victim) reply {
	return map[string]func(t *testing.T, v victim) reply{
		"a logout": func(t *testing.T, v victim) reply {
			t.Helper()
			return w.call(t, 0, "POST", "/auth/logout", v.access, nil)
		},
		"a logout of all": func(t *testing.T, v victim) reply {
			t.Helper()
			return w.call(t, 0, "POST", "/auth/logout-all", v.access, nil)
		},
		"a refresh token given back": func(t *testing.T, v victim) reply {
			t.Helper()
			return w.call(t, 0, "POST", "/auth/revoke", "", apitest.Object{"token": v.refresh})
		},
		"an end from another session": func(t *testing.T, v victim) reply {
			t.Helper()
			other := w.login(t, v.email).text("access_token")
			sessions := w.want(t, w.call(t, 0, "GET", "/auth/sessions", other, nil), http.StatusOK, "")
			items, _ := sessions.body["items"].([]any)
			oldest, _ := items[len(items)-1].(apitest.Object)
			return w.call(t, 0, "DELETE", "/auth/sessions/"+apitest.Text(oldest, "id"), other, nil)
		},
		"a changed password": func(t *testing.T, v victim) reply {
			t.Helper()
			change := apitest.Object{"current_password": apitest.Password, "new_password": "another long secret"}
			return w.call(t, 0, "POST", "/auth/password", w.login(t, v.email).text("access_token"), change)
		},
		"a disabled account": func(t *testing.T, v victim) reply {
			t.Helper()
			return w.call(t, 0, "PATCH", "/users/"+v.id, w.admin, apitest.Object{"disabled": true})
		},
		"a changed role": func(t *testing.T, v victim) reply {
			t.Helper()
			return w.call(t, 0, "PATCH", "/users/"+v.id, w.admin, apitest.Object{"role": "admin"})
		},
	}
}

// Whatever ends a session counts within a second, and ends its streams within five, at every instance.
func (w *instances) endSessions(t *testing.T) {
	for name, end := range w.ends() {
		t.Run(name, func(t *testing.T) {
			v := victim{email: strings.ReplaceAll(name, " ", ".") + "@example.com"}
			v.id = w.signUp(t, v.email)
			in := w.login(t, v.email)
			v.access, v.refresh = in.text("access_token"), in.text("refresh_token")
			for i := range w.urls { // each has it in its cache
				w.want(t, w.call(t, i, "GET", "/users/me", v.access, nil), http.StatusOK, "")
			}
			streamed := w.stream(t, len(w.urls)-1, v.access)
			if r := end(t, v); r.status >= 300 {
				t.Fatalf("%d %s", r.status, r.raw)
			}
			begin := time.Now()
			w.refused(t, v.access)
			select {
			case <-streamed:
			case <-time.After(5*time.Second - time.Since(begin)):
				t.Error("the stream stays open")
			}
		})
	}
}

// stream opens a person's stream at an instance, and closes the channel when the server ends it.
func (w *instances) stream(t *testing.T, instance int, token string) <-chan struct{} {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.urls[instance]+"/api/v1/realtime/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the stream answers %d", response.StatusCode)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, response.Body) // however it ends
	}()
	return ended
}
