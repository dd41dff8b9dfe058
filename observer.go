package hearth

import (
	"context"
	"time"
)

// StoreObserver is told what a store does, for metrics and traces. Its methods are called by many goroutines at once, on the
// way of every operation: they return within about a microsecond, and have no way to fail.
type StoreObserver interface {
	// Operation tells that an operation ended. Name is one of a fixed set that the adapter's code spells out, such as the
	// name of a method of its contract or of a command of its database: never made of what a client sent. Took runs from the
	// call to its answer, with the wait for a connection or for a commit. Err is what the caller got; ctx is the caller's.
	Operation(ctx context.Context, name string, took time.Duration, err error)
	// Commit tells that several writes became durable in one step, whatever became of each: how many they were, how long the
	// one that was there first had waited for its turn, and how long the step took. A store that commits each write by
	// itself never calls it.
	Commit(writes int, waited, took time.Duration)
}

// Pool is the use of a bounded set of connections at a moment.
type Pool struct {
	// Name is one of a fixed set of the adapter's, such as "read".
	Name string
	// InUse are busy now, Max may be at once.
	InUse, Max int
}

// NoObserver is the StoreObserver of a store that nobody watches.
type NoObserver struct{}

var _ StoreObserver = NoObserver{}

// Operation does nothing.
func (NoObserver) Operation(context.Context, string, time.Duration, error) {}

// Commit does nothing.
func (NoObserver) Commit(int, time.Duration, time.Duration) {}
