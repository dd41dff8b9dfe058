package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/store/record"
)

var _ archive.Archiver = (*Store)(nil)

// Archive implements archive.Archiver: one read transaction sees everything, and writes go on meanwhile. What is written then
// stays in the WAL until the end.
func (s *Store) Archive(ctx context.Context) iter.Seq2[archive.Part, error] {
	return func(yield func(archive.Part, error) bool) {
		err := s.archive(ctx, yield)
		for errors.Is(err, errOwed) {
			if err = s.settleAll(ctx); err == nil {
				err = s.archive(ctx, yield)
			}
		}
		if err != nil && !errors.Is(err, archive.ErrEnded) {
			yield(archive.Part{}, err)
		}
	}
}

// errOwed says that audit entries or jobs of devices that an archive would have are still in late_writes.
var errOwed = errors.New("there are late writes")

// archive is Archive. It fails with errOwed where the store can write what is owed.
func (s *Store) archive(ctx context.Context, yield func(archive.Part, error) bool) error {
	return s.readFrom(ctx, s.scans, func(r *reader) error {
		out := &archive.Writer{Reader: recordReader{r}, Yield: func(p archive.Part) bool { return yield(p, nil) }}
		var lastLog int64
		var owed bool
		err := r.row(`SELECT max(folded, coalesce((SELECT max(last) FROM log_tail), 0)),
			coalesce((SELECT seq FROM sqlite_sequence WHERE name='devices'), 0), EXISTS(SELECT 1 FROM late_writes WHERE `+isOwed+`)
			FROM log_state`).Scan(&lastLog, &out.Counters.LastDevice, &owed)
		out.Counters.LastLog = uint64(lastLog)
		switch {
		case err != nil:
			return err
		case owed && s.writer != nil:
			return errOwed
		}
		if err := out.Run(ctx); err != nil {
			return err
		}
		return s.archiveLogs(ctx, r, func(logs []hearth.LogEntry) error {
			return out.Give(ctx, archive.Part{Kind: archive.LogsKind, Logs: logs})
		})
	})
}

// BeginRestore implements archive.Archiver.
func (s *Store) BeginRestore(ctx context.Context, restore archive.Restore) (mark archive.Restore, err error) {
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
		mark = archive.Restore{Source: restore.Source, StartedAt: hearth.Millis(restore.StartedAt), Done: map[string]int64{}}
		_, err := t.exec(`INSERT INTO restore_state(one, source, started_at, done) VALUES(1, ?, ?, '{}')`, mark.Source, millis(mark.StartedAt))
		return err
	})
	return mark, err
}

// checkEmpty fails with CodeConflict if anything was ever stored that an archive holds.
func checkEmpty(t *tx) error {
	statements := []string{`SELECT EXISTS(SELECT 1 FROM log_tail) OR EXISTS(SELECT 1 FROM log_chunks)
		OR (SELECT folded FROM log_state)>0 OR EXISTS(SELECT 1 FROM sqlite_sequence WHERE name='devices' AND seq>0)`}
	for _, kind := range archive.Kinds() {
		if s := archive.SchemaOf(kind); s != nil {
			statements = append(statements, `EXISTS(SELECT 1 FROM `+s.Table()+`)`)
		}
	}
	var used bool
	err := t.row(strings.Join(statements, " OR ")).Scan(&used)
	if err == nil && used {
		return hearth.Errorf(hearth.CodeConflict, "the store is not empty")
	}
	return err
}

func readRestore(q querier) (mark archive.Restore, err error) {
	var started int64
	var done string
	err = q.row(`SELECT source, started_at, done FROM restore_state`).Scan(&mark.Source, &started, &done)
	if err != nil {
		return archive.Restore{}, found(err, "unfinished restore")
	}
	mark.StartedAt = fromMillis(started)
	return mark, json.Unmarshal([]byte(done), &mark.Done)
}

// Restoring implements archive.Archiver.
func (s *Store) Restoring(ctx context.Context) (mark archive.Restore, err error) {
	err = s.read(ctx, "Restoring", func(r *reader) error {
		mark, err = readRestore(r)
		return err
	})
	return mark, err
}

// EndRestore implements archive.Archiver.
func (s *Store) EndRestore(ctx context.Context) error {
	return s.write(ctx, "EndRestore", func(t *tx) error {
		_, err := t.exec(`DELETE FROM restore_state`)
		return err
	})
}

// RestorePart implements archive.Archiver: the part and the mark in one commit.
func (s *Store) RestorePart(ctx context.Context, part archive.Part, restore archive.Restore) error {
	done, err := json.Marshal(restore.Done)
	if err != nil {
		return err
	}
	records, err := archive.Records(&part)
	if err != nil {
		return err
	}
	rows, err := s.restoredLogs(ctx, part.Logs)
	if err != nil {
		return err
	}
	err = s.writeLong(ctx, "RestorePart", func(t *tx) error {
		n, err := affected(t.exec(`UPDATE restore_state SET done=? WHERE source=?`, string(done), restore.Source))
		if err != nil || n == 0 {
			return orConflict(err, "the store is not being restored from this source")
		}
		switch part.Kind {
		case archive.CountersKind:
			return restoreCounters(t, records)
		case archive.LogsKind:
			return insertRows(t, rows)
		case archive.DevicesKind:
			return restoreDevices(t, record.Devices(records))
		case archive.AuditKind:
			if err := checkFollows(t, record.AuditEntries(records)); err != nil {
				return err
			}
		}
		schema := archive.SchemaOf(part.Kind)
		step := &recordTx{recordReader: recordReader{t}, s: s, t: t}
		if err := schema.Restored(ctx, step, records); err != nil {
			return err
		}
		for _, r := range records {
			if err := step.store(schema, r); err != nil {
				return err
			}
		}
		if part.Kind == archive.AuditKind {
			t.onCommit(s.indexer.wake)
		}
		return nil
	})
	if err == nil {
		s.Stored(rows...)
	}
	return err
}

func orConflict(err error, message string) error {
	if err != nil {
		return err
	}
	return hearth.Errorf(hearth.CodeConflict, "%s", message)
}

func restoreCounters(t *tx, records []any) error {
	for _, r := range records {
		c := r.(*archive.Counters) //nolint:forcetypeassert // records of the kind
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

func restoreDevices(t *tx, devices []hearth.Device) error {
	for _, d := range devices {
		scope, err := scopeKey(t, d.Scope())
		if err != nil {
			return err
		}
		if _, err := insertDevice(t, d, scope); err != nil {
			return err
		}
	}
	return nil
}

// checkFollows refuses entries that do not follow the newest; the trigger audit_chain would, with an error that says less.
func checkFollows(t *tx, entries []hearth.AuditEntry) error {
	var head hearth.AuditHead
	if err := t.row(`SELECT seq, hash FROM audit_head`).Scan(&head.Seq, &head.Hash); err != nil {
		return err
	}
	if first := entries[0]; head.Seq == 0 && first.Seq > 1 { // those before were trimmed
		head = hearth.AuditHead{Seq: first.Seq - 1, Hash: first.PrevHash}
		if _, err := t.exec(`UPDATE audit_head SET seq=?, hash=?`, head.Seq, head.Hash); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if e.Seq != head.Seq+1 || e.PrevHash != head.Hash {
			return hearth.Errorf(hearth.CodeConflict, "audit entry %d does not follow entry %d", e.Seq, head.Seq)
		}
		head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
	}
	return nil
}
