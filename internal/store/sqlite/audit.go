package sqlite

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"

	"hearth"
)

var _ hearth.AuditStore = (*Store)(nil)

const (
	auditColumns = `seq, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes`
	auditRow     = `(?,?,?,?,?,?,?,?,?,?,?,?)`
	// auditAtOnce bounds the entries of one statement, of which there is one for each number of entries.
	auditAtOnce = 32
)

// writeAudit chains entries to the last one.
func (s *Store) writeAudit(t *tx, entries []hearth.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	var head hearth.AuditHead
	var indexed int64
	if err := t.row(`SELECT h.seq, h.hash, i.seq FROM audit_head h, audit_indexed i`).Scan(&head.Seq, &head.Hash, &indexed); err != nil {
		return err
	}
	targets := make([]auditTarget, 0, len(entries))
	for len(entries) > 0 {
		some := entries[:min(len(entries), auditAtOnce)]
		entries = entries[len(some):]
		args := make([]any, 0, 12*len(some))
		for _, entry := range some {
			entry, err := entry.Chained(head)
			if err != nil {
				return err
			}
			head = hearth.AuditHead{Seq: entry.Seq, Hash: entry.Hash}
			targets = append(targets, auditTarget{entry.Target, millis(entry.At), entry.Seq})
			args = append(args, entry.Seq, entry.PrevHash, entry.Hash, millis(entry.At), entry.ActorID, entry.Action, entry.Target, entry.Result,
				entry.IP, entry.UserAgent, entry.RequestID, entry.ChangesText)
			t.afterwards(func() {
				s.options.Logger.LogAttrs(context.Background(), slog.LevelInfo, entry.Action, slog.String("kind", "audit"), slog.Int64("seq", entry.Seq),
					slog.String("actor", entry.ActorID), slog.String("target", entry.Target), slog.String("result", entry.Result),
					slog.String("ip", entry.IP), slog.String("request_id", entry.RequestID))
			})
		}
		// The trigger audit_next updates the head too. OR FAIL: what a failed statement has done is undone with the write, without copies of its own.
		_, err := t.exec(`INSERT OR FAIL INTO audit(`+auditColumns+`) VALUES`+auditRow+strings.Repeat(`,`+auditRow, len(some)-1), args...)
		if err != nil {
			return err
		}
	}
	t.onCommit(func() { s.indexer.written(targets, indexed) })
	return nil
}

// movedAtOnce bounds what one step of moveTargets copies.
const movedAtOnce = 50_000

// moveTargets fills audit_targets from the index that was there before, in its order and in steps of so many entries, and drops that index. What
// was copied before the program was interrupted is not copied again.
func moveTargets(ctx context.Context, db *sql.DB, atOnce int) error {
	const old = `(SELECT 1 FROM sqlite_master WHERE type='index' AND name='audit_target')`
	there, err := texts(ctx, db, `SELECT 1 WHERE EXISTS `+old)
	if err != nil || len(there) == 0 {
		return err
	}
	for n := atOnce; n == atOnce; {
		n, err = affected(db.ExecContext(ctx, `INSERT OR IGNORE INTO audit_targets(target, at, seq) SELECT target, at, seq FROM audit
			WHERE (target, at, seq) > (SELECT target, at, seq FROM audit_targets UNION ALL SELECT '', -9223372036854775808, 0
				ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1)
			ORDER BY target, at, seq LIMIT ?`, atOnce))
		if err != nil {
			return err
		}
	}
	_, err = db.ExecContext(ctx, `BEGIN IMMEDIATE;
		UPDATE audit_indexed SET seq=(SELECT seq FROM audit_head) WHERE EXISTS `+old+`;
		DROP INDEX IF EXISTS audit_target;
		COMMIT`)
	return err
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

// AuditHead implements hearth.AuditStore.
func (s *Store) AuditHead(ctx context.Context) (head hearth.AuditHead, err error) {
	err = s.read(ctx, "AuditHead", func(r *reader) error { return r.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash) })
	return head, err
}
