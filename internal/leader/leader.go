// Package leader chooses one of several instances by a lease.
package leader

import (
	"context"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/kv"
)

const (
	leadFor = 10 * time.Second
	// RenewInterval is how often the lease is acquired or renewed.
	RenewInterval = 3 * time.Second
)

// Leader is an instance that leads while it holds a lease. While the leases are unavailable no other instance can acquire it, and
// the leader stays the leader.
type Leader struct {
	leases kv.Leases
	name   string
	held   kv.Lease
	leads  atomic.Bool
}

// New returns an instance that does not lead yet. With nil leases it is alone, and leads.
func New(leases kv.Leases, name string) *Leader {
	l := &Leader{leases: leases, name: name}
	l.leads.Store(leases == nil)
	return l
}

// Leads reports whether this instance leads.
func (l *Leader) Leads() bool { return l.leads.Load() }

// Renew acquires the lease, or renews it. It is to be called every RenewInterval, by one goroutine. A failure of the leases changes
// nothing, and is logged where it happens.
func (l *Leader) Renew(ctx context.Context) error {
	var lease kv.Lease
	var err error
	if l.leads.Load() {
		lease, err = l.leases.Renew(ctx, l.held, leadFor)
	} else {
		lease, err = l.leases.Acquire(ctx, l.name, leadFor)
	}
	switch {
	case err == nil:
		l.held = lease
		l.leads.Store(true)
	case hearth.ErrorCode(err) == hearth.CodeConflict:
		l.leads.Store(false)
	}
	return nil
}

// Resign releases the lease, so that another instance leads at once.
func (l *Leader) Resign(ctx context.Context) error {
	if !l.leads.Swap(false) {
		return nil
	}
	if err := l.leases.Release(ctx, l.held); err != nil && hearth.ErrorCode(err) != hearth.CodeUnavailable {
		return err
	}
	return nil
}
