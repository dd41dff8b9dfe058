// Package queuetest holds what every adapter of package queue must do: one suite, run by each adapter's tests.
package queuetest

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// Setup makes a fresh, empty storage whose times are the clock's. Each call of open is one more instance on that storage, as
// another process would have it; the test's end closes them.
type Setup func(t testing.TB, clock hearth.Clock) (open func() queue.Backend)

// Run runs the whole suite.
func Run(t *testing.T, setup Setup) {
	t.Run("enqueue", func(t *testing.T) { t.Parallel(); testEnqueue(t, setup) })
	t.Run("claim", func(t *testing.T) { t.Parallel(); testClaim(t, setup) })
	t.Run("lease", func(t *testing.T) { t.Parallel(); testLease(t, setup) })
	t.Run("finish", func(t *testing.T) { t.Parallel(); testFinish(t, setup) })
	t.Run("administration", func(t *testing.T) { t.Parallel(); testAdministration(t, setup) })
	t.Run("slots", func(t *testing.T) { t.Parallel(); testSlots(t, setup) })
	t.Run("watch", func(t *testing.T) { t.Parallel(); testWatch(t, setup) })
	t.Run("concurrency", func(t *testing.T) { t.Parallel(); testConcurrency(t, setup) })
	t.Run("worker", func(t *testing.T) { t.Parallel(); testWorker(t, setup) })
	t.Run("worker stop", func(t *testing.T) { t.Parallel(); testWorkerStop(t, setup) })
	t.Run("workers", func(t *testing.T) { t.Parallel(); testWorkers(t, setup) })
}

// testClock is a clock that a test moves.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *testClock { return &testClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bundle is what most tests need: one instance and its clock.
type bundle struct {
	queue.Backend
	clock *testClock
	open  func() queue.Backend
}

func start(t testing.TB, setup Setup) bundle {
	t.Helper()
	clock := newClock()
	open := setup(t, clock.Now)
	return bundle{Backend: open(), clock: clock, open: open}
}

// job makes a job of the kind "test" in the notification queue.
func (b bundle) job(change ...func(*queue.Job)) queue.Job {
	j := queue.Job{ID: queue.NewID(b.clock.Now()), Kind: "test", Queue: queue.Notification, Payload: json.RawMessage(`{"n":1}`)}
	for _, c := range change {
		c(&j)
	}
	return j
}

// add enqueues jobs and returns the IDs that stand for them.
func (b bundle) add(t testing.TB, jobs ...queue.Job) []string {
	t.Helper()
	ids, err := b.Enqueue(t.Context(), jobs...)
	if err != nil {
		t.Fatalf("enqueue: %v", err)
	}
	return ids
}

// claimAll claims up to ten jobs of each queue and the kind "test", with a lease of 10 s.
func (b bundle) claimAll(t testing.TB, worker string) []queue.Job {
	t.Helper()
	jobs, _, err := b.Claim(t.Context(), asking(worker, 10))
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	return jobs
}

func asking(worker string, slots int) queue.Claim {
	c := queue.Claim{Worker: worker, Lease: 10 * time.Second, Kinds: map[string]int{"test": 0}, Slots: map[queue.Name]int{}}
	for _, name := range queue.Names() {
		c.Slots[name] = slots
	}
	return c
}

// claimOne claims the one due job.
func (b bundle) claimOne(t testing.TB, worker string) queue.Job {
	t.Helper()
	jobs := b.claimAll(t, worker)
	if len(jobs) != 1 {
		t.Fatalf("%d jobs were claimed, want 1", len(jobs))
	}
	return jobs[0]
}

// end finishes a run that is not lost.
func (b bundle) end(t testing.TB, o queue.Outcome) {
	t.Helper()
	lost, err := b.Finish(t.Context(), []queue.Outcome{o})
	if err != nil || len(lost) > 0 {
		t.Fatalf("finish: lost %v, error %v", lost, err)
	}
}

// read returns a job as it stands.
func (b bundle) read(t testing.TB, id string) queue.Job {
	t.Helper()
	j, err := b.Job(t.Context(), id)
	if err != nil {
		t.Fatalf("job %s: %v", id, err)
	}
	return j
}

func (b bundle) wantState(t testing.TB, id string, want queue.State) queue.Job {
	t.Helper()
	j := b.read(t, id)
	if j.State != want {
		t.Fatalf("the job is %s, want %s", j.State, want)
	}
	return j
}

func wantCode(t testing.TB, err error, want hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != want {
		t.Fatalf("the error is %v, want the code %q", err, want)
	}
}

func idsOf(jobs []queue.Job) []string {
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	return ids
}

func wantIDs(t testing.TB, jobs []queue.Job, want ...string) {
	t.Helper()
	if got := idsOf(jobs); !slices.Equal(got, want) {
		t.Fatalf("the jobs are %v, want %v", got, want)
	}
}
