package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The table of docs/guides/fleet.md says what each of these tests expects.

// calls makes core calls at a gentle pace until it is stopped.
type calls struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	took   []time.Duration
	wrong  []string
}

// startCalls reads and writes as a caller, and notes what took how long and what failed. fits reports whether a status is as
// expected. Each dashboard is of another range: how long the database takes for one, which no cache hides then, is the machine's.
func startCalls(t *testing.T, c *client, device string, fits func(status int) bool) *calls {
	ctx, cancel := context.WithCancel(t.Context())
	l := &calls{cancel: cancel}
	ask := func(method, path string, body any) {
		began := time.Now()
		a, err := c.send(t.Context(), method, path, body)
		took := time.Since(began)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.took = append(l.took, took)
		if err != nil || !fits(a.Status) {
			l.wrong = append(l.wrong, fmt.Sprintf("%s %s after %s: %d %.150s %v", method, path, took, a.Status, a.Body, err))
		}
	}
	for range 2 {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				ask("GET", "/users/me", nil)
				ask("GET", "/devices/"+device, nil)
				now := time.Now().UTC()
				ask("GET", "/analytics/dashboard?from="+now.Add(-24*time.Hour).Format(millis)+"&to="+now.Format(millis), nil)
				ask("POST", "/devices/"+device+"/heartbeat", map[string]any{})
				ask("POST", "/devices/"+device+"/logs", map[string]any{"event": "x", "value": 1})
				time.Sleep(10 * time.Millisecond) // the pace
			}
		})
	}
	return l
}

// millis is RFC 3339 with milliseconds.
const millis = "2006-01-02T15:04:05.000Z"

// enough is how many calls make a p99: of a hundred it is the longest of all, and one pause of the machine.
const enough = 300

// watch lets the calls go on for a while, until there are enough of them.
func (l *calls) watch(t *testing.T) {
	t.Helper()
	until := time.Now().Add(faultTime)
	within(t, time.Minute, "enough calls", func() string {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n := len(l.took); n < enough || time.Now().Before(until) {
			return fmt.Sprint(n)
		}
		return ""
	})
}

// stop ends the calls and returns their p99; nothing may have failed.
func (l *calls) stop(t *testing.T, what string) (p99 time.Duration) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	slices.Sort(l.took)
	p99 = l.took[len(l.took)*99/100]
	t.Logf("%s: %d calls, p50 %s, p99 %s, longest %s", what, len(l.took), l.took[len(l.took)/2], p99, l.took[len(l.took)-1])
	for i, wrong := range l.wrong {
		if i == 5 {
			t.Errorf("%s: and %d more", what, len(l.wrong)-i)
			break
		}
		t.Errorf("%s: %s", what, wrong)
	}
	return p99
}

// stopWithin is stop, with a bound on the p99: most, beyond what calls take on this machine now when nothing is wrong.
func (l *calls) stopWithin(t *testing.T, what string, most, usual time.Duration) {
	t.Helper()
	if p99 := l.stop(t, what); p99 > most+usual {
		t.Errorf("%s: p99 %s, want at most %s and what is usual, %s", what, p99, most, usual)
	}
}

// usualP99 is the p99 of the same calls while all is well.
func usualP99(t *testing.T, c *client, device string) time.Duration {
	t.Helper()
	load := startCalls(t, c, device, isOK)
	load.watch(t)
	return load.stop(t, "all is well")
}

func isOK(status int) bool { return status == 200 || status == 201 }

// healthSays waits until /health returns a part the state.
func healthSays(t *testing.T, s *server, part, state string) {
	t.Helper()
	within(t, 10*time.Second, part+" is "+state+" in /health", func() string {
		var report struct {
			Status       string `json:"status"`
			Dependencies map[string]struct {
				State string `json:"state"`
			} `json:"dependencies"`
		}
		a, err := s.anonymous().send(t.Context(), "GET", "/health", nil)
		if err != nil {
			return err.Error()
		}
		a.Into(t, &report)
		if report.Dependencies[part].State != state {
			return string(a.Body)
		}
		return ""
	})
}

// coreP99 is what is promised of core calls while Redis is cut or hung, and faultTime how long each fault is watched at least.
const (
	coreP99   = 500 * time.Millisecond
	faultTime = 2 * time.Second
)

// Without Redis the service goes on, and what was revoked stays revoked; with it again, everything is as before.
func TestAFleetGoesOnWithoutRedis(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	ann, _ := f.signup("ann@example.com")
	id := ann.device("kitchen")
	_, out := f.login("ann@example.com", password)
	f.of(0, &client{token: out.AccessToken}).do("POST", "/auth/logout", nil, 204)
	revoked := func(when string, instance int) {
		t.Helper()
		within(t, time.Second, when+" what was revoked is refused", statusIs(f.of(instance, &client{token: out.AccessToken}), 401, "GET", "/users/me", nil))
	}
	before := usualP99(t, ann, id)
	took := map[string]time.Duration{}
	faults := []struct {
		name          string
		inflict, mend func()
		away          bool
	}{
		{"killed", f.redis.Stop, f.redis.Start, true},
		{"hung", f.redis.Hang, f.redis.Resume, true},
		{"flushed", f.redis.Flush, func() {}, false},
		{"restarted empty", func() { f.redis.Flush(); f.redis.Stop(); f.redis.Start() }, func() {}, false},
	}
	for _, fault := range faults {
		load := startCalls(t, ann, id, isOK)
		fault.inflict()
		f.of(0, ann).do("GET", "/analytics/realtime", nil, 200) // sums of what can be known, without the others
		if fault.away {
			healthSays(t, f.apis[0], "redis", "down")
			for i := range f.apis {
				revoked("with Redis "+fault.name, i)
			}
			// Somebody logs out while nobody can tell the others.
			_, now := f.login("ann@example.com", password)
			f.of(1, &client{token: now.AccessToken}).do("GET", "/users/me", nil, 200)
			f.of(0, &client{token: now.AccessToken}).do("POST", "/auth/logout", nil, 204)
			within(t, time.Second, "with Redis "+fault.name+" a logout counts at the other instance",
				statusIs(f.of(1, &client{token: now.AccessToken}), 401, "GET", "/users/me", nil))
		}
		load.watch(t)
		fault.mend()
		back := time.Now()
		healthSays(t, f.apis[0], "redis", "ok")
		healthSays(t, f.apis[1], "redis", "ok")
		if took := time.Since(back); took > 5*time.Second {
			t.Errorf("after Redis was %s, the instances took %s to come back", fault.name, took)
		}
		took[fault.name] = load.stop(t, "Redis "+fault.name)
		revoked("after Redis was "+fault.name, 0)
		revoked("after Redis was "+fault.name, 1)
		exportWorks(t, ann, "after Redis was "+fault.name)
	}
	usual := max(before, usualP99(t, ann, id)) // the machine may have become busier
	for name, p99 := range took {
		if p99 > coreP99+usual {
			t.Errorf("Redis %s: p99 %s, want at most %s and what is usual, %s", name, p99, coreP99, usual)
		}
	}
	for _, m := range f.apis {
		if n := strings.Count(m.log.String(), "Redis is away"); n < 2 || n > 6 {
			t.Errorf("the log says %d times that Redis is away, in four faults", n)
		}
	}
}

// exportWorks orders an export and awaits its end: jobs run.
func exportWorks(t *testing.T, c *client, when string) {
	t.Helper()
	var e exportOf
	c.do("POST", "/exports", map[string]any{"type": "device_report", "format": "csv"}, 202).Into(t, &e)
	within(t, 20*time.Second, when+" an export completes", func() string {
		c.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
		if e.Status != "completed" {
			return e.Status
		}
		return ""
	})
}

// lost and found are what the log says of the database.
const (
	lost  = "no server of the database can be reached: requests that need it are refused"
	found = "the database is back"
)

// Without the database every call is refused within a bound, with when to come back, and the log says it once; with it again,
// without a restart, all is well. A database that hangs is noticed by what waits for it, for 10 s at most; from then on calls
// are refused at once.
func TestAFleetRefusesQuicklyWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{linked: true})
	ann, _ := f.signup("ann@example.com")
	id := ann.device("kitchen")
	usual := usualP99(t, ann, id)
	for i, fault := range []struct {
		name          string
		inflict, mend func(*link)
		// first bounds the answer to a call that the fault meets.
		first time.Duration
	}{{"cut", (*link).cut, (*link).mend, 3 * time.Second}, {"hung", (*link).hang, (*link).unhang, 11 * time.Second}} {
		for name, l := range f.links {
			if strings.HasSuffix(name, "mongodb") {
				fault.inflict(l)
			}
		}
		began := time.Now()
		ann.do("POST", "/devices/"+id+"/logs", map[string]any{"event": "x", "value": 1}, 503)
		if took := time.Since(began); took > fault.first {
			t.Errorf("the database %s: the first call was refused after %s", fault.name, took)
		}
		for _, m := range f.apis {
			healthSays(t, m, "database", "down")
			within(t, 5*time.Second, "the log tells of a database that is "+fault.name, func() string {
				if n := strings.Count(m.log.String(), lost); n != i+1 {
					return fmt.Sprint(n, " times")
				}
				return ""
			})
		}
		load := startCalls(t, ann, id, func(status int) bool { return status == 503 || isOK(status) })
		refused := ann.do("POST", "/devices/"+id+"/logs", map[string]any{"event": "x", "value": 1}, 503)
		if problem(t, refused) != "unavailable" || refused.Header.Get("Retry-After") == "" {
			t.Errorf("%v %s", refused.Header, refused.Body)
		}
		if a, err := f.of(0, ann).send(t.Context(), "GET", "/health/ready", nil); err != nil || a.Status != 503 || !strings.Contains(string(a.Body), "database") {
			t.Errorf("ready: %d %s %v", a.Status, a.Body, err)
		}
		load.watch(t)
		load.stopWithin(t, "the database "+fault.name, time.Second, usual)
		for name, l := range f.links {
			if strings.HasSuffix(name, "mongodb") {
				fault.mend(l)
			}
		}
		for n, m := range f.apis {
			within(t, 5*time.Second, "after the database was "+fault.name+" a log is taken",
				statusIs(f.of(n, ann), 201, "POST", "/devices/"+id+"/logs", map[string]any{"event": "x", "value": 1}))
			healthSays(t, m, "database", "ok")
			for _, line := range []string{lost, found} {
				within(t, 5*time.Second, "the log says once a fault: "+line, func() string {
					if n := strings.Count(m.log.String(), line); n != i+1 {
						return fmt.Sprintf("%d times after %d faults", n, i+1)
					}
					return ""
				})
			}
		}
		exportWorks(t, ann, "after the database was "+fault.name)
	}
	for _, m := range f.members {
		if n := strings.Count(m.log.String(), `"background work failed"`); n > 10 {
			t.Errorf("the log says %d times that background work failed, in two faults", n)
		}
	}
}

// Whatever two parts cannot reach each other, calls go on at the price that the table names.
func TestAFleetWithACutBetweenTwoParts(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{linked: true})
	ann, _ := f.signup("ann@example.com")
	id := ann.device("kitchen")
	usual := usualP99(t, ann, id)
	tests := []struct {
		link string
		// fits are the statuses that clients may see meanwhile; jobs tells that exports complete meanwhile too.
		fits func(int) bool
		jobs bool
	}{
		{"nginx api0", isOK, true},
		{"api0 redis", isOK, false},
		{"api1 mongodb", func(status int) bool { return isOK(status) || status == 503 }, true},
		{"worker2 redis", isOK, false},
		{"worker2 mongodb", isOK, false},
	}
	for _, test := range tests {
		l := f.links[test.link]
		if l == nil {
			t.Fatalf("there is no link %s", test.link)
		}
		l.cut()
		load := startCalls(t, ann, id, test.fits)
		load.watch(t)
		if test.jobs && test.link != "api1 mongodb" {
			exportWorks(t, ann, "with the link "+test.link+" cut")
		}
		// Who looks for the database when it goes away looks for a second.
		load.stopWithin(t, "without the link "+test.link, time.Second+coreP99, usual)
		l.mend()
		within(t, 10*time.Second, "after the link "+test.link+" was cut both instances answer", func() string {
			for i := range f.apis {
				if wrong := statusIs(f.of(i, ann), 200, "POST", "/devices/"+id+"/heartbeat", map[string]any{})(); wrong != "" {
					return wrong
				}
			}
			return ""
		})
		exportWorks(t, ann, "after the link "+test.link+" was cut")
	}
}

// An instance that dies under load costs what was under way in it, and nothing that was acknowledged.
func TestKillingAnInstanceOfAFleetLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	ann, _ := f.signup("ann@example.com")
	loads := make([]*crashLoad, crashWriter)
	for i := range loads {
		loads[i] = &crashLoad{device: ann.device(fmt.Sprint("device ", i)), next: i * 10_000_000, acked: map[int]bool{}, sent: map[int]bool{}}
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	for range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, l := range loads {
			own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			c := &client{s: f.server, token: ann.token, http: f.anonymous().http}
			wg.Go(func() {
				for ctx.Err() == nil { // it returns at the first failure, and goes on at the other instance
					l.run(ctx, c, own)
				}
			})
		}
		// The moment of a crash is any moment.
		time.Sleep(time.Duration(200+rng.IntN(300)) * time.Millisecond)
		// Always the same: nginx rests an instance that failed for two seconds, and both at rest would be a longer fault.
		victim := f.apis[0]
		victim.kill()
		// Reads never fail: nginx asks the other one.
		for range 20 {
			ann.do("GET", "/users/me", nil, 200)
		}
		cancel()
		wg.Wait()
		victim.start()
	}
	total := 0
	for _, l := range loads {
		if len(l.acked) == 0 {
			t.Fatal("nothing was acknowledged: the test tested nothing")
		}
		found := l.stored(t, ann)
		for v := range l.acked {
			if found[v] != 1 {
				t.Errorf("acknowledged value %d is stored %d times", v, found[v])
			}
		}
		for v, n := range found {
			if n > 1 || !l.acked[v] && !l.sent[v] {
				t.Errorf("value %d is stored %d times, sent %v", v, n, l.sent[v])
			}
			total += n
		}
		within(t, 30*time.Second, "usage equals the logs", func() string {
			var usage struct {
				Summary struct {
					Count int64 `json:"count"`
				} `json:"summary"`
			}
			ann.do("GET", "/devices/"+l.device+"/usage?range=7d&interval=hour", nil, 200).Into(t, &usage)
			if usage.Summary.Count != int64(len(found)) {
				return fmt.Sprintf("usage counts %d logs, %d are stored", usage.Summary.Count, len(found))
			}
			return ""
		})
	}
	t.Logf("%d logs are stored after four kills", total)
}

// A worker that dies in a job costs the job nothing but time: another takes it, once.
func TestKillingAWorkerOfAFleetLosesNoJob(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{})
	ann, _ := f.signup("ann@example.com")
	device := ann.device("meter")
	began := time.Now().Add(-24 * time.Hour).UTC()
	const logs = 30_000
	for n := 0; n < logs; n += 10_000 {
		items := make([]map[string]any, 10_000)
		for i := range items {
			items[i] = map[string]any{"device_id": device, "event": "count", "value": n + i, "timestamp": began.Add(time.Duration(n+i) * time.Millisecond)}
		}
		ann.do("POST", "/logs", items, 201)
	}
	var e exportOf
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv"}, 202).Into(t, &e)
	within(t, 10*time.Second, "the export runs", func() string {
		ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
		if e.Status == "queued" {
			return e.Status
		}
		return ""
	})
	worker := f.workers[0]
	worker.kill()
	killed := e.Status
	worker.start()
	within(t, resumeLimit, "the export completes", func() string {
		ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
		if e.Status != "completed" {
			return e.Status
		}
		return ""
	})
	t.Logf("the worker died while the export was %s", killed)
	a := ann.do("GET", "/exports/"+e.ID+"/file", nil, 200)
	if lines := strings.Count(string(a.Body), "\n"); lines != logs+1 || e.Result.Records != logs {
		t.Errorf("%d lines, want %d; %+v", lines, logs+1, e.Result)
	}
}
