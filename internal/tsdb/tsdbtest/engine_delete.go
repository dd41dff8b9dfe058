package tsdbtest

import (
	"context"
	"errors"
	"slices"

	"pgregory.net/rapid"

	"hearth"
	"hearth/internal/tsdb"
)

func (m *model) erase(t *rapid.T) {
	must(m, m.eraseWith(t, m.engine(t)))
}

// eraseWith deletes logs of a device. After a crash some are gone: another process deletes the others.
func (m *model) eraseWith(t *rapid.T, e *tsdb.Engine) error {
	if len(m.devices) == 0 {
		return nil
	}
	deletion := hearth.LogDeletion{
		Device: rapid.SampledFrom(m.devices).Draw(t, "device"), Span: m.drawSpan(t),
		Event: rapid.SampledFrom([]string{"", "a", "b", "zz"}).Draw(t, "event"),
	}
	goes := func(e hearth.LogEntry) bool {
		return e.Device == deletion.Device && (deletion.Event == "" || e.Event == deletion.Event) &&
			e.At >= deletion.Span.From.UnixMilli() && e.At < deletion.Span.To.UnixMilli()
	}
	want := int64(len(m.sorted(goes)))
	deleted, err := e.DeleteLogs(context.Background(), deletion)
	died := errors.Is(err, errDead)
	if died {
		m.setFault(nil)
		m.start()
		m.countEveryWay()
		var more int64
		more, err = m.engines[0].DeleteLogs(context.Background(), deletion)
		deleted += more
	}
	if err != nil {
		return err
	}
	// A step whose answer was lost has happened, and is not counted.
	if deleted > want || deleted < want && !died {
		m.Fatalf("%+v: %d logs were deleted, want %d", deletion, deleted, want)
	}
	m.logList = slices.DeleteFunc(m.logList, goes)
	return nil
}

// countEveryWay checks that rollups equal the logs, however many of them there are now.
func (m *model) countEveryWay() {
	all := hearth.Reach{All: true}
	logs := int64(len(scanned(m, m.engines[0], hearth.LogScan{Reach: all, Span: everything})))
	counted, err := m.engines[0].CountLogs(context.Background(), all)
	must(m, err)
	groups, err := m.engines[0].Rollups(context.Background(), hearth.RollupQuery{
		Reach: all, Span: everything, Groupings: []hearth.Grouping{{ByDevice: true, Step: hearth.StepHour}},
	})
	must(m, err)
	summed := int64(0)
	for _, group := range groups[0] {
		summed += group.Count
	}
	if counted != logs || summed != logs {
		m.Fatalf("%d logs are counted, %d by hours and devices, and %d scanned", counted, summed, logs)
	}
}
