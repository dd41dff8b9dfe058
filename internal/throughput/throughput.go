// Package throughput counts what a process accepts by scope, and returns the recent rate.
package throughput

import (
	"sync"

	"hearth"
)

const (
	// seconds is the width of the sliding window.
	seconds = 10
	// maxScopes is how many scopes are counted apart before idle ones are forgotten.
	maxScopes = 50_000
)

// Meter counts events by scope. It may be used at once from many goroutines.
type Meter struct {
	clock  hearth.Clock
	mu     sync.Mutex
	ever   uint64
	total  window
	scopes map[hearth.Scope]*window
}

// New makes a meter; a nil clock is the system's.
func New(clock hearth.Clock) *Meter {
	return &Meter{clock: clock, scopes: map[hearth.Scope]*window{}}
}

// Add counts n events of a scope now.
func (m *Meter) Add(scope hearth.Scope, n int) {
	now := m.clock.Now().Unix()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ever += uint64(n)
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
func (m *Meter) forget(now int64) {
	for scope, w := range m.scopes {
		if w.sum(now) == 0 {
			delete(m.scopes, scope)
		}
	}
	if len(m.scopes) >= maxScopes {
		clear(m.scopes)
	}
}

// PerSecond returns the mean number of events a second within reach over the last ten seconds, this one included.
func (m *Meter) PerSecond(reach hearth.Reach) float64 {
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

// Total returns the number of events since the meter was made.
func (m *Meter) Total() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ever
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
