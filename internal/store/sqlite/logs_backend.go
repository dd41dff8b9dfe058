package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// logBackend is the store as the log engine sees it. There is one partition, whose version is in log_state: a change is computed from a
// snapshot while others write, and stored if the version is still the snapshot's.
type logBackend struct{ *Store }

var _ tsdb.Backend = logBackend{}

// Partitions implements tsdb.Backend.
func (logBackend) Partitions() int { return 1 }

// Partition implements tsdb.Backend.
func (logBackend) Partition(int64) int { return 0 }

// View implements tsdb.Backend.
func (b logBackend) View(ctx context.Context, options tsdb.ViewOptions, fn func(tsdb.Snapshot) error) error {
	view := func(r *reader) error {
		s := &logSnapshot{reader: r, nothing: options.Scopes != nil && len(options.Scopes) == 0}
		if err := s.open(); err != nil {
			return err
		}
		return fn(s)
	}
	if options.Slow {
		return b.readFrom(ctx, b.scans, view)
	}
	return b.read(ctx, options.Operation, view)
}

// Update implements tsdb.Backend.
func (b logBackend) Update(ctx context.Context, operation string, _ int, fn func(tsdb.Snapshot) (*tsdb.Change, error)) error {
	var s *logSnapshot
	var change *tsdb.Change
	err := b.readFrom(ctx, b.readers, func(r *reader) (err error) {
		s = &logSnapshot{reader: r}
		if err := s.open(); err != nil {
			return err
		}
		change, err = fn(s)
		return err
	})
	if err != nil || change == nil || len(change.Put)+len(change.Delete)+len(change.Folded) == 0 {
		return err
	}
	return b.writeLong(ctx, operation, func(t *tx) error { return applyChange(t, s.version, change) })
}

func applyChange(t *tx, version int64, change *tsdb.Change) error {
	result, err := t.exec(`UPDATE log_state SET version=version+1 WHERE version=?`, version)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(tsdb.ErrBusy, err)
	}
	for i := range change.Put {
		if err := putDoc(t, &change.Put[i]); err != nil {
			return err
		}
	}
	for _, key := range change.Delete {
		if _, err := t.exec(logTables[key.Table].remove, key.Scope, key.Major, key.Minor); err != nil {
			return err
		}
	}
	folded := int64(0)
	for _, id := range change.Folded {
		var last int64
		switch err := t.row(`DELETE FROM log_tail WHERE seq=? RETURNING last`, id).Scan(&last); {
		case errors.Is(err, sql.ErrNoRows):
			return tsdb.ErrBusy // another has folded it, which the version should have told
		case err != nil:
			return err
		}
		folded = max(folded, last)
	}
	_, err = t.exec(`UPDATE log_state SET folded=max(folded, ?)`, folded)
	return err
}

func putDoc(t *tx, d *tsdb.Doc) error {
	var err error
	put := logTables[d.Table].put
	switch d.Table {
	case tsdb.Chunks, tsdb.Sums:
		_, err = t.exec(put, d.Scope, d.Major, d.Minor, d.Entries, d.MinAt, d.MaxAt, blobOf(d.Data[0]))
	case tsdb.Cells:
		_, err = t.exec(put, d.Scope, d.Major, d.Minor, blobOf(d.Data[0]), blobOf(d.Data[1]), blobOf(d.Data[2]))
	default:
		_, err = t.exec(put, d.Scope, d.Major, d.Minor, blobOf(d.Data[0]))
	}
	return err
}

// Horizon implements tsdb.Backend.
func (b logBackend) Horizon(ctx context.Context) (horizon int64, err error) {
	err = b.read(ctx, "Horizon", func(r *reader) error {
		return r.row(`SELECT horizon FROM log_state`).Scan(&horizon)
	})
	return horizon, err
}

// MoveHorizon implements tsdb.Backend.
func (b logBackend) MoveHorizon(ctx context.Context, from, to int64) error {
	return b.write(ctx, "TrimLogs", func(t *tx) error {
		result, err := t.exec(`UPDATE log_state SET horizon=? WHERE horizon=?`, to, from)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(tsdb.ErrBusy, err)
		}
		return nil
	})
}

// pairs returns what a query answers, two columns a row.
func pairs[K comparable, V any](r *reader, query string, args ...any) (map[K]V, error) {
	rows, err := r.query(query, args...)
	if err != nil {
		return nil, err
	}
	out := map[K]V{}
	for rows.Next() {
		var key K
		var value V
		if err := rows.Scan(&key, &value); err != nil {
			return nil, closed(rows, err)
		}
		out[key] = value
	}
	return out, closed(rows, nil)
}

// list is a parameter for json_each.
func list[T any](values []T) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // numbers and strings have a text
	}
	return string(text)
}

// Homes implements tsdb.Backend.
func (b logBackend) Homes(ctx context.Context, devices []int64) (homes map[int64]int64, err error) {
	err = b.read(ctx, "Homes", func(r *reader) (err error) {
		homes, err = pairs[int64, int64](r, `SELECT key, scope FROM devices WHERE key IN (SELECT value FROM json_each(?))`, list(devices))
		return err
	})
	return homes, err
}

// ScopeKeys implements tsdb.Backend.
func (b logBackend) ScopeKeys(ctx context.Context, scopes []hearth.Scope) (keys map[hearth.Scope]int64, err error) {
	err = b.read(ctx, "ScopeKeys", func(r *reader) (err error) {
		keys, err = pairs[hearth.Scope, int64](r, `SELECT name, key FROM scopes WHERE name IN (SELECT value FROM json_each(?))`, list(scopes))
		return err
	})
	return keys, err
}

// EventKeys implements tsdb.Backend.
func (b logBackend) EventKeys(ctx context.Context, names []string, create bool) (keys map[string]int64, err error) {
	err = b.read(ctx, "EventKeys", func(r *reader) (err error) {
		keys, err = pairs[string, int64](r, `SELECT name, key FROM log_events WHERE name IN (SELECT value FROM json_each(?))`, list(names))
		return err
	})
	if err != nil || !create || len(keys) == len(names) {
		return keys, err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return keys[name] != 0 })
	for some := range slices.Chunk(names, eventsAtOnce) {
		if err := b.makeEventKeys(ctx, some, keys); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// eventsAtOnce bounds the names that are made in one write, so that others need not wait for long.
const eventsAtOnce = 256

func (b logBackend) makeEventKeys(ctx context.Context, names []string, into map[string]int64) error {
	made := map[string]int64{}
	err := b.writeLong(ctx, "EventKeys", func(t *tx) error {
		for _, name := range names {
			if _, err := t.exec(`INSERT INTO log_events(name) VALUES(?) ON CONFLICT DO NOTHING`, name); err != nil {
				return err
			}
			var key int64
			if err := t.row(`SELECT key FROM log_events WHERE name=?`, name).Scan(&key); err != nil {
				return err
			}
			made[name] = key
		}
		return nil
	})
	if err == nil {
		maps.Copy(into, made)
	}
	return err
}

// DueGraves implements tsdb.Backend.
func (b logBackend) DueGraves(ctx context.Context, clean time.Time, limit int) (graves []tsdb.Grave, err error) {
	low, high := int64(0), int64(0)
	if !clean.IsZero() {
		low, high = 1, millis(clean)-1
	}
	err = b.read(ctx, "DueGraves", func(r *reader) (err error) {
		graves, err = readGraves(r, movedGraves+` WHERE m.device=(SELECT device FROM log_moves WHERE moving_at<?1 AND clean_at BETWEEN ?2 AND ?3 LIMIT 1)`,
			b.movesBefore(), low, high)
		if err != nil || len(graves) > 0 {
			return err
		}
		// By log_dead_due.
		graves, err = readGraves(r, `SELECT device, scope, 0 FROM log_dead WHERE clean_at BETWEEN ?1 AND ?2
			AND scope=(SELECT scope FROM log_dead WHERE clean_at BETWEEN ?1 AND ?2 LIMIT 1) ORDER BY device LIMIT ?3`, low, high, limit)
		return err
	})
	return graves, err
}

// movedGraves are those of devices that moved.
const movedGraves = `SELECT m.device, h.value, 1 FROM log_moves m, json_each(m.hidden) h`

// movesBefore returns when a device set out, at the latest, that will not arrive any more.
func (b logBackend) movesBefore() int64 { return millis(b.now().Add(-tsdb.MoveTime)) }

func readGraves(r *reader, query string, args ...any) (graves []tsdb.Grave, err error) {
	rows, err := r.query(query, args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var g tsdb.Grave
		if err := rows.Scan(&g.Device, &g.Scope, &g.Moved); err != nil {
			return nil, closed(rows, err)
		}
		graves = append(graves, g)
	}
	return graves, closed(rows, nil)
}

// byKind splits graves into the devices that were deleted, and those that moved.
func byKind(graves []tsdb.Grave) (dead, moved []int64) {
	for _, g := range graves {
		if g.Moved {
			moved = append(moved, g.Device)
		} else {
			dead = append(dead, g.Device)
		}
	}
	return dead, moved
}

// Cleaned implements tsdb.Backend.
func (b logBackend) Cleaned(ctx context.Context, graves []tsdb.Grave, at time.Time) error {
	dead, moved := byKind(graves)
	return b.write(ctx, "Reclaim", func(t *tx) error {
		_, err := t.exec(`UPDATE log_dead SET clean_at=? WHERE device IN (SELECT value FROM json_each(?))`, millis(at), list(dead))
		if err == nil {
			_, err = t.exec(`UPDATE log_moves SET clean_at=? WHERE moving_at<? AND device IN (SELECT value FROM json_each(?))`,
				millis(at), b.movesBefore(), list(moved))
		}
		return err
	})
}

// RemoveGraves implements tsdb.Backend.
func (b logBackend) RemoveGraves(ctx context.Context, graves []tsdb.Grave) error {
	dead, moved := byKind(graves)
	return b.write(ctx, "Reclaim", func(t *tx) error {
		_, err := t.exec(`DELETE FROM log_dead WHERE device IN (SELECT value FROM json_each(?))`, list(dead))
		if err == nil {
			_, err = t.exec(`DELETE FROM log_moves WHERE moving_at<? AND clean_at>0 AND device IN (SELECT value FROM json_each(?))`,
				b.movesBefore(), list(moved))
		}
		return err
	})
}
