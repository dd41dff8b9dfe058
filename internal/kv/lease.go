package kv

import (
	"context"
	"time"
)

// Leases let one holder at a time do something, among the instances that share them. A lease bounds work done twice; it
// cannot rule it out, because its holder may be paused. What must never happen twice is guarded by the Token: the store
// refuses a token lower than one that it has seen.
type Leases interface {
	// Acquire takes the lease of a name for ttl, 1 ms to MaxLeaseTTL, if it is free; CodeConflict if it is held,
	// the caller's own earlier Acquire included; CodeUnavailable if the adapter does not know.
	Acquire(ctx context.Context, name string, ttl time.Duration) (Lease, error)
	// Renew holds the lease for ttl from now on and returns it with its new end. CodeConflict if it ran out or was released,
	// even if it was not acquired since: what it guarded must stop. CodeUnavailable if the adapter does not know.
	Renew(ctx context.Context, lease Lease, ttl time.Duration) (Lease, error)
	// Release frees the name at once, if the lease still holds it; it is no error if not.
	Release(ctx context.Context, lease Lease) error
}

// MaxLeaseTTL is the longest time that a lease is taken for.
const MaxLeaseTTL = time.Hour

// Lease is the right to act under a name until ExpiresAt.
type Lease struct {
	Name string
	// Token grows with each Acquire of the name, over restarts too.
	Token     int64
	ExpiresAt time.Time
}
