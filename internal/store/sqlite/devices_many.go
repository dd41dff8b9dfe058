package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hearth"
)

const (
	// sliceDevices and sliceBytes bound the devices that one write stores of many, and the audit entries and jobs: a millisecond's.
	sliceDevices, sliceBytes = 16, 128 << 10
	// staleAfter is how long after its last write a batch of devices is one that no process finishes any more.
	staleAfter = 10 * time.Second
)

// createMany stores devices by several short writes, between which others go on. No reader sees them before the last of these makes their
// rows of presence, which every query of devices asks for. Audit entries and jobs are stored with the devices, and are moved to their own tables
// after that. What a crash leaves is discarded or finished by settle. Batches of one scope follow one another, so that a repeated request
// finds what the first one made.
func (s *Store) createMany(ctx context.Context, devices []hearth.Device, effects hearth.SideEffects) (_ []hearth.Device, err error) {
	s.settle(ctx)
	late, err := lateEffectsOf(ctx, effects)
	if err != nil {
		return nil, err
	}
	scopes := make([]hearth.Scope, len(devices))
	for i := range devices {
		scopes[i] = devices[i].Scope()
	}
	unlock, err := s.creating.LockAll(ctx, scopes)
	if err != nil {
		return nil, err
	}
	defer unlock()
	b := &deviceBatch{s: s, devices: slices.Clone(devices), scopes: map[hearth.Scope]int64{}}
	defer func() {
		if err != nil && b.first > 0 {
			err = errors.Join(err, s.discardDevices(context.WithoutCancel(ctx), b.first))
		}
	}()
	if err := b.begin(ctx, effects.Idempotency); err != nil {
		return nil, err
	}
	for rest, owed := 0, late; rest < len(devices) || len(owed) > 0; {
		n := pieceOfDevices(b.devices[rest:])
		with := owed[:min(1, len(owed))]
		start := time.Now()
		if err := b.store(ctx, rest, n, with); err != nil {
			return nil, err
		}
		rest, owed = rest+n, owed[len(with):]
		s.writer.giveWay(ctx, time.Since(start))
	}
	if err := b.finish(ctx, effects.Idempotency); err != nil {
		return nil, err
	}
	// It is done, whether or not the caller waits for the rest.
	for i := range late {
		start := time.Now()
		if err := s.writeLate(context.WithoutCancel(ctx), &late[i]); err != nil {
			s.options.Logger.Warn("audit entries of new devices are not stored yet", "err", err)
			break
		}
		s.writer.giveWay(ctx, time.Since(start))
	}
	return b.devices, nil
}

// deviceBatch is devices that are stored by several writes.
type deviceBatch struct {
	s       *Store
	devices []hearth.Device
	// first is the key of the first one, the others follow; 0 before begin.
	first  int64
	scopes map[hearth.Scope]int64
}

// begin reserves keys. It fails for a write that was made before.
func (b *deviceBatch) begin(ctx context.Context, idempotency *hearth.IdempotencyRecord) error {
	var last int64
	err := b.s.writeLong(ctx, "StoreDevices", func(t *tx) error {
		if err := b.s.replay(t, idempotency); err != nil {
			return err
		}
		for i := range b.devices {
			d := &b.devices[i]
			if _, known := b.scopes[d.Scope()]; known {
				continue
			}
			err := checkOrganization(t, d.OrganizationID)
			if err != nil {
				return err
			}
			if b.scopes[d.Scope()], err = scopeKey(t, d.Scope()); err != nil {
				return err
			}
		}
		n := int64(len(b.devices))
		if _, err := t.exec(`INSERT INTO sqlite_sequence(name, seq) SELECT 'devices', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name='devices')`); err != nil {
			return err
		}
		if err := t.row(`UPDATE sqlite_sequence SET seq=seq+? WHERE name='devices' RETURNING seq`, n).Scan(&last); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO devices_unfinished(first, last, at) VALUES(?,?,?)`, last-n+1, last, millis(b.s.now()))
		return err
	})
	if err == nil {
		b.first = last - int64(len(b.devices)) + 1
	}
	return err
}

// pieceOfDevices returns how many devices one write stores, at least one if there are any.
func pieceOfDevices(devices []hearth.Device) int {
	bytes := 0
	for n := range devices {
		if bytes += len(devices[n].Metadata); n == sliceDevices || n > 0 && bytes > sliceBytes {
			return n
		}
	}
	return len(devices)
}

// store stores n devices from the one at a place on, and what is owed after them.
func (b *deviceBatch) store(ctx context.Context, from, n int, late []lateEffects) error {
	return b.s.writeLong(ctx, "StoreDevices", func(t *tx) error {
		if err := b.goOn(t); err != nil {
			return err
		}
		for i := from; i < from+n; i++ {
			d := &b.devices[i]
			d.Key, d.Version = b.first+int64(i), 1
			_, err := insertDeviceRow(t, *d, b.scopes[d.Scope()])
			if isSerialTaken(err) {
				return hearth.SerialTaken(fmt.Sprintf("items[%d].serial", i))
			}
			if err != nil {
				return err
			}
		}
		for i := range late {
			result, err := t.exec(`INSERT INTO late_writes(devices, effects) VALUES(?,?)`, b.first, late[i].text)
			if err != nil {
				return err
			}
			if late[i].id, err = result.LastInsertId(); err != nil {
				return err
			}
		}
		return nil
	})
}

// goOn fails with CodeUnavailable if the batch took so long that it is discarded.
func (b *deviceBatch) goOn(t *tx) error {
	n, err := affected(t.exec(`UPDATE devices_unfinished SET at=? WHERE first=? AND at>0`, millis(b.s.now()), b.first))
	if err == nil && n == 0 {
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the devices took too long to store", RetryAfter: time.Second}
	}
	return err
}

// finish shows the devices to all.
func (b *deviceBatch) finish(ctx context.Context, idempotency *hearth.IdempotencyRecord) error {
	return b.s.writeLong(ctx, "CreateDevices", func(t *tx) error {
		if err := b.goOn(t); err != nil {
			return err
		}
		checked := map[string]bool{}
		for _, d := range b.devices {
			if checked[d.OrganizationID] {
				continue
			}
			checked[d.OrganizationID] = true
			if err := checkOrganization(t, d.OrganizationID); err != nil {
				return err
			}
		}
		if err := b.s.writeIdempotencyRecord(t, idempotency); err != nil {
			return err
		}
		_, err := t.exec(`WITH RECURSIVE keys(key) AS (VALUES(?1) UNION ALL SELECT key+1 FROM keys WHERE key<?2) INSERT INTO presence(device) SELECT key FROM keys`,
			b.first, b.first+int64(len(b.devices))-1)
		if err != nil {
			return err
		}
		for _, d := range b.devices {
			if d.LastActiveAt.IsZero() && d.OfflineAt.IsZero() {
				continue // as all new ones
			}
			_, err := t.exec(`UPDATE presence SET last_active_at=?, offline_at=? WHERE device=?`, millis(d.LastActiveAt), millis(d.OfflineAt), d.Key)
			if err != nil {
				return err
			}
		}
		_, err = t.exec(`DELETE FROM devices_unfinished WHERE first=?`, b.first)
		return err
	})
}

// discardDevices removes devices that are not finished.
func (s *Store) discardDevices(ctx context.Context, first int64) error {
	for more := true; more; {
		err := s.writeLong(ctx, "DiscardDevices", func(t *tx) error {
			// Nothing goes on with them from here on; those that were finished after all have no row.
			n, err := affected(t.exec(`UPDATE devices_unfinished SET at=0 WHERE first=?`, first))
			if more = n > 0; err != nil || !more {
				return err
			}
			n, err = affected(t.exec(`DELETE FROM devices WHERE key IN (SELECT d.key FROM devices_unfinished u
				CROSS JOIN devices d ON d.key BETWEEN u.first AND u.last WHERE u.first=? LIMIT ?)`, first, sliceDevices))
			if more = n == sliceDevices; err != nil || more {
				return err
			}
			if _, err = t.exec(`DELETE FROM late_writes WHERE devices=?`, first); err == nil {
				_, err = t.exec(`DELETE FROM devices_unfinished WHERE first=?`, first)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isStale picks the batches of devices_unfinished that no process finishes any more; its arguments are staleArguments.
const isStale = `at NOT BETWEEN ? AND ?`

// isOwed picks the late writes of devices that are there.
const isOwed = `devices NOT IN (SELECT first FROM devices_unfinished)`

// staleArguments allow for a clock that was put back.
func staleArguments(now time.Time) []any {
	return []any{millis(now.Add(-staleAfter)), millis(now.Add(staleAfter))}
}

// settle discards the batches that no process finishes any more, and writes what finished ones left to be written.
func (s *Store) settle(ctx context.Context) {
	if err := s.settleAll(ctx); err != nil && ctx.Err() == nil {
		s.options.Logger.Warn("unfinished devices are not removed yet", "err", err)
	}
}

func (s *Store) settleAll(ctx context.Context) error {
	var stale []int64
	var late []lateEffects
	err := s.read(ctx, "UnfinishedDevices", func(r *reader) error {
		firsts, err := pairs[int64, int64](r, `SELECT first, last FROM devices_unfinished WHERE `+isStale, staleArguments(s.now())...)
		if err != nil {
			return err
		}
		stale = slices.Sorted(maps.Keys(firsts))
		owed, err := pairs[int64, string](r, `SELECT id, effects FROM late_writes WHERE `+isOwed)
		for _, id := range slices.Sorted(maps.Keys(owed)) {
			late = append(late, lateEffects{id: id, text: owed[id]})
		}
		return err
	})
	for _, first := range stale {
		err = errors.Join(err, s.discardDevices(ctx, first))
	}
	for i := range late {
		if err := json.Unmarshal([]byte(late[i].text), &late[i].effects); err != nil { //nolint:musttag // as it was written
			return err
		}
		err = errors.Join(err, s.writeLate(ctx, &late[i]))
	}
	return err
}

// freeFromStale reports whether a device's serial and id, one of which is taken, can be its own now: those who had them are of a batch that no
// process finishes any more. While one may be finished it fails with CodeUnavailable.
func freeFromStale(t *tx, d hearth.Device, scope int64) (freed bool, err error) {
	var key, first, last int64
	var stale bool
	err = t.row(`SELECT d.key, u.first, u.last, u.`+isStale+` FROM devices d JOIN devices_unfinished u ON d.key BETWEEN u.first AND u.last
		WHERE d.key IN (SELECT key FROM devices WHERE id=? UNION ALL SELECT key FROM devices WHERE scope=? AND serial=? AND serial<>'')`,
		append(staleArguments(t.w.options.Clock.Now()), d.ID, scope, d.Serial)...).Scan(&key, &first, &last, &stale)
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && first <= d.Key && d.Key <= last: // of another device, or of one of the same batch
		return false, nil
	case err != nil:
		return false, err
	case !stale:
		return false, &hearth.Error{
			Code: hearth.CodeUnavailable, Message: "another request is creating a device with that id or serial", RetryAfter: time.Second,
		}
	}
	if _, err := t.exec(`UPDATE devices_unfinished SET at=0 WHERE first=?`, first); err != nil {
		return false, err
	}
	_, err = t.exec(`UPDATE devices SET id='discarded '||key, serial='' WHERE key=?`, key)
	return true, err
}
