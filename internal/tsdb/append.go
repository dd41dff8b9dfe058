package tsdb

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// AppendLogs implements hearth.LogStore. What is durable and atomic is a row of the tail with all the logs; chunks and rollups follow
// from it, and questions add what has not followed yet.
func (e *Engine) AppendLogs(
	ctx context.Context, entries []hearth.LogEntry, checkpoint *hearth.Checkpoint, effects hearth.SideEffects,
) (first uint64, err error) {
	batch, err := e.prepare(ctx, entries, checkpoint != nil)
	if err != nil {
		return 0, err
	}
	batch.Checkpoint, batch.Effects = checkpoint, effects
	if err := e.backend.Append(ctx, batch); err != nil {
		return 0, err
	}
	e.Stored(batch.Rows...)
	return batch.First, nil
}

// prepare checks and resolves what a call stores, and makes it wait while logs come faster than they are folded: as long as it takes if it
// is patient, as an import is.
func (e *Engine) prepare(ctx context.Context, entries []hearth.LogEntry, patient bool) (*Batch, error) {
	if len(entries) > hearth.MaxLogBatch {
		return nil, hearth.Errorf(hearth.CodeValidationFailed, "a batch has at most %d logs", hearth.MaxLogBatch)
	}
	for i := range entries {
		if v := entries[i].Value; math.IsNaN(v.Number()) || math.IsInf(v.Number(), 0) || len(v.Text()) > 4*hearth.MaxText {
			return nil, hearth.Errorf(hearth.CodeValidationFailed, "a value is not a finite number, or too long")
		}
	}
	batch, err := e.resolve(ctx, entries, func(series []codec.Series) error { return e.admit(ctx, series) })
	if err == nil {
		err = e.hasRoom(ctx, batch, entries)
	}
	if err != nil {
		return nil, err
	}
	return batch, e.slowDown(ctx, batch, patient)
}

// slowDown makes writers fold where their logs come faster than they are folded, so that readers never have much to add and writers of other
// scopes never wait. CodeRateLimited if that takes too long.
func (e *Engine) slowDown(ctx context.Context, batch *Batch, patient bool) error {
	last, start := int64(0), time.Now()
	for _, s := range batch.Series {
		if s.Scope == last {
			continue
		}
		last = s.Scope
		p := e.backend.Partition(s.Scope)
		for try := 0; e.partitions[p].crowded(s.Scope, &e.options); try++ {
			if !patient && time.Since(start) > maxSlow {
				return errBehind()
			}
			folded, err := e.Fold(ctx, p)
			switch {
			case errors.Is(err, ErrBusy), errors.Is(err, ErrStale):
				err = pause(ctx, try)
			case err == nil && folded == 0:
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// tailCache keeps rows of the tail, decoded. They never change, and their IDs are never used again, so that whatever snapshot a reader has, a
// row that it finds by its ID is right.
type tailCache struct {
	mu           sync.Mutex
	limit, bytes int
	rows         map[int64]*tailEntry
}

type tailEntry struct {
	row   *Row
	bytes int
	// left is in how many partitions it is not folded, as far as is known.
	left int
}

// What a decoded row takes in memory, about: logBytes for each log, lineBytes for each series, and internedBytes more than its length for one of
// a string, each of which is kept once in the process.
const (
	logBytes      = 32
	lineBytes     = 32
	internedBytes = 192
)

// bytes returns about how many bytes the row takes, its Data aside.
func (r *Row) bytes() int {
	bytes := logBytes*r.Entries + lineBytes*len(r.chunk.Series)
	for i := range r.chunk.Series {
		if s := &r.chunk.Series[i]; s.IsText() {
			bytes += internedBytes + len(s.Type.Text())
		}
	}
	return bytes
}

func (c *tailCache) find(id int64) *Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry := c.rows[id]; entry != nil {
		return entry.row
	}
	return nil
}

// add reports whether the row is new. Its Data is not kept.
func (c *tailCache) add(row *Row) bool {
	bytes := row.bytes()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows[row.ID] != nil {
		return false
	}
	if c.rows == nil || c.bytes+bytes > c.limit {
		c.rows, c.bytes = map[int64]*tailEntry{}, 0
	}
	c.rows[row.ID] = &tailEntry{&Row{TailRow: row.TailRow, chunk: row.chunk, size: row.size, alone: row.alone}, bytes, len(row.Partitions)}
	c.bytes += bytes
	return true
}

// folded takes note of rows that have left a partition.
func (c *tailCache) folded(ids []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		entry := c.rows[id]
		if entry == nil {
			continue
		}
		if entry.left--; entry.left <= 0 {
			delete(c.rows, id)
			c.bytes -= entry.bytes
		}
	}
}
