package judge_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth"
	"hearth/internal/judge"
)

// history is a random one, second by second: in each hearth is up or down, and something comes in or not.
type history struct{ up, comes []bool }

// naiveSilence computes the episodes of a silence from the whole history, by counting.
func naiveSilence(h history, lasts int) (found []string) {
	silent, raised := 0, -1
	for now := range h.up {
		switch {
		case h.comes[now]:
			if raised >= 0 && raised < now {
				found = append(found, fmt.Sprintf("raised@%d cleared@%d", raised, now))
			}
			silent, raised = 0, -1
		case silent == lasts && raised < 0:
			raised = now
		}
		if h.up[now] { // the second that begins now
			silent = min(silent+1, lasts)
		}
		if silent == lasts && raised < 0 {
			raised = now + 1
		}
	}
	if raised >= 0 && raised < len(h.up)-1 {
		found = append(found, fmt.Sprintf("raised@%d", raised))
	}
	return found
}

// The machine, with its state stored between all judgements, finds the silences that follow from the whole history: whatever the store
// misses in between, hearth being down, and due judgements that come late.
func TestSilencesAreThoseOfTheWholeHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lasts := rapid.SampledFrom([]int{1, 2, 5, 20}).Draw(t, "for")
		offline := rapid.Bool().Draw(t, "offline")
		c := noData("", lasts)
		if offline {
			c = offlineFor(lasts)
		}
		var h history
		var down []hearth.Outage
		for range rapid.IntRange(1, 30).Draw(t, "parts") {
			length := rapid.IntRange(1, 30).Draw(t, "length")
			if up := rapid.IntRange(0, 3).Draw(t, "up") > 0; !up {
				begin := len(h.up)
				if n := len(down); n > 0 && down[n-1].To.Equal(at(begin)) {
					down[n-1].To = at(begin + length)
				} else {
					down = append(down, hearth.Outage{From: at(begin), To: at(begin + length)})
				}
				h.up, h.comes = append(h.up, make([]bool, length)...), append(h.comes, make([]bool, length)...)
				continue
			}
			often := rapid.IntRange(1, 2*lasts+2).Draw(t, "often")
			for range length {
				h.up, h.comes = append(h.up, true), append(h.comes, rapid.IntRange(0, often).Draw(t, "comes") == 0)
			}
		}
		h.up, h.comes = append(h.up, true), append(h.comes, false)

		d := &device{rule: mustRule(c), life: judge.Life{Created: at(0)}}
		judgeAt := func(second int, do func(*judge.Judge)) {
			d.life.Known, d.life.Outages = at(second), nil
			for _, o := range down {
				if !o.To.After(at(second)) {
					d.life.Outages = append(d.life.Outages, o)
				}
			}
			d.judge(at(second), do)
		}
		tick := func(second int) { judgeAt(second, func(j *judge.Judge) { j.Tick(at(second)) }) }
		tick(0)
		for now := range h.up {
			if !h.up[now] {
				continue
			}
			if due := !d.watch.Due.IsZero() && !d.watch.Due.After(at(now)); due && (offline || rapid.Bool().Draw(t, "in time")) {
				tick(now)
			}
			if !h.comes[now] {
				continue
			}
			var batch []hearth.Reading
			before := d.life.Heard
			if offline {
				d.life.Heard = at(now)
			} else {
				batch = []hearth.Reading{{Event: "t", Value: hearth.Number(1), At: at(now - rapid.IntRange(-5, 100).Draw(t, "late"))}}
			}
			// A sign of life waits to be judged only of a device that was silent as long as the rule says.
			if !offline || at(now).Sub(before) >= time.Duration(lasts)*time.Second {
				judgeAt(now, func(j *judge.Judge) { j.Batch(batch, at(now)) })
			}
		}
		tick(len(h.up) - 1)
		if got, want := episodes(d.all), naiveSilence(h, lasts); !slices.Equal(got, want) {
			t.Fatalf("for %d, %v\ngot  %v\nwant %v", lasts, h, got, want)
		}
	})
}
