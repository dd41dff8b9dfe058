// Package memkv keeps the cache, the limiter and the leases of one process in its memory.
package memkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"hearth"
	"hearth/internal/kv"
)

// CacheOptions say how large a cache is.
type CacheOptions struct {
	// Bytes bounds what the cache holds, keys and bookkeeping included; 0 is 64 MiB, less than 64 KiB is refused.
	Bytes uint64
	// Clock is the time that TTLs are counted in; nil is the system's, which a change of the wall clock does not move.
	Clock hearth.Clock
	// Logger takes what the cache's library complains of; nil discards it.
	Logger *slog.Logger
}

func (o CacheOptions) validate() (CacheOptions, error) {
	o.Bytes = cmp.Or(o.Bytes, 64<<20)
	if o.Bytes < 64<<10 {
		return o, errors.New("memkv: a cache needs 64 KiB at least")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

// entryOverhead is about what an entry costs without its key, value and watches, in bytes; watchCost is one watch.
const (
	entryOverhead = 256
	watchCost     = 96
)

// Cache is a kv.Cache in the process's memory. It needs no closing: it runs nothing in the background.
type Cache struct {
	options CacheOptions
	now     func() int64
	entries *otter.Cache[string, *entry]
	names   *names

	mu      sync.Mutex
	flights map[string]*flight

	hits, misses, loads, evictions atomic.Uint64
}

var _ kv.Cache = (*Cache)(nil)

type entry struct {
	value   []byte
	expires int64 // by Cache.now
	watches []*watch
}

// flight is one call of a load function and those who wait for it.
type flight struct {
	cancel  context.CancelFunc
	watches []*watch
	waiters int // guarded by Cache.mu
	done    chan struct{}
	// value and err are set before done is closed.
	value []byte
	err   error
}

// NewCache makes an empty cache.
func NewCache(options CacheOptions) (*Cache, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	c := &Cache{options: options, now: ticks(options.Clock), names: newNames(), flights: map[string]*flight{}}
	c.entries, err = otter.New(&otter.Options[string, *entry]{
		MaximumWeight: options.Bytes,
		Weigher: func(key string, e *entry) uint32 {
			return uint32(weight(key, e.value, len(e.watches)))
		},
		OnAtomicDeletion: func(e otter.DeletionEvent[string, *entry]) {
			if e.WasEvicted() {
				c.evictions.Add(1)
			}
			c.names.drop(e.Value.watches)
		},
		Logger: complaints{options.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("memkv: %w", err)
	}
	return c, nil
}

// Load is kv.Cache's.
func (c *Cache) Load(
	ctx context.Context, key string, options kv.Options, load func(context.Context) ([]byte, error),
) ([]byte, error) {
	return c.LoadFor(ctx, key, options.Tags, func(ctx context.Context) ([]byte, time.Duration, error) {
		value, err := load(ctx)
		return value, options.TTL, err
	})
}

// LoadFor is Load for a value whose TTL is known only with the value itself: load returns both.
func (c *Cache) LoadFor(
	ctx context.Context, key string, tags []string, load func(context.Context) ([]byte, time.Duration, error),
) ([]byte, error) {
	if value, ok := c.fresh(key); ok {
		c.hits.Add(1)
		return value, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, value := c.join(ctx, key, tags, load)
	if f == nil {
		c.hits.Add(1)
		return value, nil
	}
	c.misses.Add(1)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		c.leave(key, f)
		return nil, ctx.Err()
	}
}

// fresh returns the kept value, if it is neither old nor invalidated. What is not stays until it is replaced or evicted.
func (c *Cache) fresh(key string) ([]byte, bool) {
	e, ok := c.entries.GetIfPresent(key)
	if !ok || c.now() >= e.expires || ended(e.watches) {
		return nil, false
	}
	return e.value, true
}

// join waits in the flight that is under way, or starts one. A nil flight means that the value came in between.
func (c *Cache) join(
	ctx context.Context, key string, tags []string, load func(context.Context) ([]byte, time.Duration, error),
) (*flight, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil && !ended(f.watches) {
		f.waiters++
		return f, nil
	}
	if value, ok := c.fresh(key); ok {
		return nil, value
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	// The watches are taken before the load begins: an invalidation from here on marks what the load returns.
	f := &flight{
		cancel: cancel, watches: c.names.take(kv.Names(key, tags)), waiters: 1, done: make(chan struct{}),
	}
	c.flights[key] = f
	c.loads.Add(1)
	go c.fly(key, f, func() ([]byte, error) {
		value, ttl, err := load(ctx)
		if err == nil && ttl > 0 {
			c.keep(key, f, &entry{value: value, expires: c.now() + int64(ttl), watches: f.watches})
		}
		return value, err
	})
	return f, nil
}

// leave takes one waiter out of a flight; the last one cancels it.
func (c *Cache) leave(key string, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	if f.waiters == 0 {
		f.cancel()
		if c.flights[key] == f {
			delete(c.flights, key)
		}
	}
}

func (c *Cache) fly(key string, f *flight, load func() ([]byte, error)) {
	// Overwritten unless load neither returns nor panics, as runtime.Goexit does.
	f.err = errors.New("memkv: the load ended without a result")
	defer func() {
		if p := recover(); p != nil {
			f.value, f.err = nil, fmt.Errorf("memkv: the load of a value panicked: %v\n%s", p, debug.Stack())
		}
		f.cancel()
		c.mu.Lock()
		if c.flights[key] == f {
			delete(c.flights, key)
		}
		c.mu.Unlock()
		c.names.drop(f.watches)
		close(f.done)
	}()
	f.value, f.err = load()
}

// keep stores what a flight loaded, unless it is outdated already or so large that it would push out too much else.
func (c *Cache) keep(key string, f *flight, e *entry) {
	if ended(f.watches) || weight(key, e.value, len(e.watches)) > c.options.Bytes/8 {
		return
	}
	c.names.hold(e.watches)
	c.entries.Set(key, e)
}

// Invalidate is kv.Cache's.
func (c *Cache) Invalidate(_ context.Context, names ...string) {
	for _, name := range names {
		c.names.end(name)
	}
}

// Stats is kv.Cache's: one layer, "memory".
func (c *Cache) Stats() []kv.LayerStats {
	return []kv.LayerStats{{
		Layer: "memory", Hits: c.hits.Load(), Misses: c.misses.Load(), Loads: c.loads.Load(), Evictions: c.evictions.Load(),
		Entries: uint64(max(0, c.entries.EstimatedSize())), Bytes: c.entries.WeightedSize(), Capacity: c.options.Bytes,
	}}
}

func weight(key string, value []byte, watches int) uint64 {
	return uint64(len(key) + cap(value) + entryOverhead + watches*watchCost)
}

// ticks returns nanoseconds of a clock. Without one they are of the process's own clock, which cannot be set.
func ticks(clock hearth.Clock) func() int64 {
	if clock != nil {
		return func() int64 { return clock().UnixNano() }
	}
	start := time.Now()
	base := start.UnixNano()
	return func() int64 { return base + int64(time.Since(start)) }
}

// complaints passes the library's warnings on.
type complaints struct{ logger *slog.Logger }

func (l complaints) Warn(ctx context.Context, msg string, err error) {
	l.logger.WarnContext(ctx, msg, "err", err)
}

func (l complaints) Error(ctx context.Context, msg string, err error) {
	l.logger.ErrorContext(ctx, msg, "err", err)
}
