// Package queue does slow work in the background: never lost, never twice at once, always visible.
//
// A capability registers a handler for each kind of job with a [Worker]; a write attaches the jobs that it causes to itself,
// and a [Relay] moves them from the store's outbox into the queue. Administration reads and steers jobs through [Queue]. An
// adapter implements [Backend]: it stores jobs and hands out leases. Everything else (the pools, backoff, heartbeats, timeouts,
// periodic jobs, the graceful stop) stands once, in Worker, whatever the adapter.
//
// # What a handler may rely on
//
//   - At least once: a job that was added runs until it completed, was cancelled or is dead. It may run more than once, when a
//     worker dies or loses its lease; a handler is idempotent.
//   - Never twice at once: one worker holds a job's lease. A worker that cannot renew it stops the handler (context cause
//     ErrLeaseLost) before another may have it. A clock that jumps can break this; nothing that a late worker reports counts.
//   - A failure is tried again after an exponential pause with jitter, until MaxAttempts; then the job is dead.
//   - The context ends on Cancel (ErrCancelled, within 1 s), on the kind's timeout (ErrTimeout), on the lease's loss
//     (ErrLeaseLost) and when the program stops (ErrStopping); context.Cause says which.
//   - A crash costs no attempt: the lease runs out (10 s) and another worker takes the job, within 15 s in all.
package queue

import (
	"context"
	"fmt"
	"time"
)

// Queue is what capabilities and administration use. Every method is atomic, and safe for concurrent use.
//
// Errors, here and in Backend: CodeNotFound for an unknown ID, CodeConflict where the job's state forbids the step,
// CodeValidationFailed for bad input, CodeStorageFull when the disk is full, CodeUnavailable when the storage does not answer,
// is locked or closed. Nothing was changed when an error is given.
type Queue interface {
	// Enqueue adds up to MaxBatch jobs, all or none, durably. Each gets ID, Kind, Queue, Payload, MaxAttempts, Unique and
	// ScheduledAt from the caller; the rest is set here. ids[i] is the job that stands for jobs[i]: its own ID, also when a
	// job of that ID was added before (nothing is changed then, whatever its state), or the ID of the job that holds its
	// unique key. A queue with too much backlog refuses with CodeUnavailable.
	Enqueue(ctx context.Context, jobs ...Job) (ids []string, err error)
	// Job returns one job.
	Job(ctx context.Context, id string) (Job, error)
	// List returns jobs, newest ID first.
	List(ctx context.Context, f Filter) (Page, error)
	// Counts returns the number of jobs of each queue and state, zeros included.
	Counts(ctx context.Context) ([]Count, error)
	// Cancel ends a waiting job at once, and asks a running one to end: its worker does so within 1 s, and it completes with
	// Cancelled set, whatever its handler returns but success. Asking twice is no error. CodeConflict if it has ended.
	Cancel(ctx context.Context, id string) error
	// Retry makes a dead job pending with all its attempts again, and a scheduled or retrying one due at once.
	// CodeConflict in any other state, or when another job now holds its unique key.
	Retry(ctx context.Context, id string) error
	// Delete removes a job. CodeConflict while it runs: cancel it first.
	Delete(ctx context.Context, id string) error
	// Ping reports whether the storage answers.
	Ping(ctx context.Context) error
}

// Filter narrows a list; a zero field does not.
type Filter struct {
	Queue Name
	State State
	Kind  string
	// Limit is 1 to 200; 0 is 50.
	Limit int
	// Before, if set, returns only jobs with smaller IDs: the place where the page before ended.
	Before string
}

// Page is one page of a list.
type Page struct {
	Jobs []Job
	// Next is the Before of the next page; "" on the last page.
	Next string
}

// Count is the number of jobs in one state.
type Count struct {
	Queue Name
	State State
	Jobs  int64
}

// Backend is what an adapter implements: Queue, and what a Worker needs. Times are the clock's that the adapter was made
// with, so that a test can move it. Adapters shared by several machines rely on clocks that agree within a second or two.
type Backend interface {
	Queue
	// EnqueueSlot adds a periodic job once for each slot, across instances and restarts. The first slot ever seen of a name
	// is only noted. A slot later than the noted one is noted, and the job added, in one atomic step; added reports that, and is
	// false as well when another job holds the job's unique key. An earlier or equal slot changes nothing, unless the noted one is
	// later than MaxLease from now: it was noted before the clock was put back, and the slot is only noted in its place.
	EnqueueSlot(ctx context.Context, slot Slot, job Job) (added bool, err error)
	// Claim leases due jobs, oldest ScheduledAt first, to a worker; a pending one is due whatever its ScheduledAt, which may lie ahead
	// where the clock was put back, and so is one that was added or ran last later than MaxLease from now: Running, Attempt and Lease counted up, StartedAt set,
	// progress cleared. A job is given to one caller only. next is when the earliest other job of the asked kinds and queues
	// falls due, which may be past when the slots did not suffice; zero if there is none.
	Claim(ctx context.Context, c Claim) (jobs []Job, next time.Time, err error)
	// Beat renews the leases of a worker's jobs and stores their progress. lost are the jobs that it holds no more; the
	// others are renewed nonetheless.
	Beat(ctx context.Context, b Beat) (lost []string, err error)
	// Cancelling returns the jobs held by the worker whose cancellation was asked for.
	Cancelling(ctx context.Context, worker string) (ids []string, err error)
	// Finish ends runs. lost are the jobs that the caller holds no more: nothing changed there. Where cancellation was
	// asked for, any outcome but Completed becomes completed with Cancelled set.
	Finish(ctx context.Context, outcomes []Outcome) (lost []string, err error)
	// Rescue takes back jobs whose lease has run out: pending again, the attempt not counted but Losses counted; dead
	// beyond MaxLosses; completed if cancellation was asked for. It returns how many it took back, at most MaxBatch. A lease that ends
	// later than MaxLease from now was given before the clock was put back, and counts as run out.
	Rescue(ctx context.Context) (int, error)
	// Purge removes ended jobs by age, at most MaxBatch in one call, and returns how many.
	Purge(ctx context.Context, p Purge) (int, error)
	// Watch returns a signal (capacity 1, so that one missed stands for many) whenever there may be something new to claim or
	// to cancel, also from other processes: from the same process at once, from others within about 100 ms.
	// stop ends it, and may be called twice; the channel is never closed.
	Watch() (changed <-chan struct{}, stop func())
	// Close ends the use. Later calls fail with CodeUnavailable; closing twice is no error.
	Close() error
}

// Slot is one due time of a periodic job.
type Slot struct {
	// Name is the periodic job's; At is the slot's time.
	Name string
	At   time.Time
}

// MaxLease is the longest lease.
const MaxLease = time.Minute

// Claim asks for jobs.
type Claim struct {
	Worker string
	// Lease is how long the jobs are the worker's without a Beat.
	Lease time.Duration
	// Kinds are those the worker has a handler for, with each kind's MaxAttempts (0 keeps the job's own). Jobs of other kinds
	// stay where they are.
	Kinds map[string]int
	// Slots says how many jobs of each queue there is room for.
	Slots map[Name]int
}

// Held is a job that a worker runs.
type Held struct {
	ID    string
	Lease int64
	// Progress, if not nil, is stored.
	Progress *Progress
}

// Beat renews leases.
type Beat struct {
	Worker string
	Lease  time.Duration
	Jobs   []Held
}

// Outcome is how a run ended.
type Outcome struct {
	ID    string
	Lease int64
	// State is Completed, Dead, Retrying, or Pending for a job that is handed back: its attempt is not counted then.
	State State
	// RunAt is the next attempt's time, when Retrying.
	RunAt time.Time
	// LastError is the failure's text; "" keeps the one before.
	LastError string
	Cancelled bool
	// Progress, if not nil, is stored.
	Progress *Progress
}

// AnyWaits reports whether one of the jobs waits for another run. It fails where a run cannot end so.
func AnyWaits(outcomes []Outcome) (waits bool, err error) {
	for _, o := range outcomes {
		switch o.State {
		case Completed, Dead:
		case Retrying, Pending:
			waits = true
		default:
			return false, fmt.Errorf("a run cannot end %q", o.State)
		}
	}
	return waits, nil
}

// Purge says which ended jobs may go: those that finished before these times. A zero time keeps all.
type Purge struct {
	CompletedBefore time.Time
	DeadBefore      time.Time
}
