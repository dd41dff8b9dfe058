package queue

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"
)

// Backoff is the pause between attempts: Base after the first failure, doubled after each further one up to Max, and then
// spread at random over the upper half, so that jobs that failed together do not come back together.
type Backoff struct {
	// Base is the first pause; 0 is 5 s.
	Base time.Duration
	// Max is the longest pause; 0 is 15 min.
	Max time.Duration
}

// withDefaults returns b with its zero fields filled in.
func (b Backoff) withDefaults() Backoff {
	b.Base = cmp.Or(b.Base, 5*time.Second)
	b.Max = cmp.Or(b.Max, max(15*time.Minute, b.Base))
	return b
}

// Pause returns the pause after the failure of the given attempt (1 for the first). random is in [0, 1).
func (b Backoff) Pause(attempt int, random float64) time.Duration {
	b = b.withDefaults()
	full := float64(b.Base) * math.Pow(2, float64(max(attempt, 1)-1))
	full = min(full, float64(b.Max))
	return time.Duration(full/2 + full/2*random)
}

func (b Backoff) next(attempt int) time.Duration { return b.Pause(attempt, rand.Float64()) }
