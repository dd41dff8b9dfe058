package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"hearth"
)

// Task is a running job, as its handler sees it.
type Task struct {
	// Job is the job as it was claimed.
	Job Job

	end context.CancelCauseFunc
	// done is closed when the run has ended and its outcome is stored.
	done chan struct{}
	// expiry ends the run before its lease runs out, unless the lease is renewed: by itself, however long a renewal hangs.
	expiry *time.Timer

	mu       sync.Mutex
	progress *Progress
}

// Report says how far the job is. It returns at once; the latest report is stored within a second or so, and at the end.
// Safe for concurrent use.
func (t *Task) Report(p Progress) {
	p = p.Clean()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = &p
}

// takeProgress returns the report that is not stored yet, and forgets it.
func (t *Task) takeProgress() *Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.progress
	t.progress = nil
	return p
}

// restoreProgress puts back a report that could not be stored, unless there is a newer one.
func (t *Task) restoreProgress(p *Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.progress == nil {
		t.progress = p
	}
}

// run runs a job from its claim until its outcome is stored.
func (w *Worker) run(ctx context.Context, t *Task) {
	job := t.Job
	kind := w.kinds[job.Kind]
	start := time.Now()
	w.o.Observe(Event{Job: bare(job), Waited: max(0, w.o.Clock.Now().Sub(job.ScheduledAt))})
	timer := time.AfterFunc(kind.Timeout, func() { t.end(ErrTimeout) })
	err := safely(ctx, kind.Handler, t)
	timer.Stop()
	cause := causeOf(ctx)
	took := time.Since(start)
	outcome, keep := w.judge(job, err, cause)
	if cause != nil && !errors.Is(err, cause) && err != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !keep {
		w.o.Log.Warn("a job's lease was lost", "job", job.ID, "kind", job.Kind, "error", err)
		return
	}
	outcome.Progress = t.takeProgress()
	r := result{outcome: outcome, done: make(chan bool, 1)}
	select {
	case w.results <- r:
	case <-w.base.Done():
		return
	}
	if lost := <-r.done; lost {
		w.o.Log.Warn("a job's outcome was not taken: its lease was lost", "job", job.ID, "kind", job.Kind)
		return
	}
	if err != nil && !errors.Is(cause, ErrCancelled) && !errors.Is(cause, ErrStopping) {
		w.o.Log.Warn("a job failed", "job", job.ID, "kind", job.Kind, "attempt", job.Attempt, "state", outcome.State, "error", err)
	}
	w.o.Observe(Event{Job: after(job, outcome), Err: err, Took: took})
}

// judge decides what becomes of a job whose handler returned err while its context had ended by cause (or nil). keep is
// false when there is nothing to store.
func (w *Worker) judge(job Job, err, cause error) (o Outcome, keep bool) {
	o = Outcome{ID: job.ID, Lease: job.Lease}
	switch {
	case errors.Is(cause, ErrLeaseLost):
		return o, false
	case err == nil:
		o.State = Completed
		return o, true
	case errors.Is(cause, ErrCancelled):
		o.State, o.Cancelled = Completed, true
		return o, true
	case errors.Is(cause, ErrStopping), errors.Is(cause, context.Canceled):
		o.State = Pending
		return o, true
	case errors.Is(cause, ErrTimeout):
		o.LastError = fmt.Sprintf("%v (%v): %v", ErrTimeout, w.kinds[job.Kind].Timeout, err)
	default:
		o.LastError = err.Error()
	}
	o.LastError = cut(o.LastError, MaxLastError)
	if IsPermanent(err) || job.Attempt >= job.MaxAttempts {
		o.State = Dead
		return o, true
	}
	pause := max(w.kinds[job.Kind].Backoff.next(job.Attempt), pauseAsked(err))
	o.State, o.RunAt = Retrying, w.o.Clock.Now().Add(pause)
	return o, true
}

// safely calls the handler and makes a panic an error.
func safely(ctx context.Context, h Handler, t *Task) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return h(ctx, t)
}

// bare returns the job without its payload, for observers.
func bare(job Job) Job {
	job.Payload = nil
	return job
}

// after returns the job as its outcome left it.
func after(job Job, o Outcome) Job {
	job = bare(job)
	job.State, job.Cancelled, job.Worker = o.State, o.Cancelled, ""
	if o.LastError != "" {
		job.LastError = o.LastError
	}
	if o.Progress != nil {
		job.Progress = *o.Progress
	}
	switch o.State {
	case Retrying:
		job.ScheduledAt = hearth.Millis(o.RunAt)
	case Pending:
		job.Attempt--
	}
	return job
}

// reporter logs a trouble when it begins and when it is over, not each time it is met.
type reporter struct{ failing bool }

func (r *reporter) report(log *slog.Logger, what string, err error) {
	if err != nil && !r.failing {
		log.Error(what, "error", err)
	}
	if err == nil && r.failing {
		log.Info("over: " + what)
	}
	r.failing = err != nil
}
