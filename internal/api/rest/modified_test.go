package rest

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/resttest"
)

func TestAnAnswerIsGivenOnceToWhoAsksSince(t *testing.T) {
	t.Parallel()
	now, name := time.Date(2026, 3, 1, 12, 0, 0, 200e6, time.UTC), "lamp"
	a := newRouter(t, Options{
		Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "bob": {UserID: "2", Role: hearth.RoleUser}}, Devices: resttest.Tokens{}, Clock: func() time.Time { return now },
	})
	Register(a, Operation{ID: "get-thing", Method: "GET", Path: "/thing", Tag: "Things", Access: ForUsers, Key: ClosedToKeys, ETag: true},
		func(context.Context, *struct{}) (*Body[thing], error) {
			return &Body[thing]{thing{Name: name}}, nil
		})
	ask := func(token string, header ...string) (status int, modified string) {
		t.Helper()
		c := resttest.Call{Method: "GET", Path: "/api/v1/thing", Token: token, Header: map[string]string{}}
		for i := 0; i < len(header); i += 2 {
			c.Header[header[i]] = header[i+1]
		}
		answer := c.Do(t, a)
		if answer.Code == http.StatusNotModified && answer.Body.Len() > 0 {
			t.Errorf("a 304 has the body %s", answer.Body)
		}
		return answer.Code, answer.Header().Get("Last-Modified")
	}
	want := func(what string, status int, modified bool, header ...string) string {
		t.Helper()
		got, at := ask("ann", header...)
		if got != status || (at != "") != modified {
			t.Errorf("%s: answers %d, last modified %q, want %d, %t", what, got, at, status, modified)
		}
		return at
	}
	// An answer that may still change within the second that it would name names none.
	want("new", 200, false)
	now = now.Add(2 * time.Second)
	first := want("settled", 200, true)
	want("known", 304, true, "If-Modified-Since", first)
	want("known, much later", 304, true, "If-Modified-Since", now.Add(time.Hour).Format(http.TimeFormat))
	want("older", 200, true, "If-Modified-Since", now.Add(-time.Hour).Format(http.TimeFormat))
	want("not a time", 200, true, "If-Modified-Since", "yesterday")
	want("another tag counts more", 200, true, "If-Modified-Since", first, "If-None-Match", `"x"`)
	if status, at := ask("bob", "If-Modified-Since", first); status != 200 || at != "" {
		t.Errorf("another person is answered %d, %q", status, at)
	}
	name = "pump"
	want("changed within the second", 200, false, "If-Modified-Since", first)
	now = now.Add(3 * time.Second)
	second := want("changed and settled", 200, true, "If-Modified-Since", first)
	if second == first {
		t.Errorf("both answers are of %s", first)
	}
	want("known again", 304, true, "If-Modified-Since", second)
	name = "lamp"
	want("changed back", 200, false, "If-Modified-Since", second)
}

// However many questions there are, what is remembered of them has a fixed place.
func TestWhatIsRememberedOfAnswersIsBounded(t *testing.T) {
	t.Parallel()
	m, now := newModifications(), time.Now()
	for i := range 3 * len(m.seen) {
		m.since(fmt.Sprint("question ", i), "tag", now)
	}
	later := now.Add(time.Hour)
	forgotten := 0
	for i := range 3 * len(m.seen) {
		if m.since(fmt.Sprint("question ", i), "tag", later).After(later) {
			forgotten++
		}
	}
	if forgotten < len(m.seen) {
		t.Errorf("%d of %d were forgotten", forgotten, 3*len(m.seen))
	}
}
