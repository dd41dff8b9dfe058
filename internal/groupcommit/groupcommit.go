// Package groupcommit joins concurrent writes: calls that arrive while one commit is under way share the next one, so that a
// commit that costs an fsync or a round trip is paid once for all of them.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrFull is the error of Do when MaxWaiting is reached.
var ErrFull = errors.New("groupcommit: too many calls wait")

// Options say how calls are committed.
type Options[T any] struct {
	// Commit makes the calls of one group durable. One commit runs at a time; a group is never empty, and its calls are in the
	// order of their Do. The error goes to every caller of the group; a call that can fail alone carries its own. A panic
	// becomes an error. The commit belongs to many callers: it gets no context of theirs, and bounds itself.
	Commit func(group []T) error
	// Size returns what a call counts towards MaxGroup and MaxWaiting; nil is 1 each.
	Size func(call T) int
	// MaxGroup bounds the size of a group; larger calls are a group of their own. 0 means no bound.
	MaxGroup int
	// MaxWaiting bounds the size of all calls whose commit has not begun. 0 means no bound.
	MaxWaiting int
}

// Committer commits calls in groups. Its methods may be called at once from many goroutines.
type Committer[T any] struct {
	options Options[T]

	mu      sync.Mutex
	groups  []*group[T] // those that wait, oldest first; only the last one accepts calls
	waiting int         // their size
	last    int         // the number of calls in the last group that began: a guess of the next one's
	running bool
	idle    sync.WaitGroup
}

type group[T any] struct {
	calls []T
	size  int
	// withdrawn are the indexes of calls whose callers have gone.
	withdrawn map[int]bool
	begun     bool
	done      chan struct{} // closed after err is set
	err       error
}

// New returns a committer. It runs a goroutine only while calls wait.
func New[T any](options Options[T]) *Committer[T] {
	return &Committer[T]{options: options}
}

// Do returns when the calls, which stay together in one group, are committed, with the result of the commit. It returns ErrFull
// at once when too many calls wait, and the context's error when ctx ends: calls whose commit has not begun are withdrawn
// then, others may still become durable.
func (c *Committer[T]) Do(ctx context.Context, calls ...T) error {
	if len(calls) == 0 {
		return nil
	}
	g, at := c.join(calls)
	if g == nil {
		return ErrFull
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		c.withdraw(g, at, len(calls))
		return ctx.Err()
	}
}

// join adds calls to the last waiting group, or to a new one, and returns the index of the first; nil if too many wait.
func (c *Committer[T]) join(calls []T) (g *group[T], at int) {
	size := len(calls)
	if c.options.Size != nil {
		size = 0
		for _, call := range calls {
			size += c.options.Size(call)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.options.MaxWaiting > 0 && c.waiting+size > c.options.MaxWaiting {
		return nil, 0
	}
	if n := len(c.groups); n > 0 && (c.options.MaxGroup == 0 || c.groups[n-1].size+size <= c.options.MaxGroup) {
		g = c.groups[n-1]
	} else {
		g = &group[T]{calls: make([]T, 0, max(len(calls), c.last)), done: make(chan struct{})}
		c.groups = append(c.groups, g)
	}
	at = len(g.calls)
	g.calls = append(g.calls, calls...)
	g.size += size
	c.waiting += size
	if !c.running {
		c.running = true
		c.idle.Go(c.run)
	}
	return g, at
}

func (c *Committer[T]) withdraw(g *group[T], at, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.begun {
		return
	}
	if g.withdrawn == nil {
		g.withdrawn = map[int]bool{}
	}
	for i := range n {
		g.withdrawn[at+i] = true
	}
}

// run commits groups until none waits.
func (c *Committer[T]) run() {
	for {
		c.mu.Lock()
		if len(c.groups) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		g := c.groups[0]
		c.groups[0] = nil
		c.groups = c.groups[1:]
		c.waiting -= g.size
		c.last = len(g.calls)
		g.begun = true
		c.mu.Unlock()
		g.err = c.commit(g.remaining())
		close(g.done)
	}
}

// remaining returns the calls that were not withdrawn.
func (g *group[T]) remaining() []T {
	if len(g.withdrawn) == 0 {
		return g.calls
	}
	kept := make([]T, 0, len(g.calls))
	for i, call := range g.calls {
		if !g.withdrawn[i] {
			kept = append(kept, call)
		}
	}
	return kept
}

func (c *Committer[T]) commit(calls []T) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("groupcommit: the commit panicked: %v\n%s", p, debug.Stack())
		}
	}()
	if len(calls) == 0 {
		return nil
	}
	return c.options.Commit(calls)
}

// Wait returns when no commit is under way and no call waits.
func (c *Committer[T]) Wait() { c.idle.Wait() }
