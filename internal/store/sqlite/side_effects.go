package sqlite

import (
	"database/sql"
	"errors"

	"hearth"
)

// writeEffects writes what travels with a write. It comes first in the write, so that a replay changes nothing.
func (s *Store) writeEffects(t *tx, effects hearth.SideEffects) error {
	if err := s.writeIdempotencyRecord(t, effects.Idempotency); err != nil {
		return err
	}
	for _, entry := range effects.Audit {
		if err := s.writeAudit(t, entry); err != nil {
			return err
		}
	}
	for _, job := range effects.Jobs {
		job = job.CausedBy(t.req.ctx)
		_, err := t.exec(`INSERT INTO outbox(id, kind, queue, payload, uniq, run_at) VALUES(?,?,?,?,?,?)
			ON CONFLICT(id) DO NOTHING`,
			job.ID, job.Kind, job.Queue, job.Payload, job.Unique, millis(job.RunAt))
		if err != nil {
			return err
		}
	}
	if len(effects.Jobs) > 0 {
		t.onCommit(s.wakeOutbox)
	}
	return nil
}

func (s *Store) writeIdempotencyRecord(t *tx, once *hearth.IdempotencyRecord) error {
	if once == nil {
		return nil
	}
	first := hearth.IdempotencyRecord{Caller: once.Caller, Key: once.Key}
	var created, expires int64
	// Served by the primary key (caller, key).
	err := t.row(`SELECT fingerprint, status, answer, created_at, expires_at FROM once WHERE caller=? AND key=?`,
		once.Caller, once.Key).Scan(&first.Fingerprint, &first.Status, &first.Answer, &created, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	case fromMillis(expires).After(s.now()):
		if first.Fingerprint != once.Fingerprint {
			return hearth.Errorf(hearth.CodeIdempotencyMismatch, "this Idempotency-Key was used for another request")
		}
		first.CreatedAt, first.ExpiresAt = fromMillis(created), fromMillis(expires)
		return &hearth.Replayed{Idempotency: first}
	}
	_, err = t.exec(`INSERT OR REPLACE INTO once(caller, key, fingerprint, status, answer, created_at, expires_at) VALUES(?,?,?,?,?,?,?)`,
		once.Caller, once.Key, once.Fingerprint, once.Status, once.Answer, millis(once.CreatedAt), millis(once.ExpiresAt))
	return err
}

func (s *Store) writeAudit(t *tx, entry hearth.AuditEntry) error {
	var head hearth.AuditHead
	if err := t.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash); err != nil {
		return err
	}
	entry, err := entry.Chained(head)
	if err != nil {
		return err
	}
	// The trigger audit_next updates the head too.
	_, err = t.exec(`INSERT INTO audit(seq, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes)
		VALUES(?,?,?,?,?,?,?,?,?,?,?,?)`,
		entry.Seq, entry.PrevHash, entry.Hash, millis(entry.At), entry.ActorID, entry.Action, entry.Target, entry.Result,
		entry.IP, entry.UserAgent, entry.RequestID, entry.ChangesText)
	t.onCommit(func() {
		s.options.Logger.Info(entry.Action, "kind", "audit", "seq", entry.Seq, "actor", entry.ActorID, "target", entry.Target,
			"result", entry.Result, "ip", entry.IP, "request_id", entry.RequestID)
	})
	return err
}
