package rediskv

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/kv"
	"hearth/internal/redisconn"
)

// LeasesOptions are what Leases work with. Conn is required.
type LeasesOptions struct {
	Conn *redisconn.Conn
	// Clock is the time that Lease.ExpiresAt is given in; nil is the system's. How long a lease lasts is counted by Redis.
	Clock hearth.Clock
}

// Leases are kv.Leases over all instances. A lease is a hash lease:{name} with the newest token and, in microseconds by the
// clock of Redis, the end of the hold. It outlives the hold by a day; a token is never lower than the time at which it was
// given, so that tokens grow over the loss of the hash too. While Redis is away every call fails with CodeUnavailable.
type Leases struct{ options LeasesOptions }

var _ kv.Leases = (*Leases)(nil)

// NewLeases makes leases. They need no closing.
func NewLeases(options LeasesOptions) (*Leases, error) {
	if options.Conn == nil {
		return nil, errors.New("rediskv: leases need a connection")
	}
	return &Leases{options: options}, nil
}

var (
	acquireLease = redisconn.Load(scripts, "lease_now", "acquire_lease")
	renewLease   = redisconn.Load(scripts, "lease_now", "renew_lease")
	releaseLease = redisconn.Load(scripts, "lease_now", "release_lease")
)

func leaseKey(name string) []string { return []string{"lease:{" + name + "}"} }

// Acquire is kv.Leases'.
func (l *Leases) Acquire(ctx context.Context, name string, ttl time.Duration) (kv.Lease, error) {
	if err := errors.Join(ctx.Err(), checkTTL(ttl)); err != nil {
		return kv.Lease{}, err
	}
	asked := l.now()
	token, err := l.run(ctx, acquireLease, leaseKey(name), microseconds(ttl))
	if err != nil {
		return kv.Lease{}, err
	}
	if token == 0 {
		return kv.Lease{}, hearth.Errorf(hearth.CodeConflict, "the lease %s is held", name)
	}
	return kv.Lease{Name: name, Token: token, ExpiresAt: asked.Add(ttl)}, nil
}

// Renew is kv.Leases'.
func (l *Leases) Renew(ctx context.Context, lease kv.Lease, ttl time.Duration) (kv.Lease, error) {
	if err := errors.Join(ctx.Err(), checkTTL(ttl)); err != nil {
		return kv.Lease{}, err
	}
	asked := l.now()
	held, err := l.run(ctx, renewLease, leaseKey(lease.Name), microseconds(ttl), strconv.FormatInt(lease.Token, 10))
	if err != nil {
		return kv.Lease{}, err
	}
	if held == 0 {
		return kv.Lease{}, hearth.Errorf(hearth.CodeConflict, "the lease %s was lost", lease.Name)
	}
	return kv.Lease{Name: lease.Name, Token: lease.Token, ExpiresAt: asked.Add(ttl)}, nil
}

// Release is kv.Leases'.
func (l *Leases) Release(ctx context.Context, lease kv.Lease) error {
	_, err := l.run(ctx, releaseLease, leaseKey(lease.Name), strconv.FormatInt(lease.Token, 10))
	return err
}

func (l *Leases) run(ctx context.Context, script *redisconn.Script, keys []string, args ...string) (answer int64, err error) {
	err = l.options.Conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		var err error
		answer, err = script.Run(ctx, client, keys, args).AsInt64()
		return err
	})
	return answer, err
}

// now is the caller's clock, cut to what all of the program shares. What is asked for earlier ends earlier: the holder
// believes to have less than it has.
func (l *Leases) now() time.Time {
	if l.options.Clock != nil {
		return l.options.Clock().UTC()
	}
	return time.Now().UTC()
}

func microseconds(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

func checkTTL(ttl time.Duration) error {
	if ttl < time.Millisecond || ttl > kv.MaxLeaseTTL {
		return errors.New("kv: a lease is for 1ms to 1h")
	}
	return nil
}
