package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"iter"
	"slices"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// maxScanBuffer bounds the entries that a scan holds in memory, over all scopes (48 bytes each); minScanBuffer is what
// each scope gets at least.
const (
	maxScanBuffer = 1 << 19
	minScanBuffer = 16
)

// everSpan is the span of all logs.
func everSpan() hearth.Span {
	return hearth.Span{From: time.UnixMilli(firstMilli), To: time.UnixMilli(endMilli)}
}

var errScanEnded = errors.New("the reader of the scan has had enough")

// ScanLogs implements hearth.LogStore.
func (s *Store) ScanLogs(ctx context.Context, scan hearth.LogScan) iter.Seq2[hearth.LogEntry, error] {
	return func(yield func(hearth.LogEntry, error) bool) {
		err := s.readFrom(ctx, s.scans, func(r *reader) error {
			v, err := s.openView(r, logScope{reach: scan.Reach, devices: scan.Devices, events: scan.Events, span: scan.Span})
			if err != nil || v.from >= v.to {
				return err
			}
			defer v.returnMemory()
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
	view  *logView
	scope int64
	limit int
	// buffer holds the entries from at on; done says that there are no more than those.
	buffer []hearth.LogEntry
	at     int
	done   bool
}

func newScanMerge(v *logView) (*scanMerge, error) {
	m := &scanMerge{}
	tail, err := tailCursor(v)
	if err != nil {
		return nil, err
	}
	cursors := []*scanCursor{tail}
	limit := max(minScanBuffer, min(1<<15, maxScanBuffer/max(1, len(v.scopes))))
	for _, scope := range v.scopes {
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

// tailCursor holds the wanted entries of the tail.
func tailCursor(v *logView) (*scanCursor, error) {
	c := &scanCursor{view: v, done: true}
	var err error
	v.tailEntries(func(series []tsdb.Series, e *tsdb.Entry) {
		if err == nil {
			err = c.take(series, e)
		}
	})
	slices.SortFunc(c.buffer, compareLogs)
	return c, err
}

func compareLogs(a, b hearth.LogEntry) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
}

func (c *scanCursor) take(series []tsdb.Series, e *tsdb.Entry) error {
	s := &series[e.Series]
	name, err := c.view.store.names.name(c.view.q, s.Event)
	c.buffer = append(c.buffer, hearth.LogEntry{Device: s.Device, Event: name, Value: e.Value, At: e.At, Seq: e.Seq})
	return err
}

// settle makes sure that the buffer has an entry, if there is another.
func (c *scanCursor) settle() (more bool, err error) {
	if c.at < len(c.buffer) {
		return true, nil
	}
	if c.done {
		return false, nil
	}
	after := hearth.LogEntry{At: c.view.from}
	if n := len(c.buffer); n > 0 {
		after = c.buffer[n-1]
	}
	c.buffer, c.at = c.buffer[:0], 0
	c.view.lastKey = 0
	rows, err := c.view.q.query(chunksForward, c.scope, after.At, c.view.to)
	if err != nil {
		return false, err
	}
	var data sql.RawBytes
	c.done = true
	in := timeRange{from: after.At, to: c.view.to}
	for rows.Next() {
		if err := rows.Scan(&data); err != nil {
			return false, closed(rows, err)
		}
		if err := c.view.decode(&c.view.lastChunk, c.scope, data); err != nil {
			return false, closed(rows, err)
		}
		c.done = in.each(&c.view.lastChunk, func(series []tsdb.Series, e *tsdb.Entry) bool {
			if e.At == after.At && e.Seq <= after.Seq {
				return true
			}
			if len(c.buffer) >= c.limit {
				return false
			}
			err = c.take(series, e)
			return err == nil
		})
		if err != nil {
			return false, closed(rows, err)
		}
		if !c.done {
			break
		}
	}
	return len(c.buffer) > 0, closed(rows, nil)
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
