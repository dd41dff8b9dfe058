package memkv

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"hearth"
	"hearth/internal/kv"
)

// Leases are kv.Leases of one process: they keep its goroutines apart.
type Leases struct {
	now func() int64

	mu   sync.Mutex
	last int64 // the newest token
	held map[string]holding
	// sweepAt is the number of names from which those that ran out are looked for.
	sweepAt int
}

var _ kv.Leases = (*Leases)(nil)

type holding struct {
	token   int64
	expires int64 // by Leases.now
}

// NewLeases returns free leases. A nil clock is the system's, which a change of the wall clock does not move.
func NewLeases(clock hearth.Clock) *Leases {
	l := &Leases{now: ticks(clock), held: map[string]holding{}}
	// Tokens go on from the time of the start, so that they grow over restarts.
	l.last = l.now() / int64(time.Microsecond)
	return l
}

// Acquire is kv.Leases'.
func (l *Leases) Acquire(ctx context.Context, name string, ttl time.Duration) (kv.Lease, error) {
	if err := errors.Join(ctx.Err(), checkTTL(ttl)); err != nil {
		return kv.Lease{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if h, ok := l.held[name]; ok && now < h.expires {
		return kv.Lease{}, hearth.Errorf(hearth.CodeConflict, "the lease %s is held", name)
	}
	l.last++
	return l.hold(name, holding{token: l.last, expires: now + int64(ttl)}), nil
}

// Renew is kv.Leases'.
func (l *Leases) Renew(ctx context.Context, lease kv.Lease, ttl time.Duration) (kv.Lease, error) {
	if err := errors.Join(ctx.Err(), checkTTL(ttl)); err != nil {
		return kv.Lease{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if h, ok := l.held[lease.Name]; !ok || h.token != lease.Token || now >= h.expires {
		return kv.Lease{}, hearth.Errorf(hearth.CodeConflict, "the lease %s was lost", lease.Name)
	}
	return l.hold(lease.Name, holding{token: lease.Token, expires: now + int64(ttl)}), nil
}

// Release is kv.Leases'.
func (l *Leases) Release(_ context.Context, lease kv.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[lease.Name].token == lease.Token {
		delete(l.held, lease.Name)
	}
	return nil
}

// hold is called with the lock held.
func (l *Leases) hold(name string, h holding) kv.Lease {
	if len(l.held) >= l.sweepAt {
		now := l.now()
		maps.DeleteFunc(l.held, func(_ string, h holding) bool { return now >= h.expires })
		l.sweepAt = max(64, 2*len(l.held))
	}
	l.held[name] = h
	return kv.Lease{Name: name, Token: h.token, ExpiresAt: time.Unix(0, h.expires).UTC()}
}

func checkTTL(ttl time.Duration) error {
	if ttl < time.Millisecond || ttl > kv.MaxLeaseTTL {
		return errors.New("kv: a lease is for 1ms to 1h")
	}
	return nil
}
