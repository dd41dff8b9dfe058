package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// patience is how long a test waits for what must happen much sooner, before it calls it missing.
const patience = 20 * time.Second

// rig is a worker on an instance with the system's clock, and its events.
type rig struct {
	bundle
	worker *queue.Worker
	events chan queue.Event
}

// realClock makes job IDs and due times of tests with real workers.
type realBundle struct{ queue.Backend }

func startReal(t testing.TB, setup Setup) (realBundle, func() queue.Backend) {
	t.Helper()
	open := setup(t, nil)
	return realBundle{open()}, open
}

func newJob(change ...func(*queue.Job)) queue.Job {
	j := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Notification}
	for _, c := range change {
		c(&j)
	}
	return j
}

// run starts a worker with short times and one handler for the kind "test".
func run(t testing.TB, b queue.Backend, h queue.Handler, change ...func(*queue.WorkerOptions)) *rig {
	t.Helper()
	r := &rig{bundle: bundle{Backend: b}, events: make(chan queue.Event, 1000)}
	o := queue.WorkerOptions{
		Backend: b, Lease: 2 * time.Second, Drain: -1, Observe: func(e queue.Event) { r.events <- e },
		Kinds: []queue.Kind{{Name: "test", Handler: h, Backoff: queue.Backoff{Base: time.Millisecond, Max: 5 * time.Millisecond}}},
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if r.worker, err = queue.NewWorker(o); err != nil {
		t.Fatal(err)
	}
	if err := r.worker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r.worker) })
	return r
}

func stop(t testing.TB, w *queue.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// await returns the first event in the given state.
func (r *rig) await(t testing.TB, state queue.State) queue.Event {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e := <-r.events:
			if e.Job.State == state {
				return e
			}
		case <-deadline:
			t.Fatalf("no job became %s", state)
		}
	}
}

func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

func testWorker(t *testing.T, setup Setup) {
	t.Run("a job is run and completes", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(_ context.Context, task *queue.Task) error {
			task.Report(queue.Progress{Step: "done", Done: 3, Total: 3})
			return nil
		})
		in := newJob()
		r.add(t, in)
		if e := r.await(t, queue.Running); e.Job.ID != in.ID || e.Job.Attempt != 1 || e.Job.Payload != nil {
			t.Fatalf("the first event is %+v", e)
		}
		if e := r.await(t, queue.Completed); e.Err != nil || e.Job.Progress.Done != 3 {
			t.Fatalf("the last event is %+v", e)
		}
		if got := r.wantState(t, in.ID, queue.Completed); got.Progress.Step != "done" {
			t.Fatalf("the progress is %+v", got.Progress)
		}
	})

	t.Run("progress is stored while the job runs", func(t *testing.T) {
		b, _ := startReal(t, setup)
		release := make(chan struct{})
		r := run(t, b, func(_ context.Context, task *queue.Task) error {
			task.Report(queue.Progress{Step: "half", Done: 1, Total: 2})
			<-release
			return nil
		})
		defer close(release)
		in := newJob()
		r.add(t, in)
		deadline := time.Now().Add(patience)
		for r.read(t, in.ID).Progress.Step != "half" {
			if time.Now().After(deadline) {
				t.Fatal("the progress was not stored")
			}
			time.Sleep(20 * time.Millisecond)
		}
	})

	t.Run("a failure is tried again until the attempts are spent", func(t *testing.T) {
		b, _ := startReal(t, setup)
		var runs atomic.Int64
		r := run(t, b, func(context.Context, *queue.Task) error { return fmt.Errorf("failure %d", runs.Add(1)) },
			func(o *queue.WorkerOptions) { o.Kinds[0].MaxAttempts = 3 })
		in := newJob()
		r.add(t, in)
		if e := r.await(t, queue.Retrying); e.Err == nil || e.Job.LastError != "failure 1" {
			t.Fatalf("the first failure is %+v", e)
		}
		r.await(t, queue.Dead)
		if got := r.wantState(t, in.ID, queue.Dead); runs.Load() != 3 || got.Attempt != 3 || got.LastError != "failure 3" {
			t.Fatalf("after %d runs the job is %+v", runs.Load(), got)
		}
		if err := r.Retry(t.Context(), in.ID); err != nil {
			t.Fatal(err)
		}
		r.await(t, queue.Dead)
		if runs.Load() != 6 {
			t.Fatalf("a retried job had %d runs", runs.Load()-3)
		}
	})

	t.Run("a permanent failure is dead at once", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(context.Context, *queue.Task) error {
			return fmt.Errorf("wrapped: %w", queue.Permanent(errors.New("no such mailbox")))
		})
		r.add(t, newJob())
		if e := r.await(t, queue.Dead); e.Job.Attempt != 1 || e.Job.LastError != "wrapped: no such mailbox" {
			t.Fatalf("the event is %+v", e)
		}
	})

	t.Run("a failure may ask for a longer pause", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(context.Context, *queue.Task) error {
			return &hearth.Error{Code: hearth.CodeStorageFull, Message: "full", RetryAfter: time.Hour}
		})
		r.add(t, newJob())
		if e := r.await(t, queue.Retrying); time.Until(e.Job.ScheduledAt) < 59*time.Minute {
			t.Fatalf("the next try is in %v", time.Until(e.Job.ScheduledAt))
		}
	})

	t.Run("a panic is a failure", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(_ context.Context, task *queue.Task) error {
			if task.Job.Attempt == 1 {
				panic("oh no")
			}
			return nil
		})
		r.add(t, newJob())
		r.await(t, queue.Retrying)
		r.await(t, queue.Completed)
	})

	t.Run("a job that takes too long is ended and counts as failed", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(ctx context.Context, _ *queue.Task) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}, func(o *queue.WorkerOptions) { o.Kinds[0].Timeout, o.Kinds[0].MaxAttempts = 20*time.Millisecond, 1 })
		r.add(t, newJob())
		if e := r.await(t, queue.Dead); !errors.Is(e.Err, queue.ErrTimeout) {
			t.Fatalf("the failure is %v", e.Err)
		}
	})

	t.Run("a running job is cancelled within a second, from another instance too", func(t *testing.T) {
		b, open := startReal(t, setup)
		begun := make(chan struct{}, 1)
		r := run(t, b, func(ctx context.Context, _ *queue.Task) error {
			begun <- struct{}{}
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), queue.ErrCancelled) {
				t.Errorf("the cause is %v", context.Cause(ctx))
			}
			return ctx.Err()
		})
		in := newJob()
		r.add(t, in)
		receive(t, begun, "the run")
		asked := time.Now()
		if err := open().Cancel(t.Context(), in.ID); err != nil {
			t.Fatal(err)
		}
		if e := r.await(t, queue.Completed); !e.Job.Cancelled {
			t.Fatalf("the event is %+v", e)
		}
		if took := time.Since(asked); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})

	t.Run("a queue runs as many jobs at once as it may, and no more", func(t *testing.T) {
		b, _ := startReal(t, setup)
		var now, most atomic.Int64
		full := make(chan struct{})
		var once sync.Once
		r := run(t, b, func(context.Context, *queue.Task) error {
			n := now.Add(1)
			defer now.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			if n == 3 {
				once.Do(func() { close(full) })
			}
			receive(t, full, "the full pool")
			return nil
		}, func(o *queue.WorkerOptions) { o.Concurrency = map[queue.Name]int{queue.Notification: 3} })
		jobs := make([]queue.Job, 30)
		for i := range jobs {
			jobs[i] = newJob()
		}
		r.add(t, jobs...)
		for range jobs {
			r.await(t, queue.Completed)
		}
		if most.Load() != 3 {
			t.Fatalf("%d jobs ran at once", most.Load())
		}
	})

	t.Run("a job for later runs at its time", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(context.Context, *queue.Task) error { return nil }, func(o *queue.WorkerOptions) { o.Poll = time.Hour })
		at := time.Now().Add(300 * time.Millisecond)
		r.add(t, newJob(func(j *queue.Job) { j.ScheduledAt = at }))
		e := r.await(t, queue.Running)
		if early := hearth.Millis(at).Sub(e.Job.StartedAt); early > 0 {
			t.Fatalf("it ran %v early", early)
		}
	})

	t.Run("a job of an unknown kind waits for a worker that knows it", func(t *testing.T) {
		b, _ := startReal(t, setup)
		r := run(t, b, func(context.Context, *queue.Task) error { return nil })
		unknown := newJob(func(j *queue.Job) { j.Kind = "newer" })
		r.add(t, unknown, newJob())
		r.await(t, queue.Completed)
		r.wantState(t, unknown.ID, queue.Pending)
		newer := run(t, b, func(context.Context, *queue.Task) error { return nil }, func(o *queue.WorkerOptions) { o.Kinds[0].Name = "newer" })
		if e := newer.await(t, queue.Completed); e.Job.ID != unknown.ID {
			t.Fatalf("the job %s ran", e.Job.ID)
		}
	})
}
