package fleet

import (
	"sync"
	"sync/atomic"

	"hearth"
)

const (
	// rateWindow is how many whole seconds a rate is the mean of.
	rateWindow = 10
	// maxRates bounds the scopes whose heartbeats are counted.
	maxRates = 50_000
)

// rates counts heartbeats by scope over the last seconds.
type rates struct {
	total  atomic.Uint64 // of all scopes since the start
	mu     sync.Mutex
	scopes map[hearth.Scope]*rate
}

// rate is a ring of seconds.
type rate struct {
	newest int64
	counts [rateWindow + 1]int64
}

func (r *rate) advance(second int64) {
	if second-r.newest > rateWindow {
		*r = rate{newest: second}
	}
	for r.newest < second {
		r.newest++
		r.counts[r.newest%int64(len(r.counts))] = 0
	}
}

// total is of the whole seconds before this one.
func (r *rate) total(second int64) (n int64) {
	r.advance(second)
	for back := int64(1); back <= rateWindow; back++ {
		if at := second - back; at >= 0 {
			n += r.counts[at%int64(len(r.counts))]
		}
	}
	return n
}

func (r *rates) add(beats []hearth.Event) {
	r.total.Add(uint64(len(beats)))
	second := beats[0].At.Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scopes == nil {
		r.scopes = map[hearth.Scope]*rate{}
	}
	for i := range beats {
		scope := beats[i].Scope
		counted := r.scopes[scope]
		if counted == nil {
			if len(r.scopes) >= maxRates {
				r.forget(second)
			}
			counted = &rate{newest: second}
			r.scopes[scope] = counted
		}
		counted.advance(second)
		counted.counts[counted.newest%int64(len(counted.counts))]++
	}
}

// forget makes room: the silent scopes go, and if none is silent all start anew.
func (r *rates) forget(second int64) {
	for scope, counted := range r.scopes {
		if counted.total(second) == 0 {
			delete(r.scopes, scope)
		}
	}
	if len(r.scopes) >= maxRates {
		clear(r.scopes)
	}
}

// HeartbeatRate gives the heartbeats a second of the scopes within reach: the mean of the last ten whole seconds, as
// this process took them.
func (f *Fleet) HeartbeatRate(reach hearth.Reach) float64 {
	second := f.now().Unix()
	f.rates.mu.Lock()
	defer f.rates.mu.Unlock()
	var n int64
	if reach.All {
		for _, counted := range f.rates.scopes {
			n += counted.total(second)
		}
	}
	for _, scope := range reach.Scopes {
		if counted := f.rates.scopes[scope]; counted != nil {
			n += counted.total(second)
		}
	}
	return float64(n) / rateWindow
}

// Heard gives how many heartbeats this process took in since it started.
func (f *Fleet) Heard() uint64 { return f.rates.total.Load() }
