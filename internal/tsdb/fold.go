package tsdb

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth/internal/tsdb/codec"
)

// Fold moves the oldest rows of a partition's tail into chunks and rollups; folded is how many rows those were. ErrBusy if another changes
// the partition.
func (e *Engine) Fold(ctx context.Context, partition int) (folded int, err error) {
	p := &e.partitions[partition]
	p.folding.Lock()
	defer p.folding.Unlock()
	p.mu.Lock()
	logsBefore, rowsBefore, before := p.logs, p.rows, make(map[int64]bool, len(p.debts.rows))
	for id := range p.debts.rows {
		before[id] = true
	}
	p.mu.Unlock()
	var parts []tailPart
	var leftRows []int64
	var logs, left int
	narrow, start := false, time.Now()
	err = e.backend.Update(ctx, "Fold", partition, func(s Snapshot) (*Change, error) {
		var err error
		parts, err = e.loadTail(ctx, s, firstMilli, endMilli, func(rows []TailRow) int {
			n := 0
			for logs, left, leftRows = 0, 0, nil; n < len(rows) && logs < e.options.FoldRows; n++ {
				logs += rows[n].Entries
			}
			for _, row := range rows[n:] {
				left += row.Entries
				leftRows = append(leftRows, row.ID)
			}
			return n
		})
		if err != nil || len(parts) == 0 {
			return nil, err
		}
		var later []tailPart
		parts, later = slice(parts)
		narrow = len(later) > 0 && later[0].Entries+logsOf(parts) < e.options.FoldRows/narrowFold
		for _, part := range later {
			left += part.Entries
			leftRows = append(leftRows, part.ID)
		}
		return e.fold(ctx, s, partition, parts)
	})
	if err != nil {
		return 0, err
	}
	ids := make([]int64, len(parts))
	for i := range parts {
		ids[i] = parts[i].ID
	}
	e.tail.folded(ids)
	if narrow && e.options.GiveWay != nil {
		took := time.Since(start)
		defer e.options.GiveWay(ctx, took)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// What was counted meanwhile stays counted, though some of it may have been seen: too much leads to one more look.
	p.logs, p.rows, p.first = p.logs-logsBefore+left, p.rows-rowsBefore+len(leftRows), time.Now()
	p.debts.settled(before, leftRows)
	return len(parts), nil
}

// narrowFold is the part of Options.FoldRows that a fold has at least which many documents do not cut short.
const narrowFold = 8

func logsOf(parts []tailPart) (n int) {
	for i := range parts {
		n += parts[i].Entries
	}
	return n
}

// fold returns the change that folds rows.
func (e *Engine) fold(ctx context.Context, s Snapshot, partition int, parts []tailPart) (*Change, error) {
	m := e.newMerge(ctx, s)
	batch := e.gather(s, partition, parts)
	var pieces []piece
	for start := 0; start < len(batch.Entries); {
		scope := batch.Series[batch.Entries[start].Series].Scope
		end := start
		for end < len(batch.Entries) && batch.Series[batch.Entries[end].Series].Scope == scope {
			end++
		}
		of, err := m.pieces(scope, batch.Series, batch.Entries[start:end])
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, of...)
		if err := m.addRollups(scope, codec.SumUp(batch.Series, batch.Entries[start:end])); err != nil {
			return nil, err
		}
		start = end
	}
	if err := m.addChunks(pieces); err != nil {
		return nil, err
	}
	for i := range parts {
		m.Folded = append(m.Folded, parts[i].ID)
	}
	return m.finish()
}

// slice picks the rows that one fold moves: at least the first one, and others as long as the documents that change are few. A row of many
// documents of its own does not keep those after it waiting.
func slice(parts []tailPart) (now, later []tailPart) {
	s := newSpread()
	if !s.addRow(parts[0].Row, maxSlice) {
		return parts[:1], parts[1:]
	}
	now = append(now, parts[0])
	low, high := parts[0].MinAt, parts[0].MaxAt
	for _, part := range parts[1:] {
		// A row of another time has hardly a document in common with those that are picked.
		apart := part.MaxAt < low || part.MinAt > high
		if apart && s.docs+part.docs() > maxSlice || !s.addRow(part.Row, maxSlice) {
			later = append(later, part)
			continue
		}
		now = append(now, part)
		low, high = min(low, part.MinAt), max(high, part.MaxAt)
	}
	return now, later
}

// gather returns the rows' entries of a partition: series sorted, entries sorted by scope, then by Entry.Compare. It leaves out those of
// devices that are gone.
func (e *Engine) gather(s Snapshot, partition int, parts []tailPart) (batch codec.Chunk) {
	dead := map[Grave]bool{}
	for _, grave := range s.Graves() {
		dead[grave] = !grave.Moved // those of a device that moved are to be found where Reclaim looks
	}
	index := map[codec.Series]uint32{}
	size := 0
	for _, part := range parts {
		size += part.Entries
		for _, series := range part.chunk.Series {
			if _, ok := index[series]; ok {
				continue
			}
			index[series] = 0
			if !dead[Grave{Device: series.Device, Scope: series.Scope}] && e.backend.Partition(series.Scope) == partition {
				batch.Series = append(batch.Series, series)
			}
		}
	}
	slices.SortFunc(batch.Series, codec.Series.Compare)
	for i, series := range batch.Series {
		index[series] = uint32(i) + 1
	}
	batch.Entries = make([]codec.Entry, 0, size)
	var to []uint32
	for _, part := range parts {
		to = to[:0]
		for _, series := range part.chunk.Series {
			to = append(to, index[series])
		}
		for _, entry := range part.chunk.Entries {
			if rank := to[entry.Series]; rank != 0 {
				entry.Series = rank - 1
				batch.Entries = append(batch.Entries, entry)
			}
		}
	}
	if !slices.IsSortedFunc(batch.Entries, codec.Entry.Compare) {
		slices.SortFunc(batch.Entries, codec.Entry.Compare)
	}
	if n := len(batch.Series); n > 0 && batch.Series[0].Scope != batch.Series[n-1].Scope {
		// Entries of each scope move together and keep their order otherwise.
		slices.SortStableFunc(batch.Entries, func(x, y codec.Entry) int {
			return cmp.Compare(batch.Series[x.Series].Scope, batch.Series[y.Series].Scope)
		})
	}
	return batch
}

// FoldAll folds what is in the tail now, whatever comes meanwhile.
func (e *Engine) FoldAll(ctx context.Context) error {
	return e.foldStored(ctx, func(int) bool { return true })
}

// foldStored folds what is in the tail of partitions now. It waits where another changes one.
func (e *Engine) foldStored(ctx context.Context, wanted func(partition int) bool) error {
	var stored map[int64]bool
	for try := 0; ; try++ {
		left := map[int64]bool{}
		parts := map[int]bool{}
		err := e.backend.View(ctx, ViewOptions{Operation: "Tail"}, func(s Snapshot) error {
			rows, err := s.Tail(ctx, firstMilli, endMilli)
			for _, row := range rows {
				if stored != nil && !stored[row.ID] {
					continue
				}
				for _, p := range row.Partitions {
					if wanted(p) {
						left[row.ID], parts[p] = true, true
					}
				}
			}
			return err
		})
		if err != nil || len(left) == 0 {
			return err
		}
		stored = left
		busy := false
		for _, p := range slices.Sorted(maps.Keys(parts)) {
			_, err := e.Fold(ctx, p)
			if err != nil && !errors.Is(err, ErrBusy) {
				return err
			}
			busy = busy || err != nil
		}
		if !busy {
			try = -1
		} else if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// pause waits for another to end its change: longer each time, up to a second.
func pause(ctx context.Context, try int) error {
	timer := time.NewTimer(min(time.Second, 5*time.Millisecond<<min(try, 8)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
