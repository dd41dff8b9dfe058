package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"hearth"
)

var _ hearth.IdempotencyStore = (*Store)(nil)

const idempotencyColumns = `caller, key, fingerprint, operation, created, first_log, created_at, expires_at`

// selectIdempotencyRecord is served by the primary key (caller, key).
const selectIdempotencyRecord = `SELECT ` + idempotencyColumns + ` FROM idempotency WHERE caller=? AND key=? AND expires_at>?`

func scanIdempotencyRecord(row rowScanner) (r hearth.IdempotencyRecord, err error) {
	var created, expires, first int64
	err = row.Scan(&r.Caller, &r.Key, &r.Fingerprint, &r.Operation, &r.Created, &first, &created, &expires)
	r.FirstLog, r.CreatedAt, r.ExpiresAt = uint64(first), fromMillis(created), fromMillis(expires)
	return r, err
}

func idempotencyValues(r *hearth.IdempotencyRecord) []any {
	return []any{
		r.Caller, r.Key, r.Fingerprint, r.Operation, blobOf(r.Created), int64(r.FirstLog), millis(r.CreatedAt), millis(r.ExpiresAt),
	}
}

// IdempotencyRecord is hearth.IdempotencyStore's.
func (s *Store) IdempotencyRecord(ctx context.Context, caller, key string) (record hearth.IdempotencyRecord, err error) {
	err = s.read(ctx, "IdempotencyRecord", func(r *reader) error {
		record, err = scanIdempotencyRecord(r.row(selectIdempotencyRecord, caller, key, millis(s.now())))
		return found(err, "idempotency record")
	})
	return record, err
}

// replay returns the error of a write that was made before.
func (s *Store) replay(t *tx, record *hearth.IdempotencyRecord) error {
	if record == nil {
		return nil
	}
	first, err := scanIdempotencyRecord(t.row(selectIdempotencyRecord, record.Caller, record.Key, millis(s.now())))
	switch {
	case err == nil && first.Fingerprint != record.Fingerprint:
		return hearth.Errorf(hearth.CodeIdempotencyMismatch, "this Idempotency-Key was used for another request")
	case err == nil:
		return &hearth.Replayed{Record: first}
	case errors.Is(err, sql.ErrNoRows):
		return nil
	}
	return err
}

// writeIdempotencyRecord returns the error of a write that was made before.
func (s *Store) writeIdempotencyRecord(t *tx, record *hearth.IdempotencyRecord) error {
	if err := s.replay(t, record); err != nil || record == nil {
		return err
	}
	_, err := t.exec(`INSERT OR REPLACE INTO idempotency(`+idempotencyColumns+`) VALUES(?,?,?,?,?,?,?,?)`, idempotencyValues(record)...)
	return err
}

// expiredBytes bounds what one write removes of records, which may be a megabyte each.
const expiredBytes = 256 << 10

// DeleteExpiredIdempotencyRecords is hearth.IdempotencyStore's. It goes by small writes.
func (s *Store) DeleteExpiredIdempotencyRecords(ctx context.Context, now time.Time, limit int) (deleted int, err error) {
	type expired struct {
		caller, key string
		size        int
	}
	var all []expired
	err = s.read(ctx, "DeleteExpiredIdempotencyRecords", func(r *reader) error {
		// The index idempotency_expires finds them; their length is known without reading them.
		rows, err := r.query(`SELECT caller, key, length(created) FROM idempotency WHERE expires_at<=? ORDER BY expires_at LIMIT ?`, millis(now), limit)
		if err != nil {
			return err
		}
		for rows.Next() {
			var e expired
			if err := rows.Scan(&e.caller, &e.key, &e.size); err != nil {
				return closed(rows, err)
			}
			all = append(all, e)
		}
		return closed(rows, nil)
	})
	for err == nil && len(all) > 0 {
		n, bytes := 0, 0
		for n < len(all) && n < changedAtOnce && (n == 0 || bytes+all[n].size <= expiredBytes) {
			bytes += all[n].size
			n++
		}
		err = s.writeLong(ctx, "DeleteExpiredIdempotencyRecords", func(t *tx) error {
			for _, e := range all[:n] {
				if _, err := t.exec(`DELETE FROM idempotency WHERE caller=? AND key=? AND expires_at<=?`, e.caller, e.key, millis(now)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			deleted, all = deleted+n, all[n:]
		}
	}
	return deleted, err
}
