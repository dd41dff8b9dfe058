package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	alarmKills   = 50
	stormDevices = 4
	quietDevices = 5
)

// stormDevice sends readings that go over the limit and under it, each a second of their own time after the one before.
type stormDevice struct {
	id   string
	next time.Time
	rng  *rand.Rand
}

// run sends until the server dies.
func (d *stormDevice) run(ctx context.Context, c *client) {
	for ctx.Err() == nil {
		items := make([]map[string]any, 1+d.rng.IntN(6))
		for i := range items {
			d.next = d.next.Add(time.Second)
			items[i] = map[string]any{"device_id": d.id, "event": "t", "value": d.rng.IntN(2), "timestamp": d.next.Format(time.RFC3339)}
		}
		if a, err := c.send(ctx, "POST", "/logs", items); err != nil || a.Status != 201 {
			return
		}
	}
}

// episodesOf returns what follows from the readings that are stored, and what was raised by a rule: the times of each episode and its count.
func (d *stormDevice) episodesOf(t *testing.T, c *client, rule string) (want, got []string) {
	t.Helper()
	raised, cleared, count := "", "", 0
	end := func() {
		if raised != "" {
			want = append(want, fmt.Sprintf("%s %s %d", raised, cleared, count))
		}
		raised, cleared, count = "", "", 0
	}
	each(t, c, "/devices/"+d.id+"/logs?range=7d&order=asc&limit=200", func(log struct {
		Value     float64
		Timestamp string
	},
	) {
		switch {
		case log.Value > 0 && raised == "":
			raised, count = log.Timestamp, 1
		case log.Value > 0:
			count++
		case raised != "":
			cleared = log.Timestamp
			end()
		}
	})
	end()
	each(t, c, "/alarms?sort=raised_at&limit=200&device_id="+d.id+"&rule_id="+rule, func(alarm struct {
		RaisedAt  string  `json:"raised_at"`
		ClearedAt *string `json:"cleared_at"`
		Count     int
	},
	) {
		at := ""
		if alarm.ClearedAt != nil {
			at = *alarm.ClearedAt
		}
		got = append(got, fmt.Sprintf("%s %s %d", alarm.RaisedAt, at, alarm.Count))
	})
	return want, got
}

// each calls do with every item of a list.
func each[T any](t *testing.T, c *client, path string, do func(T)) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Items []T
			Next  *string `json:"next_cursor"`
		}
		c.do("GET", path+"&cursor="+cursor, nil, 200).Into(t, &page)
		for _, item := range page.Items {
			do(item)
		}
		if page.Next == nil {
			return
		}
		cursor = *page.Next
	}
}

// A crash at any moment loses no episode and doubles none: neither of readings nor of silence, and its notifications neither.
func TestKillingTheServerLosesNoAlarmAndDoublesNone(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_ACCESS_TTL=12h", "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 4))
	rule := func(name string, condition, devices map[string]any, actions ...any) string {
		var made struct{ ID string }
		ann.do("POST", "/rules", map[string]any{
			"name": name, "severity": "major", "condition": condition, "devices": devices, "actions": actions,
		}, 201).Into(t, &made)
		return made.ID
	}
	storm := make([]*stormDevice, stormDevices)
	for i := range storm {
		id := ann.device(fmt.Sprint("storm ", i))
		storm[i] = &stormDevice{id: id, next: time.Now().Add(-24 * time.Hour), rng: rand.New(rand.NewPCG(rng.Uint64(), 5))}
	}
	over := map[string]any{"event": "t", "operator": "gt", "value": 0}
	hot := rule("Hot", over, nil)
	told := rule("Hot and told", over, map[string]any{"ids": []string{storm[0].id}}, map[string]any{"notify": "owner", "on": "both"})
	var quiet []string
	for i := range quietDevices {
		quiet = append(quiet, ann.device(fmt.Sprint("quiet ", i)))
	}
	silent := rule("Silent", map[string]any{"no_data": map[string]any{"for": 3}}, map[string]any{"ids": quiet})

	for range alarmKills {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, d := range storm {
			wg.Go(func() { d.run(ctx, ann) })
		}
		time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond) // a crash has no moment of its own
		s.kill()
		cancel()
		wg.Wait()
		s.start()
	}
	episodes := 0
	for i, d := range storm {
		rules := []string{hot}
		if i == 0 {
			rules = append(rules, told)
		}
		for _, rule := range rules {
			var want, got []string
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
				if want, got = d.episodesOf(t, ann, rule); slices.Equal(want, got) || time.Now().After(deadline) {
					break
				}
			}
			if !slices.Equal(want, got) {
				t.Errorf("device %d has the alarms\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			episodes += len(want)
		}
	}
	count := func(path string) (n int) {
		var list struct{ Total int }
		ann.do("GET", path+"&count=true&limit=1", nil, 200).Into(t, &list)
		return list.Total
	}
	// The alarms of the device whose owner is told, and one notification when each was raised and one when it was cleared.
	notices := count("/alarms?rule_id="+told) + count("/alarms?state=cleared&rule_id="+told)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if n := count("/notifications?"); n == notices {
			break
		} else if n > notices || time.Now().After(deadline) {
			t.Errorf("%d notifications, want %d", n, notices)
			break
		}
	}
	for _, id := range quiet {
		for deadline := time.Now().Add(time.Minute); count("/alarms?rule_id="+silent+"&device_id="+id) == 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a silent device has no alarm")
			}
		}
	}
	if n := count("/alarms?rule_id=" + silent); n != quietDevices {
		t.Errorf("%d alarms of silence, want %d", n, quietDevices)
	}
	if episodes < alarmKills {
		t.Errorf("there were only %d episodes: the test tested nothing", episodes)
	}
	t.Logf("%d episodes over %d kills", episodes, alarmKills)
	s.stop()
	checkIntegrity(t, filepath.Join(s.dir, "hearth.db"))
}
