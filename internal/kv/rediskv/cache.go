package rediskv

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/bus"
	"hearth/internal/bus/redisbus"
	"hearth/internal/kv"
	"hearth/internal/redisconn"
)

// Near is the cache in the process's memory: memkv.Cache.
type Near interface {
	// LoadFor is kv.Cache's Load with a load function that returns the TTL with the value.
	LoadFor(
		ctx context.Context, key string, tags []string, load func(context.Context) ([]byte, time.Duration, error),
	) ([]byte, error)
	Invalidate(ctx context.Context, names ...string)
	Stats() []kv.LayerStats
}

// CacheOptions are what a Cache works with. Bus and Near are required.
type CacheOptions struct {
	Bus *redisbus.Bus
	// Near belongs to the cache alone.
	Near Near
	// Patience is how long a load waits for the same load of another instance; 0 is 300 ms.
	Patience time.Duration
}

const (
	// everything is a tag of all values of the near cache. No name of a caller begins with a NUL.
	everything = "\x00everything"
	// alone is how long a value is used that other instances cannot invalidate.
	alone = 500 * time.Millisecond
	// maxValue bounds a shared value, in bytes; a larger one stays in the process.
	maxValue = 256 << 10
	// maxFills bounds the values on their way into Redis.
	maxFills = 64
	// maxOwed bounds the names that could not be invalidated in Redis; beyond it everything is invalidated.
	maxOwed = 1000
	// maxMarks bounds the invalidated names that Redis remembers.
	maxMarks = 100_000
	// loadLock is how long an instance that loads may keep others waiting.
	loadLock = 5 * time.Second
)

// Cache is a kv.Cache of two layers: the process's memory over Redis.
//
// A value in Redis carries a stamp: how many invalidations there had been before its load began. Redis remembers for each
// invalidated name the number of its last invalidation, so a value is right if none of its names has a higher number than
// its stamp. That needs no clock and no list of keys. The numbers hold within an epoch, which ends whenever numbers may
// have been lost: with a flush, a restart or a failover of Redis.
//
// An invalidation is also published, and ends the value in the memory of every instance. An instance that does not hear
// the others, because its subscription is gone, uses Redis for nothing and keeps a value for half a second at most.
type Cache struct {
	options CacheOptions
	bus     *redisbus.Bus
	conn    *redisconn.Conn
	near    Near
	// listening is the subscription to what other instances invalidate.
	listening bus.Subscription

	// hearing is set while the subscription stands.
	hearing atomic.Bool
	mu      sync.Mutex
	owed    map[string]struct{}
	owedAll bool
	owing   atomic.Bool
	wake    chan struct{}

	fills  chan fill
	locks  atomic.Uint64
	cancel context.CancelFunc
	work   sync.WaitGroup

	hits, misses, loads atomic.Uint64
}

var _ kv.Cache = (*Cache)(nil)

// NewCache makes a cache and begins to listen to the other instances. Close ends it.
func NewCache(options CacheOptions) (*Cache, error) {
	if options.Bus == nil || options.Near == nil {
		return nil, errors.New("rediskv: a cache needs a bus and a near cache")
	}
	options.Patience = cmp.Or(options.Patience, 300*time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cache{
		options: options, bus: options.Bus, conn: options.Bus.Conn(), near: options.Near,
		owed: map[string]struct{}{}, wake: make(chan struct{}, 1), fills: make(chan fill, maxFills), cancel: cancel,
	}
	c.listening = c.bus.Listen(bus.Listener{Topics: []string{topic}, Heard: c.heard, Up: c.resume, Down: c.deaf})
	c.work.Go(func() { c.payOn(ctx) })
	c.work.Go(func() { c.fillOn(ctx) })
	return c, nil
}

// Close ends the listening. Later loads keep nothing for long.
func (c *Cache) Close() {
	c.cancel()
	c.listening.Close()
	c.work.Wait()
}

// Hearing reports whether this instance hears the invalidations of the others and shares its values.
func (c *Cache) Hearing() bool { return c.hearing.Load() && !c.owing.Load() && !c.conn.Away() }

// Load is kv.Cache's.
func (c *Cache) Load(
	ctx context.Context, key string, options kv.Options, load func(context.Context) ([]byte, error),
) ([]byte, error) {
	tags := append(slices.Clip(options.Tags), everything)
	return c.near.LoadFor(ctx, key, tags, func(ctx context.Context) ([]byte, time.Duration, error) {
		if options.TTL <= 0 {
			value, err := c.load(ctx, load)
			return value, 0, err
		}
		return c.far(ctx, question{key: key, names: kv.Names(key, options.Tags), ttl: options.TTL, load: load})
	})
}

func (c *Cache) load(ctx context.Context, load func(context.Context) ([]byte, error)) ([]byte, error) {
	c.loads.Add(1)
	return load(ctx)
}

// question is what Load asks the far layer.
type question struct {
	key   string
	names []string
	ttl   time.Duration
	load  func(context.Context) ([]byte, error)
}

// far returns a value from Redis, or else loads it and hands it to Redis.
func (c *Cache) far(ctx context.Context, q question) (value []byte, ttl time.Duration, err error) {
	seen, err := c.find(ctx, q)
	if err != nil { // this instance is alone; the error of a context comes back from the load
		value, err = c.load(ctx, q.load)
		return value, min(q.ttl, alone), err
	}
	if seen.hit {
		c.hits.Add(1)
		return seen.value, seen.left, nil
	}
	c.misses.Add(1)
	f := fill{key: q.key, lock: seen.lock}
	// Also when the load panics: no caller should wait for it any longer.
	defer func() { c.offer(f) }()
	value, err = c.load(ctx, q.load)
	if err == nil && len(value) <= maxValue {
		f.value, f.until = seal(value, seen.state), time.Now().Add(q.ttl)
	}
	return value, q.ttl, err
}

// find looks for a value, and waits a little when another instance loads it.
func (c *Cache) find(ctx context.Context, q question) (sight, error) {
	pause := 5 * time.Millisecond
	for began := time.Now(); ; {
		if !c.Hearing() {
			return sight{}, errAlone
		}
		seen, err := c.look(ctx, q, false)
		if err == nil && seen.stale {
			seen, err = c.look(ctx, q, true)
		}
		if err != nil || seen.hit || !seen.busy || time.Since(began) > c.options.Patience {
			return seen, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return sight{}, ctx.Err()
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

var errAlone = errors.New("rediskv: the other instances cannot be heard")

// Invalidate is kv.Cache's.
func (c *Cache) Invalidate(ctx context.Context, names ...string) {
	if len(names) == 0 {
		return
	}
	c.near.Invalidate(ctx, names...)
	if err := c.publish(context.WithoutCancel(ctx), names); err != nil {
		c.owe(names)
	}
	// A load that began in between may have found the old value in Redis.
	c.near.Invalidate(ctx, names...)
}

// publish marks the names in Redis and publishes them.
func (c *Cache) publish(ctx context.Context, names []string) error {
	args := append([]string{newEpoch(), strconv.Itoa(maxMarks), c.bus.Channel(topic), c.bus.ID() + message(names)}, names...)
	return c.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return markNames.Run(ctx, client, nameKeys(), args).Error()
	})
}

// owe remembers what could not be invalidated in Redis. Until it was, this instance uses Redis for nothing.
func (c *Cache) owe(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owing.Store(true)
	for _, name := range names {
		c.owed[name] = struct{}{}
	}
	if len(c.owed) > maxOwed {
		clear(c.owed)
		c.owedAll = true
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// pay invalidates in Redis what is owed.
func (c *Cache) pay(ctx context.Context) error {
	c.mu.Lock()
	all, owed := c.owedAll, c.owed
	c.owedAll, c.owed = false, map[string]struct{}{}
	c.mu.Unlock()
	names := slices.Collect(maps.Keys(owed))
	var err error
	switch {
	case all:
		err = c.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
			return beginEpoch.Run(ctx, client, nameKeys(), []string{newEpoch(), "always", c.bus.Channel(topic), c.bus.ID() + message(nil)}).Error()
		})
	case len(names) > 0:
		err = c.publish(ctx, names)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.owedAll = c.owedAll || all
		maps.Copy(c.owed, owed)
	}
	c.owing.Store(c.owedAll || len(c.owed) > 0)
	return err
}

// Stats is kv.Cache's: the layers "memory" and "redis".
func (c *Cache) Stats() []kv.LayerStats {
	return append(c.near.Stats(), kv.LayerStats{
		Layer: "redis", Hits: c.hits.Load(), Misses: c.misses.Load(), Loads: c.loads.Load(),
	})
}
