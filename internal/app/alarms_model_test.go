package app_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/config"
)

// modelRule is a rule of the test and how the model decides: met and ended say it of the values that the rule looks at, lasting how long
// each must hold on the readings' time, longer than the test takes.
type modelRule struct {
	condition apitest.Object
	events    []string
	met       func(v map[string]any) bool
	ended     func(v map[string]any) bool
	lasting   time.Duration

	values    map[string]any
	at        map[string]time.Time
	pending   time.Time
	ending    time.Time
	active    bool
	found     []string
	raised    time.Time
	count     int
	lastValue any
}

// modelReading is a reading of a history.
type modelReading struct {
	event string
	value any
	at    time.Time
}

func modelRules() []*modelRule {
	number := func(v map[string]any) int {
		n, ok := v["t"].(int)
		if !ok {
			return -1
		}
		return n
	}
	over := func(v map[string]any) bool { return number(v) > 30 }
	return []*modelRule{
		{
			condition: apitest.Object{"event": "t", "operator": "gt", "value": 30, "clear": apitest.Object{"value": 28}}, events: []string{"t"},
			met: over, ended: func(v map[string]any) bool { return number(v) <= 28 },
		},
		{
			condition: apitest.Object{"event": "t", "operator": "gt", "value": 30, "for": 3600, "clear": apitest.Object{"for": 3600}}, events: []string{"t"},
			met: over, ended: func(v map[string]any) bool { return !over(v) }, lasting: time.Hour,
		},
		{
			condition: apitest.Object{"expression": "t > 30 && u == true"}, events: []string{"t", "u"},
			met:   func(v map[string]any) bool { return over(v) && v["u"] == true },
			ended: func(v map[string]any) bool { return !over(v) || v["u"] != true },
		},
	}
}

// see judges readings that came in together, in the order of their time.
func (r *modelRule) see(batch []modelReading) {
	batch = slices.Clone(batch)
	slices.SortStableFunc(batch, func(a, b modelReading) int { return a.at.Compare(b.at) })
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].at.Equal(batch[0].at) {
			n++
		}
		var news *modelReading
		for i := range batch[:n] {
			one := &batch[i]
			known := r.at[one.event]
			if !slices.Contains(r.events, one.event) || known.After(one.at) || known.Equal(one.at) && r.values[one.event] == one.value {
				continue
			}
			r.values[one.event], r.at[one.event] = one.value, one.at
			news = one
			if len(r.events) == 1 {
				r.look(one.value, one.at)
			}
		}
		if news != nil && len(r.events) > 1 {
			at := r.at["t"]
			if r.at["u"].After(at) {
				at = r.at["u"]
			}
			r.look(news.value, at)
		}
		batch = batch[n:]
	}
}

// look moves the rule by what is known at a time.
func (r *modelRule) look(value any, at time.Time) {
	met, ended := r.met(r.values), r.ended(r.values)
	if !r.active {
		switch {
		case !met:
			r.pending = time.Time{}
			return
		case r.pending.IsZero():
			r.pending = at
		}
		if over := r.pending.Add(r.lasting); !over.After(at) {
			r.active, r.raised, r.count, r.lastValue, r.pending, r.ending = true, over, 1, value, time.Time{}, time.Time{}
		}
		return
	}
	if met {
		r.count, r.lastValue = r.count+1, value
	}
	switch {
	case !ended:
		r.ending = time.Time{}
		return
	case r.ending.IsZero():
		r.ending = at
	}
	if over := r.ending.Add(r.lasting); !over.After(at) {
		r.end(modelTime(over))
	}
}

func (r *modelRule) end(cleared string) {
	r.found = append(r.found, fmt.Sprint(modelTime(r.raised), " ", cleared, " ", r.count, " ", r.lastValue))
	r.active, r.pending, r.ending = false, time.Time{}, time.Time{}
}

func modelTime(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// modelInstance is an instance that is started again and again with the same settings.
type modelInstance struct {
	cfg  *config.Config
	stop func()
}

// Over HTTP: histories with readings that are late or come twice, with spans that are deleted and instances that are restarted in between,
// have the alarms that follow from the whole history.
func TestAlarmsAreThoseOfTheWholeHistory(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		const seed = 41
		rng := rand.New(rand.NewPCG(seed, uint64(m.Instances)))
		var ahead atomic.Int64
		w := &alarmist{&commander{instances: &instances{}}}
		var all []*modelInstance
		for range m.Instances {
			one := &modelInstance{cfg: m.Config(t)}
			url, stop := aheadOf(t, one.cfg, &ahead)
			one.stop = stop
			all = append(all, one)
			w.urls = append(w.urls, url)
		}
		w.signUp(t, "ann@example.com")
		w.user = w.login(t, "ann@example.com").text("access_token")
		w.device, w.token = w.newDevice(t, "lamp")
		rules := modelRules()
		ids := make([]string, len(rules))
		for i, r := range rules {
			r.values, r.at = map[string]any{}, map[string]time.Time{}
			ids[i] = w.rule(t, apitest.Object{"name": fmt.Sprint("rule ", i), "condition": r.condition})
		}
		next := time.Now().Add(-20 * 24 * time.Hour).Truncate(time.Second)
		var history []modelReading
		value := func() modelReading {
			if rng.IntN(3) == 0 {
				return modelReading{"u", rng.IntN(2) == 0, next}
			}
			return modelReading{"t", 26 + rng.IntN(8), next}
		}
		post := func() {
			var batch []modelReading
			for range 1 + rng.IntN(5) {
				switch one := value(); {
				case rng.IntN(8) == 0 && len(history) > 0: // once more
					batch = append(batch, history[len(history)-1-rng.IntN(min(4, len(history)))])
				case rng.IntN(8) == 0: // late
					one.at = one.at.Add(-time.Duration(rng.IntN(180)) * time.Minute)
					batch = append(batch, one)
				default:
					next = next.Add(time.Duration(rng.IntN(40)) * time.Minute)
					one.at = next
					batch = append(batch, one)
				}
				history = append(history, batch[len(batch)-1])
			}
			items := make([]any, len(batch))
			for i, one := range batch {
				items[i] = apitest.Object{"device_id": w.device, "event": one.event, "value": one.value, "timestamp": modelTime(one.at)}
			}
			w.want(t, w.call(t, rng.IntN(len(all)), "POST", "/logs", w.user, items), 201, "")
			for _, r := range rules {
				r.see(batch)
			}
		}
		remove := func() {
			from := next.Add(-time.Duration(rng.IntN(600)) * time.Minute)
			span := url.Values{"from": {modelTime(from)}, "to": {modelTime(from.Add(time.Duration(1+rng.IntN(600)) * time.Minute))}}
			r := w.call(t, rng.IntN(len(all)), "DELETE", "/devices/"+w.device+"/logs?"+span.Encode(), w.user, nil)
			if r.status/100 != 2 {
				t.Fatalf("a deletion is answered %d %s", r.status, r.raw)
			}
		}
		restart := func() {
			i := rng.IntN(len(all))
			all[i].stop()
			w.urls[i], all[i].stop = aheadOf(t, all[i].cfg, &ahead)
		}
		for step := range 120 {
			post()
			if step%9 == 8 {
				remove()
			}
			if step%40 == 39 {
				restart()
			}
		}
		episodes := 0
		for i, r := range rules {
			want := slices.Clone(r.found)
			if r.active {
				want = append(want, fmt.Sprint(modelTime(r.raised), " <nil> ", r.count, " ", r.lastValue))
			}
			episodes += len(want)
			var got []string
			for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				got = nil
				list := w.want(t, w.call(t, 0, "GET", "/alarms?sort=raised_at&limit=200&rule_id="+ids[i], w.user, nil), 200, "")
				for _, item := range list.body["items"].([]any) {
					a := item.(map[string]any)
					got = append(got, fmt.Sprint(a["raised_at"], " ", a["cleared_at"], " ", a["count"], " ", a["value"]))
				}
				if slices.Equal(got, want) || time.Now().After(deadline) {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("seed %d: rule %d has the alarms\n%s\nwant\n%s", seed, i, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if episodes < 20 {
			t.Errorf("there are only %d episodes: the test tested nothing", episodes)
		}
	})
}
