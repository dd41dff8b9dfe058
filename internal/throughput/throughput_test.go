package throughput

import (
	"fmt"
	"testing"
	"time"

	"hearth"
)

func TestRatesSlideOverTenSecondsAndStayInTheirScope(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	m := New(func() time.Time { return now })
	ann, org := hearth.UserScope("ann"), hearth.OrgScope("o")
	want := func(reach hearth.Reach, rate float64) {
		t.Helper()
		if got := m.PerSecond(reach); got != rate {
			t.Errorf("at %d: got %v, want %v", now.Unix(), got, rate)
		}
	}
	m.Add(ann, 30)
	m.Add(org, 10)
	now = now.Add(9 * time.Second)
	m.Add(ann, 20)
	want(hearth.Reach{Scopes: []hearth.Scope{ann}}, 5)
	want(hearth.Reach{Scopes: []hearth.Scope{ann, org}}, 6)
	want(hearth.Reach{All: true}, 6)
	want(hearth.Reach{}, 0)
	now = now.Add(time.Second)
	want(hearth.Reach{Scopes: []hearth.Scope{ann}}, 2)
	now = now.Add(time.Hour)
	want(hearth.Reach{All: true}, 0)
}

func TestScopesAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	m := New(func() time.Time { return now })
	for i := range 3 * maxScopes {
		m.Add(hearth.UserScope(fmt.Sprint(i)), 1)
	}
	if len(m.scopes) > maxScopes {
		t.Errorf("%d scopes are kept", len(m.scopes))
	}
	if got := m.PerSecond(hearth.Reach{All: true}); got != 3*maxScopes/10 {
		t.Errorf("the total is %v", got)
	}
}

func TestEventsCountInTheirScopes(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	m := New(func() time.Time { return now })
	ann, bob := hearth.UserScope("ann"), hearth.UserScope("bob")
	m.Add(ann, 2)
	m.Add(bob, 1)
	now = now.Add(11 * time.Second)
	m.Add(bob, 1)
	if rate, others := m.PerSecond(hearth.Reach{Scopes: []hearth.Scope{bob}}), m.PerSecond(hearth.Reach{Scopes: []hearth.Scope{ann}}); rate != 0.1 || others != 0 {
		t.Errorf("bob's rate is %v, ann's %v", rate, others)
	}
	if n := m.Total(); n != 4 {
		t.Errorf("%d events were counted", n)
	}
}
