// Package boundedcache keeps values of limited number or size in memory. What it guarantees beyond a map: a value that was
// read from its source before an invalidation is never kept after it, however long the reading took.
//
//	value, ok, version := cache.Find(key)
//	if !ok {
//		value = read(key)
//		cache.Keep(version, key, value) // does nothing if the key was set or invalidated since Find
//	}
package boundedcache

import (
	"hash/maphash"
	"sync"
	"time"

	"hearth"
)

// Options say what a cache may hold. Exactly one of Entries and Bytes is set.
type Options[K comparable, V any] struct {
	// Entries bounds the number of values.
	Entries int
	// Bytes bounds the sum of the sizes that Size returns. A value of more than a sixteenth of it is not kept.
	Bytes int
	Size  func(key K, value V) int
	// TTL is how long a value counts, from the Find before its Keep or from its Set; 0 is for ever.
	TTL time.Duration
	// Clock is the time that TTL is counted in; nil is a clock of the process that a change of the system's does not move.
	Clock hearth.Clock
}

// Version is the state of a cache in which a value was missing; see Keep.
type Version struct {
	changes uint64
	at      time.Duration
}

// Cache is a bounded map for many goroutines. A value that needs room replaces others, which ones is random: values can be
// read again from where they came from.
type Cache[K comparable, V any] struct {
	options Options[K, V]
	seed    maphash.Seed
	started time.Time
	shards  []shard[K, V]
}

type shard[K comparable, V any] struct {
	mu      sync.RWMutex
	entries map[K]entry[V]
	limit   int // in entries or bytes, as is used
	used    int
	changes uint64 // counts what Keep must not overwrite
	_       [24]byte
}

type entry[V any] struct {
	value V
	at    time.Duration
	size  int
}

const (
	manyShards = 64
	// minPerShard keeps a small cache in one shard, so that its bound is exact.
	minPerShard = 64
	// maxShare is the part of Bytes that one value may take.
	maxShare = 16
)

// New returns an empty cache.
func New[K comparable, V any](options Options[K, V]) *Cache[K, V] {
	c := &Cache[K, V]{options: options, seed: maphash.MakeSeed(), started: time.Now()}
	n, limit := 1, options.Bytes
	if options.Size == nil {
		c.options.Size = func(K, V) int { return 1 }
		if limit = options.Entries; limit >= manyShards*minPerShard {
			n = manyShards
		}
	}
	c.shards = make([]shard[K, V], n)
	for i := range c.shards {
		c.shards[i].entries, c.shards[i].limit = map[K]entry[V]{}, max(1, limit/n)
	}
	return c
}

func (c *Cache[K, V]) shard(key K) *shard[K, V] {
	if len(c.shards) == 1 {
		return &c.shards[0]
	}
	return &c.shards[maphash.Comparable(c.seed, key)%manyShards]
}

// now is the age of the cache by its clock; 0 where nothing ages.
func (c *Cache[K, V]) now() time.Duration {
	switch {
	case c.options.TTL == 0:
		return 0
	case c.options.Clock != nil:
		return time.Duration(c.options.Clock().UnixNano())
	}
	return time.Since(c.started)
}

// Find returns the value of a key, unless it is older than TTL, and the version to hand to Keep.
func (c *Cache[K, V]) Find(key K) (value V, ok bool, version Version) {
	now := c.now()
	s := c.shard(key)
	s.mu.RLock()
	e, ok := s.entries[key]
	version = Version{s.changes, now}
	s.mu.RUnlock()
	if !ok || c.options.TTL > 0 && now-e.at >= c.options.TTL {
		return value, false, version
	}
	return e.value, true, version
}

// Keep stores a value that was read from its source after Find returned version, and reports whether it did: not if the key
// was set or invalidated since.
func (c *Cache[K, V]) Keep(version Version, key K, value V) bool {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != version.changes {
		return false
	}
	return c.store(s, key, value, version.at)
}

// Set stores a value that outdates whatever is being read from the source meanwhile.
func (c *Cache[K, V]) Set(key K, value V) {
	now := c.now()
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	c.store(s, key, value, now)
}

func (c *Cache[K, V]) store(s *shard[K, V], key K, value V, at time.Duration) bool {
	s.remove(key)
	size := c.options.Size(key, value)
	if c.options.Bytes > 0 && size > c.options.Bytes/maxShare {
		return false
	}
	for other := range s.entries {
		if s.used+size <= s.limit {
			break
		}
		s.remove(other)
	}
	s.entries[key] = entry[V]{value, at, size}
	s.used += size
	return true
}

func (s *shard[K, V]) remove(key K) {
	s.used -= s.entries[key].size
	delete(s.entries, key)
}

// Delete invalidates a key.
func (c *Cache[K, V]) Delete(key K) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.remove(key)
}

// DeleteFunc invalidates the keys whose value matches, and whatever is being read meanwhile: it may match too.
func (c *Cache[K, V]) DeleteFunc(match func(key K, value V) bool) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.changes++
		for key, e := range s.entries {
			if match(key, e.value) {
				s.remove(key)
			}
		}
		s.mu.Unlock()
	}
}

// Len returns the number of values, those older than TTL included.
func (c *Cache[K, V]) Len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.entries)
		s.mu.RUnlock()
	}
	return n
}
