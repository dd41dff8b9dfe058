package tsdb

import (
	"context"
	"errors"
	"math"
	"sync"

	"hearth"
)

// AppendLogs implements hearth.LogStore. What is durable and atomic is a row of the tail with all the logs; chunks and rollups follow
// from it, and questions add what has not followed yet.
func (e *Engine) AppendLogs(
	ctx context.Context, entries []hearth.LogEntry, checkpoint *hearth.Checkpoint, effects hearth.SideEffects,
) (first uint64, err error) {
	batch, err := e.prepare(ctx, entries)
	if err != nil {
		return 0, err
	}
	batch.Checkpoint, batch.Effects = checkpoint, effects
	if err := e.backend.Append(ctx, batch); err != nil {
		return 0, err
	}
	e.Stored(batch.Row)
	return batch.First, nil
}

// prepare checks and resolves what a call stores, and makes it wait while logs come faster than they are folded.
func (e *Engine) prepare(ctx context.Context, entries []hearth.LogEntry) (*Batch, error) {
	if len(entries) > hearth.MaxLogBatch {
		return nil, hearth.Errorf(hearth.CodeValidationFailed, "a batch has at most %d logs", hearth.MaxLogBatch)
	}
	for i := range entries {
		if v := entries[i].Value; math.IsNaN(v.Number()) || math.IsInf(v.Number(), 0) || len(v.Text()) > 4*hearth.MaxText {
			return nil, hearth.Errorf(hearth.CodeValidationFailed, "a value is not a finite number, or too long")
		}
	}
	batch, err := e.Resolve(ctx, entries)
	if err != nil {
		return nil, err
	}
	return batch, e.slowDown(ctx, batch)
}

// slowDown makes writers fold where logs come faster than they are folded, so that readers never have much to add.
func (e *Engine) slowDown(ctx context.Context, batch *Batch) error {
	last := int64(0)
	for _, s := range batch.Series {
		if s.Scope == last {
			continue
		}
		last = s.Scope
		p := e.backend.Partition(s.Scope)
		if !e.partitions[p].crowded(&e.options) {
			continue
		}
		if _, err := e.Fold(ctx, p); err != nil && !errors.Is(err, ErrBusy) {
			return err
		}
	}
	return nil
}

// tailCache keeps rows of the tail. They never change, and their IDs are never used again, so that whatever snapshot a reader has, a row that
// it finds by its ID is right.
type tailCache struct {
	mu      sync.Mutex
	limit   int // entries
	entries int
	rows    map[int64]*tailEntry
}

type tailEntry struct {
	row *Row
	// left is in how many partitions it is not folded, as far as is known.
	left int
}

func (c *tailCache) find(id int64) *Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry := c.rows[id]; entry != nil {
		return entry.row
	}
	return nil
}

// add reports whether the row is new.
func (c *tailCache) add(row *Row) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows[row.ID] != nil {
		return false
	}
	if c.rows == nil || c.entries+row.Entries > c.limit {
		c.rows, c.entries = map[int64]*tailEntry{}, 0
	}
	c.rows[row.ID] = &tailEntry{row, len(row.Partitions)}
	c.entries += row.Entries
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
			c.entries -= entry.row.Entries
		}
	}
}
