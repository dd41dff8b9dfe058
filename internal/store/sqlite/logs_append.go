package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"

	"hearth"
	"hearth/internal/tsdb"
)

var _ hearth.LogStore = (*Store)(nil)

// logWriter is the writer's side of the logs. It belongs to the writer's goroutine. What it remembers of the database
// holds as long as nobody else writes to the file, which SQLite's data_version tells at the start of each group.
type logWriter struct {
	options LogOptions
	tail    *tailCache

	version int64
	foreign uint64 // how often version was seen to change
	next    uint64 // number of the next entry; 0 is unknown
	size    tailSize
	sized   bool // size is known
	// scopes and events map devices and event names to what the database has.
	scopes map[int64]int64
	events map[string]int64
	// freshScopes and freshEvents were added by the write that runs now: they go if it fails.
	freshScopes []int64
	freshEvents []string

	// buffer holds the group's entries, in the order of their numbers, until they are stored as one tail row before the
	// commit; kept counts those of writes that are done.
	buffer   []tsdb.Entry
	kept     int
	keptNext uint64
	series   []tsdb.Series
	index    map[tsdb.Series]uint32
	stored   []*tailRow
	folded   bool

	encoder tsdb.Encoder
	decoder tsdb.Decoder
	blob    []byte
}

func newLogWriter(options LogOptions, tail *tailCache) *logWriter {
	w := &logWriter{options: options, tail: tail, index: map[tsdb.Series]uint32{}}
	w.forget()
	return w
}

// forget drops everything that is remembered of the database.
func (w *logWriter) forget() {
	w.next, w.sized = 0, false
	w.scopes, w.events = map[int64]int64{}, map[string]int64{}
}

// begin starts a group.
func (w *logWriter) begin(t *tx) error {
	var version int64
	if err := t.row(`PRAGMA data_version`).Scan(&version); err != nil {
		return err
	}
	if version != w.version {
		w.forget()
		w.version = version
		w.foreign++
	}
	return nil
}

// settle ends one write of the group: what a failed one did is taken back.
func (w *logWriter) settle(failed bool) {
	if failed {
		w.buffer = w.buffer[:w.kept]
		w.next = w.keptNext
		for _, key := range w.freshScopes {
			delete(w.scopes, key)
		}
		for _, name := range w.freshEvents {
			delete(w.events, name)
		}
		if w.folded {
			w.sized = false
		}
	}
	w.kept, w.keptNext, w.folded = len(w.buffer), w.next, false
	w.freshScopes, w.freshEvents = w.freshScopes[:0], w.freshEvents[:0]
}

// flush stores the group's entries.
func (w *logWriter) flush(t *tx) error {
	for start := 0; start < len(w.buffer); start += maxTailRow {
		end := min(start+maxTailRow, len(w.buffer))
		row := &tailRow{seq: w.buffer[start].Seq, last: w.buffer[end-1].Seq}
		if end == len(w.buffer) {
			row.last = w.next - 1
		}
		row.chunk.Series = slices.Clone(w.series)
		row.chunk.Entries = slices.Clone(w.buffer[start:end])
		if err := w.storeRow(t, row); err != nil {
			return err
		}
	}
	return nil
}

// maxTailRow bounds the entries of one tail row.
const maxTailRow = 1 << 14

func (w *logWriter) storeRow(t *tx, row *tailRow) error {
	entries := row.chunk.Entries
	if !slices.IsSortedFunc(entries, tsdb.Entry.Compare) {
		slices.SortFunc(entries, tsdb.Entry.Compare)
	}
	w.blob = w.encoder.Encode(w.blob[:0], row.chunk.Series, entries)
	_, err := t.exec(`INSERT INTO log_tail(seq, last, entries, min_at, max_at, data) VALUES(?,?,?,?,?,?)`,
		int64(row.seq), int64(row.last), len(entries), row.minAt(), row.maxAt(), w.blob)
	if err != nil {
		return err
	}
	w.stored = append(w.stored, row)
	w.size.entries += int64(len(entries))
	w.size.rows++
	return nil
}

// committed ends a group that is durable; it returns by what the tail grew.
func (w *logWriter) committed() (grown tailSize) {
	for _, row := range w.stored {
		w.tail.add(row)
		grown.entries += int64(len(row.chunk.Entries))
		grown.rows++
	}
	w.clearGroup()
	return grown
}

// discard ends a group that failed.
func (w *logWriter) discard() {
	w.clearGroup()
	w.forget()
}

func (w *logWriter) clearGroup() {
	w.buffer, w.kept = w.buffer[:0], 0
	clear(w.stored)
	w.stored = w.stored[:0]
	w.series = w.series[:0]
	clear(w.index)
}

// scopeOf returns the scope of a device; ok is false if there is no such device.
func (w *logWriter) scopeOf(t *tx, device int64) (scope int64, ok bool, err error) {
	if scope, ok = w.scopes[device]; ok {
		return scope, true, nil
	}
	switch err := t.row(`SELECT scope FROM devices WHERE key=?`, device).Scan(&scope); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	if len(w.scopes) >= maxRemembered {
		clear(w.scopes)
	}
	w.scopes[device] = scope
	w.freshScopes = append(w.freshScopes, device)
	return scope, true, nil
}

// maxRemembered bounds each of the writer's maps.
const maxRemembered = 1 << 18

// eventKey returns the short number of an event, making it if it is new.
func (w *logWriter) eventKey(t *tx, name string) (key int64, err error) {
	if key, ok := w.events[name]; ok {
		return key, nil
	}
	err = t.row(`SELECT key FROM log_events WHERE name=?`, name).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.row(`INSERT INTO log_events(name) VALUES(?) RETURNING key`, name).Scan(&key)
	}
	if err != nil {
		return 0, err
	}
	if len(w.events) >= maxRemembered {
		clear(w.events)
	}
	w.events[name] = key
	w.freshEvents = append(w.freshEvents, name)
	return key, nil
}

// nextSeq returns the number of the next entry.
func (w *logWriter) nextSeq(t *tx) (uint64, error) {
	if w.next == 0 {
		var last int64
		err := t.row(`SELECT max(folded, coalesce((SELECT last FROM log_tail ORDER BY seq DESC LIMIT 1), 0)) FROM log_state`).Scan(&last)
		if err != nil {
			return 0, err
		}
		w.next = uint64(last) + 1
		w.keptNext = w.next
	}
	return w.next, nil
}

// tailSize returns the size of the stored tail.
func (w *logWriter) tailSize(t *tx) (tailSize, error) {
	if !w.sized {
		err := t.row(`SELECT coalesce(sum(entries), 0), count(*) FROM log_tail`).Scan(&w.size.entries, &w.size.rows)
		if err != nil {
			return tailSize{}, err
		}
		w.sized = true
	}
	return w.size, nil
}

// append takes the entries into the group and returns the number of the first.
func (w *logWriter) append(t *tx, entries []hearth.LogEntry) (uint64, error) {
	first, err := w.nextSeq(t)
	if err != nil {
		return 0, err
	}
	var device, scope int64
	var event string
	var eventKey int64
	var alive bool
	var last tsdb.Series
	var at uint32
	for i := range entries {
		e := &entries[i]
		if e.Device != device || i == 0 {
			device = e.Device
			if scope, alive, err = w.scopeOf(t, device); err != nil {
				return 0, err
			}
		}
		if !alive {
			continue
		}
		if e.Event != event || i == 0 || eventKey == 0 {
			event = e.Event
			if eventKey, err = w.eventKey(t, event); err != nil {
				return 0, err
			}
		}
		if s := (tsdb.Series{Scope: scope, Device: device, Event: eventKey}); s != last {
			last = s
			var ok bool
			if at, ok = w.index[s]; !ok {
				at = uint32(len(w.series))
				w.series = append(w.series, s)
				w.index[s] = at
			}
		}
		w.buffer = append(w.buffer, tsdb.Entry{At: e.At, Seq: first + uint64(i), Value: e.Value, Series: at})
	}
	w.next = first + uint64(len(entries))
	return first, nil
}

// AppendLogs implements hearth.LogStore.
func (s *Store) AppendLogs(
	ctx context.Context, entries []hearth.LogEntry, checkpoint *hearth.Checkpoint, effects hearth.SideEffects,
) (first uint64, err error) {
	if len(entries) > hearth.MaxLogBatch {
		return 0, hearth.Errorf(hearth.CodeValidationFailed, "a batch has at most %d logs", hearth.MaxLogBatch)
	}
	for i := range entries {
		if math.IsNaN(entries[i].Value) || math.IsInf(entries[i].Value, 0) {
			return 0, hearth.Errorf(hearth.CodeValidationFailed, "a value is not a finite number")
		}
	}
	err = s.write(ctx, "AppendLogs", func(t *tx) error {
		effects := effects
		if effects.Idempotency != nil && len(entries) > 0 {
			record, err := *effects.Idempotency, error(nil)
			if record.FirstLog, err = t.w.logs.nextSeq(t); err != nil {
				return err
			}
			effects.Idempotency = &record
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		if checkpoint != nil {
			_, err := t.exec(`INSERT OR REPLACE INTO import_checkpoints(id, rows, mark) VALUES(?,?,?)`,
				checkpoint.ID, checkpoint.Rows, blobOf(checkpoint.Mark))
			if err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			return nil
		}
		// A tail that grows faster than it is folded slows its writers down instead of every reader.
		if size, err := t.w.logs.tailSize(t); err != nil {
			return err
		} else if size.full(s.options.Logs, 4) {
			if err := s.fold(t); err != nil {
				return err
			}
		}
		var err error
		first, err = t.w.logs.append(t, entries)
		return err
	})
	return first, err
}

// ForeignWrites returns a number that grows when another process has written to the database since it was last asked for.
func (s *Store) ForeignWrites(ctx context.Context) (n uint64, err error) {
	// The start of a group looks for them; a group that changes nothing writes nothing.
	err = s.write(ctx, "ForeignWrites", func(t *tx) error {
		n = t.w.logs.foreign
		return nil
	})
	return n, err
}

// blobOf keeps an empty mark from becoming NULL.
func blobOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// ImportCheckpoint implements hearth.LogStore.
func (s *Store) ImportCheckpoint(ctx context.Context, id string) (hearth.Checkpoint, error) {
	checkpoint := hearth.Checkpoint{ID: id}
	err := s.read(ctx, "ImportCheckpoint", func(r *reader) error {
		err := r.row(`SELECT rows, mark FROM import_checkpoints WHERE id=?`, id).Scan(&checkpoint.Rows, &checkpoint.Mark)
		return found(err, "import")
	})
	if err != nil {
		return hearth.Checkpoint{}, err
	}
	return checkpoint, nil
}

// forgetDevice makes a device's logs and rollups invisible, in the transaction that deletes the device. Their space
// comes back by Reclaim.
func (s *Store) forgetDevice(t *tx, device, scope int64) error {
	seq, err := t.w.logs.nextSeq(t)
	if err != nil {
		return err
	}
	delete(t.w.logs.scopes, device)
	_, err = t.exec(`INSERT INTO log_dead(device, scope, seq, next_day) VALUES(?,?,?,?)`, device, scope, int64(seq), int64(math.MinInt64))
	return err
}
