package judge_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth"
	"hearth/internal/judge"
)

// arrival is a reading of a history; judged says that readings before it were judged, and the state stored, before it came in.
type arrival struct {
	at, received int
	value        float64
}

// naive computes the episodes of a threshold from the whole history, second by second: no state, but the list of what counts.
func naive(c hearth.Condition, history []arrival, end int) (found []string) {
	// What counts: of the readings in order of arrival those that are not older than one before them, nor the same again.
	var counted []arrival
	for _, a := range history {
		late := slices.ContainsFunc(counted, func(b arrival) bool { return b.at > a.at })
		again := len(counted) > 0 && counted[len(counted)-1].at == a.at && counted[len(counted)-1].value == a.value
		if !late && !again {
			counted = append(counted, a)
		}
	}
	open := func(v float64) bool { return judge.Met(c, hearth.Number(v)) }
	shut := func(v float64) bool { return judge.Ended(c, hearth.Number(v)) }
	// holds returns when a run of readings that begins with i has lasted, and the index of the next reading that the outcome is before.
	holds := func(i int, good func(float64) bool, d time.Duration) (over int, next int, ok bool) {
		lasts := int(d / time.Second)
		over = counted[i].at + lasts
		for k := i; k < len(counted); k++ {
			if k > i && counted[k].received > counted[i].received+lasts { // the clock was first
				return over, k, true
			}
			if !good(counted[k].value) {
				return 0, k, false
			}
			if counted[k].at >= over {
				return over, k + 1, true
			}
		}
		return over, len(counted), counted[i].received+lasts <= end
	}
	for i := 0; i < len(counted); {
		if !open(counted[i].value) {
			i++
			continue
		}
		raised, next, ok := holds(i, open, c.For)
		if !ok {
			i = next
			continue
		}
		episode, over := fmt.Sprintf("raised@%d", raised), false
		for i = next; i < len(counted) && !over; {
			if !shut(counted[i].value) {
				i++
				continue
			}
			var cleared int
			if cleared, next, over = holds(i, shut, c.ClearFor); over {
				episode += fmt.Sprintf(" cleared@%d", cleared)
			}
			i = next
		}
		found = append(found, episode)
	}
	return found
}

// The machine, with its state stored and read again between all judgements and ticks at random, finds the episodes that follow from the
// whole history.
func TestEpisodesAreThoseOfTheWholeHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := threshold(rapid.SampledFrom([]hearth.Operator{hearth.Greater, hearth.GreaterOrEqual}).Draw(t, "operator"), 3)
		c.For = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 20}).Draw(t, "for")) * time.Second
		c.ClearFor = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 20}).Draw(t, "clear for")) * time.Second
		if rapid.Bool().Draw(t, "band") {
			c.ClearValue = number(2)
		}
		var history []arrival
		now, newest := 0, 0
		for range rapid.IntRange(1, 40).Draw(t, "readings") {
			now += rapid.IntRange(0, 8).Draw(t, "pause")
			a := arrival{received: now, value: float64(rapid.IntRange(0, 5).Draw(t, "value"))}
			a.at = newest + rapid.SampledFrom([]int{1, 2, 3, 5, 9, 30, 0, 0, -1, -7}).Draw(t, "time")
			if len(history) > 0 && rapid.IntRange(0, 9).Draw(t, "doubled") == 0 {
				a.at, a.value = history[len(history)-1].at, history[len(history)-1].value
			}
			newest = max(newest, a.at)
			history = append(history, a)
		}
		end := now + rapid.IntRange(0, 60).Draw(t, "end")

		d := &device{rule: mustRule(c)}
		tick := func(second int) { d.judge(at(second), func(j *judge.Judge) { j.Tick(at(second)) }) }
		last := 0
		for _, a := range history {
			for second := last + 1; second < a.received; second++ {
				if rapid.IntRange(0, 2).Draw(t, "tick") == 0 {
					tick(second)
				}
			}
			last = a.received
			reading := hearth.Reading{Event: "t", Value: hearth.Number(a.value), At: at(a.at)}
			d.judge(at(a.received), func(j *judge.Judge) { j.Batch([]hearth.Reading{reading}, at(a.received)) })
		}
		tick(end)
		got := episodes(d.all)
		if want := naive(c, history, end); !slices.Equal(got, want) {
			t.Fatalf("%+v\n%+v\ngot  %v\nwant %v", c, history, got, want)
		}
	})
}

// A replay of stored logs finds what was found live, where no reading came late.
func TestAReplayFindsWhatWasFoundLive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := threshold(hearth.Greater, 3)
		c.For = time.Duration(rapid.IntRange(0, 9).Draw(t, "for")) * time.Second
		c.ClearFor = time.Duration(rapid.IntRange(0, 9).Draw(t, "clear for")) * time.Second
		seconds := rapid.SliceOfDistinct(rapid.IntRange(0, 200), func(n int) int { return n }).Draw(t, "seconds")
		slices.SortFunc(seconds, cmp.Compare)
		var readings []hearth.Reading
		d := &device{rule: mustRule(c)}
		for _, second := range seconds {
			reading := hearth.Reading{Event: "t", Value: hearth.Number(float64(rapid.IntRange(0, 5).Draw(t, "value"))), At: at(second)}
			readings = append(readings, reading)
			d.judge(at(second), func(j *judge.Judge) { j.Batch([]hearth.Reading{reading}, at(second)) })
		}
		d.judge(at(300), func(j *judge.Judge) { j.Tick(at(300)) })
		var got []string
		for _, e := range judge.Replay(d.rule, readings, judge.Life{}, at(300)) {
			episode := fmt.Sprintf("raised@%d", secondsOf(e.RaisedAt))
			if !e.ClearedAt.IsZero() {
				episode += fmt.Sprintf(" cleared@%d", secondsOf(e.ClearedAt))
			}
			got = append(got, episode)
		}
		if want := episodes(d.all); !slices.Equal(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	})
}

// episodes returns what raised and cleared alarms, one text an alarm.
func episodes(changes []judge.Change) (all []string) {
	for _, c := range changes {
		switch c.Kind {
		case judge.Raised:
			all = append(all, fmt.Sprintf("raised@%d", secondsOf(c.At)))
		case judge.Cleared:
			all[len(all)-1] += fmt.Sprintf(" cleared@%d", secondsOf(c.At))
		case judge.Seen:
		}
	}
	return all
}

func mustRule(c hearth.Condition) *judge.Rule {
	r, problem := judge.New(hearth.Rule{ID: "r", Condition: c, Version: 1})
	if problem != "" {
		panic(problem)
	}
	return r
}
