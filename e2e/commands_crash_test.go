package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const commandKills = 20

// commandWire is a command as the API returns it.
type commandWire struct {
	ID          string         `json:"id"`
	Params      map[string]int `json:"params"`
	State       string         `json:"state"`
	Result      map[string]int `json:"result"`
	Attempts    int            `json:"attempts"`
	DeliveredAt *string        `json:"delivered_at"`
	CompletedAt *string        `json:"completed_at"`
}

// crashDevice is a device with the user who sends it commands. It notes what it does before it does it.
type crashDevice struct {
	id          string
	user, token *client
	rng         *rand.Rand

	sent     int            // commands that were posted, numbered by their params
	accepted map[string]int // by id: those that were answered with 202
	seen     []int          // the numbers of commands at their first coming, in order
	times    map[string]int // how often each came
	acked    map[string]bool
	results  map[string]int // the number of the latest result that was sent
	first    map[string]int // the number of the first result that was answered
	count    int
}

// post sends commands one after the other until the server dies.
func (d *crashDevice) post(ctx context.Context) {
	for ctx.Err() == nil {
		d.sent++
		a, err := d.user.send(ctx, "POST", "/devices/"+d.id+"/commands", map[string]any{"name": "count", "params": map[string]int{"n": d.sent}})
		if err != nil || a.Status != 202 {
			return
		}
		var c commandWire
		a.Into(d.user.s.t, &c)
		d.accepted[c.ID] = d.sent
	}
}

// serve polls and answers until the server dies, or, with idle, until there is nothing left.
func (d *crashDevice) serve(ctx context.Context, wait string, idle bool) {
	for ctx.Err() == nil {
		a, err := d.token.send(ctx, "GET", "/devices/"+d.id+"/commands/next?wait="+wait, nil)
		if err != nil || a.Status != 200 {
			if idle && err == nil && a.Status == 204 || err != nil || a.Status != 204 {
				return
			}
			continue
		}
		var c commandWire
		a.Into(d.user.s.t, &c)
		if d.times[c.ID]++; d.times[c.ID] == 1 {
			d.seen = append(d.seen, c.Params["n"])
		}
		path := "/devices/" + d.id + "/commands/" + c.ID
		if d.rng.IntN(3) > 0 {
			d.acked[c.ID] = true
			if a, err := d.token.send(ctx, "POST", path+"/ack", nil); err != nil || a.Status != 204 {
				return
			}
		}
		d.count++
		d.results[c.ID] = d.count
		if a, err := d.token.send(ctx, "POST", path+"/result", map[string]any{"ok": true, "result": map[string]int{"n": d.count}}); err != nil || a.Status != 204 {
			return
		}
		if d.first[c.ID] == 0 {
			d.first[c.ID] = d.count
		}
	}
}

// check holds what is stored against what the device did. It is called while nothing runs.
func (d *crashDevice) check(t *testing.T, end bool) {
	t.Helper()
	found := map[string]bool{}
	cursor := ""
	for {
		var page struct {
			Items []commandWire `json:"items"`
			Next  *string       `json:"next_cursor"`
		}
		d.user.do("GET", "/devices/"+d.id+"/commands?limit=200&cursor="+cursor, nil, 200).Into(t, &page)
		for _, c := range page.Items {
			found[c.ID] = true
			if c.Attempts < d.times[c.ID] {
				t.Errorf("command %d came %d times, and counts %d attempts", c.Params["n"], d.times[c.ID], c.Attempts)
			}
			switch {
			case c.State == "queued" && d.times[c.ID] > 0, end && c.State != "succeeded",
				c.State == "delivered" && !d.acked[c.ID], c.State == "succeeded" && d.results[c.ID] == 0,
				d.first[c.ID] > 0 && c.State != "succeeded":
				t.Errorf("command %d is %s; it came %d times, acknowledged %v, results up to %d, of which %d was answered first",
					c.Params["n"], c.State, d.times[c.ID], d.acked[c.ID], d.results[c.ID], d.first[c.ID])
			case c.State == "succeeded" && d.first[c.ID] > 0 && c.Result["n"] > d.first[c.ID]:
				t.Errorf("command %d ended a second time: with the result %d after %d", c.Params["n"], c.Result["n"], d.first[c.ID])
			case (c.State == "succeeded") != (c.CompletedAt != nil), c.State == "succeeded" && c.DeliveredAt == nil:
				t.Errorf("command %d is %+v", c.Params["n"], c)
			}
		}
		if page.Next == nil {
			break
		}
		cursor = *page.Next
	}
	for id, n := range d.accepted {
		if !found[id] {
			t.Errorf("command %d was accepted and is lost", n)
		}
	}
}

// A crash at any moment loses no command that was accepted and ends none twice, and no state is ahead of what the device did.
func TestKillingTheServerLosesNoCommandAndEndsNoneTwice(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_ACCESS_TTL=12h", "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	devices := make([]*crashDevice, 3)
	for i := range devices {
		id := ann.device(fmt.Sprint("device ", i))
		var made struct{ Token string }
		ann.do("POST", "/devices/"+id+"/tokens", nil, 201).Into(t, &made)
		devices[i] = &crashDevice{
			id: id, user: ann, token: &client{s: s, token: made.Token, http: s.anonymous().http}, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)),
			accepted: map[string]int{}, times: map[string]int{}, acked: map[string]bool{}, results: map[string]int{}, first: map[string]int{},
		}
	}
	for range commandKills {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, d := range devices {
			wg.Go(func() { d.post(ctx) })
			wg.Go(func() { d.serve(ctx, "10s", false) })
		}
		// The moment of a crash is any moment.
		time.Sleep(time.Duration(20+rng.IntN(180)) * time.Millisecond)
		s.kill()
		cancel()
		wg.Wait()
		s.start()
		for _, d := range devices {
			d.check(t, false)
		}
	}
	total := 0
	for i, d := range devices {
		d.serve(t.Context(), "0s", true)
		// A delivered command is not sent again: its device, which knows that it has it, answers it.
		for id := range d.acked {
			d.token.do("POST", "/devices/"+d.id+"/commands/"+id+"/result", map[string]any{"ok": true, "result": map[string]int{"n": d.count + 1}}, 204)
			if d.results[id] == 0 {
				d.results[id] = d.count + 1
			}
			if d.first[id] == 0 {
				d.first[id] = d.count + 1
			}
		}
		d.check(t, true)
		if len(d.accepted) == 0 {
			t.Error("no command was accepted: the test tested nothing")
		}
		total += len(d.accepted)
		for at := 1; at < len(d.seen); at++ {
			if d.seen[at] <= d.seen[at-1] {
				t.Errorf("device %d got command %d after %d", i, d.seen[at], d.seen[at-1])
			}
		}
	}
	t.Logf("%d commands were accepted over %d kills", total, commandKills)
	s.stop()
	checkIntegrity(t, filepath.Join(s.dir, "hearth.db"))
}
