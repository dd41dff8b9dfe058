package queue

import (
	"context"
	"errors"
	"time"

	"hearth"
)

// The causes with which a handler's context ends.
var (
	// ErrCancelled: the job was cancelled. It completes, marked as cancelled.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrStopping: the program stops. The job is handed back, and no attempt is lost.
	ErrStopping = errors.New("the worker is stopping")
	// ErrTimeout: the kind's timeout passed. It counts as a failure.
	ErrTimeout = errors.New("the job took too long")
	// ErrLeaseLost: another worker may run the job now. What this run reports is ignored.
	ErrLeaseLost = errors.New("the job's lease was lost")
)

// permanent marks a failure that trying again cannot mend.
type permanent struct{ cause error }

func (p *permanent) Error() string { return p.cause.Error() }
func (p *permanent) Unwrap() error { return p.cause }

// Permanent marks err as one that trying again cannot mend: the job is dead at once. Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{cause: err}
}

// IsPermanent reports whether err or something it wraps was marked by Permanent.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanent](err)
	return ok
}

// pauseAsked returns how long a failure itself asks to wait: hearth.Error's RetryAfter, or zero.
func pauseAsked(err error) time.Duration {
	if e, ok := errors.AsType[*hearth.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// causeOf returns which of the four causes ended ctx; nil while it is alive.
func causeOf(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
