package sqlitequeue

import (
	"context"
	_ "embed"
	"time"
)

//go:embed feed.sql
var feedSchema string

const (
	// feedKept is how long a message stays: who listens reads it within a fraction of that.
	feedKept = time.Minute
	// feedBatch bounds the messages of one answer.
	feedBatch = 500
)

// Tell leaves messages for the other processes that use the file; Watch signals them. What is a minute old goes. A power cut may
// lose them. Errors as in queue.Queue.
func (q *Queue) Tell(ctx context.Context, messages ...[]byte) error {
	return q.update(ctx, light, func(t tx) error {
		now := q.clock.Now()
		if _, err := t.exec(`DELETE FROM feed WHERE at < ?`, now.Add(-feedKept).UnixMilli()); err != nil {
			return err
		}
		for _, m := range messages {
			if _, err := t.exec(`INSERT INTO feed (at, message) VALUES (?, ?)`, now.UnixMilli(), m); err != nil {
				return err
			}
		}
		return nil
	})
}

// Told returns up to 500 messages that come after a place, in order, and the place after them. The place of who has heard nothing
// yet is negative: it gets no message, and the place that messages from now on come after. Errors as in queue.Queue.
func (q *Queue) Told(ctx context.Context, after int64) (messages [][]byte, next int64, err error) {
	if after < 0 {
		// Numbers are never used twice, also when all messages are gone.
		err = q.read.QueryRowContext(ctx, `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'feed'), 0)`).Scan(&next)
		return nil, next, q.translate(err)
	}
	next = after
	rows, err := q.read.QueryContext(ctx, `SELECT id, message FROM feed WHERE id > ? ORDER BY id LIMIT ?`, after, feedBatch)
	if err != nil {
		return nil, after, q.translate(err)
	}
	defer rows.Close()
	for rows.Next() {
		var m []byte
		if err := rows.Scan(&next, &m); err != nil {
			return nil, after, q.translate(err)
		}
		messages = append(messages, m)
	}
	if err := rows.Err(); err != nil {
		return nil, after, q.translate(err)
	}
	return messages, next, nil
}
