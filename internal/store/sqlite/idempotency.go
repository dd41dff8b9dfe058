package sqlite

import (
	"context"
	"time"

	"hearth"
)

var _ hearth.IdempotencyStore = (*Store)(nil)

// Once is hearth.IdempotencyStore's.
func (s *Store) IdempotencyRecord(ctx context.Context, caller, key string) (hearth.IdempotencyRecord, error) {
	once := hearth.IdempotencyRecord{Caller: caller, Key: key}
	err := s.read(ctx, "Once", func(r *reader) error {
		var created, expires int64
		// Served by the primary key (caller, key).
		err := r.row(`SELECT fingerprint, status, answer, created_at, expires_at FROM once WHERE caller=? AND key=? AND expires_at>?`,
			caller, key, millis(s.now())).Scan(&once.Fingerprint, &once.Status, &once.Answer, &created, &expires)
		once.CreatedAt, once.ExpiresAt = fromMillis(created), fromMillis(expires)
		return found(err, "idempotency record")
	})
	return once, err
}

// DeleteExpiredIdempotencyRecords is hearth.IdempotencyStore's.
func (s *Store) DeleteExpiredIdempotencyRecords(ctx context.Context, now time.Time, limit int) (deleted int, err error) {
	err = s.write(ctx, "DeleteExpiredOnce", func(t *tx) error {
		// The index once_expires finds them.
		result, err := t.exec(`DELETE FROM once WHERE (caller, key) IN
			(SELECT caller, key FROM once WHERE expires_at<=? ORDER BY expires_at LIMIT ?)`, millis(now), limit)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		deleted = int(rows)
		return err
	})
	return deleted, err
}
