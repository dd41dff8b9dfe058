package cleanup

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// note is a store of the uptime.
type note struct{ up hearth.Uptime }

func (n *note) Uptime(context.Context) (hearth.Uptime, error) { return n.up, nil }

func (n *note) UpdateUptime(_ context.Context, change func(hearth.Uptime) hearth.Uptime) (hearth.Uptime, error) {
	n.up = change(n.up)
	return n.up, nil
}

func TestNothingOldIsRemovedByAClockThatIsFarAhead(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type at struct {
		after   time.Duration
		removes bool
	}
	for name, times := range map[string][]at{
		"it runs":                            {{0, true}, {5 * time.Minute, true}, {day, true}, {2 * day, true}},
		"it is a year ahead, and put right":  {{0, true}, {365 * day, false}, {365*day + time.Hour, false}, {time.Hour, true}, {2 * time.Hour, true}},
		"it is ahead twice":                  {{0, true}, {365 * day, false}, {time.Minute, true}, {366*day + time.Hour, false}},
		"it is further ahead, then less":     {{0, true}, {365 * day, false}, {30 * day, false}, {30*day + time.Hour, false}, {31 * day, true}},
		"it was off for a month":             {{0, true}, {30 * day, false}, {30*day + 23*time.Hour, false}, {31 * day, true}, {31*day + time.Hour, true}},
		"it is on for two hours a week":      {{0, true}, {7 * day, false}, {7*day + 2*time.Hour, false}, {14 * day, true}, {14*day + 2*time.Hour, true}},
		"it was ahead at first, then is put": {{365 * day, true}, {0, true}, {day, true}},
	} {
		start := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
		now, ran := start, 0
		clock := Clock{Store: &note{up: hearth.Uptime{AliveAt: start}}, Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}
		work := func(context.Context) (int, error) { ran++; return 1, nil }
		kinds := Jobs{{Name: "old", Old: true, Work: work}, {Name: "other", Work: work}}.Kinds(clock)
		for _, moment := range times {
			now, ran = start.Add(moment.after), 0
			for _, k := range kinds {
				if err := k.Handler(t.Context(), &queue.Task{}); err != nil {
					t.Fatal(err)
				}
			}
			if removed := ran == 2; removed != moment.removes {
				t.Errorf("%s: after %s: removed is %t, want %t", name, moment.after, removed, moment.removes)
			}
		}
	}
}
