// Package cleanup makes periodic jobs of what removes what is no longer needed. They run in the queue "cleanup", one at a time.
package cleanup

import (
	"context"
	"time"

	"hearth"
	"hearth/internal/queue"
)

const (
	// timeout ends a run that hangs; what is left is done by the next.
	timeout = time.Hour
	// recordBatch is how many expired idempotency records one write removes.
	recordBatch = 1000
)

// Job is a periodic job.
type Job struct {
	Name  string
	Every time.Duration
	// Offset is where in Every its slot lies, so that jobs do not all come at once.
	Offset time.Duration
	// Old says that it removes what is old by the clock: not while that is doubted.
	Old bool
	// Work returns how many things it removed or changed. It goes in small steps, so that writes of users go first.
	Work func(context.Context) (int, error)
}

// Jobs are the periodic jobs of a program.
type Jobs []Job

// Kinds returns how the jobs are run: each reports what it did, also when it had to stop half-way.
func (jobs Jobs) Kinds(clock Clock) (kinds []queue.Kind) {
	for _, j := range jobs {
		kinds = append(kinds, queue.Kind{Name: j.Name, Timeout: timeout, MaxAttempts: 3, Handler: func(ctx context.Context, task *queue.Task) error {
			if j.Old {
				if believed, err := clock.Believed(ctx); err != nil || !believed {
					return err
				}
			}
			start := time.Now()
			n, err := j.Work(ctx)
			task.Report(queue.Progress{Step: "done", Done: int64(n), Total: int64(n)})
			if n > 0 {
				clock.Log.InfoContext(ctx, "cleaned up", "job", j.Name, "items", n, "duration", time.Since(start))
			}
			return err
		}})
	}
	return kinds
}

// Periodic returns when the jobs are run.
func (jobs Jobs) Periodic() (all []queue.Periodic) {
	for _, j := range jobs {
		all = append(all, queue.Periodic{Name: j.Name, Every: j.Every, Offset: j.Offset, Kind: j.Name, Queue: queue.Cleanup})
	}
	return all
}

// IdempotencyRecords returns what deletes the idempotency records that have expired.
func IdempotencyRecords(store hearth.IdempotencyStore, clock hearth.Clock) func(context.Context) (int, error) {
	return func(ctx context.Context) (total int, err error) {
		for {
			n, err := store.DeleteExpiredIdempotencyRecords(ctx, clock.Now(), recordBatch)
			total += n
			if err != nil || n < recordBatch {
				return total, err
			}
		}
	}
}
