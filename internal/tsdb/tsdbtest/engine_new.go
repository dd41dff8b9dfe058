package tsdbtest

import (
	"context"
	"slices"

	"pgregory.net/rapid"

	"hearth"
)

// appendNew appends a batch of which some logs are stored already, or stand in it twice.
func (m *model) appendNew(t *rapid.T) {
	type log struct {
		device int64
		event  string
		at     int64
		value  hearth.Value
	}
	of := func(e hearth.LogEntry) log { return log{e.Device, e.Event, e.At, e.Value} }
	known := map[log]bool{}
	for _, e := range m.logList {
		known[of(e)] = true
	}
	var entries, want []hearth.LogEntry
	for range rapid.IntRange(0, 25).Draw(t, "entries") {
		e := hearth.LogEntry{Device: rapid.SampledFrom(m.devices).Draw(t, "device"), Event: "a", Value: drawValue(t), At: drawAt(t)}
		switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
		case kind == 0 && len(m.logList) > 0:
			e = rapid.SampledFrom(m.logList).Draw(t, "stored")
			e.Seq = 0
		case kind == 1 && len(entries) > 0:
			e = rapid.SampledFrom(entries).Draw(t, "twice")
		case kind == 2 && len(m.logList) > 0:
			e = rapid.SampledFrom(m.logList).Draw(t, "but for the value")
			e.Seq, e.Value = 0, drawValue(t)
		}
		entries = append(entries, e)
		if !known[of(e)] {
			known[of(e)] = true
			want = append(want, e)
		}
	}
	sealed := -1
	stored, first, err := m.engine(t).AppendNewLogs(context.Background(), slices.Clone(entries), nil, func(n int) (hearth.SideEffects, error) {
		sealed = n
		return hearth.SideEffects{}, nil
	})
	must(m, err)
	if !slices.Equal(stored, want) || sealed != len(want) {
		m.Fatalf("of %+v are stored %+v (%d), want %+v", entries, stored, sealed, want)
	}
	for i, e := range want {
		if e.Seq = first + uint64(i); e.At >= m.horizon {
			m.logList = append(m.logList, e)
		}
	}
}
