package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"iter"

	"hearth"
	"hearth/internal/tsdb"
)

var _ hearth.Archiver = (*Store)(nil)

// archiveRows is how many records other than logs come in one part.
const archiveRows = 1000

var errArchiveEnded = errors.New("the reader of the archive has had enough")

// Archive implements hearth.Archiver: one read transaction sees everything, and the writer goes on beside it. What is
// written meanwhile stays in the WAL until the end.
func (s *Store) Archive(ctx context.Context) iter.Seq2[hearth.ArchivePart, error] {
	return func(yield func(hearth.ArchivePart, error) bool) {
		err := s.readFrom(ctx, s.scans, func(r *reader) error {
			out := &archiver{store: s, r: r, yield: func(p hearth.ArchivePart) bool { return yield(p, nil) }}
			for _, step := range []func(){
				out.counters, out.people, out.organizations, out.devices, out.notifications, out.exports, out.journals, out.logs,
			} {
				step()
			}
			return out.err
		})
		if err != nil && !errors.Is(err, errArchiveEnded) {
			yield(hearth.ArchivePart{}, err)
		}
	}
}

// archiver returns parts of one snapshot. After an error its steps do nothing.
type archiver struct {
	store *Store
	r     *reader
	yield func(hearth.ArchivePart) bool
	err   error
}

func (a *archiver) give(p hearth.ArchivePart) {
	if a.err == nil {
		a.err = a.r.ctx.Err()
	}
	if a.err == nil && !a.yield(p) {
		a.err = errArchiveEnded
	}
}

// archiveEach returns the rows of a query in parts. Every query is in the order of its table's key.
func archiveEach[T any](a *archiver, query string, scan func(rowScanner) (T, error), part func([]T) hearth.ArchivePart) {
	if a.err != nil {
		return
	}
	rows, err := a.r.query(query)
	if err != nil {
		a.err = err
		return
	}
	var records []T
	for a.err == nil && rows.Next() {
		var record T
		if record, a.err = scan(rows); a.err != nil {
			break
		}
		if records = append(records, record); len(records) == archiveRows {
			a.give(part(records))
			records = nil
		}
	}
	if a.err = closed(rows, a.err); len(records) > 0 {
		a.give(part(records))
	}
}

func (a *archiver) counters() {
	var c hearth.StoreCounters
	var lastLog int64
	a.err = a.r.row(`SELECT max(folded, coalesce((SELECT last FROM log_tail ORDER BY seq DESC LIMIT 1), 0)),
		coalesce((SELECT seq FROM sqlite_sequence WHERE name='devices'), 0) FROM log_state`).Scan(&lastLog, &c.LastDevice)
	c.LastLog = uint64(lastLog)
	a.give(hearth.ArchivePart{Counters: []hearth.StoreCounters{c}})
}

func (a *archiver) people() {
	archiveEach(a, `SELECT `+userColumns+` FROM users u ORDER BY id`,
		func(row rowScanner) (hearth.User, error) { return scanUser(row) },
		func(v []hearth.User) hearth.ArchivePart { return hearth.ArchivePart{Users: v} })
	archiveEach(a, `SELECT key, failed, locked_until, updated_at FROM login_tries ORDER BY key`, scanArchivedTries,
		func(v []hearth.ArchivedTries) hearth.ArchivePart { return hearth.ArchivePart{Tries: v} })
	archiveEach(a, `SELECT id, user_id, hash, expires_at FROM password_resets ORDER BY user_id`, scanArchivedReset,
		func(v []hearth.PasswordReset) hearth.ArchivePart { return hearth.ArchivePart{PasswordResets: v} })
	archiveEach(a, `SELECT `+sessionColumns+` FROM sessions s ORDER BY id`, scanArchivedSession,
		func(v []hearth.Session) hearth.ArchivePart { return hearth.ArchivePart{Sessions: v} })
	archiveEach(a, `SELECT hash, session, spent FROM refresh_tokens ORDER BY hash`, scanArchivedRefreshToken,
		func(v []hearth.ArchivedRefreshToken) hearth.ArchivePart { return hearth.ArchivePart{RefreshTokens: v} })
}

func scanArchivedTries(row rowScanner) (t hearth.ArchivedTries, err error) {
	var locked, updated int64
	err = row.Scan(&t.Key, &t.Failed, &locked, &updated)
	t.LockedUntil, t.UpdatedAt = fromMillis(locked), fromMillis(updated)
	return t, err
}

func scanArchivedReset(row rowScanner) (reset hearth.PasswordReset, err error) {
	var expires int64
	err = row.Scan(&reset.ID, &reset.UserID, &reset.Hash, &expires)
	reset.ExpiresAt = fromMillis(expires)
	return reset, err
}

func scanArchivedSession(row rowScanner) (hearth.Session, error) {
	var scan sessionScan
	err := row.Scan(scan.dest()...)
	return scan.result(), err
}

func scanArchivedRefreshToken(row rowScanner) (t hearth.ArchivedRefreshToken, err error) {
	return t, row.Scan(&t.Hash, &t.SessionID, &t.Spent)
}

func (a *archiver) organizations() {
	archiveEach(a, `SELECT id, name, created_at, updated_at FROM organizations ORDER BY id`, scanOrganization,
		func(v []hearth.Organization) hearth.ArchivePart { return hearth.ArchivePart{Organizations: v} })
	archiveEach(a, `SELECT organization_id, user_id, role, joined_at FROM members ORDER BY organization_id, user_id`,
		func(row rowScanner) (m hearth.Member, err error) {
			var joined int64
			err = row.Scan(&m.OrganizationID, &m.UserID, &m.Role, &joined)
			m.JoinedAt = fromMillis(joined)
			return m, err
		},
		func(v []hearth.Member) hearth.ArchivePart { return hearth.ArchivePart{Members: v} })
	archiveEach(a, `SELECT `+invitationColumns+` FROM invitations i ORDER BY id`, scanInvitation,
		func(v []hearth.Invitation) hearth.ArchivePart { return hearth.ArchivePart{Invitations: v} })
}

func (a *archiver) devices() {
	archiveEach(a, `SELECT `+deviceColumns+` FROM devices d CROSS JOIN presence p ON p.device=d.key ORDER BY d.key`, scanDevice,
		func(v []hearth.Device) hearth.ArchivePart { return hearth.ArchivePart{Devices: v} })
	archiveEach(a, `SELECT `+tokenColumns+` FROM device_tokens t CROSS JOIN devices d ON d.key=t.device ORDER BY t.id`, scanToken,
		func(v []hearth.DeviceToken) hearth.ArchivePart { return hearth.ArchivePart{DeviceTokens: v} })
}

func (a *archiver) notifications() {
	archiveEach(a, `SELECT `+notificationColumns+` FROM notifications ORDER BY id`, scanNotification,
		func(v []hearth.Notification) hearth.ArchivePart { return hearth.ArchivePart{Notifications: v} })
	archiveEach(a, `SELECT user_id, types FROM notification_settings ORDER BY user_id`,
		func(row rowScanner) (set hearth.ArchivedSettings, err error) {
			var data string
			if err := row.Scan(&set.UserID, &data); err != nil {
				return set, err
			}
			set.Types = map[hearth.NotificationType]hearth.Delivery{}
			stored := map[hearth.NotificationType]delivery{}
			err = json.Unmarshal([]byte(data), &stored)
			for kind, d := range stored {
				set.Types[kind] = hearth.Delivery(d)
			}
			return set, err
		},
		func(v []hearth.ArchivedSettings) hearth.ArchivePart { return hearth.ArchivePart{Settings: v} })
	archiveEach(a, `SELECT device_id, user_id, told FROM device_watches ORDER BY device_id, user_id`,
		func(row rowScanner) (w hearth.DeviceWatch, err error) {
			return w, row.Scan(&w.DeviceID, &w.UserID, &w.Told)
		},
		func(v []hearth.DeviceWatch) hearth.ArchivePart { return hearth.ArchivePart{Watches: v} })
}

func (a *archiver) exports() {
	archiveEach(a, `SELECT `+scheduleColumns+` FROM export_schedules ORDER BY id`, scanSchedule,
		func(v []hearth.ExportSchedule) hearth.ArchivePart { return hearth.ArchivePart{Schedules: v} })
	archiveEach(a, `SELECT `+exportColumns+` FROM exports ORDER BY id`, scanExport,
		func(v []hearth.Export) hearth.ArchivePart { return hearth.ArchivePart{Exports: v} })
	archiveEach(a, `SELECT id, rows, mark FROM import_checkpoints ORDER BY id`,
		func(row rowScanner) (c hearth.Checkpoint, err error) { return c, row.Scan(&c.ID, &c.Rows, &c.Mark) },
		func(v []hearth.Checkpoint) hearth.ArchivePart { return hearth.ArchivePart{Checkpoints: v} })
}

func (a *archiver) journals() {
	archiveEach(a, `SELECT `+idempotencyColumns+` FROM idempotency ORDER BY caller, key`, scanIdempotencyRecord,
		func(v []hearth.IdempotencyRecord) hearth.ArchivePart { return hearth.ArchivePart{Idempotency: v} })
	archiveEach(a, `SELECT id, kind, queue, payload, uniq, run_at FROM outbox ORDER BY id`,
		func(row rowScanner) (job hearth.OutboxJob, err error) {
			var runAt int64
			err = row.Scan(&job.ID, &job.Kind, &job.Queue, &job.Payload, &job.Unique, &runAt)
			job.RunAt = fromMillis(runAt)
			return job, err
		},
		func(v []hearth.OutboxJob) hearth.ArchivePart { return hearth.ArchivePart{Outbox: v} })
	archiveEach(a, `SELECT `+auditColumns+` FROM audit ORDER BY seq`,
		func(row rowScanner) (e hearth.AuditEntry, err error) {
			var at int64
			err = row.Scan(&e.Seq, &e.PrevHash, &e.Hash, &at, &e.ActorID, &e.Action, &e.Target, &e.Result, &e.IP, &e.UserAgent,
				&e.RequestID, &e.ChangesText)
			e.At = fromMillis(at)
			return e, err
		},
		func(v []hearth.AuditEntry) hearth.ArchivePart { return hearth.ArchivePart{Audit: v} })
}

// logs returns the logs that readers see, oldest first.
func (a *archiver) logs() {
	var part []hearth.LogEntry
	flush := func() {
		if len(part) > 0 {
			a.give(hearth.ArchivePart{Logs: part}) // it belongs to who takes it
			part = make([]hearth.LogEntry, 0, hearth.MaxArchivePart)
		}
	}
	// The scan is of the archive's snapshot.
	ctx := context.WithValue(a.r.ctx, snapshotKey{a.store}, a.r.readConn)
	for entry, err := range a.store.ScanLogs(ctx, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: tsdb.Ever()}) {
		if a.err = errors.Join(a.err, err); a.err != nil {
			return
		}
		if part = append(part, entry); len(part) == hearth.MaxArchivePart {
			flush()
		}
	}
	flush()
}
