package telemetry

import (
	"fmt"
	"testing"
	"time"

	"hearth"
)

func TestRatesSlideOverTenSecondsAndStayInTheirScope(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	m := newMeter(func() time.Time { return now })
	ann, org := hearth.UserScope("ann"), hearth.OrgScope("o")
	want := func(reach hearth.Reach, rate float64) {
		t.Helper()
		if got := m.perSecond(reach); got != rate {
			t.Errorf("at %d: got %v, want %v", now.Unix(), got, rate)
		}
	}
	m.add(ann, 30)
	m.add(org, 10)
	now = now.Add(9 * time.Second)
	m.add(ann, 20)
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
	m := newMeter(func() time.Time { return now })
	for i := range 3 * maxScopes {
		m.add(hearth.UserScope(fmt.Sprint(i)), 1)
	}
	if len(m.scopes) > maxScopes {
		t.Errorf("%d scopes are kept", len(m.scopes))
	}
	if got := m.perSecond(hearth.Reach{All: true}); got != 3*maxScopes/10 {
		t.Errorf("the total is %v", got)
	}
}
