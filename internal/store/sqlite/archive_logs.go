package sqlite

import (
	"database/sql"
	"slices"

	"hearth"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

// archiveLogs gives the logs that readers see: chunk by chunk, scope by scope, then the tail.
func (s *Store) archiveLogs(r *reader, give func([]hearth.LogEntry) error) error {
	v, err := s.openView(r, logScope{reach: hearth.Reach{All: true}, span: everSpan()})
	if err != nil || v.from >= v.to {
		return err
	}
	defer v.returnMemory()
	logs := &archivedLogs{store: s, r: r, give: give, view: v, names: map[int64]string{}}
	for _, scope := range v.scopes {
		if logs.err == nil {
			logs.err = logs.scope(scope)
		}
	}
	v.tailEntries(logs.add)
	logs.flush()
	return logs.err
}

// archivedLogs gathers logs into parts of the largest size.
type archivedLogs struct {
	store *Store
	r     *reader
	give  func([]hearth.LogEntry) error
	err   error
	view  *logView
	part  []hearth.LogEntry
	// names are those of events by key.
	names map[int64]string
}

func (l *archivedLogs) scope(scope int64) error {
	rows, err := l.r.query(chunksForward, scope, l.view.from, l.view.to)
	if err != nil {
		return err
	}
	in := timeRange{from: l.view.from, to: l.view.to}
	var data sql.RawBytes
	for l.err == nil && rows.Next() {
		if err := rows.Scan(&data); err != nil {
			return closed(rows, err)
		}
		if err := l.view.decode(&l.view.lastChunk, scope, data); err != nil {
			return closed(rows, err)
		}
		in.each(&l.view.lastChunk, func(series []tsdb.Series, e *tsdb.Entry) bool {
			l.add(series, e)
			return l.err == nil
		})
	}
	return closed(rows, l.err)
}

func (l *archivedLogs) add(series []tsdb.Series, e *tsdb.Entry) {
	if l.err != nil {
		return
	}
	s := &series[e.Series]
	name, ok := l.names[s.Event]
	if !ok {
		if name, l.err = l.store.names.name(l.view.q, s.Event); l.err != nil {
			return
		}
		l.names[s.Event] = name
	}
	l.part = append(l.part, hearth.LogEntry{Device: s.Device, Event: name, Value: e.Value, At: e.At, Seq: e.Seq})
	if len(l.part) == record.MaxPart {
		l.flush()
	}
}

// flush returns what was gathered. The part belongs to who takes it.
func (l *archivedLogs) flush() {
	if l.err == nil && len(l.part) > 0 {
		part := l.part
		l.part = make([]hearth.LogEntry, 0, record.MaxPart)
		l.err = l.give(part)
	}
}

// restoreLogs folds logs at once, past the tail: their numbers are given, and nobody waits for them. Those of devices that
// are not there are an error, because nobody would see them again.
func (s *Store) restoreLogs(t *tx, logs []hearth.LogEntry) error {
	w := t.w.logs
	batch := foldBatch{entries: make([]tsdb.Entry, 0, len(logs))}
	type line struct {
		device int64
		event  string
	}
	index := map[line]uint32{}
	var last line
	var rank uint32
	for i := range logs {
		e := &logs[i]
		if l := (line{e.Device, e.Event}); i == 0 || l != last {
			var ok bool
			if rank, ok = index[l]; !ok {
				scope, alive, err := w.scopeOf(t, e.Device)
				if err != nil {
					return err
				}
				if !alive {
					return hearth.Errorf(hearth.CodeConflict, "log %s is of device %d, which is not in the archive", hearth.LogID(e.Seq), e.Device)
				}
				event, err := w.eventKey(t, e.Event)
				if err != nil {
					return err
				}
				rank = uint32(len(batch.series))
				batch.series = append(batch.series, tsdb.Series{Scope: scope, Device: e.Device, Event: event})
				index[l] = rank
			}
			last = l
		}
		batch.entries = append(batch.entries, tsdb.Entry{At: e.At, Seq: e.Seq, Value: e.Value, Series: rank})
	}
	batch.sort()
	return s.foldBatch(t, batch)
}

// sort puts series and entries in the order that a fold wants.
func (b *foldBatch) sort() {
	sorted := slices.Clone(b.series)
	slices.SortFunc(sorted, tsdb.Series.Compare)
	to := make([]uint32, len(sorted))
	for i, series := range b.series {
		at, _ := slices.BinarySearchFunc(sorted, series, tsdb.Series.Compare)
		to[i] = uint32(at)
	}
	b.series = sorted
	for i := range b.entries {
		b.entries[i].Series = to[b.entries[i].Series]
	}
	if !slices.IsSortedFunc(b.entries, tsdb.Entry.Compare) {
		slices.SortFunc(b.entries, tsdb.Entry.Compare)
	}
	b.byScope()
}
