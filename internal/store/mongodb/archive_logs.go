package mongodb

import (
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
)

// everSpan is the span of all logs.
var everSpan = hearth.Span{From: time.UnixMilli(-62135596800000), To: time.UnixMilli(253402300800000)} // never written to

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
			if err := a.out.Give(ctx, archive.Part{Kind: archive.LogsKind, Logs: logs}); err != nil {
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
	return a.out.Give(ctx, archive.Part{Kind: archive.LogsKind, Logs: logs})
}

// restoreLogs stores logs and the mark in one atomic step.
func (s *Store) restoreLogs(ctx context.Context, logs []hearth.LogEntry, restore archive.Restore) error {
	rows, err := s.restoredRows(ctx, logs)
	if err != nil {
		return steps.Translate(ctx, err)
	}
	err = s.mark(ctx, restore, func(st *steps.Step) error {
		for _, row := range rows {
			st.Insert(collTail, row.ID, newTailDoc(row), nil)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.Stored(rows...)
	return nil
}

// restoredRows returns rows of the tail with logs that have their numbers.
func (s *Store) restoredRows(ctx context.Context, logs []hearth.LogEntry) (rows []*tsdb.Row, err error) {
	for some := range slices.Chunk(logs, tsdb.MaxRow) {
		batch, err := s.Resolve(ctx, some)
		if err != nil {
			return nil, err
		}
		for i := range some {
			if i == len(batch.Entries) || batch.Entries[i].Seq != uint64(i) {
				return nil, hearth.Errorf(hearth.CodeConflict, "log %s is of device %d, which is not in the archive", hearth.LogID(some[i].Seq), some[i].Device)
			}
			batch.Entries[i].Seq = some[i].Seq
		}
		batch.Size = 0
		rows = append(rows, tsdb.Pack([]*tsdb.Batch{batch}, s.logs.Partition, 0)...)
	}
	return rows, nil
}
