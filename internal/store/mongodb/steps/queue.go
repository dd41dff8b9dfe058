package steps

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// queues let this process's writes of one document come one after another, so that they do not run into one another's
// versions; those of other processes are met in the database.
type queues struct {
	mu    sync.Mutex
	lines map[string]*line
}

// line is who waits for one key. The one in turn holds the token.
type line struct {
	turn chan struct{}
	// users hold or wait for the turn.
	users int
}

// enter waits for the turn of key and returns the function that ends it.
func (q *queues) enter(ctx context.Context, key string) (leave func(), err error) {
	q.mu.Lock()
	if q.lines == nil {
		q.lines = map[string]*line{}
	}
	l := q.lines[key]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		q.lines[key] = l
	}
	l.users++
	q.mu.Unlock()
	gone := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(q.lines, key)
		}
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, ctx.Err()
	}
}

// Pause waits before a try is repeated: up to 1 ms after the first, twice as long after each, 64 ms at most. It is a random
// part of that, so that those who ran into one another part.
func Pause(ctx context.Context, try int) error {
	most := time.Millisecond << min(try, 6)
	timer := time.NewTimer(most/4 + rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
