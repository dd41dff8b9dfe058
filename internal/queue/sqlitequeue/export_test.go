package sqlitequeue

import (
	"context"
	"fmt"
	"time"
)

// SetVersion makes the file look as if another version of the program had written it.
func (q *Queue) SetVersion(ctx context.Context, version int) error {
	_, err := q.writer.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, version))
	return err
}

// LimitPages makes the database as full as a full disk does: SQLite reports the same error.
func (q *Queue) LimitPages(ctx context.Context, pages int) error {
	_, err := q.writer.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
	return err
}

// WaitForLocks sets how long SQLite waits for another process's lock.
func (q *Queue) WaitForLocks(ctx context.Context, d time.Duration) error {
	_, err := q.writer.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout = %d`, d.Milliseconds()))
	return err
}

// HoldLock takes the write lock until release.
func (q *Queue) HoldLock(ctx context.Context) (release func() error, err error) {
	_, err = q.writer.conn.ExecContext(ctx, `BEGIN IMMEDIATE`)
	return func() error {
		_, err := q.writer.conn.ExecContext(ctx, `ROLLBACK`)
		return err
	}, err
}

// MakeSecondVersion makes the file as the second version of the program left it.
func (q *Queue) MakeSecondVersion(ctx context.Context) error {
	_, err := q.writer.conn.ExecContext(ctx,
		`CREATE TABLE feed (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, message BLOB NOT NULL) STRICT;
		CREATE INDEX feed_at ON feed (at); PRAGMA user_version = 2`)
	return err
}

// HasFeed reports whether the file has the second version's table.
func (q *Queue) HasFeed(ctx context.Context) (has bool, err error) {
	err = q.read.QueryRowContext(ctx, `SELECT count(*) > 0 FROM sqlite_schema WHERE tbl_name = 'feed'`).Scan(&has)
	return has, err
}
