package sqlite

import (
	"context"
	"errors"

	"hearth"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

var _ hearth.LogStore = (*Store)(nil)

// logWriter is the writer's side of the logs: it numbers batches, and stores those of a group of writes as rows of the tail before their
// commit. It belongs to the writer's goroutine. What it remembers of the database holds as long as nobody else writes to the file, which
// SQLite's data_version tells at the start of each group.
type logWriter struct {
	version int64
	foreign uint64 // how often version was seen to change
	next    uint64 // number of the next log; 0 is unknown
	// forgotten counts how often next became unknown: numbers that were reserved before are not reserved any more.
	forgotten uint64
	// batches are the group's that have no rows yet, rows those of the others; kept counts both of writes that are done, keptNext is next
	// after them.
	batches  []*tsdb.Batch
	rows     []*tsdb.Row
	kept     struct{ batches, rows int }
	keptNext uint64
}

// begin starts a group.
func (w *logWriter) begin(t *tx) error {
	var version int64
	if err := t.row(`PRAGMA data_version`).Scan(&version); err != nil {
		return err
	}
	if version != w.version {
		w.version = version
		w.forget()
		w.foreign++
	}
	return nil
}

// forget lets the next number come from the database.
func (w *logWriter) forget() {
	w.next, w.keptNext = 0, 0
	w.forgotten++
}

// settle ends one write of the group: what a failed one did is taken back.
func (w *logWriter) settle(failed bool) {
	if failed {
		w.batches, w.rows, w.next = w.batches[:w.kept.batches], w.rows[:w.kept.rows], w.keptNext
	}
	w.kept.batches, w.kept.rows, w.keptNext = len(w.batches), len(w.rows), w.next
}

// flush stores the group's logs.
func (w *logWriter) flush(t *tx) error {
	return insertRows(t, append(w.rows, tsdb.Pack(w.batches, logBackend{}.Partition, tsdb.NarrowRow)...))
}

// end ends a group.
func (w *logWriter) end(failed bool) {
	clear(w.batches)
	clear(w.rows)
	w.batches, w.rows = w.batches[:0], w.rows[:0]
	w.kept.batches, w.kept.rows = 0, 0
	if failed {
		w.forget()
	}
}

func insertRows(t *tx, rows []*tsdb.Row) error {
	for _, row := range rows {
		_, err := t.exec(`INSERT INTO log_tail(seq, last, entries, min_at, max_at, data) VALUES(?,?,?,?,?,?)`,
			row.ID, int64(row.Last), row.Entries, row.MinAt, row.MaxAt, row.Data)
		if err != nil {
			return err
		}
	}
	return nil
}

// nextSeq returns the number of the next log.
func (w *logWriter) nextSeq(t *tx) (uint64, error) {
	if w.next == 0 {
		var last int64
		err := t.row(`SELECT max(folded, coalesce((SELECT max(last) FROM log_tail), 0), coalesce((SELECT max(last) FROM log_unfinished), 0))
			FROM log_state`).Scan(&last)
		if err != nil {
			return 0, err
		}
		w.next = uint64(last) + 1
		w.keptNext = w.next
	}
	return w.next, nil
}

// Append implements tsdb.Backend. One process accepts the logs of clients, so that those of others need not be waited for.
func (b logBackend) Append(ctx context.Context, batch *tsdb.Batch) (err error) {
	if batch.Prune != nil {
		if err := batch.Prune(ctx); err != nil {
			return err
		}
	}
	var early packed
	write := b.write
	if len(batch.Entries) >= packEarly {
		if early, err = b.pack(ctx, batch); err != nil {
			return err
		}
		defer func() {
			if err != nil && early.unfinished {
				err = errors.Join(err, b.discard(context.WithoutCancel(ctx), early.first))
			}
		}()
		if err := b.storeEarly(ctx, &early); err != nil {
			return err
		}
		write = b.writeLong
	}
	return write(ctx, "AppendLogs", func(t *tx) (err error) {
		w := t.w.logs
		isPacked := early.unfinished || early.rows != nil && early.forgotten == w.forgotten
		if !isPacked {
			if batch.First, err = w.nextSeq(t); err != nil {
				return err
			}
		}
		effects := batch.Effects
		if effects.Idempotency != nil && batch.Size > 0 {
			numbered := *effects.Idempotency
			numbered.FirstLog = batch.First
			effects.Idempotency = &numbered
		}
		if err := b.writeEffects(t, effects); err != nil {
			return err
		}
		for _, u := range effects.Unjudged {
			schema, stored := record.StoredUnjudged(u)
			if err := (&recordTx{t: t}).store(schema, stored); err != nil {
				return err
			}
		}
		if c := batch.Checkpoint; c != nil {
			_, err := t.exec(`INSERT OR REPLACE INTO import_checkpoints(id, rows, mark) VALUES(?,?,?)`, c.ID, c.Rows, blobOf(c.Mark))
			if err != nil {
				return err
			}
		}
		if early.unfinished {
			if err := finish(t, early.first); err != nil {
				return err
			}
		}
		switch {
		case isPacked:
			w.rows = append(w.rows, early.rows...)
		case batch.Size > 0:
			w.batches = append(w.batches, batch)
			w.next += uint64(batch.Size)
		}
		return nil
	})
}

// ForeignWrites returns a number that grows when another process has written to the database since it was last asked for.
func (s *Store) ForeignWrites(ctx context.Context) (n uint64, err error) {
	// The start of a group looks for them; a group that changes nothing writes nothing.
	err = s.write(ctx, "ForeignWrites", func(t *tx) error {
		n = t.w.logs.foreign
		return nil
	})
	return n, err
}

// blobOf keeps an empty mark from becoming NULL.
func blobOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// ImportCheckpoint implements hearth.LogStore.
func (s *Store) ImportCheckpoint(ctx context.Context, id string) (hearth.Checkpoint, error) {
	checkpoint := hearth.Checkpoint{ID: id}
	err := s.read(ctx, "ImportCheckpoint", func(r *reader) error {
		err := r.row(`SELECT rows, mark FROM import_checkpoints WHERE id=?`, id).Scan(&checkpoint.Rows, &checkpoint.Mark)
		return found(err, "import")
	})
	if err != nil {
		return hearth.Checkpoint{}, err
	}
	return checkpoint, nil
}

// forgetDevice hides a device's logs and rollups, in the transaction that deletes the device. Their space comes back by Reclaim.
func (s *Store) forgetDevice(t *tx, device, scope int64) error {
	t.onCommit(func() { s.Forget(device) })
	_, err := t.exec(`INSERT INTO log_dead(device, scope, clean_at) VALUES(?,?,0)`, device, scope)
	return err
}

// restoredLogs are the rows of the tail of logs that have their numbers. Those of devices that are not there are an error, because
// nobody would see them again.
func (s *Store) restoredLogs(ctx context.Context, logs []hearth.LogEntry) (rows []*tsdb.Row, err error) {
	for len(logs) > 0 {
		some := logs[:min(len(logs), tsdb.MaxRow)]
		logs = logs[len(some):]
		batch, err := s.Resolve(ctx, some)
		if err != nil {
			return nil, err
		}
		batch.Size = 0
		for i := range some {
			if i >= len(batch.Entries) || batch.Entries[i].Seq != uint64(i) {
				return nil, hearth.Errorf(hearth.CodeConflict, "log %s is of device %d, which is not in the archive",
					hearth.LogID(some[i].Seq), some[i].Device)
			}
			batch.Entries[i].Seq = some[i].Seq
		}
		rows = append(rows, tsdb.Pack([]*tsdb.Batch{batch}, logBackend{}.Partition, tsdb.NarrowRow)...)
	}
	return rows, nil
}
