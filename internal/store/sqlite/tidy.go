package sqlite

import "context"

// vacuumStep is how many pages one write returns to the file system: a few milliseconds' work.
const vacuumStep = 256

// Tidy removes unfinished batches of logs and devices, lets SQLite renew what it knows of its indexes, and returns pages that nothing uses back to
// the file system, in small writes between which others go on; it returns the number of pages. A database that was made before pages
// could be returned keeps them for what is stored later.
func (s *Store) Tidy(ctx context.Context) (freed int, err error) {
	if err := (logBackend{s}).discardOld(ctx); err != nil {
		return 0, err
	}
	if err := s.removeAllLate(ctx); err != nil {
		return 0, err
	}
	s.settle(ctx)
	err = s.writeLong(ctx, "Tidy", func(t *tx) error { return t.drain(`PRAGMA optimize`) })
	for more := true; err == nil && more; {
		step := 0
		err = s.writeLong(ctx, "Tidy", func(t *tx) error {
			var before, after int
			if err := t.row(`PRAGMA freelist_count`).Scan(&before); err != nil || before == 0 {
				return err
			}
			// One row a page: it has to be read to its end.
			if err := t.drain(`PRAGMA incremental_vacuum(256)`); err != nil {
				return err
			}
			err := t.row(`PRAGMA freelist_count`).Scan(&after)
			step = before - after
			return err
		})
		freed += step
		more = step >= vacuumStep && ctx.Err() == nil
	}
	return freed, err
}

// drain runs a pragma that answers rows which nobody needs.
func (t *tx) drain(query string) error {
	rows, err := t.query(query)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return closed(rows, nil)
}
