package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"hearth"
	"hearth/internal/store/record"
)

var _ hearth.DeviceStore = (*Store)(nil)

// deviceColumns are what scanDevice reads, of devices d and presence p. The version of a desired state is the twin's.
const deviceColumns = `d.key, d.id, d.owner_id, d.organization_id, d.name, d.type, d.serial, d.status, d.idle, d.tags, d.metadata,
	d.interval, coalesce((SELECT t.desired_version FROM device_twins t WHERE t.device_id=d.id), 0), d.version, d.created_at, d.updated_at, d.last_error, p.last_active_at, p.offline_at`

func scanDevice(row rowScanner) (d hearth.Device, err error) {
	var tags string
	var metadata sql.NullString
	var created, updated, last, offline int64
	var failure string
	err = row.Scan(&d.Key, &d.ID, &d.OwnerID, &d.OrganizationID, &d.Name, &d.Type, &d.Serial, &d.Status, &d.Idle, &tags, &metadata,
		&d.Interval, &d.DesiredVersion, &d.Version, &created, &updated, &failure, &last, &offline)
	if err != nil {
		return hearth.Device{}, err
	}
	if tags != "[]" {
		if err := json.Unmarshal([]byte(tags), &d.Tags); err != nil {
			return hearth.Device{}, err
		}
	}
	if metadata.Valid {
		d.Metadata = json.RawMessage(metadata.String)
	}
	d.CreatedAt, d.UpdatedAt, d.LastActiveAt, d.OfflineAt = fromMillis(created), fromMillis(updated), fromMillis(last), fromMillis(offline)
	if failure != "" {
		d.LastError = &hearth.DeviceError{}
		err = json.Unmarshal([]byte(failure), d.LastError)
	}
	return d, err
}

func scanDevices(rows *sql.Rows, err error) ([]hearth.Device, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var devices []hearth.Device
	for rows.Next() {
		d, err := scanDevice(rows)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, rows.Err()
}

// storedTags returns the stored form of tags: a JSON list, in the owner's order.
func storedTags(tags []string) (string, error) {
	if len(tags) == 0 {
		return "[]", nil
	}
	text, err := json.Marshal(tags)
	return string(text), err
}

func storedMetadata(metadata json.RawMessage) sql.NullString {
	return sql.NullString{String: string(metadata), Valid: len(metadata) > 0}
}

// storedFailure returns the stored form of an error: JSON, or "" for none.
func storedFailure(failure *hearth.DeviceError) (string, error) {
	if failure == nil {
		return "", nil
	}
	text, err := json.Marshal(failure)
	return string(text), err
}

// SetDeviceError implements hearth.DeviceStore.
func (s *Store) SetDeviceError(ctx context.Context, deviceID string, failure hearth.DeviceError) error {
	text, err := storedFailure(&failure)
	if err != nil {
		return err
	}
	return s.write(ctx, "SetDeviceError", func(t *tx) error {
		_, err := t.exec(`UPDATE devices SET last_error=? WHERE id=?`, text, deviceID)
		return err
	})
}

// CreateDevices implements hearth.DeviceStore.
func (s *Store) CreateDevices(ctx context.Context, devices []hearth.Device, effects hearth.SideEffects) ([]hearth.Device, error) {
	if len(devices) > sliceDevices {
		return s.createMany(ctx, devices, effects)
	}
	created := make([]hearth.Device, len(devices))
	err := s.write(ctx, "CreateDevices", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		scopes := map[hearth.Scope]int64{}
		for i, d := range devices {
			scope, known := scopes[d.Scope()]
			if !known {
				err := checkOrganization(t, d.OrganizationID)
				if err != nil {
					return err
				}
				if scope, err = scopeKey(t, d.Scope()); err != nil {
					return err
				}
				scopes[d.Scope()] = scope
			}
			d.Key, d.Version = 0, 1
			key, err := insertDevice(t, d, scope)
			if isSerialTaken(err) {
				return hearth.SerialTaken(fmt.Sprintf("items[%d].serial", i))
			}
			if err != nil {
				return err
			}
			d.Key = key
			created[i] = d
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return created, nil
}

// scopeKey returns the short number of a scope, making one the first time.
func scopeKey(t *tx, scope hearth.Scope) (key int64, err error) {
	if _, err := t.exec(`INSERT INTO scopes(name) VALUES(?) ON CONFLICT DO NOTHING`, string(scope)); err != nil {
		return 0, err
	}
	err = t.row(`SELECT key FROM scopes WHERE name=?`, string(scope)).Scan(&key)
	return key, err
}

// checkOrganization makes sure that an organization is there to take a device; CodeNotFound.
func checkOrganization(t *tx, id string) error {
	if id == "" {
		return nil
	}
	var one int
	return found(t.row(`SELECT 1 FROM organizations WHERE id=?`, id).Scan(&one), "organization")
}

// insertDevice stores a device, under its key if it has one.
func insertDevice(t *tx, d hearth.Device, scope int64) (key int64, err error) {
	if key, err = insertDeviceRow(t, d, scope); err != nil {
		return 0, err
	}
	_, err = t.exec(`INSERT INTO presence(device, last_active_at, offline_at) VALUES(?,?,?)`, key, millis(d.LastActiveAt), millis(d.OfflineAt))
	return key, err
}

// insertDeviceRow stores a device, under its key if it has one. No reader sees it before it has a row in presence.
func insertDeviceRow(t *tx, d hearth.Device, scope int64) (key int64, err error) {
	tags, err := storedTags(d.Tags)
	if err != nil {
		return 0, err
	}
	failure, err := storedFailure(d.LastError)
	if err != nil {
		return 0, err
	}
	insert := func() (sql.Result, error) {
		return t.exec(`INSERT INTO devices(key, id, scope, owner_id, organization_id, name, search, type, serial, status, idle, tags,
			metadata, interval, version, created_at, updated_at, last_error) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			sql.NullInt64{Int64: d.Key, Valid: d.Key != 0}, d.ID, scope, d.OwnerID, d.OrganizationID, d.Name, record.Fold(d.Name), d.Type, d.Serial,
			string(d.Status), d.Idle, tags, storedMetadata(d.Metadata),
			d.Interval, d.Version, millis(d.CreatedAt), millis(d.UpdatedAt), failure)
	}
	result, err := insert()
	for isUnique(err) {
		freed, problem := freeFromStale(t, d, scope)
		switch {
		case problem != nil:
			return 0, problem
		case !freed && isSerialTaken(err):
			return 0, err
		case !freed:
			return 0, hearth.Errorf(hearth.CodeConflict, "there is a device with that id")
		}
		result, err = insert()
	}
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// selectDevice is served by the unique index of devices.id.
const selectDevice = `SELECT ` + deviceColumns + ` FROM devices d JOIN presence p ON p.device=d.key WHERE d.id=?`

// Device implements hearth.DeviceStore.
func (s *Store) Device(ctx context.Context, id string) (d hearth.Device, err error) {
	err = s.read(ctx, "Device", func(r *reader) error {
		d, err = scanDevice(r.row(selectDevice, id))
		return found(err, "device")
	})
	return d, err
}

// DevicesByID implements hearth.DeviceStore.
func (s *Store) DevicesByID(ctx context.Context, ids []string) (devices []hearth.Device, err error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, "DevicesByID", func(r *reader) error {
		// Each id by the unique index of devices.id.
		devices, err = scanDevices(r.query(`SELECT `+deviceColumns+` FROM json_each(?) ids
			CROSS JOIN devices d ON d.id=ids.value CROSS JOIN presence p ON p.device=d.key`, string(list)))
		return err
	})
	return devices, err
}

// UpdateDevice implements hearth.DeviceStore.
func (s *Store) UpdateDevice(
	ctx context.Context, id string, change func(hearth.Device) (hearth.Device, error), effects hearth.SideEffects,
) (hearth.Device, error) {
	return s.changeDevice(ctx, id, deviceChange{name: "UpdateDevice", change: change, effects: effects})
}

// deviceChange is a change of one device.
type deviceChange struct {
	// name is the contract's method, for the observer.
	name    string
	change  func(hearth.Device) (hearth.Device, error)
	effects hearth.SideEffects
	// also, if it is set, is done in the same transaction.
	also func(t *tx) error
}

// of returns the device as it is, and sets after to what the change makes of it.
func (c deviceChange) of(t *tx, id string, after *hearth.Device) (before hearth.Device, err error) {
	if before, err = scanDevice(t.row(selectDevice, id)); err != nil {
		return before, found(err, "device")
	}
	*after, err = c.change(before)
	if err == nil && c.also != nil {
		err = c.also(t)
	}
	return before, err
}

func (s *Store) changeDevice(ctx context.Context, id string, c deviceChange) (after hearth.Device, err error) {
	err = s.write(ctx, c.name, func(t *tx) error {
		before, err := c.of(t, id, &after)
		if err != nil {
			return err
		}
		if err := s.writeEffects(t, c.effects); err != nil {
			return err
		}
		after.Version = before.Version + 1
		return updateDevice(t, after)
	})
	if err != nil {
		return hearth.Device{}, err
	}
	return after, nil
}

// updateDevice stores the fields that a device's owner changes.
func updateDevice(t *tx, d hearth.Device) error {
	tags, err := storedTags(d.Tags)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE devices SET name=?, search=?, type=?, serial=?, status=?, idle=?, tags=?, metadata=?, interval=?, version=?, updated_at=?
		WHERE key=?`, d.Name, record.Fold(d.Name), d.Type, d.Serial, string(d.Status), d.Idle, tags, storedMetadata(d.Metadata), d.Interval,
		d.Version, millis(d.UpdatedAt), d.Key)
	if isSerialTaken(err) {
		return hearth.SerialTaken("serial")
	}
	return err
}

// DeleteDevice implements hearth.DeviceStore.
func (s *Store) DeleteDevice(ctx context.Context, id string, check func(hearth.Device) error, effects hearth.SideEffects) error {
	return s.write(ctx, "DeleteDevice", func(t *tx) error {
		d, err := scanDevice(t.row(selectDevice, id))
		if err != nil {
			return found(err, "device")
		}
		if err := check(d); err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var scope int64
		if err := t.row(`SELECT scope FROM devices WHERE key=?`, d.Key).Scan(&scope); err != nil {
			return err
		}
		if err := s.forgetDevice(t, d.Key, scope); err != nil {
			return err
		}
		kinds, fields := record.OfDevices()
		for i, kind := range kinds {
			if err := s.deleteWhere(t, kind, record.Filter{record.Eq(fields[i], id)}); err != nil {
				return err
			}
		}
		// Presence goes with it.
		_, err = t.exec(`DELETE FROM devices WHERE key=?`, d.Key)
		return err
	})
}
