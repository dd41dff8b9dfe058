package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	live "hearth/client/go"
	"hearth/internal/bus/redisbus"
	"hearth/internal/queue/redisqueue"
	"hearth/internal/redisconn"
)

// What one instance does shows at the other, as if there were one.
func TestAFleetIsOneService(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	ann, who := f.signup("ann@example.com")
	one, other := f.of(0, ann), f.of(1, ann)
	id := one.device("kitchen")

	t.Run("a device that was read is read anew after a change elsewhere", func(t *testing.T) {
		other.do("POST", "/devices/"+id+"/heartbeat", map[string]any{}, 200)
		other.do("GET", "/devices", nil, 200)
		one.do("PATCH", "/devices/"+id, map[string]any{"name": "scullery"}, 200)
		within(t, time.Second, "the new name in the list", func() string {
			if a := other.do("GET", "/devices", nil, 200); !strings.Contains(string(a.Body), "scullery") {
				return string(a.Body)
			}
			return ""
		})
	})
	t.Run("who was heard at one instance is online at the other", func(t *testing.T) {
		device := one.device("porch")
		one.do("POST", "/devices/"+device+"/heartbeat", map[string]any{"status": "error"}, 200)
		within(t, time.Second, "the device is online", func() string {
			a := other.do("GET", "/devices?connection=online", nil, 200)
			if !strings.Contains(string(a.Body), device) {
				return string(a.Body)
			}
			return ""
		})
	})
	t.Run("a role counts at once, and its end", func(t *testing.T) {
		bob, bobs := f.signup("bob@example.com")
		there := f.of(1, bob)
		there.do("GET", "/devices", nil, 200) // without any organization so far
		var org struct {
			ID string `json:"id"`
		}
		one.do("POST", "/organizations", map[string]any{"name": "team"}, 201).Into(t, &org)
		one.do("PUT", "/organizations/"+org.ID+"/members/"+bobs.User.ID, map[string]any{"role": "member"}, 200)
		within(t, time.Second, "the role is known", statusIs(there, 200, "GET", "/organizations/"+org.ID, nil))
		one.do("DELETE", "/organizations/"+org.ID+"/members/"+bobs.User.ID, nil, 204)
		within(t, time.Second, "the role is gone", statusIs(there, 404, "GET", "/organizations/"+org.ID, nil))
	})
	t.Run("logs count in analytics everywhere", func(t *testing.T) {
		dashboard := func(c *client) int {
			var d struct {
				Summary struct {
					Total int `json:"total_logs"`
				} `json:"summary"`
			}
			c.do("GET", "/analytics/dashboard?range=24h", nil, 200).Into(t, &d)
			return d.Summary.Total
		}
		before := dashboard(other)
		one.do("POST", "/devices/"+id+"/logs", map[string]any{"event": "x", "value": 1}, 201)
		within(t, time.Second, "the log counts", func() string {
			if n := dashboard(other); n != before+1 {
				return fmt.Sprint(n)
			}
			return ""
		})
	})
	t.Run("a hundred posts with one key make one object", func(t *testing.T) {
		var made sync.Map
		var wg sync.WaitGroup
		for i := range 100 {
			c := f.of(i%2, ann)
			wg.Go(func() {
				a, err := c.send(t.Context(), "POST", "/devices", map[string]any{"name": "once", "type": "sensor"}, "Idempotency-Key", "the-key")
				if err != nil || a.Status != 201 {
					t.Errorf("%d %s %v", a.Status, a.Body, err)
					return
				}
				made.Store(string(a.Body), true)
			})
		}
		wg.Wait()
		answers := 0
		made.Range(func(_, _ any) bool { answers++; return true })
		var list struct {
			Items []struct{} `json:"items"`
		}
		one.do("GET", "/devices?q=once", nil, 200).Into(t, &list)
		if answers != 1 || len(list.Items) != 1 {
			t.Errorf("%d different answers and %d devices", answers, len(list.Items))
		}
	})
	t.Run("events cross, with replay", func(t *testing.T) {
		lastID := ""
		follow := func(instance, n int, during func()) (got []live.LiveEvent) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			open := make(chan struct{})
			defer once(ctx, open, during)()
			_ = f.apis[instance].follower(ann.token).Follow(ctx, live.FollowOptions{
				LastID: lastID, Channels: []string{"device:" + id}, Opened: sync.OnceFunc(func() { close(open) }),
			}, func(e live.LiveEvent) error {
				if e.Type != live.EventDeviceLog && e.Type != live.EventReset {
					return nil
				}
				got, lastID = append(got, e), e.ID
				if len(got) == n {
					return context.Canceled
				}
				return nil
			})
			if len(got) != n {
				t.Fatalf("%d events of %d", len(got), n)
			}
			return got
		}
		say := func(c *client, value int) {
			c.do("POST", "/devices/"+id+"/logs", map[string]any{"event": "n", "value": value}, 201)
		}
		follow(1, 2, func() { say(one, 1); say(other, 2) })
		say(one, 3)
		say(other, 4)
		for i, e := range follow(0, 3, func() { say(other, 5) }) {
			var log struct {
				Value int `json:"value"`
			}
			if err := json.Unmarshal(e.Data, &log); err != nil || log.Value != 3+i {
				t.Errorf("event %d is %s %s: %v", i, e.Type, e.Data, err)
			}
		}
	})
	t.Run("a logout counts everywhere within a second", func(t *testing.T) {
		_, gone := f.login("ann@example.com", password)
		here, there := f.of(0, &client{token: gone.AccessToken}), f.of(1, &client{token: gone.AccessToken})
		there.do("GET", "/users/me", nil, 200)
		here.do("POST", "/auth/logout", nil, 204)
		within(t, time.Second, "the token is refused", statusIs(there, 401, "GET", "/users/me", nil))
	})
	t.Run("an export that one instance takes is written by the worker and given by the other", func(t *testing.T) {
		sse, socket := overSSE(t, f.apis[1], who.AccessToken), overWebSocket(t, f.apis[0], who.AccessToken)
		var e exportOf
		one.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv"}, 202).Into(t, &e)
		within(t, 20*time.Second, "the export ends", func() string {
			other.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
			if e.Status != "completed" {
				return e.Status
			}
			return ""
		})
		a := other.do("GET", "/exports/"+e.ID+"/file", nil, 200)
		if int64(len(a.Body)) != e.Result.Size {
			t.Errorf("%d bytes of %d", len(a.Body), e.Result.Size)
		}
		// What the worker's process does shows live at both.
		sse.checkSteps(t, "the other's SSE", e.ID, e.Result.Records)
		socket.checkSteps(t, "the one's WebSocket", e.ID, e.Result.Records)
	})
	t.Run("its figures are sums over all", func(t *testing.T) { figuresAreSums(t, f) })
	t.Run("its keys in Redis are those of the guide", func(t *testing.T) { keysAreDocumented(t, f) })
	t.Run("a stop tells streams to come back and takes no request with it", func(t *testing.T) { rollingRestart(t, f, who) })
	t.Run("exports and their notices are as the contract says", func(t *testing.T) { walkExports(t, f.server) })
	t.Run("jobs can be steered by command, over Redis", func(t *testing.T) {
		conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: "redis://" + f.redis.Addr() + "/0"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		end := redisbus.New(conn)
		defer end.Close()
		q, err := redisqueue.Open(redisqueue.Options{Bus: end})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		dir := t.TempDir()
		steerJobs(t, q, f.workers[0], func(args ...string) string {
			cmd := command(dir, args...)
			cmd.Env = append(cmd.Env, f.apis[0].env...)
			return mustRun(t, cmd)
		})
	})
}

// rollingRestart restarts each instance in turn under load, and counts what failed.
func rollingRestart(t *testing.T, f *fleet, who login) {
	t.Helper()
	ann := f.anonymous()
	ann.token = who.AccessToken
	id := ann.device("under load")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 8 {
		c := &client{s: f.server, token: ann.token, http: ann.http}
		wg.Go(func() {
			for ctx.Err() == nil {
				method, path := "GET", "/devices/"+id
				var body any
				if i%2 == 0 {
					method, path, body = "POST", "/devices/"+id+"/heartbeat", map[string]any{}
				}
				a, err := c.send(t.Context(), method, path, body)
				if err != nil || a.Status != 200 {
					t.Errorf("%s: %d %s %v", method, a.Status, a.Body, err)
					return
				}
				done.Add(1)
			}
		})
	}
	const restarts = 3
	for range restarts {
		for _, m := range f.apis {
			m.stop()
			m.start()
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d requests while both instances were restarted %d times each", done.Load(), restarts)
	if done.Load() < 100 {
		t.Errorf("only %d requests: the test tested little", done.Load())
	}
}

func TestALimitHoldsAcrossAFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{env: []string{"HEARTH_RATE_LIMITS=auth=off,general=20/1h,devices=off,analytics=off,exports=off,device=off,streams=off"}})
	ann, _ := f.signup("ann@example.com")
	ask := func() (allowed int) {
		var count atomic.Int64
		var wg sync.WaitGroup
		for i := range 60 {
			c := f.of(i%2, ann)
			wg.Go(func() {
				a, err := c.send(t.Context(), "GET", "/users/me", nil)
				switch {
				case err != nil:
					t.Error(err)
				case a.Status == 200:
					count.Add(1)
				case a.Status != 429:
					t.Errorf("%d %s", a.Status, a.Body)
				}
			})
		}
		wg.Wait()
		return int(count.Load())
	}
	if allowed := ask(); allowed != 20 {
		t.Errorf("%d of 60 requests over two instances were allowed, want 20", allowed)
	}
	for _, m := range f.apis {
		m.stop()
		m.start()
	}
	if allowed := ask(); allowed > 1 { // one unit comes back in three minutes
		t.Errorf("%d more were allowed after a restart", allowed)
	}
}
