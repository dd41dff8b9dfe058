package telemetry

import (
	"sync"

	"hearth"
)

const (
	// seconds is the width of the sliding window.
	seconds = 10
	// maxScopes is how many scopes are counted apart before idle ones are forgotten.
	maxScopes = 10_000
)

// meter counts by scope. It may be used at once from many goroutines.
type meter struct {
	clock  hearth.Clock
	mu     sync.Mutex
	total  window
	scopes map[hearth.Scope]*window
}

// newMeter makes a meter; a nil clock is the system's.
func newMeter(clock hearth.Clock) *meter {
	return &meter{clock: clock, scopes: map[hearth.Scope]*window{}}
}

// add counts n events of a scope now.
func (m *meter) add(scope hearth.Scope, n int) {
	now := m.clock.Now().Unix()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.add(now, n)
	w := m.scopes[scope]
	if w == nil {
		if len(m.scopes) >= maxScopes {
			m.forget(now)
		}
		w = &window{}
		m.scopes[scope] = w
	}
	w.add(now, n)
}

// forget drops the scopes that are idle; if none is, all: their rates build up anew in ten seconds.
func (m *meter) forget(now int64) {
	for scope, w := range m.scopes {
		if w.sum(now) == 0 {
			delete(m.scopes, scope)
		}
	}
	if len(m.scopes) >= maxScopes {
		clear(m.scopes)
	}
}

// perSecond gives the mean number of events a second within reach over the last ten seconds.
func (m *meter) perSecond(reach hearth.Reach) float64 {
	now := m.clock.Now().Unix()
	m.mu.Lock()
	defer m.mu.Unlock()
	if reach.All {
		return float64(m.total.sum(now)) / seconds
	}
	var sum int64
	for _, scope := range reach.Scopes {
		if w := m.scopes[scope]; w != nil {
			sum += w.sum(now)
		}
	}
	return float64(sum) / seconds
}

// window holds the counts of the last seconds, each in the slot of its second.
type window [seconds]struct{ at, n int64 }

func (w *window) add(now int64, n int) {
	slot := &w[now%seconds]
	if slot.at != now {
		slot.at, slot.n = now, 0
	}
	slot.n += int64(n)
}

func (w *window) sum(now int64) (sum int64) {
	for _, slot := range w {
		if slot.at > now-seconds && slot.at <= now {
			sum += slot.n
		}
	}
	return sum
}
