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
	// MaxGroup bounds the size of a group; a larger call is a group of its own. 0 means no bound.
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
	running bool
	idle    sync.WaitGroup
}

type group[T any] struct {
	calls []T
	size  int
	// withdrawn are the indexes of calls that nobody waits for any more.
	withdrawn map[int]bool
	begun     bool
	done      chan struct{} // closed after err is set
	err       error
}

// New returns a committer. It runs a goroutine only while calls wait.
func New[T any](options Options[T]) *Committer[T] {
	if options.Size == nil {
		options.Size = func(T) int { return 1 }
	}
	return &Committer[T]{options: options}
}

// Do returns when the call's group is committed, with the result of the commit. It returns ErrFull at once when too many calls
// wait, and the context's error when ctx ends: a call whose commit has not begun is withdrawn then, one whose commit has
// begun may still become durable.
func (c *Committer[T]) Do(ctx context.Context, call T) error {
	g, at := c.join(call)
	if g == nil {
		return ErrFull
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		c.withdraw(g, at)
		return ctx.Err()
	}
}

// join adds a call to the last waiting group, or to a new one; nil if too many calls wait.
func (c *Committer[T]) join(call T) (g *group[T], at int) {
	size := c.options.Size(call)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.options.MaxWaiting > 0 && c.waiting+size > c.options.MaxWaiting {
		return nil, 0
	}
	if n := len(c.groups); n > 0 && (c.options.MaxGroup == 0 || c.groups[n-1].size+size <= c.options.MaxGroup) {
		g = c.groups[n-1]
	} else {
		g = &group[T]{done: make(chan struct{})}
		c.groups = append(c.groups, g)
	}
	g.calls = append(g.calls, call)
	g.size += size
	c.waiting += size
	if !c.running {
		c.running = true
		c.idle.Go(c.run)
	}
	return g, len(g.calls) - 1
}

func (c *Committer[T]) withdraw(g *group[T], at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.begun {
		return
	}
	if g.withdrawn == nil {
		g.withdrawn = map[int]bool{}
	}
	g.withdrawn[at] = true
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
