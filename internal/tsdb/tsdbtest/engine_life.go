package tsdbtest

import (
	"time"

	"hearth/internal/tsdb"
)

// start makes the engines anew, as processes that begin.
func (m *model) start() {
	m.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life++
	life := m.life
	options := quiet(m.chunks, func() time.Time { return m.now })
	if m.background {
		options.FoldRows, options.FoldIdle, options.FoldAge = 30, time.Millisecond, time.Millisecond
	}
	for _, db := range m.p.all {
		e, err := tsdb.New(&Faults{Backend: db.Backend, At: func(point string) error { return m.at(life, point) }}, options)
		must(m, err)
		m.engines = append(m.engines, e)
		if m.background {
			e.Start()
		}
	}
}

func (m *model) at(life int, point string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if life != m.life {
		return errDead
	}
	if m.fault == nil {
		return nil
	}
	return m.fault(point)
}

func (m *model) setFault(fault func(point string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// stop ends what the engines do in the background.
func (m *model) stop() {
	for _, e := range m.engines {
		e.Stop()
	}
	m.engines = nil
}
