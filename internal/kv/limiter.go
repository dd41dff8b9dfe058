package kv

import (
	"context"
	"fmt"
	"time"
)

// Limiter bounds how often a key may do something. The limits, by class, are given when it is made. It may be called at
// once from many goroutines and, where its state is shared, from many instances: it never allows more than the rate.
type Limiter interface {
	// Allow takes n units for key of the class, if all of them are there now; otherwise it takes none. With n = 0 it takes
	// nothing and reports whether one unit would be allowed. A class without a limit allows everything: then
	// Decision.Limit is 0. An error means that the limiter does not know; the caller decides what that means.
	Allow(ctx context.Context, class, key string, n int) (Decision, error)
}

// Decision is a limiter's answer.
type Decision struct {
	Allowed bool
	// Limit is the most units at one moment; 0 if there is no limit.
	Limit int
	// Remaining is how many units are there now, after this answer.
	Remaining int
	// ResetAfter is when all units are there again.
	ResetAfter time.Duration
	// RetryAfter is when the refused n units are there; 0 if they were allowed. More units than Limit never are.
	RetryAfter time.Duration
}

// Rate allows Limit units at one moment and in each Per, evenly regained.
type Rate struct {
	Limit int
	Per   time.Duration
}

// Limits are rates by class. A class that is missing or has a Limit of 0 has no limit.
type Limits map[string]Rate

// The bounds of a Rate.
const (
	MaxRateLimit = 1_000_000_000
	MaxRatePer   = 24 * time.Hour
)

// Validate returns what is wrong with the limits.
func (l Limits) Validate() error {
	for class, rate := range l {
		if rate.Limit == 0 {
			continue
		}
		if rate.Limit < 0 || rate.Limit > MaxRateLimit || rate.Per < time.Millisecond || rate.Per > MaxRatePer {
			return fmt.Errorf("kv: the limit of %s is not 1 to %d in 1ms to %s", class, MaxRateLimit, MaxRatePer)
		}
	}
	return nil
}

// Take is the generic cell rate algorithm, the one arithmetic of all limiters. A key's whole state is one time, full: when
// all its units will be there again, in microseconds since 1970; 0 for a new key. Take returns what becomes of n units
// asked for at now, and returns the new state, which is the old one when they are refused. Whole microseconds fit a
// double exactly, so that a script in Redis computes the same.
func (r Rate) Take(full, now int64, n int) (int64, Decision) {
	interval := max(1, r.Per.Microseconds()/int64(r.Limit))
	burst := interval * int64(r.Limit)
	// A clock that was set back must not lock a key out for longer than the limit itself could.
	start := min(max(full, now), now+burst)
	want := int64(min(max(n, 0), r.Limit+1))

	d := Decision{Limit: r.Limit}
	next := start + want*interval
	over := next - now - burst
	d.Allowed = over <= 0
	if want == 0 {
		over = start + interval - now - burst
		d.Allowed = over <= 0
	}
	if !d.Allowed {
		d.RetryAfter = time.Duration(over) * time.Microsecond
		next = start
	}
	d.Remaining = int((burst - (next - now)) / interval)
	d.ResetAfter = time.Duration(next-now) * time.Microsecond
	return next, d
}
