package alarms

import (
	"slices"
	"testing"
	"time"

	"hearth"
)

func TestUptimeKnowsWhenHearthWasDown(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	play := func(seconds ...int) (u hearth.Uptime) {
		for _, s := range seconds {
			u = aliveAt(u, at(s), outageAfter)
		}
		return u
	}
	for name, tt := range map[string]struct {
		notes []int
		want  []hearth.Outage
	}{
		"it runs":                    {[]int{0, 1, 4, 5}, nil},
		"it was down twice":          {[]int{0, 4, 5, 60}, []hearth.Outage{{From: at(0), To: at(4)}, {From: at(5), To: at(60)}}},
		"the clock is put back":      {[]int{0, 4, 100, 50, 51}, []hearth.Outage{{From: at(0), To: at(4)}}},
		"the clock goes on and back": {[]int{0, 3600, 1, 2}, nil},
	} {
		u := play(tt.notes...)
		if !slices.Equal(u.Outages, tt.want) || !u.AliveAt.Equal(at(tt.notes[len(tt.notes)-1])) {
			t.Errorf("%s: %+v, want %v", name, u, tt.want)
		}
	}
	many := []int{0, 5}
	for n := range maxOutages {
		many = append(many, 5+10*(n+1))
	}
	if u := play(many...); len(u.Outages) != maxOutages || !u.Outages[0].From.Equal(at(5)) {
		t.Errorf("of %d outages %d are kept, the first from %v on", len(many)-1, len(u.Outages), u.Outages[0].From)
	}
}
