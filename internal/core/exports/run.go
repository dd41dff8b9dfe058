package exports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// The steps of an export before its end, as users see them.
const (
	stepQueued   = "queued"
	stepCounting = "counting"
	stepWriting  = "writing"
	stepStoring  = "storing"
	stepRetrying = "waiting to try again"
)

// errNotWanted ends a run whose export was cancelled, deleted, or given to another run.
var errNotWanted = errors.New("the export does not want this run any more")

// reportEvery is how often a run stores how far it is, and looks whether it is still wanted.
const reportEvery = 500 * time.Millisecond

// endTimeout bounds the writes that note a run's end; they go on when the run's context is over.
const endTimeout = 15 * time.Second

// running is one run of an export.
type running struct {
	s      *Service
	export hearth.Export
	task   *queue.Task
	// records counts what was written so far; step and total are the rest of the progress.
	records atomic.Int64
	total   atomic.Int64
	step    atomic.Pointer[string]
}

func (r *running) enter(step string) { r.step.Store(&step) }

func (r *running) progress() hearth.ExportProgress {
	done := r.records.Load()
	return hearth.ExportProgress{Step: *r.step.Load(), Processed: done, Total: max(done, r.total.Load())}
}

// run is the handler of JobRun.
func (s *Service) run(ctx context.Context, task *queue.Task) error {
	var payload runPayload
	if err := json.Unmarshal(task.Job.Payload, &payload); err != nil {
		return queue.Permanent(fmt.Errorf("read the job of an export: %w", err))
	}
	r := &running{s: s, task: task}
	r.enter(stepCounting)
	if err := r.begin(ctx, payload.ExportID); err != nil {
		if errors.Is(err, errNotWanted) || hearth.ErrorCode(err) == hearth.CodeNotFound {
			return s.dropFiles(ctx, payload.ExportID, r.export.File)
		}
		return err
	}
	err := r.write(ctx)
	if err != nil {
		return r.fail(ctx, err)
	}
	return nil
}

// begin takes the export over from whatever run had it, and removes what that left.
func (r *running) begin(ctx context.Context, id string) error {
	now := r.s.now()
	run := queue.NewID(now)
	e, err := r.s.o.Store.UpdateExport(ctx, id, func(e hearth.Export) (hearth.Export, error) {
		if e.Status == hearth.ExportCompleted || e.Status == hearth.ExportCancelled {
			r.export = e
			return e, errNotWanted
		}
		// A failed one is here because an administrator retries its job.
		e.Status, e.Run, e.File, e.StartedAt, e.CompletedAt, e.ExpiresAt = hearth.ExportRunning, run, "", now, time.Time{}, time.Time{}
		e.Progress, e.Result, e.Failure = r.progress(), nil, nil
		return e, nil
	}, hearth.SideEffects{})
	if err != nil {
		return err
	}
	r.export = e
	r.s.publish(e)
	return r.s.dropFiles(ctx, id, "")
}

// change writes to the export as long as it wants this run; errNotWanted otherwise.
func (r *running) change(ctx context.Context, change func(*hearth.Export), effects hearth.SideEffects) error {
	e, err := r.s.o.Store.UpdateExport(ctx, r.export.ID, func(e hearth.Export) (hearth.Export, error) {
		if e.Run != r.export.Run || e.Status != hearth.ExportRunning {
			return e, errNotWanted
		}
		change(&e)
		return e, nil
	}, effects)
	switch {
	case err == nil:
		r.s.publish(e)
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return errNotWanted
	}
	return err
}

// write writes the file and completes the export.
func (r *running) write(ctx context.Context) error {
	writing, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(writing, stop) })
	result, err := r.produce(writing)
	cause := context.Cause(writing)
	stop(nil)
	watching.Wait()
	if err != nil {
		return errors.Join(cause, err)
	}
	// The file is there: the end is noted even if the program is stopping.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	job, err := r.s.notifyJob(r.export, hearth.ExportCompleted)
	if err != nil {
		return err
	}
	note, err := r.s.o.Webhooks.WebhookNote(ending, scopeOf(r.export), hearth.WebhookExportCompleted)
	if err != nil {
		return err
	}
	var completed hearth.Export
	return r.change(ending, func(e *hearth.Export) {
		e.Progress = r.progress()
		e.Progress.Total = e.Progress.Processed
		e.Result, e.File = result, r.key()
		r.s.end(e, hearth.ExportCompleted)
		completed = *e
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{job}, JobsAfter: func() ([]hearth.OutboxJob, error) {
		return note(completed.CompletedAt, "", completed)
	}})
}

// scopeOf returns whose webhooks are sent an export: its user's, or those of the organization that the API key is bound to.
func scopeOf(e hearth.Export) hearth.Scope {
	if e.OnlyOrg != "" {
		return hearth.OrgScope(e.OnlyOrg)
	}
	return hearth.UserScope(e.UserID)
}

// key is where this run's file lies.
func (r *running) key() string { return filePrefix(r.export.ID) + r.export.Run }

// watch reports how far the run is, and stops it when it is not wanted any more, until ctx ends.
func (r *running) watch(ctx context.Context, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	published := r.export.Progress
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := r.progress()
		r.task.Report(queue.Progress{Step: now.Step, Done: now.Processed, Total: now.Total})
		var err error
		if now == published {
			var e hearth.Export
			e, err = r.s.o.Store.Export(ctx, r.export.ID)
			if err == nil && (e.Run != r.export.Run || e.Status != hearth.ExportRunning) || hearth.ErrorCode(err) == hearth.CodeNotFound {
				err = errNotWanted
			}
		} else if err = r.change(ctx, func(e *hearth.Export) { e.Progress = now }, hearth.SideEffects{}); err == nil {
			published = now
		}
		if errors.Is(err, errNotWanted) {
			stop(errNotWanted)
			return
		}
		if err != nil && ctx.Err() == nil { // what cannot be published does not end the work
			r.s.o.Log.WarnContext(ctx, "the progress of an export was not stored", "export", r.export.ID, "err", err)
		}
	}
}

// fail decides what becomes of a run that ended with err, and returns the job's outcome.
func (r *running) fail(ctx context.Context, err error) error {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	cause := context.Cause(ctx)
	switch {
	case errors.Is(err, errNotWanted):
		r.publishEnd(ending)
		return r.s.o.Files.Delete(ending, r.key())
	case errors.Is(cause, queue.ErrStopping), errors.Is(cause, queue.ErrLeaseLost), errors.Is(cause, context.Canceled):
		return err // returned, or another worker's by now
	case errors.Is(cause, queue.ErrCancelled):
		err = errors.Join(err, r.ended(ending, func(e *hearth.Export) { r.s.end(e, hearth.ExportCancelled) }, hearth.SideEffects{}))
		r.publishEnd(ending)
		return err
	}
	code := hearth.ErrorCode(err)
	final := code == hearth.CodeStorageFull || code == hearth.CodeValidationFailed || code == hearth.CodePayloadTooLarge
	if !final && r.task.Job.Attempt < r.task.Job.MaxAttempts {
		return errors.Join(err, r.ended(ending, func(e *hearth.Export) {
			e.Status = hearth.ExportQueued
			e.Progress = hearth.ExportProgress{Step: stepRetrying}
		}, hearth.SideEffects{}))
	}
	job, jobErr := r.s.notifyJob(r.export, hearth.ExportFailed)
	if jobErr != nil {
		return errors.Join(err, jobErr)
	}
	noted := r.ended(ending, func(e *hearth.Export) {
		e.Failure = failure(err)
		e.Progress = r.progress()
		r.s.end(e, hearth.ExportFailed)
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{job}})
	if noted != nil { // attempted again, so that the export does not look as if it ran for ever
		return errors.Join(err, noted)
	}
	return queue.Permanent(err)
}

// publishEnd publishes an export's end once more where another process ended it: what this run published last may have come
// after that.
func (r *running) publishEnd(ctx context.Context) {
	if e, err := r.s.o.Store.Export(ctx, r.export.ID); err == nil && e.Status.Ended() {
		r.s.publish(e)
	}
}

// ended is change at a run's end, where not being wanted is as good.
func (r *running) ended(ctx context.Context, change func(*hearth.Export), effects hearth.SideEffects) error {
	if err := r.change(ctx, change, effects); !errors.Is(err, errNotWanted) {
		return err
	}
	return nil
}

// failure is what the owner may know of err.
func failure(err error) *hearth.ExportFailure {
	if e, ok := errors.AsType[*hearth.Error](err); ok && e.Code != hearth.CodeInternal {
		return &hearth.ExportFailure{Code: e.Code, Message: e.Message}
	}
	if errors.Is(err, queue.ErrTimeout) {
		return &hearth.ExportFailure{Code: hearth.CodeUnavailable, Message: "the export took too long"}
	}
	return &hearth.ExportFailure{Code: hearth.CodeInternal, Message: "something went wrong on our side"}
}
