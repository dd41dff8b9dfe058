package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"hearth"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

var _ hearth.ProvisioningStore = (*Store)(nil)

// TransferDevice implements hearth.DeviceStore.
func (s *Store) TransferDevice(
	ctx context.Context, id string, change func(hearth.Device) (hearth.Device, error), effects hearth.SideEffects,
) (hearth.Device, error) {
	return s.transfer(ctx, id, deviceChange{name: "TransferDevice", change: change, effects: effects})
}

// ClaimDevice implements hearth.ProvisioningStore.
func (s *Store) ClaimDevice(
	ctx context.Context, code hearth.ClaimCode, change func(hearth.Device) (hearth.Device, error), effects hearth.SideEffects,
) (hearth.Device, error) {
	return s.transfer(ctx, code.DeviceID, deviceChange{name: "ClaimDevice", change: change, effects: effects, also: func(t *tx) error {
		return record.UseClaimCode(ctx, &recordTx{recordReader: recordReader{t}, s: s, t: t}, code)
	}})
}

// transfer copies the logs to where nobody sees them yet, and changes the device and what is hidden in one transaction.
func (s *Store) transfer(ctx context.Context, id string, c deviceChange) (after hearth.Device, err error) {
	before, err := s.Device(ctx, id)
	if err != nil {
		return hearth.Device{}, err
	}
	if after, err = c.change(before); err != nil {
		return hearth.Device{}, err
	}
	if after.Scope() == before.Scope() {
		return s.changeDevice(ctx, id, c)
	}
	planned := after
	err = s.Move(ctx, tsdb.Move{
		Device: before.Key,
		Begin:  func(ctx context.Context) (from, to int64, err error) { return s.beginMove(ctx, before, planned) },
		End: func(ctx context.Context, from, to int64) (err error) {
			after, err = s.endMove(ctx, before, from, to, c)
			return err
		},
		Drop: func(ctx context.Context) error { return s.dropMove(ctx, before.Key) },
	})
	if err != nil {
		return hearth.Device{}, err
	}
	return after, nil
}

// hiddenScopes returns the scopes in which a device's logs are hidden.
func hiddenScopes(t *tx, device int64) (scopes []int64, err error) {
	var text string
	err = t.row(`SELECT hidden FROM log_moves WHERE device=?`, device).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &scopes)
	}
	return scopes, err
}

func hideScopes(t *tx, device int64, scopes []int64, movingAt int64) error {
	_, err := t.exec(`INSERT OR REPLACE INTO log_moves(device, hidden, moving_at, clean_at) VALUES(?,?,?,0)`, device, list(scopes), movingAt)
	return err
}

// beginMove hides what the device's new scope gets of its logs; it returns the keys of both scopes.
func (s *Store) beginMove(ctx context.Context, before, after hearth.Device) (from, to int64, err error) {
	err = s.write(ctx, "TransferDevice", func(t *tx) error {
		if err := checkOwners(t, before, after); err != nil {
			return err
		}
		if from, err = scopeKey(t, before.Scope()); err != nil {
			return err
		}
		if to, err = scopeKey(t, after.Scope()); err != nil {
			return err
		}
		hidden, err := hiddenScopes(t, before.Key)
		if err != nil {
			return err
		}
		if !slices.Contains(hidden, to) {
			hidden = append(hidden, to)
		}
		return hideScopes(t, before.Key, hidden, millis(s.now()))
	})
	return from, to, err
}

// checkOwners makes sure that whoever gets a device is there; CodeNotFound.
func checkOwners(t *tx, before, after hearth.Device) error {
	if after.OwnerID != before.OwnerID {
		var one int
		if err := t.row(`SELECT 1 FROM users WHERE id=?`, after.OwnerID).Scan(&one); err != nil {
			return found(err, "user")
		}
	}
	return checkOrganization(t, after.OrganizationID)
}

func (s *Store) endMove(ctx context.Context, was hearth.Device, from, to int64, c deviceChange) (after hearth.Device, err error) {
	err = s.write(ctx, c.name, func(t *tx) error {
		before, err := c.of(t, was.ID, &after)
		if err != nil {
			return err
		}
		hidden, err := hiddenScopes(t, was.Key)
		if err != nil {
			return err
		}
		toKey, err := scopeKey(t, after.Scope())
		if err != nil {
			return err
		}
		if before.Scope() != was.Scope() || toKey != to || !slices.Contains(hidden, to) {
			return hearth.Errorf(hearth.CodeConflict, "the device changes hands otherwise at the same time")
		}
		if err := checkOwners(t, before, after); err != nil {
			return err
		}
		if err := s.writeEffects(t, c.effects); err != nil {
			return err
		}
		t.onCommit(func() { s.Forget(was.Key) })
		hidden = append(slices.DeleteFunc(hidden, func(scope int64) bool { return scope == to }), from)
		if err := hideScopes(t, was.Key, hidden, 0); err != nil {
			return err
		}
		after.Version = before.Version + 1
		_, err = t.exec(`UPDATE devices SET scope=?, owner_id=?, organization_id=? WHERE key=?`, to, after.OwnerID, after.OrganizationID, was.Key)
		if isSerialTaken(err) {
			return hearth.SerialTaken("serial")
		}
		if err == nil {
			err = updateDevice(t, after)
		}
		return err
	})
	return after, err
}

// dropMove lets Reclaim have what was copied for a move that does not come about.
func (s *Store) dropMove(ctx context.Context, device int64) error {
	return s.write(ctx, "TransferDevice", func(t *tx) error {
		_, err := t.exec(`UPDATE log_moves SET moving_at=0, clean_at=0 WHERE device=?`, device)
		return err
	})
}
