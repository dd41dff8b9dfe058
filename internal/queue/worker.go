package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Worker runs the jobs of a Backend. Make it with NewWorker; it is started once and stopped once.
type Worker struct {
	o       WorkerOptions
	kinds   map[string]Kind
	claim   map[string]int
	nudge   chan struct{}
	results chan result
	// stopping is closed when Stop begins; over is closed when the finisher may end.
	stopping chan struct{}
	over     chan struct{}
	stopOnce sync.Once
	overOnce sync.Once
	loops    sync.WaitGroup
	runs     sync.WaitGroup
	finisher sync.WaitGroup
	// base is the life of the worker's own calls to the backend; it ends when Stop is done or stops waiting.
	base    context.Context
	endBase context.CancelFunc

	mu      sync.Mutex
	started bool
	running map[string]*Task
	slots   map[Name]int
	// noted is the last slot of each periodic job that the backend has noted.
	noted map[string]time.Time
}

// NewWorker checks the options and makes a worker that is not running yet.
func NewWorker(o WorkerOptions) (*Worker, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	w := &Worker{
		o: o, kinds: map[string]Kind{}, claim: map[string]int{},
		nudge: make(chan struct{}, 1), results: make(chan result),
		stopping: make(chan struct{}), over: make(chan struct{}),
		running: map[string]*Task{}, slots: map[Name]int{}, noted: map[string]time.Time{},
	}
	for _, k := range o.Kinds {
		k.Timeout = cmp.Or(k.Timeout, 10*time.Minute)
		k.Backoff = k.Backoff.withDefaults()
		w.kinds[k.Name] = k
		w.claim[k.Name] = k.MaxAttempts
	}
	return w, nil
}

// ID returns the worker's name, as jobs carry it.
func (w *Worker) ID() string { return w.o.ID }

// Start begins to run jobs and returns at once. The values of ctx, not its end, are what handlers see: Stop ends the
// work. It fails when called twice.
func (w *Worker) Start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return errors.New("the worker was started before")
	}
	w.started = true
	w.base, w.endBase = context.WithCancel(context.WithoutCancel(ctx))
	changed, unwatch := w.o.Backend.Watch()
	cancels, unwatchCancels := w.o.Backend.Watch()
	w.finisher.Go(w.finish)
	w.loops.Go(func() { defer unwatch(); w.dispatch(changed) })
	w.loops.Go(w.maintain)
	// Not one of loops: running jobs need their leases renewed until the last has ended.
	w.finisher.Go(func() { defer unwatchCancels(); w.beat(cancels) })
	return nil
}

// Stop ends the work: nothing new is claimed, running jobs have Drain to end, then their contexts end with ErrStopping and
// they are handed back. It returns when all is written down, or with an error when ctx ends before: the leases of jobs
// that did not return run out, as after a crash. It may be called twice, and without Start.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopOnce.Do(func() { close(w.stopping) })
	w.mu.Lock()
	started := w.started
	w.started = true
	w.mu.Unlock()
	if !started {
		return nil
	}
	w.loops.Wait()
	done := make(chan struct{})
	go func() { w.runs.Wait(); close(done) }()
	drain := time.NewTimer(w.o.Drain)
	defer drain.Stop()
	select {
	case <-done:
	case <-drain.C:
		w.endRuns(ErrStopping)
	case <-ctx.Done():
		w.endRuns(ErrStopping)
	}
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("jobs did not end in time: %s: %w", strings.Join(w.ids(), ", "), ctx.Err())
		w.endBase()
	}
	w.overOnce.Do(func() { close(w.over) })
	w.finisher.Wait()
	w.endBase()
	return err
}

// endRuns ends the contexts of all running jobs.
func (w *Worker) endRuns(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.running {
		t.end(cause)
	}
}

func (w *Worker) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.running))
	for id := range w.running {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// wake makes the dispatcher look for jobs now.
func (w *Worker) wake() {
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// dispatch claims jobs and starts them until the worker stops.
func (w *Worker) dispatch(changed <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var trouble reporter
	for {
		select {
		case <-w.stopping:
			return
		case <-changed:
		case <-w.nudge:
		case <-timer.C:
		}
		pause, err := w.claimRound()
		trouble.report(w.o.Log, "jobs cannot be claimed", err)
		timer.Reset(pause)
	}
}

// claimRound claims once for every queue with room and returns the pause until the next look.
func (w *Worker) claimRound() (time.Duration, error) {
	select {
	case <-w.stopping:
		return w.o.Poll, nil
	default:
	}
	free := map[Name]int{}
	w.mu.Lock()
	for name, limit := range w.o.Concurrency {
		if n := limit - w.slots[name]; n > 0 {
			free[name] = n
		}
	}
	w.mu.Unlock()
	if len(free) == 0 || len(w.claim) == 0 {
		return w.o.Poll, nil
	}
	began := time.Now()
	jobs, next, err := w.o.Backend.Claim(w.base, Claim{Worker: w.o.ID, Lease: w.o.Lease, Kinds: w.claim, Slots: free})
	if err != nil {
		return w.o.Poll, err
	}
	for _, job := range jobs {
		w.begin(job, began)
	}
	if next.IsZero() {
		return w.o.Poll, nil
	}
	// A due job that found no slot waits for one: the end of a run looks again.
	return min(w.o.Poll, max(next.Sub(w.o.Clock.Now()), time.Millisecond)), nil
}

// begin starts one claimed job; leased is when the claim was asked for, the safe side of its lease's start.
func (w *Worker) begin(job Job, leased time.Time) {
	ctx, end := context.WithCancelCause(w.base)
	t := &Task{Job: job, end: end, done: make(chan struct{})}
	t.expiry = time.AfterFunc(w.safeLease(leased), func() { end(ErrLeaseLost) })
	w.mu.Lock()
	old := w.running[job.ID]
	w.running[job.ID] = t
	w.slots[job.Queue]++
	w.mu.Unlock()
	w.runs.Go(func() {
		defer end(nil)
		defer t.expiry.Stop()
		// A job that lost its lease may be claimed again by this very worker, when the clock jumped: one after the other.
		if old != nil {
			old.end(ErrLeaseLost)
			<-old.done
		}
		w.run(ctx, t)
		close(t.done)
		w.mu.Lock()
		if w.running[job.ID] == t {
			delete(w.running, job.ID)
		}
		w.slots[job.Queue]--
		w.mu.Unlock()
		w.wake()
	})
}

// maintain takes back lost jobs, adds periodic ones and removes old ones, until the worker stops.
func (w *Worker) maintain() {
	tick := time.NewTicker(w.o.Lease / 4)
	defer tick.Stop()
	var rescue, periodic, purge reporter
	var purged time.Time
	for {
		n, err := w.o.Backend.Rescue(w.base)
		rescue.report(w.o.Log, "lost jobs cannot be taken back", err)
		if n > 0 {
			w.o.Log.Warn("jobs were taken back from a worker that is gone", "jobs", n)
			w.wake()
		}
		periodic.report(w.o.Log, "periodic jobs cannot be added", w.addPeriodic())
		if time.Since(purged) > time.Minute {
			purged = time.Now()
			purge.report(w.o.Log, "old jobs cannot be removed", w.purge())
		}
		select {
		case <-w.stopping:
			return
		case <-tick.C:
		}
	}
}

func (w *Worker) addPeriodic() error {
	now := w.o.Clock.Now()
	var errs []error
	for _, p := range w.o.Periodic {
		at := p.slot(now)
		if at.Equal(w.noted[p.Name]) {
			continue
		}
		job := Job{ID: NewID(now), Kind: p.Kind, Queue: p.Queue, Payload: p.Payload, Unique: "periodic:" + p.Name}
		if _, err := w.o.Backend.EnqueueSlot(w.base, Slot{Name: p.Name, At: at}, job); err != nil {
			errs = append(errs, err)
			continue
		}
		w.noted[p.Name] = at
	}
	return errors.Join(errs...)
}

// How long ended jobs are kept. The sources of jobs enqueue one again only within a much shorter time, so that its ID is still known.
const (
	keepCompleted = 7 * 24 * time.Hour
	keepDead      = 30 * 24 * time.Hour
)

func (w *Worker) purge() error {
	now := w.o.Clock.Now()
	p := Purge{CompletedBefore: now.Add(-keepCompleted), DeadBefore: now.Add(-keepDead)}
	for {
		n, err := w.o.Backend.Purge(w.base, p)
		if err != nil || n < MaxBatch {
			return err
		}
		select {
		case <-w.stopping:
			return nil
		default:
		}
	}
}
