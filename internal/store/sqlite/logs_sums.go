package sqlite

import (
	"database/sql"
	"errors"

	"hearth/internal/tsdb"
)

// addRollups adds sums to the stored ones of a scope.
func (s *Store) addRollups(t *tx, scope int64, add *tsdb.Rollups) error {
	for level, sums := range [][]tsdb.Sum{add.Hours, add.Days, add.Months} {
		for i := range sums {
			stored, err := loadSum(t, scope, level, sums[i].Bucket)
			if err != nil {
				return err
			}
			stored.Merge(&sums[i])
			if err := storeSum(t, scope, level, &stored); err != nil {
				return err
			}
		}
	}
	var old, merged tsdb.Day
	for i := range add.Groups {
		g := &add.Groups[i]
		var data []byte
		// By primary key.
		err := t.row(`SELECT data FROM log_days WHERE scope=? AND day=? AND grp=?`, scope, g.Bucket, g.Group).Scan(&data)
		day := &g.Day
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		default:
			if err := tsdb.DecodeDay(&old, data, tsdb.DayParts{Hours: tsdb.WholeDay, Sketches: true}); err != nil {
				return err
			}
			tsdb.MergeDays(&merged, &old, &g.Day)
			day = &merged
		}
		if err := storeDay(t, scope, g.Bucket, g.Group, day); err != nil {
			return err
		}
	}
	return nil
}

// loadSum returns a stored sum, an empty one if there is none.
func loadSum(q querier, scope int64, level int, bucket int64) (tsdb.Sum, error) {
	s := tsdb.Sum{Bucket: bucket}
	var totals, sketches, cells []byte
	// By the primary keys.
	err := q.row(`SELECT entries, min_at, max_at, totals, sketches, cells FROM log_sums JOIN log_cells USING (scope, level, bucket)
		WHERE scope=? AND level=? AND bucket=?`,
		scope, level, bucket).Scan(&s.Entries, &s.MinAt, &s.MaxAt, &totals, &sketches, &cells)
	if errors.Is(err, sql.ErrNoRows) {
		return s, nil
	}
	if err == nil {
		s.Totals, err = tsdb.DecodeCells(nil, totals)
	}
	if err == nil {
		s.Sketches, err = tsdb.DecodeSketches(sketches)
	}
	if err == nil {
		s.Cells, err = tsdb.DecodeCells(nil, cells)
	}
	return s, err
}

// storeSum stores a sum; one of nothing is removed.
func storeSum(t *tx, scope int64, level int, s *tsdb.Sum) error {
	if s.Entries == 0 {
		return deleteSums(t, scope, level, s.Bucket, s.Bucket)
	}
	w := t.w.logs
	b := tsdb.AppendCells(w.blob[:0], s.Totals)
	_, err := t.exec(`INSERT OR REPLACE INTO log_sums(scope, level, bucket, entries, min_at, max_at, totals) VALUES(?,?,?,?,?,?,?)`,
		scope, level, s.Bucket, s.Entries, s.MinAt, s.MaxAt, b)
	if err != nil {
		return err
	}
	b = tsdb.AppendSketches(b[:0], &s.Sketches)
	devices := len(b)
	if byDevice := tsdb.DeviceCells(s.Cells); len(byDevice) < len(s.Cells) {
		b = tsdb.AppendCells(b, byDevice)
	}
	cells := len(b)
	b = tsdb.AppendCells(b, s.Cells)
	w.blob = b
	_, err = t.exec(`INSERT INTO log_cells(scope, level, bucket, sketches, devices, cells) VALUES(?,?,?,?,?,?)
		ON CONFLICT(scope, level, bucket) DO UPDATE SET sketches=excluded.sketches, devices=excluded.devices, cells=excluded.cells`,
		scope, level, s.Bucket, b[:devices], b[devices:cells], b[cells:])
	return err
}

// deleteSums removes the sums of the buckets from first to last.
func deleteSums(t *tx, scope int64, level int, first, last int64) error {
	_, err := t.exec(`DELETE FROM log_sums WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`, scope, level, first, last)
	if err == nil {
		_, err = t.exec(`DELETE FROM log_cells WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`, scope, level, first, last)
	}
	return err
}

// storeDay stores a row of log_days; one without lines is removed.
func storeDay(t *tx, scope, day, group int64, d *tsdb.Day) error {
	if len(d.Lines) == 0 {
		_, err := t.exec(`DELETE FROM log_days WHERE scope=? AND day=? AND grp=?`, scope, day, group)
		return err
	}
	w := t.w.logs
	w.blob = tsdb.AppendDay(w.blob[:0], d)
	_, err := t.exec(`INSERT INTO log_days(scope, day, grp, data) VALUES(?,?,?,?)
		ON CONFLICT(scope, day, grp) DO UPDATE SET data=excluded.data`, scope, day, group, w.blob)
	return err
}
