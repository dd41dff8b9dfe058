package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"hearth/internal/tsdb"
)

// logTable says how a table of the log engine is stored.
type logTable struct {
	name         string
	major, minor string
	// counted says that there are the columns entries, min_at and max_at.
	counted bool
	data    []string
	put     string
	remove  string
}

// logTables are the tables of the log engine. All are served by the key (scope, major, minor).
var logTables = [tsdb.TableCount]logTable{ // never written to
	tsdb.Chunks: {
		name: "log_chunks", major: "low_at", minor: "low_seq", counted: true, data: []string{"data"},
		put: `INSERT INTO log_chunks(scope, low_at, low_seq, entries, min_at, max_at, data) VALUES(?,?,?,?,?,?,?)
			ON CONFLICT(scope, low_at, low_seq) DO UPDATE SET entries=excluded.entries, min_at=excluded.min_at, max_at=excluded.max_at,
			data=excluded.data`,
		remove: `DELETE FROM log_chunks WHERE scope=? AND low_at=? AND low_seq=?`,
	},
	tsdb.Sums: {
		name: "log_sums", major: "level", minor: "bucket", counted: true, data: []string{"totals"},
		put:    `INSERT OR REPLACE INTO log_sums(scope, level, bucket, entries, min_at, max_at, totals) VALUES(?,?,?,?,?,?,?)`,
		remove: `DELETE FROM log_sums WHERE scope=? AND level=? AND bucket=?`,
	},
	tsdb.Cells: {
		name: "log_cells", major: "level", minor: "bucket", data: []string{"sketches", "devices", "cells"},
		put: `INSERT INTO log_cells(scope, level, bucket, sketches, devices, cells) VALUES(?,?,?,?,?,?)
			ON CONFLICT(scope, level, bucket) DO UPDATE SET sketches=excluded.sketches, devices=excluded.devices, cells=excluded.cells`,
		remove: `DELETE FROM log_cells WHERE scope=? AND level=? AND bucket=?`,
	},
	tsdb.Days: {
		name: "log_days", major: "day", minor: "grp", data: []string{"data"},
		put: `INSERT INTO log_days(scope, day, grp, data) VALUES(?,?,?,?)
			ON CONFLICT(scope, day, grp) DO UPDATE SET data=excluded.data`,
		remove: `DELETE FROM log_days WHERE scope=? AND day=? AND grp=?`,
	},
}

// logSnapshot is a read transaction as the log engine sees it.
type logSnapshot struct {
	*reader
	version, horizon int64
	graves           []tsdb.Grave
	// nothing says that the snapshot is of no scope, unfinished that the tail has rows which no reader may see.
	nothing, unfinished bool
}

func (s *logSnapshot) open() (err error) {
	err = s.row(`SELECT version, horizon, EXISTS(SELECT 1 FROM log_unfinished) FROM log_state`).Scan(&s.version, &s.horizon, &s.unfinished)
	if err != nil {
		return err
	}
	if s.nothing {
		return nil
	}
	s.graves, err = readGraves(s.reader, `SELECT device, scope, 0 FROM log_dead UNION ALL `+movedGraves)
	return err
}

// Horizon implements tsdb.Snapshot.
func (s *logSnapshot) Horizon() int64 { return s.horizon }

// Graves implements tsdb.Snapshot.
func (s *logSnapshot) Graves() []tsdb.Grave { return s.graves }

// EventNames implements tsdb.Snapshot.
func (s *logSnapshot) EventNames(_ context.Context, keys []int64) (map[int64]string, error) {
	return pairs[int64, string](s.reader, `SELECT key, name FROM log_events WHERE key IN (SELECT value FROM json_each(?))`, list(keys))
}

// theOnePartition is where every row of the tail is that is there at all.
var theOnePartition = []int{0} // never written to

// isFinished is true for rows of the tail that readers may see.
const isFinished = `NOT EXISTS(SELECT 1 FROM log_unfinished WHERE seq BETWEEN first AND log_unfinished.last)`

// Tail implements tsdb.Snapshot.
func (s *logSnapshot) Tail(_ context.Context, from, to int64) (out []tsdb.TailRow, _ error) {
	if s.nothing {
		return nil, nil
	}
	finished := ``
	if s.unfinished {
		finished = `WHERE ` + isFinished
	}
	rows, err := s.query(`SELECT seq, last, entries, min_at, max_at FROM log_tail ` + finished + ` ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		row := tsdb.TailRow{Partitions: theOnePartition}
		var last int64
		if err := rows.Scan(&row.ID, &last, &row.Entries, &row.MinAt, &row.MaxAt); err != nil {
			return nil, closed(rows, err)
		}
		if row.Last = uint64(last); row.MaxAt >= from && row.MinAt < to {
			out = append(out, row)
		}
	}
	return out, closed(rows, nil)
}

// TailData implements tsdb.Snapshot.
func (s *logSnapshot) TailData(_ context.Context, ids []int64, fn func(id int64, data []byte) error) error {
	for _, id := range ids {
		var data []byte
		if err := s.brief().row(`SELECT data FROM log_tail WHERE seq=?`, id).Scan(&data); err != nil {
			return err
		}
		if err := fn(id, data); err != nil {
			return err
		}
	}
	return nil
}

// Find implements tsdb.Snapshot.
func (s *logSnapshot) Find(_ context.Context, q tsdb.Query, fn func(*tsdb.Doc) error) error {
	if s.nothing || q.Scopes != nil && len(q.Scopes) == 0 || q.Major.From > q.Major.To || q.Minor.From > q.Minor.To {
		return nil
	}
	text, args := findText(&q)
	err := each(s, &logRow{table: q.Table, data: q.Data}, text, args, fn)
	if errors.Is(err, tsdb.ErrEnough) {
		return nil
	}
	return err
}

// findText returns the statement of a query. Its text depends on the form of the query alone, of which there are a few dozen.
func findText(q *tsdb.Query) (string, []any) {
	table := &logTables[q.Table]
	var b strings.Builder
	var args []any
	b.WriteString("SELECT " + table.columns(q.Data) + " FROM ")
	switch {
	case q.Scopes == nil:
		// CROSS JOIN keeps this order of the tables: a search of the key for each scope.
		b.WriteString("scopes s CROSS JOIN " + table.name + " t ON t.scope=s.key WHERE ")
	case len(q.Scopes) == 1:
		b.WriteString(table.name + " t WHERE t.scope=? AND ")
		args = append(args, q.Scopes[0])
	default:
		b.WriteString("json_each(?) s CROSS JOIN " + table.name + " t ON t.scope=s.value WHERE ")
		args = append(args, list(q.Scopes))
	}
	switch {
	case q.Major.From == q.Major.To && !q.Floor:
		b.WriteString("t." + table.major + "=?")
		args = append(args, q.Major.From)
	case q.Floor:
		b.WriteString("t.low_at<=? AND t.low_at>=coalesce((SELECT max(f.low_at) FROM log_chunks f WHERE f.scope=t.scope AND f.low_at<?), ?)")
		args = append(args, q.Major.To, q.Major.From, q.Major.From)
	default:
		b.WriteString("t." + table.major + " BETWEEN ? AND ?")
		args = append(args, q.Major.From, q.Major.To)
	}
	if q.Minor != tsdb.Everything {
		b.WriteString(" AND t." + table.minor + " BETWEEN ? AND ?")
		args = append(args, q.Minor.From, q.Minor.To)
	}
	if len(q.Scopes) == 1 {
		order := ""
		if q.Backward {
			order = " DESC"
		}
		b.WriteString(" ORDER BY t." + table.major + order + ", t." + table.minor + order)
	} else if q.Backward {
		b.WriteString(" ORDER BY t.scope, t." + table.major + " DESC, t." + table.minor + " DESC")
	}
	if q.Limit > 0 {
		b.WriteString(" LIMIT ?")
		args = append(args, q.Limit)
	}
	return b.String(), args
}

// columns returns the columns that logRow scans.
func (t *logTable) columns(data tsdb.Fields) string {
	names := []string{"t.scope", "t." + t.major, "t." + t.minor}
	if t.counted {
		names = append(names, "t.entries", "t.min_at", "t.max_at")
	}
	for i, name := range t.data {
		if data[i] {
			names = append(names, "t."+name)
		}
	}
	return strings.Join(names, ", ")
}

// Get implements tsdb.Snapshot.
func (s *logSnapshot) Get(_ context.Context, keys []tsdb.Key, data tsdb.Fields, fn func(*tsdb.Doc) error) error {
	if len(keys) == 0 {
		return nil
	}
	table := &logTables[keys[0].Table]
	text := "SELECT " + table.columns(data) + " FROM " + table.name + " t WHERE t.scope=? AND t." + table.major + "=? AND t." + table.minor + "=?"
	row := &logRow{table: keys[0].Table, data: data}
	args := make([]any, 3)
	for _, key := range keys {
		args[0], args[1], args[2] = key.Scope, key.Major, key.Minor
		if err := each(s.brief(), row, text, args, fn); err != nil {
			if errors.Is(err, tsdb.ErrEnough) {
				return nil
			}
			return err
		}
	}
	return nil
}

// logRow is what a row is scanned into.
type logRow struct {
	table tsdb.Table
	data  tsdb.Fields
	doc   tsdb.Doc
	raw   [3]sql.RawBytes
	dest  []any
}

func (row *logRow) places() []any {
	if row.dest != nil {
		return row.dest
	}
	d := &row.doc
	d.Table = row.table
	row.dest = []any{&d.Scope, &d.Major, &d.Minor}
	if logTables[row.table].counted {
		row.dest = append(row.dest, &d.Entries, &d.MinAt, &d.MaxAt)
	}
	for i := range logTables[row.table].data {
		if row.data[i] {
			row.dest = append(row.dest, &row.raw[i])
		}
	}
	return row.dest
}

// each calls fn with each row of a query.
func each(q querier, row *logRow, text string, args []any, fn func(*tsdb.Doc) error) error {
	rows, err := q.query(text, args...)
	if err != nil {
		return err
	}
	dest := row.places()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return closed(rows, err)
		}
		for i := range row.raw {
			row.doc.Data[i] = row.raw[i]
		}
		if err := fn(&row.doc); err != nil {
			if failed := rows.Close(); failed != nil {
				return errors.Join(err, failed)
			}
			return err
		}
	}
	return closed(rows, nil)
}

// closed ends reading rows: it closes them and joins what went wrong.
func closed(rows *sql.Rows, err error) error {
	return errors.Join(err, rows.Err(), rows.Close())
}

// Bytes implements tsdb.Snapshot. SQLite knows the length of a blob without reading it.
func (s *logSnapshot) Bytes(_ context.Context, scope int64) (bytes int64, err error) {
	err = s.row(`SELECT
		(SELECT coalesce(sum(length(data)), 0) FROM log_chunks WHERE scope=?1) + (SELECT coalesce(sum(length(totals)), 0) FROM log_sums WHERE scope=?1) +
		(SELECT coalesce(sum(length(sketches)+length(devices)+length(cells)), 0) FROM log_cells WHERE scope=?1) +
		(SELECT coalesce(sum(length(data)), 0) FROM log_days WHERE scope=?1)`, scope).Scan(&bytes)
	return bytes, err
}
