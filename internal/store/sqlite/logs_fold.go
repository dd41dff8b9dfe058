package sqlite

import (
	"cmp"
	"slices"

	"hearth/internal/tsdb"
)

// maxFoldScopes bounds the scopes that one fold touches (unless a single tail row touches more), so that the writer is
// back soon.
const maxFoldScopes = 512

// foldBatch is what one fold moves: entries of one scope after the other.
type foldBatch struct {
	series  []tsdb.Series // sorted
	entries []tsdb.Entry  // sorted by scope, then by Entry.Compare
}

// fold moves the oldest rows of the tail into chunks and rollups, in the transaction that it is called in, so that no
// crash loses or doubles any.
func (s *Store) fold(t *tx) error {
	w := t.w.logs
	w.folded = true
	size, err := w.tailSize(t)
	if err != nil || size.rows == 0 {
		return err
	}
	rows, err := s.tailRows(t, -1<<63, 1<<63-1, s.options.Logs.FoldRows)
	if err != nil {
		return err
	}
	rows = fewScopes(rows)
	var horizon int64
	if err := t.row(`SELECT horizon FROM log_state`).Scan(&horizon); err != nil {
		return err
	}
	taken := 0
	for _, row := range rows {
		taken += len(row.chunk.Entries)
	}
	batch, late, err := w.gather(t, rows, horizon)
	if err != nil {
		return err
	}
	if err := s.foldBatch(t, batch); err != nil {
		return err
	}
	last := rows[len(rows)-1].last
	if _, err := t.exec(`DELETE FROM log_tail WHERE seq<=?`, int64(last)); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE log_state SET folded=?, trimmed=trimmed+?`, int64(last), late); err != nil {
		return err
	}
	w.size.entries -= int64(taken)
	w.size.rows -= int64(len(rows))
	t.onCommit(func() { s.tail.drop(last) })
	return nil
}

// foldBatch adds a batch's entries to the chunks and rollups of their scopes.
func (s *Store) foldBatch(t *tx, batch foldBatch) error {
	for start := 0; start < len(batch.entries); {
		scope := batch.series[batch.entries[start].Series].Scope
		end := start
		for end < len(batch.entries) && batch.series[batch.entries[end].Series].Scope == scope {
			end++
		}
		if err := s.foldScope(t, scope, batch.series, batch.entries[start:end]); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// fewScopes cuts rows before they touch too many scopes; at least one row is left.
func fewScopes(rows []*tailRow) []*tailRow {
	scopes := map[int64]bool{}
	for i, row := range rows {
		for _, series := range row.chunk.Series {
			scopes[series.Scope] = true
		}
		if i > 0 && len(scopes) > maxFoldScopes {
			return rows[:i]
		}
	}
	return rows
}

// gather puts the rows' entries in order. It leaves out those of devices that are gone and counts, and leaves out, those
// from before the horizon.
func (w *logWriter) gather(t *tx, rows []*tailRow, horizon int64) (batch foldBatch, late int, err error) {
	index := map[tsdb.Series]uint32{}
	size := 0
	for _, row := range rows {
		size += len(row.chunk.Entries)
		for _, series := range row.chunk.Series {
			if _, ok := index[series]; ok {
				continue
			}
			index[series] = 0
			if _, alive, err := w.scopeOf(t, series.Device); err != nil {
				return batch, 0, err
			} else if alive {
				batch.series = append(batch.series, series)
			}
		}
	}
	slices.SortFunc(batch.series, tsdb.Series.Compare)
	for i, series := range batch.series {
		index[series] = uint32(i) + 1
	}
	batch.entries = make([]tsdb.Entry, 0, size)
	var to []uint32
	for _, row := range rows {
		to = to[:0]
		for _, series := range row.chunk.Series {
			to = append(to, index[series])
		}
		for _, e := range row.chunk.Entries {
			rank := to[e.Series]
			if rank == 0 {
				continue
			}
			if e.At < horizon {
				late++
				continue
			}
			e.Series = rank - 1
			batch.entries = append(batch.entries, e)
		}
	}
	if !slices.IsSortedFunc(batch.entries, tsdb.Entry.Compare) {
		slices.SortFunc(batch.entries, tsdb.Entry.Compare)
	}
	batch.byScope()
	return batch, late, nil
}

// byScope moves the entries of each scope together and leaves their order otherwise.
func (b *foldBatch) byScope() {
	if n := len(b.series); n == 0 || b.series[0].Scope == b.series[n-1].Scope {
		return
	}
	slices.SortStableFunc(b.entries, func(x, y tsdb.Entry) int {
		return cmp.Compare(b.series[x.Series].Scope, b.series[y.Series].Scope)
	})
}

// foldScope adds the entries of one scope to its chunks and rollups.
func (s *Store) foldScope(t *tx, scope int64, series []tsdb.Series, entries []tsdb.Entry) error {
	if err := s.mergeChunks(t, scope, series, entries); err != nil {
		return err
	}
	if err := s.addRollups(t, scope, tsdb.SumUp(series, entries)); err != nil {
		return err
	}
	return addCount(t, scope, len(entries))
}

// addCount changes the number of folded logs of a scope.
func addCount(t *tx, scope int64, by int) error {
	_, err := t.exec(`INSERT INTO log_counts(scope, entries) VALUES(?,?) ON CONFLICT(scope) DO UPDATE SET entries=entries+excluded.entries`, scope, by)
	return err
}

// sortSeries sorts the series and renumbers the entries.
func (b *foldBatch) sortSeries() {
	order := make([]uint32, len(b.series))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int { return b.series[x].Compare(b.series[y]) })
	sorted := make([]tsdb.Series, len(order))
	rank := make([]uint32, len(order))
	for i, old := range order {
		sorted[i] = b.series[old]
		rank[old] = uint32(i)
	}
	b.series = sorted
	for i := range b.entries {
		b.entries[i].Series = rank[b.entries[i].Series]
	}
}
