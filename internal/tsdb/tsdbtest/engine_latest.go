package tsdbtest

import (
	"cmp"
	"context"
	"slices"

	"pgregory.net/rapid"

	"hearth"
)

// latest compares the newest log of each event of some devices.
func (m *model) latest(t *rapid.T) {
	devices := m.drawDevices(t)
	if devices == nil {
		devices = m.devices
	}
	type line struct {
		device int64
		event  string
	}
	newest := map[line]hearth.LogEntry{}
	for _, e := range m.sorted(func(e hearth.LogEntry) bool { return slices.Contains(devices, e.Device) }) {
		e.Seq = 0
		newest[line{e.Device, e.Event}] = e
	}
	want := make([]hearth.LogEntry, 0, len(newest))
	for _, e := range newest {
		want = append(want, e)
	}
	slices.SortFunc(want, func(a, b hearth.LogEntry) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Event, b.Event))
	})
	got, err := m.engine(t).LatestLogs(context.Background(), devices)
	must(m, err)
	if !slices.Equal(got, want) {
		m.Fatalf("of %v the latest are %+v, want %+v", devices, got, want)
	}
}
