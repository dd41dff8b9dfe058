package memkv

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// nameShards is how many locks the names are spread over: a power of two.
const nameShards = 64

// names knows the name of every value that is kept or being loaded, so that ending a name costs the same whether a
// thousand values have it or none. A watch is forgotten with the last value that holds it: names take no more room than
// the values do.
type names struct {
	seed   maphash.Seed
	shards [nameShards]nameShard
}

type nameShard struct {
	mu      sync.Mutex
	watches map[string]*watch
}

// watch stands for one name since its last invalidation.
type watch struct {
	name  string
	over  atomic.Bool
	holds int // guarded by the shard's lock
}

func newNames() *names {
	n := &names{seed: maphash.MakeSeed()}
	for i := range n.shards {
		n.shards[i].watches = map[string]*watch{}
	}
	return n
}

func (n *names) shard(name string) *nameShard {
	return &n.shards[maphash.String(n.seed, name)%nameShards]
}

// take returns the watches of the names, each held once for the asker.
func (n *names) take(all []string) []*watch {
	watches := make([]*watch, len(all))
	for i, name := range all {
		s := n.shard(name)
		s.mu.Lock()
		w := s.watches[name]
		if w == nil {
			w = &watch{name: name}
			s.watches[name] = w
		}
		w.holds++
		s.mu.Unlock()
		watches[i] = w
	}
	return watches
}

// hold holds each watch once more.
func (n *names) hold(watches []*watch) {
	for _, w := range watches {
		s := n.shard(w.name)
		s.mu.Lock()
		w.holds++
		s.mu.Unlock()
	}
}

// drop undoes one hold of each watch.
func (n *names) drop(watches []*watch) {
	for _, w := range watches {
		s := n.shard(w.name)
		s.mu.Lock()
		w.holds--
		if w.holds == 0 && s.watches[w.name] == w {
			delete(s.watches, w.name)
		}
		s.mu.Unlock()
	}
}

// end marks everything that has the name now; who takes the name from here on gets a new watch.
func (n *names) end(name string) {
	s := n.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watches[name]; w != nil {
		w.over.Store(true)
		delete(s.watches, name)
	}
}

// ended reports whether one of the watches was invalidated.
func ended(watches []*watch) bool {
	for _, w := range watches {
		if w.over.Load() {
			return true
		}
	}
	return false
}
