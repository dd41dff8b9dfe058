package account

import (
	"context"
	"sync"
	"time"

	"hearth"
)

// maxGateQueue bounds how many requests wait for others about the same account.
const maxGateQueue = 256

// gate lets one password at a time be tried for an account. With it, tries that are under way at once are few (one a
// process), so that a count taken before the verdict does not lock out who signs in several times at once.
type gate struct {
	mu    sync.Mutex
	doors map[string]*door
}

type door struct {
	free  chan struct{} // holds a value while nobody is inside
	users int
}

func newGate() *gate { return &gate{doors: map[string]*door{}} }

// enter waits for the account's turn; leave ends it. CodeUnavailable if too many wait.
func (g *gate) enter(ctx context.Context, key string) (leave func(), err error) {
	g.mu.Lock()
	d := g.doors[key]
	if d == nil {
		d = &door{free: make(chan struct{}, 1)}
		d.free <- struct{}{}
		g.doors[key] = d
	}
	full := d.users >= maxGateQueue
	if !full {
		d.users++
	}
	g.mu.Unlock()
	if full {
		return nil, &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many logins at once", RetryAfter: time.Second}
	}
	out := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if d.users--; d.users == 0 {
			delete(g.doors, key)
		}
	}
	select {
	case <-d.free:
		return func() { d.free <- struct{}{}; out() }, nil
	case <-ctx.Done():
		out()
		return nil, ctx.Err()
	}
}
