package sqlitequeue

import (
	"context"
	"fmt"
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
