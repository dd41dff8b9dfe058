package queuetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/queue"
)

func testWorkerStop(t *testing.T, setup Setup) {
	t.Run("a stop hands running jobs back without losing an attempt", func(t *testing.T) {
		b, _ := startReal(t, setup)
		begun := make(chan struct{}, 1)
		first := run(t, b, func(ctx context.Context, _ *queue.Task) error {
			begun <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		in := newJob()
		first.add(t, in)
		receive(t, begun, "the run")
		stop(t, first.worker)
		if e := first.await(t, queue.Pending); e.Job.Attempt != 0 {
			t.Fatalf("the event is %+v", e)
		}
		if got := first.wantState(t, in.ID, queue.Pending); got.Attempt != 0 || got.Losses != 0 {
			t.Fatalf("the job is %+v", got)
		}
		second := run(t, b, func(context.Context, *queue.Task) error { return nil })
		if e := second.await(t, queue.Completed); e.Job.Attempt != 1 {
			t.Fatalf("the second run is attempt %d", e.Job.Attempt)
		}
	})

	t.Run("a stop lets a job that ends soon complete", func(t *testing.T) {
		b, _ := startReal(t, setup)
		begun, release := make(chan struct{}, 1), make(chan struct{})
		r := run(t, b, func(ctx context.Context, _ *queue.Task) error {
			begun <- struct{}{}
			<-release
			return ctx.Err()
		}, func(o *queue.WorkerOptions) { o.Drain = patience })
		in := newJob()
		r.add(t, in)
		receive(t, begun, "the run")
		stopped := make(chan struct{})
		go func() { stop(t, r.worker); close(stopped) }()
		close(release)
		receive(t, stopped, "the stop")
		r.wantState(t, in.ID, queue.Completed)
	})

	t.Run("a handler that does not listen does not hold the stop for ever", func(t *testing.T) {
		b, _ := startReal(t, setup)
		begun, release := make(chan struct{}, 1), make(chan struct{})
		defer close(release)
		r := run(t, b, func(context.Context, *queue.Task) error {
			begun <- struct{}{}
			<-release
			return nil
		})
		r.add(t, newJob())
		receive(t, begun, "the run")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := r.worker.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("stop: %v", err)
		}
	})

	t.Run("starting and stopping under load loses nothing", func(t *testing.T) {
		b, _ := startReal(t, setup)
		var runs sync.Map
		total := 60
		jobs := make([]queue.Job, total)
		for i := range jobs {
			jobs[i] = newJob()
		}
		if _, err := b.Enqueue(t.Context(), jobs...); err != nil {
			t.Fatal(err)
		}
		for finished := 0; finished < total; {
			r := run(t, b, func(_ context.Context, task *queue.Task) error {
				if _, twice := runs.LoadOrStore(task.Job.ID, true); twice {
					t.Errorf("job %s did its work twice", task.Job.ID)
				}
				return nil
			})
			r.await(t, queue.Completed)
			stop(t, r.worker)
			stop(t, r.worker)
			counts, err := b.Counts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			finished = 0
			for _, c := range counts {
				if c.State == queue.Completed {
					finished += int(c.Jobs)
				}
			}
		}
	})
}

func testWorkers(t *testing.T, setup Setup) {
	t.Run("workers on several instances never run one job at once", func(t *testing.T) {
		b, open := startReal(t, setup)
		var mu sync.Mutex
		running := map[string]bool{}
		var done atomic.Int64
		all := make(chan struct{})
		const total = 200
		h := func(_ context.Context, task *queue.Task) error {
			id := task.Job.ID
			mu.Lock()
			if running[id] {
				t.Errorf("job %s runs twice at once", id)
			}
			running[id] = true
			mu.Unlock()
			defer func() {
				mu.Lock()
				delete(running, id)
				mu.Unlock()
			}()
			// Every third job fails once, so that jobs move between the workers.
			if id[35] < '5' && task.Job.Attempt == 1 {
				return errors.New("once more")
			}
			if done.Add(1) == total {
				close(all)
			}
			return nil
		}
		for range 3 {
			run(t, open(), h)
		}
		jobs := make([]queue.Job, total)
		for i := range jobs {
			jobs[i] = newJob()
		}
		if _, err := b.Enqueue(t.Context(), jobs...); err != nil {
			t.Fatal(err)
		}
		receive(t, all, "the last job")
	})

	t.Run("a periodic job runs once a slot, whatever the number of workers", func(t *testing.T) {
		clock := newClock()
		open := setup(t, clock.Now)
		b := bundle{Backend: open(), clock: clock, open: open}
		ran := make(chan time.Time, 100)
		for range 3 {
			run(t, open(), func(context.Context, *queue.Task) error { return nil },
				func(o *queue.WorkerOptions) {
					o.Clock, o.Poll = clock.Now, 10*time.Millisecond
					// Reported once its end is stored: the clock's jumps would end the lease of a job that runs.
					o.Observe = func(e queue.Event) {
						if e.Job.State == queue.Completed {
							ran <- e.Job.CreatedAt
						}
					}
					o.Periodic = []queue.Periodic{{Name: "hourly", Every: time.Hour, Kind: "test", Queue: queue.Cleanup}}
				})
		}
		// The first slot is only noted: by a worker, or by this.
		if added, err := b.EnqueueSlot(t.Context(), queue.Slot{Name: "hourly", At: clock.Now()}, b.job()); err != nil || added {
			t.Fatalf("the first slot was added: %v, error %v", added, err)
		}
		for range 3 {
			clock.move(time.Hour)
			if at := receive(t, ran, "the slot's job"); !at.Equal(clock.Now()) {
				t.Fatalf("the job is of %v, now is %v", at, clock.Now())
			}
		}
		select {
		case <-ran:
			t.Fatal("a slot ran twice")
		case <-time.After(time.Second): // two looks of each worker
		}
	})

	t.Run("a worker that cannot renew its lease ends the job before another has it", func(t *testing.T) {
		b, open := startReal(t, setup)
		deaf := &deafBackend{Backend: open()}
		begun, ended := make(chan struct{}, 1), make(chan error, 1)
		first := run(t, deaf, func(ctx context.Context, _ *queue.Task) error {
			begun <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil
		}, func(o *queue.WorkerOptions) { o.Lease = time.Second })
		in := newJob()
		first.add(t, in)
		receive(t, begun, "the first run")
		deaf.deaf.Store(true)
		second := run(t, b, func(context.Context, *queue.Task) error {
			select {
			case cause := <-ended:
				if !errors.Is(cause, queue.ErrLeaseLost) {
					t.Errorf("the cause is %v", cause)
				}
			default:
				t.Error("the first run is not over")
			}
			return nil
		}, func(o *queue.WorkerOptions) { o.Lease = time.Second })
		if e := second.await(t, queue.Completed); e.Job.Attempt != 1 || e.Job.Losses != 1 {
			t.Fatalf("the event is %+v", e)
		}
	})
}

// deafBackend is a backend that stops answering to a worker that holds jobs.
type deafBackend struct {
	queue.Backend
	deaf atomic.Bool
}

var errDeaf = errors.New("no answer")

func (d *deafBackend) Beat(ctx context.Context, b queue.Beat) ([]string, error) {
	if d.deaf.Load() {
		return nil, errDeaf
	}
	return d.Backend.Beat(ctx, b)
}

func (d *deafBackend) Claim(ctx context.Context, c queue.Claim) ([]queue.Job, time.Time, error) {
	if d.deaf.Load() {
		return nil, time.Time{}, errDeaf
	}
	return d.Backend.Claim(ctx, c)
}
