package account

import (
	"hash/maphash"
	"sync"
)

const shardCount = 64

// boundedMap is a map of limited size for many goroutines. When a shard is full, any of its entries makes room: entries
// can be read again from where they came from.
type boundedMap[K comparable, V any] struct {
	seed     maphash.Seed
	perShard int
	shards   [shardCount]shard[K, V]
}

type shard[K comparable, V any] struct {
	mu      sync.Mutex
	entries map[K]V
	// version counts what put must not overwrite: see putIf.
	version uint64
	_       [40]byte // keeps the locks of neighbours on different cache lines
}

func newBoundedMap[K comparable, V any](size int) *boundedMap[K, V] {
	m := &boundedMap[K, V]{seed: maphash.MakeSeed(), perShard: max(1, size/shardCount)}
	for i := range m.shards {
		m.shards[i].entries = map[K]V{}
	}
	return m
}

func (m *boundedMap[K, V]) shard(key K) *shard[K, V] {
	return &m.shards[maphash.Comparable(m.seed, key)%shardCount]
}

// find returns an entry, and the version to hand to putIf.
func (m *boundedMap[K, V]) find(key K) (value V, ok bool, version uint64) {
	s := m.shard(key)
	s.mu.Lock()
	value, ok = s.entries[key]
	version = s.version
	s.mu.Unlock()
	return value, ok, version
}

// putIf stores an entry that was read from elsewhere after find returned version, unless something was forced meanwhile: what
// was read may be older than that. It reports whether it did.
func (m *boundedMap[K, V]) putIf(version uint64, key K, value V) bool {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version != version {
		return false
	}
	m.store(s, key, value)
	return true
}

// force stores an entry over whatever is being read elsewhere.
func (m *boundedMap[K, V]) force(key K, value V) {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	m.store(s, key, value)
}

func (m *boundedMap[K, V]) store(s *shard[K, V], key K, value V) {
	if _, there := s.entries[key]; !there && len(s.entries) >= m.perShard {
		for other := range s.entries {
			delete(s.entries, other)
			break
		}
	}
	s.entries[key] = value
}

// removeIf removes the entries that match, and keeps what is being read elsewhere from being stored.
func (m *boundedMap[K, V]) removeIf(match func(V) bool) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		s.version++
		for key, value := range s.entries {
			if match(value) {
				delete(s.entries, key)
			}
		}
		s.mu.Unlock()
	}
}
