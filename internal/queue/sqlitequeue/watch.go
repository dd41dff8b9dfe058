package sqlitequeue

import (
	"context"
	"database/sql"
	"time"
)

// Watch implements queue.Backend.
func (q *Queue) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isOpen {
		q.watchers[ch] = struct{}{}
		if !q.looks {
			q.looks = true
			q.looking.Go(q.lookForOthers)
		}
	}
	return ch, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.watchers, ch)
	}
}

// signal tells all watchers that something changed.
func (q *Queue) signal() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ch := range q.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// lookForOthers signals when any other connection, thus also another process, has written, until Close. The version is a
// number in shared memory: reading it costs microseconds.
func (q *Queue) lookForOthers() {
	ctx := context.Background()
	tick := time.NewTicker(q.look)
	defer tick.Stop()
	var conn *sql.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	var stmt *sql.Stmt
	var seen int64
	for {
		select {
		case <-q.closing:
			return
		case <-tick.C:
		}
		// The number is only comparable on one connection.
		if conn == nil {
			c, err := q.read.Conn(ctx)
			if err != nil {
				continue
			}
			if stmt, err = c.PrepareContext(ctx, `PRAGMA data_version`); err != nil {
				c.Close()
				continue
			}
			conn = c
		}
		var version int64
		if err := stmt.QueryRowContext(ctx).Scan(&version); err != nil {
			conn.Close()
			conn = nil
			continue
		}
		if version != seen {
			seen = version
			q.signal()
		}
	}
}
