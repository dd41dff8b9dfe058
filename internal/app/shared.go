package app

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/bus"
	"hearth/internal/bus/redisbus"
	"hearth/internal/invalidate"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
	"hearth/internal/kv/rediskv"
	"hearth/internal/observe"
	"hearth/internal/redisconn"
)

// openRedis connects to what instances share; without a URL this process is alone, and everything is in it.
func (a *App) openRedis(ctx context.Context) error {
	if a.config.RedisURL == "" {
		return nil
	}
	conn, err := redisconn.Connect(ctx, redisconn.Options{URL: a.config.RedisURL, Logger: a.log})
	if err != nil {
		return err
	}
	a.redis = conn
	a.steps.add("redis", func(context.Context) error { conn.Close(); return nil })
	// Not required: without it everything goes on, slower and alone.
	a.health.Register(observe.Check{Name: "redis", Probe: conn.Ping})
	shared := redisbus.New(conn)
	a.steps.add("bus", func(context.Context) error { shared.Close(); return nil })
	a.bus = shared
	a.others = invalidate.New(shared, a.log)
	a.asker, err = bus.NewAsker(bus.AskerOptions{Bus: shared, Logger: a.log})
	return err
}

// inBackground does work until its step is taken down.
func (a *App) inBackground(ctx context.Context, name string, work func(context.Context)) {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { work(working) })
	a.steps.add(name, func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// startBus has this process do what messages of other instances ask for, for as long as it runs. A worker is one of them; of what it
// does not do it answers nothing.
func (a *App) startBus(ctx context.Context) {
	if a.redis == nil {
		return
	}
	a.inBackground(ctx, "changes of other instances", func(ctx context.Context) {
		a.others.Run(ctx, invalidate.Caches{Devices: a.fleet, Users: a.people, Roles: a.orgs, Streams: a.realtime})
	})
	a.inBackground(ctx, "questions of other instances", a.asker.Run)
}

// openCache makes the cache of answers: memory, over Redis where instances share one.
func (a *App) openCache() error {
	size := uint64(max(a.config.CacheSize, smallestCache))
	near, err := memkv.NewCache(memkv.CacheOptions{Bytes: size, Clock: a.options.Clock, Logger: a.log})
	if err != nil {
		return err
	}
	a.cache = near
	if a.redis == nil {
		return nil
	}
	shared, err := rediskv.NewCache(rediskv.CacheOptions{Conn: a.redis, Near: near})
	if err != nil {
		return err
	}
	a.cache = shared
	a.steps.add("cache", func(context.Context) error { shared.Close(); return nil })
	return nil
}

// openLimiter makes the limiter that the settings describe; nil if the limits are off.
func (a *App) openLimiter() (api.Limiter, error) {
	if a.config.RateLimits == nil {
		return nil, nil //nolint:nilnil // no limits is a value
	}
	limits := kv.Limits{}
	for class, limit := range a.config.RateLimits {
		limits[class] = kv.Rate{Limit: limit.Count, Per: limit.Per}
	}
	var err error
	a.limiter, err = memkv.NewLimiter(memkv.LimiterOptions{Limits: limits, Clock: a.options.Clock, Logger: a.log})
	if err != nil || a.redis == nil {
		return limiter{a.limiter}, err
	}
	shared, err := rediskv.NewLimiter(rediskv.LimiterOptions{Conn: a.redis, Limits: limits, Local: a.limiter})
	return limiter{shared}, err
}

// rememberLimits makes the limits hold over restarts. It is called by the one process that serves from the directory.
func (a *App) rememberLimits() error {
	if a.limiter == nil {
		return nil
	}
	if err := a.limiter.Remember(filepath.Join(a.config.DataDir, "limits")); err != nil {
		return err
	}
	a.steps.add("limits", func(context.Context) error { return a.limiter.Close() })
	return nil
}

const (
	// watchLease is the name of the lease on telling of silent devices, held for leadFor and renewed every leadEvery.
	watchLease = "fleet.watch"
	leadFor    = 10 * time.Second
	leadEvery  = 3 * time.Second
)

// leader is the one instance of several that tells of devices that fell silent: it holds a lease. While Redis is away nobody
// can take the lease, and whoever led leads on.
type leader struct {
	leases kv.Leases
	held   kv.Lease
	leads  atomic.Bool
}

// startLeading tries to lead, for as long as the program serves.
func (a *App) startLeading(ctx context.Context) error {
	if a.redis == nil {
		return nil
	}
	leases, err := rediskv.NewLeases(rediskv.LeasesOptions{Conn: a.redis, Clock: a.options.Clock})
	if err != nil {
		return err
	}
	a.leader.leases = leases
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() {
		a.repeat(working, periodic{name: "telling of silent devices", every: leadEvery, work: a.leader.look})
	})
	a.steps.add("leading", func(ctx context.Context) error {
		cancel()
		running.Wait()
		return a.leader.leave(ctx)
	})
	return nil
}

// leads reports whether this instance tells of silent devices: alone it does.
func (a *App) leads() bool { return a.redis == nil || a.leader.leads.Load() }

// look takes the lease, or holds it. An error of Redis changes nothing, and was logged with Redis.
func (l *leader) look(ctx context.Context) error {
	var lease kv.Lease
	var err error
	if l.leads.Load() {
		lease, err = l.leases.Renew(ctx, l.held, leadFor)
	} else {
		lease, err = l.leases.Acquire(ctx, watchLease, leadFor)
	}
	switch {
	case err == nil:
		l.held = lease
		l.leads.Store(true)
	case isConflict(err):
		l.leads.Store(false)
	}
	return nil
}

// leave lets another instance lead at once.
func (l *leader) leave(ctx context.Context) error {
	if !l.leads.Swap(false) {
		return nil
	}
	if err := l.leases.Release(ctx, l.held); err != nil && !isUnavailable(err) {
		return err
	}
	return nil
}

func isConflict(err error) bool    { return hearth.ErrorCode(err) == hearth.CodeConflict }
func isUnavailable(err error) bool { return hearth.ErrorCode(err) == hearth.CodeUnavailable }
