package sqlite

import (
	"context"

	"hearth/internal/cause"

	"hearth"
)

var _ hearth.AuditStore = (*Store)(nil)

// writeEffects writes what travels with a write. It fails for a write that was made before, which then changes nothing.
func (s *Store) writeEffects(t *tx, effects hearth.SideEffects) error {
	if err := s.writeIdempotencyRecord(t, effects.Idempotency); err != nil {
		return err
	}
	if err := s.writeAudit(t, effects.Audit); err != nil {
		return err
	}
	jobs, err := effects.AllJobs()
	if err != nil {
		return err
	}
	for _, job := range jobs {
		job = cause.Mark(t.req.ctx, job)
		_, err := t.exec(`INSERT INTO outbox(id, kind, queue, payload, uniq, run_at) VALUES(?,?,?,?,?,?)
			ON CONFLICT(id) DO NOTHING`,
			job.ID, job.Kind, job.Queue, job.Payload, job.Unique, millis(job.RunAt))
		if err != nil {
			return err
		}
	}
	if len(jobs) > 0 {
		t.onCommit(s.wakeOutbox)
	}
	return nil
}

// writeAudit chains entries to the last one.
func (s *Store) writeAudit(t *tx, entries []hearth.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	var head hearth.AuditHead
	if err := t.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash); err != nil {
		return err
	}
	for _, entry := range entries {
		entry, err := entry.Chained(head)
		if err != nil {
			return err
		}
		head = hearth.AuditHead{Seq: entry.Seq, Hash: entry.Hash}
		// The trigger audit_next updates the head too.
		_, err = t.exec(`INSERT INTO audit(seq, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes)
			VALUES(?,?,?,?,?,?,?,?,?,?,?,?)`,
			entry.Seq, entry.PrevHash, entry.Hash, millis(entry.At), entry.ActorID, entry.Action, entry.Target, entry.Result,
			entry.IP, entry.UserAgent, entry.RequestID, entry.ChangesText)
		if err != nil {
			return err
		}
		t.afterwards(func() {
			s.options.Logger.Info(entry.Action, "kind", "audit", "seq", entry.Seq, "actor", entry.ActorID, "target", entry.Target,
				"result", entry.Result, "ip", entry.IP, "request_id", entry.RequestID)
		})
	}
	return nil
}

// removedAtOnce bounds the audit entries that are removed in one write, so that others need not wait for long.
const removedAtOnce = 200

// RemoveAudit implements hearth.AuditStore. The trigger audit_no_delete refuses what no entry of a trimming names.
func (s *Store) RemoveAudit(ctx context.Context, upTo int64) (removed int, err error) {
	for n := removedAtOnce; n == removedAtOnce; removed += n {
		err = s.writeLong(ctx, "RemoveAudit", func(t *tx) (err error) {
			n, err = affected(t.exec(`DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE seq<=? ORDER BY seq LIMIT ?)`, upTo, removedAtOnce))
			return err
		})
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// OutboxSignal is signalled after each commit of this process that left jobs behind; one missed signal stands for many. It is
// never closed.
func (s *Store) OutboxSignal() <-chan struct{} { return s.outbox }

// WebhookSignal is OutboxSignal for who takes the jobs of hearth.WebhookQueue.
func (s *Store) WebhookSignal() <-chan struct{} { return s.hooks }

// wakeOutbox never blocks the writer.
func (s *Store) wakeOutbox() {
	signal(s.outbox)
	signal(s.hooks)
}

// AuditHead implements hearth.AuditStore.
func (s *Store) AuditHead(ctx context.Context) (head hearth.AuditHead, err error) {
	err = s.read(ctx, "AuditHead", func(r *reader) error { return r.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash) })
	return head, err
}
