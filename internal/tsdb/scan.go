package tsdb

import (
	"context"
	"errors"
	"iter"
	"slices"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// maxScanBuffer bounds the entries that a scan holds in memory, over all scopes; minScanBuffer is what each scope gets at least.
const (
	maxScanBuffer = 1 << 19
	minScanBuffer = 16
)

var errScanEnded = errors.New("the reader of the scan has had enough")

// ScanLogs implements hearth.LogStore.
func (e *Engine) ScanLogs(ctx context.Context, scan hearth.LogScan) iter.Seq2[hearth.LogEntry, error] {
	return func(yield func(hearth.LogEntry, error) bool) {
		of := subject{operation: "ScanLogs", reach: scan.Reach, devices: scan.Devices, events: scan.Events, span: scan.Span, slow: true}
		err := e.view(ctx, of, func(v *view) error {
			m, err := newScanMerge(v)
			if err != nil {
				return err
			}
			return m.run(func(e hearth.LogEntry) bool { return yield(e, nil) })
		})
		if err != nil && !errors.Is(err, errScanEnded) {
			yield(hearth.LogEntry{}, err)
		}
	}
}

// scanMerge merges the scopes' logs, each read through a buffer of its own, with the tail.
type scanMerge struct {
	// heap has the cursor of the least entry first.
	heap []*scanCursor
}

// scanCursor goes through the logs of one scope.
type scanCursor struct {
	view  *view
	scope int64
	limit int
	// buffer holds the entries from at on; done says that there are no more than those.
	buffer []hearth.LogEntry
	at     int
	done   bool
	// read is the last chunk that was taken whole, if begun is set; after is the last entry that was taken.
	read  Key
	begun bool
	after hearth.LogEntry
}

func newScanMerge(v *view) (*scanMerge, error) {
	m := &scanMerge{}
	tail := &scanCursor{view: v, done: true}
	var err error
	v.tailEntries(func(series []codec.Series, e *codec.Entry) {
		if err == nil {
			err = tail.take(series, e)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tail.buffer, compareLogs)
	cursors := []*scanCursor{tail}
	scopes, err := v.scopesWithLogs()
	if err != nil {
		return nil, err
	}
	limit := max(minScanBuffer, min(1<<15, maxScanBuffer/max(1, len(scopes))))
	for _, scope := range scopes {
		cursors = append(cursors, &scanCursor{view: v, scope: scope, limit: limit})
	}
	for _, c := range cursors {
		if more, err := c.settle(); err != nil {
			return nil, err
		} else if more {
			m.heap = append(m.heap, c)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
}

// scopesWithLogs returns the view's scopes that have folded logs.
func (v *view) scopesWithLogs() (scopes []int64, err error) {
	if v.scopes != nil {
		return v.scopes, nil
	}
	months := Query{Table: Sums, Major: Range{codec.LevelMonth, codec.LevelMonth}, Minor: Range{codec.BucketOf(codec.LevelMonth, v.from), codec.BucketOf(codec.LevelMonth, v.to-1)}}
	seen := map[int64]bool{}
	err = v.s.Find(v.ctx, months, func(d *Doc) error {
		if !seen[d.Scope] {
			seen[d.Scope] = true
			scopes = append(scopes, d.Scope)
		}
		return nil
	})
	return scopes, err
}

func (c *scanCursor) take(series []codec.Series, e *codec.Entry) error {
	entry, err := c.view.logOf(series, e)
	c.buffer = append(c.buffer, entry)
	return err
}

// scanChunks is how many chunks a cursor reads at once, at first.
const scanChunks = 4

// settle makes sure that the buffer has an entry, if there is another.
func (c *scanCursor) settle() (more bool, err error) {
	if c.at < len(c.buffer) {
		return true, nil
	}
	c.buffer, c.at = c.buffer[:0], 0
	for limit := scanChunks; len(c.buffer) == 0 && !c.done; limit *= 2 {
		if err := c.fill(limit); err != nil {
			return false, err
		}
	}
	return len(c.buffer) > 0, nil
}

// fill reads up to limit chunks; those that were read before count too.
func (c *scanCursor) fill(limit int) error {
	v := c.view
	v.lastKey = Key{}
	query := Query{
		Table: Chunks, Scopes: []int64{c.scope}, Major: Range{v.from, v.to - 1}, Minor: Everything, Floor: !c.begun, Limit: limit, Data: MainData,
	}
	if c.begun {
		query.Major.From = c.read.Major
	}
	n, full := 0, false
	in := timeRange{from: v.from, to: v.to}
	err := v.s.Find(v.ctx, query, func(d *Doc) error {
		n++
		if c.begun && d.Major == c.read.Major && d.Minor <= c.read.Minor {
			return nil
		}
		// What else the chunk may hold is looked at by wants.
		if d.MaxAt >= in.from && d.MinAt < in.to {
			if err := v.decode(d, in); err != nil {
				return err
			}
			entries := in.of(&v.lastChunk)
			for i := range entries {
				e := &entries[i]
				if c.after.Device != 0 && (e.At < c.after.At || e.At == c.after.At && e.Seq <= c.after.Seq) {
					continue
				}
				if len(c.buffer) >= c.limit {
					full = true
					return ErrEnough
				}
				if err := c.take(v.lastChunk.Series, e); err != nil {
					return err
				}
			}
		}
		c.read, c.begun = d.Key, true
		return nil
	})
	if len(c.buffer) > 0 {
		c.after = c.buffer[len(c.buffer)-1]
	}
	c.done = !full && n < limit
	return err
}

// run returns the entries to yield, in order.
func (m *scanMerge) run(yield func(hearth.LogEntry) bool) error {
	for len(m.heap) > 0 {
		c := m.heap[0]
		// Entries up to the next cursor's first one need no look at the heap.
		var until *hearth.LogEntry
		for child := 1; child < min(3, len(m.heap)); child++ {
			if e := &m.heap[child].buffer[m.heap[child].at]; until == nil || compareLogs(*e, *until) < 0 {
				until = e
			}
		}
		for c.at < len(c.buffer) && (until == nil || compareLogs(c.buffer[c.at], *until) <= 0) {
			if !yield(c.buffer[c.at]) {
				return errScanEnded
			}
			c.at++
		}
		if err := c.view.ctx.Err(); err != nil {
			return err
		}
		more, err := c.settle()
		if err != nil {
			return err
		}
		if !more {
			last := len(m.heap) - 1
			m.heap[0] = m.heap[last]
			m.heap = m.heap[:last]
		}
		m.sink(0)
	}
	return nil
}

// sink moves the cursor at i down to where it belongs.
func (m *scanMerge) sink(i int) {
	less := func(a, b int) bool {
		x, y := m.heap[a], m.heap[b]
		return compareLogs(x.buffer[x.at], y.buffer[y.at]) < 0
	}
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if child+1 < len(m.heap) && less(child+1, child) {
			child++
		}
		if !less(child, i) {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}
