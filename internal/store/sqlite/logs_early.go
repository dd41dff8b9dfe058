package sqlite

import (
	"context"
	"errors"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

const (
	// packEarly is the number of logs from which on a batch is packed before its write, so that the writer does not do it while others wait.
	packEarly = 256
	// pieceRows and pieceBytes bound the rows of the tail that one write stores of a large batch: a millisecond's or two.
	pieceRows, pieceBytes = 128, 96 << 10
	// unfinishedTime is how old a batch is that nobody finishes any more.
	unfinishedTime = time.Hour
)

// packed are the rows of a batch with reserved numbers from first to last, which hold while forgotten is the writer's.
type packed struct {
	first, last uint64
	rows        []*tsdb.Row
	forgotten   uint64
	// unfinished says that log_unfinished has the batch: its numbers are its own for good, and rows has what is not stored yet.
	unfinished bool
}

// pack reserves numbers and packs a batch. Numbers of a batch that is not stored after all stay unused until the program starts again.
func (b logBackend) pack(ctx context.Context, batch *tsdb.Batch) (p packed, err error) {
	err = b.write(ctx, "NumberLogs", func(t *tx) (err error) {
		w := t.w.logs
		if batch.First, err = w.nextSeq(t); err == nil {
			w.next += uint64(batch.Size)
			p.first, p.last, p.forgotten = batch.First, w.next-1, w.forgotten
		}
		return err
	})
	if err == nil {
		p.rows = tsdb.Pack([]*tsdb.Batch{batch}, b.Partition, tsdb.NarrowRow)
	}
	return p, err
}

// storeEarly stores the rows of a packed batch but for those that the write of the batch itself can store in a moment. No reader sees them
// before that write calls finish, and other writes go on meanwhile.
func (b logBackend) storeEarly(ctx context.Context, p *packed) error {
	for n := pieceOf(p.rows); n < len(p.rows); n = pieceOf(p.rows) {
		stored, start := false, time.Now()
		err := b.writeLong(ctx, "StoreLogs", func(t *tx) error {
			if p.unfinished {
				if err := isUnfinished(t, p.first); err != nil {
					return err
				}
			} else if p.forgotten != t.w.logs.forgotten {
				return nil // its numbers are not its own: it is packed anew, and stored whole
			} else if _, err := t.exec(`INSERT INTO log_unfinished(first, last, at) VALUES(?,?,?)`, int64(p.first), int64(p.last), millis(b.now())); err != nil {
				return err
			}
			stored = true
			return insertRows(t, p.rows[:n])
		})
		if err != nil || !stored {
			return err
		}
		p.unfinished, p.rows = true, p.rows[n:]
		b.writer.giveWay(ctx, time.Since(start))
	}
	return nil
}

// pieceOf returns how many rows one write stores, at least one if there are any.
func pieceOf(rows []*tsdb.Row) int {
	bytes := 0
	for n, row := range rows {
		if bytes += len(row.Data); n == pieceRows || n > 0 && bytes > pieceBytes {
			return n
		}
	}
	return len(rows)
}

// isUnfinished fails with CodeUnavailable if the batch took so long that it was discarded.
func isUnfinished(t *tx, first uint64) error {
	var is bool
	err := t.row(`SELECT EXISTS(SELECT 1 FROM log_unfinished WHERE first=?)`, int64(first)).Scan(&is)
	if err == nil && !is {
		return hearth.Errorf(hearth.CodeUnavailable, "the batch took too long to store")
	}
	return err
}

// finish shows readers the rows of a batch that storeEarly has stored.
func finish(t *tx, first uint64) error {
	if err := isUnfinished(t, first); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM log_unfinished WHERE first=?`, int64(first))
	return err
}

// discard removes the rows of an unfinished batch.
func (b logBackend) discard(ctx context.Context, first uint64) error {
	for more := true; more; {
		err := b.writeLong(ctx, "DiscardLogs", func(t *tx) error {
			n, err := affected(t.exec(`DELETE FROM log_tail WHERE seq IN (SELECT t.seq FROM log_unfinished u
				CROSS JOIN log_tail t ON t.seq BETWEEN u.first AND u.last WHERE u.first=? LIMIT ?)`, int64(first), pieceRows))
			if more = n == pieceRows; err == nil && !more {
				_, err = t.exec(`DELETE FROM log_unfinished WHERE first=?`, int64(first))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// discardOld removes what processes that ended while they stored a batch have left.
func (b logBackend) discardOld(ctx context.Context) error {
	var firsts []uint64
	err := b.read(ctx, "UnfinishedLogs", func(r *reader) error {
		old, err := pairs[int64, int64](r, `SELECT first, last FROM log_unfinished WHERE at<?`, millis(b.now().Add(-unfinishedTime)))
		for first := range old {
			firsts = append(firsts, uint64(first))
		}
		return err
	})
	for _, first := range firsts {
		err = errors.Join(err, b.discard(ctx, first))
	}
	return err
}
