package sqlite

import (
	"context"
	"encoding/json"

	"hearth"
)

// BeginRestore implements hearth.Archiver.
func (s *Store) BeginRestore(ctx context.Context, restore hearth.Restore) (mark hearth.Restore, err error) {
	err = s.write(ctx, "BeginRestore", func(t *tx) error {
		mark, err = readRestore(t)
		switch {
		case err == nil && mark.Source == restore.Source:
			return nil
		case err == nil:
			return hearth.Errorf(hearth.CodeConflict, "the store is half restored from something else (%s): empty it first", mark.Source)
		case hearth.ErrorCode(err) != hearth.CodeNotFound:
			return err
		}
		if err := checkEmpty(t); err != nil {
			return err
		}
		mark = hearth.Restore{Source: restore.Source, StartedAt: hearth.Millis(restore.StartedAt), Done: map[string]int64{}}
		_, err := t.exec(`INSERT INTO restore_state(one, source, started_at, done) VALUES(1, ?, ?, '{}')`, mark.Source, millis(mark.StartedAt))
		return err
	})
	return mark, err
}

// checkEmpty fails with CodeConflict if anything was ever stored that an archive holds.
func checkEmpty(t *tx) error {
	var used bool
	err := t.row(`SELECT EXISTS(SELECT 1 FROM users) OR EXISTS(SELECT 1 FROM organizations) OR EXISTS(SELECT 1 FROM devices)
		OR EXISTS(SELECT 1 FROM audit) OR EXISTS(SELECT 1 FROM exports) OR EXISTS(SELECT 1 FROM import_checkpoints)
		OR EXISTS(SELECT 1 FROM idempotency) OR EXISTS(SELECT 1 FROM outbox) OR EXISTS(SELECT 1 FROM login_tries)
		OR EXISTS(SELECT 1 FROM log_tail) OR EXISTS(SELECT 1 FROM log_chunks)
		OR (SELECT folded FROM log_state)>0 OR EXISTS(SELECT 1 FROM sqlite_sequence WHERE name='devices' AND seq>0)`).Scan(&used)
	if err == nil && used {
		return hearth.Errorf(hearth.CodeConflict, "the store is not empty")
	}
	return err
}

func readRestore(q querier) (mark hearth.Restore, err error) {
	var started int64
	var done string
	err = q.row(`SELECT source, started_at, done FROM restore_state`).Scan(&mark.Source, &started, &done)
	if err != nil {
		return hearth.Restore{}, found(err, "unfinished restore")
	}
	mark.StartedAt = fromMillis(started)
	return mark, json.Unmarshal([]byte(done), &mark.Done)
}

// Restoring implements hearth.Archiver.
func (s *Store) Restoring(ctx context.Context) (mark hearth.Restore, err error) {
	err = s.read(ctx, "Restoring", func(r *reader) error {
		mark, err = readRestore(r)
		return err
	})
	return mark, err
}

// EndRestore implements hearth.Archiver.
func (s *Store) EndRestore(ctx context.Context) error {
	return s.write(ctx, "EndRestore", func(t *tx) error {
		_, err := t.exec(`DELETE FROM restore_state`)
		return err
	})
}

// RestorePart implements hearth.Archiver: the part and the mark in one commit.
func (s *Store) RestorePart(ctx context.Context, part hearth.ArchivePart, restore hearth.Restore) error {
	done, err := json.Marshal(restore.Done)
	if err != nil {
		return err
	}
	rows, err := s.restoredLogs(ctx, part.Logs)
	if err != nil {
		return err
	}
	err = s.write(ctx, "RestorePart", func(t *tx) error {
		result, err := t.exec(`UPDATE restore_state SET done=? WHERE source=?`, string(done), restore.Source)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return hearth.Errorf(hearth.CodeConflict, "the store is not being restored from this source")
		}
		for _, step := range []func(*tx, *hearth.ArchivePart) error{
			restoreCounters, restorePeople, restoreSessions, restoreOrganizations, restoreDevices, restoreNotifications, restoreExports,
			restoreJournals, restoreAudit,
		} {
			if err := step(t, &part); err != nil {
				return err
			}
		}
		return insertRows(t, rows)
	})
	for _, row := range rows {
		if err == nil {
			s.Stored(row)
		}
	}
	return err
}

// restoreEach runs a statement once a record, with the values that the record returns.
func restoreEach[T any](t *tx, statement string, records []T, values func(*T) ([]any, error)) error {
	for i := range records {
		args, err := values(&records[i])
		if err != nil {
			return err
		}
		if _, err := t.exec(statement, args...); err != nil {
			return err
		}
	}
	return nil
}

func restoreCounters(t *tx, part *hearth.ArchivePart) error {
	for _, c := range part.Counters {
		if _, err := t.exec(`UPDATE log_state SET folded=?`, int64(c.LastLog)); err != nil {
			return err
		}
		// What the writer remembers of the numbers does not hold any more.
		t.w.logs.next, t.w.logs.keptNext = 0, 0
		if _, err := t.exec(`DELETE FROM sqlite_sequence WHERE name='devices'`); err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO sqlite_sequence(name, seq) VALUES('devices', ?)`, c.LastDevice); err != nil {
			return err
		}
	}
	return nil
}

func restorePeople(t *tx, part *hearth.ArchivePart) error {
	for _, u := range part.Users {
		if err := insertUser(t, u); err != nil {
			return err
		}
	}
	err := restoreEach(t, `INSERT INTO login_tries(key, failed, locked_until, updated_at) VALUES(?,?,?,?)`, part.Tries,
		func(r *hearth.ArchivedTries) ([]any, error) {
			return []any{r.Key, r.Failed, millis(r.LockedUntil), millis(r.UpdatedAt)}, nil
		})
	if err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO password_resets(id, user_id, hash, expires_at) VALUES(?,?,?,?)`, part.PasswordResets,
		func(r *hearth.PasswordReset) ([]any, error) {
			return []any{r.ID, r.UserID, r.Hash, millis(r.ExpiresAt)}, nil
		})
}

func restoreSessions(t *tx, part *hearth.ArchivePart) error {
	err := restoreEach(t, `INSERT INTO sessions(id, user_id, device, origin, created_at, last_used_at, expires_at, ended_at, end_reason)
		VALUES(?,?,?,?,?,?,?,?,?)`, part.Sessions,
		func(s *hearth.Session) ([]any, error) {
			return []any{s.ID, s.UserID, blobOf(s.Device), blobOf(s.Origin), millis(s.CreatedAt), millis(s.LastUsedAt),
				millis(s.ExpiresAt), millis(s.EndedAt), string(s.EndReason)}, nil
		})
	if err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO refresh_tokens(hash, session, spent) VALUES(?,?,?)`, part.RefreshTokens,
		func(r *hearth.ArchivedRefreshToken) ([]any, error) { return []any{r.Hash, r.SessionID, r.Spent}, nil })
}

func restoreOrganizations(t *tx, part *hearth.ArchivePart) error {
	err := restoreEach(t, `INSERT INTO organizations(id, name, created_at, updated_at) VALUES(?,?,?,?)`, part.Organizations,
		func(o *hearth.Organization) ([]any, error) {
			return []any{o.ID, o.Name, millis(o.CreatedAt), millis(o.UpdatedAt)}, nil
		})
	if err != nil {
		return err
	}
	err = restoreEach(t, `INSERT INTO members(organization_id, user_id, role, joined_at) VALUES(?,?,?,?)`, part.Members,
		func(m *hearth.Member) ([]any, error) {
			return []any{m.OrganizationID, m.UserID, string(m.Role), millis(m.JoinedAt)}, nil
		})
	if err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO invitations(id, organization_id, email, role, hash, invited_by, created_at, expires_at)
		VALUES(?,?,?,?,?,?,?,?)`, part.Invitations,
		func(i *hearth.Invitation) ([]any, error) {
			return []any{i.ID, i.OrganizationID, i.Email, string(i.Role), i.Hash, i.InvitedBy, millis(i.CreatedAt), millis(i.ExpiresAt)}, nil
		})
}

func restoreDevices(t *tx, part *hearth.ArchivePart) error {
	for i := range part.Devices {
		d := &part.Devices[i]
		scope, err := scopeKey(t, d.Scope())
		if err != nil {
			return err
		}
		tags, err := storedTags(d.Tags)
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO devices(key, id, scope, owner_id, organization_id, name, type, status, idle, tags, metadata,
			interval, version, created_at, updated_at) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			d.Key, d.ID, scope, d.OwnerID, d.OrganizationID, d.Name, d.Type, string(d.Status), d.Idle, tags, storedMetadata(d.Metadata),
			d.Interval, d.Version, millis(d.CreatedAt), millis(d.UpdatedAt))
		if err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO presence(device, last_active_at) VALUES(?,?)`, d.Key, millis(d.LastActiveAt)); err != nil {
			return err
		}
	}
	return restoreEach(t, `INSERT INTO device_tokens(id, device, hash, created_at, last_used_at)
		SELECT ?1, key, ?3, ?4, ?5 FROM devices WHERE id=?2`, part.DeviceTokens,
		func(r *hearth.DeviceToken) ([]any, error) {
			return []any{r.ID, r.DeviceID, r.Hash, millis(r.CreatedAt), millis(r.LastUsedAt)}, nil
		})
}

func restoreNotifications(t *tx, part *hearth.ArchivePart) error {
	err := restoreEach(t, `INSERT INTO notifications(`+notificationColumns+`) VALUES(?,?,?,?,?,?,?,?)`, part.Notifications,
		func(n *hearth.Notification) ([]any, error) {
			data, err := json.Marshal(n.Data)
			return []any{n.ID, n.UserID, string(n.Type), n.Title, n.Body, string(data), millis(n.CreatedAt), millis(n.ReadAt)}, err
		})
	if err != nil {
		return err
	}
	err = restoreEach(t, `INSERT INTO notification_settings(user_id, types) VALUES(?,?)`, part.Settings,
		func(set *hearth.ArchivedSettings) ([]any, error) {
			types := map[hearth.NotificationType]delivery{}
			for kind, d := range set.Types {
				types[kind] = delivery(d)
			}
			data, err := json.Marshal(types)
			return []any{set.UserID, string(data)}, err
		})
	if err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO device_watches(device_id, user_id, told) VALUES(?,?,?)`, part.Watches,
		func(w *hearth.DeviceWatch) ([]any, error) { return []any{w.DeviceID, w.UserID, string(w.Told)}, nil })
}

func restoreExports(t *tx, part *hearth.ArchivePart) error {
	err := restoreEach(t, `INSERT INTO export_schedules(`+scheduleColumns+`) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, part.Schedules,
		func(s *hearth.ExportSchedule) ([]any, error) { return scheduleValues(*s) })
	if err != nil {
		return err
	}
	err = restoreEach(t, `INSERT INTO exports(`+exportColumns+`) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, part.Exports,
		func(e *hearth.Export) ([]any, error) { return exportValues(*e) })
	if err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO import_checkpoints(id, rows, mark) VALUES(?,?,?)`, part.Checkpoints,
		func(c *hearth.Checkpoint) ([]any, error) { return []any{c.ID, c.Rows, blobOf(c.Mark)}, nil })
}

func restoreJournals(t *tx, part *hearth.ArchivePart) error {
	err := restoreEach(t, `INSERT INTO idempotency(`+idempotencyColumns+`) VALUES(?,?,?,?,?,?,?,?)`, part.Idempotency,
		func(r *hearth.IdempotencyRecord) ([]any, error) { return idempotencyValues(r), nil })
	if err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO outbox(id, kind, queue, payload, uniq, run_at) VALUES(?,?,?,?,?,?)`, part.Outbox,
		func(job *hearth.OutboxJob) ([]any, error) {
			return []any{job.ID, job.Kind, job.Queue, blobOf(job.Payload), job.Unique, millis(job.RunAt)}, nil
		})
}

// restoreAudit stores entries as they are; the trigger audit_chain would refuse one that does not follow, with an error that
// says less.
func restoreAudit(t *tx, part *hearth.ArchivePart) error {
	if len(part.Audit) == 0 {
		return nil
	}
	var head hearth.AuditHead
	if err := t.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash); err != nil {
		return err
	}
	return restoreEach(t, `INSERT INTO audit(`+auditColumns+`) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)`, part.Audit,
		func(e *hearth.AuditEntry) ([]any, error) {
			if e.Seq != head.Seq+1 || e.PrevHash != head.Hash {
				return nil, hearth.Errorf(hearth.CodeConflict, "audit entry %d does not follow entry %d", e.Seq, head.Seq)
			}
			head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
			return []any{e.Seq, e.PrevHash, e.Hash, millis(e.At), e.ActorID, e.Action, e.Target, e.Result, e.IP, e.UserAgent,
				e.RequestID, e.ChangesText}, nil
		})
}
