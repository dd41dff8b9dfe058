package mongodb

import (
	"context"
	"slices"

	"hearth"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

// archiveLogs is how many logs come in one part.
const archiveLogs = 1 << 15

// logs gives the logs of the devices that were given.
func (a *archiver) logs(ctx context.Context, entry hearth.LogEntry, more bool, next func() (hearth.LogEntry, error, bool)) error {
	var logs []hearth.LogEntry
	for more {
		if a.keys[entry.Device] {
			logs = append(logs, entry)
		}
		if len(logs) == archiveLogs {
			if err := a.out.Give(ctx, record.Part{Kind: record.LogsKind, Logs: logs}); err != nil {
				return err
			}
			logs = nil
		}
		var err error
		if entry, err, more = next(); err != nil {
			return err
		}
	}
	if len(logs) == 0 {
		return nil
	}
	return a.out.Give(ctx, record.Part{Kind: record.LogsKind, Logs: logs})
}

// restoreLogs stores logs and the mark in one atomic step.
func (s *Store) restoreLogs(ctx context.Context, logs []hearth.LogEntry, restore record.Restore) error {
	call := &appendCall{entries: logs}
	if len(logs) > 0 {
		if err := s.logs.prepare(ctx, call); err != nil {
			return translate(ctx, err)
		}
	}
	var drafts []*draft
	err := s.mark(ctx, restore, func(st *step) error {
		drafts = nil
		for some := range slices.Chunk(logs, maxGroup) {
			filled, err := s.logs.fillGiven(call, some)
			if err != nil {
				return err
			}
			drafts = append(drafts, filled)
			st.insert(collBatches, filled.doc.First, filled.doc, nil)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range drafts {
		s.logs.stored(d)
	}
	return nil
}

// fillGiven encodes logs that have their numbers.
func (e *logEngine) fillGiven(call *appendCall, logs []hearth.LogEntry) (*draft, error) {
	d := &draft{lanes: map[int64]int{}}
	first := logs[0].Seq
	index := map[tsdb.Series]uint32{}
	var chunk tsdb.Chunk
	for i := range logs {
		entry := &logs[i]
		scope, alive := call.homes[entry.Device]
		if !alive {
			return nil, hearth.Errorf(hearth.CodeConflict, "log %s is of device %d, which is not in the archive", hearth.LogID(entry.Seq), entry.Device)
		}
		series := tsdb.Series{Scope: scope, Device: entry.Device, Event: call.events[eventName+entry.Event]}
		at, ok := index[series]
		if !ok {
			at = uint32(len(chunk.Series))
			chunk.Series = append(chunk.Series, series)
			index[series] = at
		}
		d.lanes[laneOf(scope)]++
		chunk.Entries = append(chunk.Entries, tsdb.Entry{At: entry.At, Seq: entry.Seq, Value: entry.Value, Series: at})
		first = min(first, entry.Seq)
	}
	e.encode(d, int64(first), chunk)
	return d, nil
}
