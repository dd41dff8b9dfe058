package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"time"
)

const (
	// copyFrom is the number of pages that are written to the log (WAL) from one copy to the next.
	copyFrom = 2000
	// nearlyAll is the number of pages that the writer may have left to copy, and copyTries how often the rest is copied to get there.
	nearlyAll, copyTries = 64, 6
	// copyPause is the time from one look at the log to the next.
	copyPause = 20 * time.Millisecond
)

const (
	// flushBytes is the least that is written to the disk at once after a copy, and flushRanges how many parts of a large file there are.
	flushBytes, flushRanges = 512 << 10, 4096
	// flushPause is the longest pause after a part, which is as long as the part took, from flushNoticed on.
	flushPause, flushNoticed = 5 * time.Millisecond, 200 * time.Microsecond
)

// checkpointer copies what writes left in the log (WAL) into the database while other writes go on, so that no commit waits for it. The
// last pages are the writer's: SQLite begins the log anew where none is left. PRAGMA wal_autocheckpoint has the writer copy them all if
// this one cannot keep up.
type checkpointer struct {
	logger *slog.Logger
	db     *sql.DB
	conn   *sql.Conn
	// file is the database, whose copied pages are flushed to the disk before the writer has to wait for that.
	file *os.File
	// index is the index of the log, which says how much of it has been copied. Closing it ends the locks that SQLite has on it.
	index    *os.File
	wake     chan struct{}
	stopping context.Context //nolint:containedctx // the life of a goroutine
	stop     context.CancelFunc
	done     chan struct{}
	// nearly is signalled when the writer has little left to copy.
	nearly chan struct{}
}

func startCheckpointer(ctx context.Context, options Options, file *os.File) (*checkpointer, error) {
	db, err := sql.Open("sqlite", dsn(options.Path, "&_pragma=cache_size(-256)"))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	index, err := os.OpenFile(options.Path+"-shm", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, conn.Close(), db.Close())
	}
	c := &checkpointer{
		logger: options.Logger, db: db, conn: conn, file: file, index: index,
		wake: make(chan struct{}, 1), done: make(chan struct{}), nearly: make(chan struct{}, 1),
	}
	c.stopping, c.stop = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

func (c *checkpointer) close() error {
	c.stop()
	<-c.done
	return errors.Join(c.conn.Close(), c.db.Close())
}

// committed says that there was a commit.
func (c *checkpointer) committed() { signal(c.wake) }

// signal never waits: a signal that was not seen yet stands for many.
func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func (c *checkpointer) run() {
	defer close(c.done)
	copied := 0 // the pages in the log when it was copied last
	for {
		select {
		case <-c.wake:
		case <-c.stopping.Done():
			return
		}
		// What fails is attempted again after the next commit; the writer does it itself when the log is long.
		pages, _, err := logPages(c.stopping, c.conn, `PRAGMA wal_checkpoint(NOOP)`)
		if pages < copied {
			copied = 0 // it was begun anew
		}
		if err == nil && pages-copied >= copyFrom {
			copied = pages
			c.copy()
		}
		select {
		case <-time.After(copyPause):
		case <-c.stopping.Done():
			return
		}
	}
}

// copy copies the log until little is left.
func (c *checkpointer) copy() {
	for range copyTries {
		before, _, err := logPages(c.stopping, c.conn, `PRAGMA wal_checkpoint(PASSIVE)`)
		if err == nil {
			// SQLite itself flushes the database only where the whole log is copied, which is when the writer copies the rest.
			if err = writeBack(c.stopping, c.file); err == nil {
				err = c.file.Sync()
			}
		}
		if err != nil {
			c.forget(err)
			return
		}
		pages, done, err := logPages(c.stopping, c.conn, `PRAGMA wal_checkpoint(NOOP)`)
		if err != nil || done < before {
			return // a reader needs the rest
		}
		if pages-done <= nearlyAll {
			signal(c.nearly)
			return
		}
	}
}

// copiedAt is the place of the number of copied pages in the index of the log, a uint32 (nBackfill in https://www.sqlite.org/walformat.html).
const copiedAt = 96

// forget has the whole log copied again after a copy or its flush has failed: what was copied before may not be on the disk either, and the
// next flush does not say so.
func (c *checkpointer) forget(cause error) {
	if errors.Is(cause, errBusyLog) {
		return // nothing was copied
	}
	if _, err := c.index.WriteAt(make([]byte, 4), copiedAt); err != nil {
		c.logger.Error("the log of the database cannot be copied again after a failure", "cause", cause, "err", err)
	}
}

// logPages runs a checkpoint and returns how many pages the log has, and how many of them are in the database.
func logPages(ctx context.Context, conn *sql.Conn, checkpoint string) (pages, copied int, err error) {
	var busy int
	err = conn.QueryRowContext(ctx, checkpoint).Scan(&busy, &pages, &copied)
	if err == nil && busy != 0 {
		err = errBusyLog
	}
	return pages, copied, err
}

var errBusyLog = errors.New("sqlite: another connection copies the log")
