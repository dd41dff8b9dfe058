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

// MakeFirstVersion makes the file as the first version of the program left it.
func (q *Queue) MakeFirstVersion(ctx context.Context) error {
	_, err := q.writer.conn.ExecContext(ctx, `DROP TABLE feed; PRAGMA user_version = 1`)
	return err
}
