package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"hearth"
)

var _ hearth.AuditStore = (*Store)(nil)

const auditColumns = `seq, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes`

// AppendAudit is hearth.AuditStore's.
func (s *Store) AppendAudit(ctx context.Context, entries ...hearth.AuditEntry) error {
	return s.write(ctx, "AppendAudit", func(t *tx) error { return s.writeEffects(t, hearth.SideEffects{Audit: entries}) })
}

// auditWhere is the part after FROM of every question about entries, with its arguments. Rows come off one index, newest
// first: (target, at), (actor_id, at), (action, at) or (at), whichever condition is there.
func auditWhere(f hearth.AuditFilter) (where string, arguments []any) {
	to := int64(math.MaxInt64)
	if !f.To.IsZero() {
		to = f.To.UnixMilli()
	}
	from := int64(math.MinInt64)
	if !f.From.IsZero() {
		from = f.From.UnixMilli()
	}
	where, arguments = ` FROM audit WHERE at>=? AND at<?`, []any{from, to}
	for _, equal := range []struct{ column, value string }{
		{"target", f.Target}, {"actor_id", f.ActorID}, {"action", f.Action},
	} {
		if equal.value != "" {
			where += ` AND ` + equal.column + `=?`
			arguments = append(arguments, equal.value)
		}
	}
	return where, arguments
}

// Audit is hearth.AuditStore's.
func (s *Store) Audit(ctx context.Context, filter hearth.AuditFilter, page hearth.Page) (hearth.List[hearth.AuditEntry], error) {
	list := hearth.List[hearth.AuditEntry]{Total: -1}
	where, arguments := auditWhere(filter)
	err := s.read(ctx, "Audit", func(r *reader) error {
		if page.Count {
			if err := r.row(`SELECT count(*)`+where, arguments...).Scan(&list.Total); err != nil {
				return err
			}
		}
		if !page.Cursor.IsZero() {
			at, atErr := strconv.ParseInt(page.Cursor.Key, 10, 64)
			seq, seqErr := strconv.ParseInt(page.Cursor.ID, 10, 64)
			if atErr != nil || seqErr != nil {
				return hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
			}
			where += ` AND (at, seq)<(?, ?)`
			arguments = append(arguments, at, seq)
		}
		rows, err := r.query(`SELECT `+auditColumns+where+` ORDER BY at DESC, seq DESC LIMIT ?`, append(arguments, page.Size()+1)...)
		if err != nil {
			return err
		}
		list.Items, err = scanAudit(rows)
		return err
	})
	if err != nil {
		return hearth.List[hearth.AuditEntry]{}, err
	}
	if len(list.Items) > page.Size() {
		list.Items = list.Items[:page.Size()]
		last := list.Items[page.Size()-1]
		list.Next = hearth.Cursor{Key: strconv.FormatInt(millis(last.At), 10), ID: strconv.FormatInt(last.Seq, 10)}
	}
	return list, nil
}

// AuditChain is hearth.AuditStore's.
func (s *Store) AuditChain(ctx context.Context, after int64, limit int) (entries []hearth.AuditEntry, err error) {
	err = s.read(ctx, "AuditChain", func(r *reader) error {
		// By primary key.
		rows, err := r.query(`SELECT `+auditColumns+` FROM audit WHERE seq>? ORDER BY seq LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		entries, err = scanAudit(rows)
		return err
	})
	return entries, err
}

// AuditHead is hearth.AuditStore's.
func (s *Store) AuditHead(ctx context.Context) (head hearth.AuditHead, err error) {
	err = s.read(ctx, "AuditHead", func(r *reader) error { return r.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash) })
	return head, err
}

// scanAudit reads whole rows and closes them.
func scanAudit(rows *sql.Rows) (entries []hearth.AuditEntry, err error) {
	defer rows.Close()
	for rows.Next() {
		var e hearth.AuditEntry
		var at int64
		err := rows.Scan(&e.Seq, &e.PrevHash, &e.Hash, &at, &e.ActorID, &e.Action, &e.Target, &e.Result, &e.IP, &e.UserAgent,
			&e.RequestID, &e.ChangesText)
		if err != nil {
			return nil, err
		}
		e.At = fromMillis(at)
		// An edited text need not be JSON: the chain tells of it, and the list still shows the rest.
		if err := json.Unmarshal([]byte(e.ChangesText), &e.Changes); err != nil {
			e.Changes = map[string]hearth.Change{"(not readable)": {}}
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read audit entries: %w", err)
	}
	return entries, nil
}
