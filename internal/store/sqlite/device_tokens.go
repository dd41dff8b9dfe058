package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"hearth"
)

// CreateDeviceToken implements hearth.DeviceStore.
func (s *Store) CreateDeviceToken(ctx context.Context, token hearth.DeviceToken, effects hearth.SideEffects) error {
	return s.write(ctx, "CreateDeviceToken", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var device, count int64
		// The device by the unique index of devices.id, the count by device_tokens_device.
		err := t.row(`SELECT key, (SELECT count(*) FROM device_tokens WHERE device=d.key) FROM devices d WHERE id=?`,
			token.DeviceID).Scan(&device, &count)
		if err != nil {
			return found(err, "device")
		}
		if count >= hearth.MaxDeviceTokens {
			return hearth.Errorf(hearth.CodeConflict, "the device has %d tokens: delete one first", hearth.MaxDeviceTokens)
		}
		_, err = t.exec(`INSERT INTO device_tokens(id, device, hash, created_at, last_used_at) VALUES(?,?,?,?,?)`,
			token.ID, device, token.Hash, millis(token.CreatedAt), millis(token.LastUsedAt))
		return err
	})
}

const tokenColumns = `t.id, d.id, t.hash, t.created_at, t.last_used_at`

func scanToken(row rowScanner) (token hearth.DeviceToken, err error) {
	var created, used int64
	err = row.Scan(&token.ID, &token.DeviceID, &token.Hash, &created, &used)
	token.CreatedAt, token.LastUsedAt = fromMillis(created), fromMillis(used)
	return token, err
}

// DeviceTokens implements hearth.DeviceStore.
func (s *Store) DeviceTokens(ctx context.Context, deviceID string) (tokens []hearth.DeviceToken, err error) {
	err = s.read(ctx, "DeviceTokens", func(r *reader) error {
		// By the unique index of devices.id and device_tokens_device.
		rows, err := r.query(`SELECT `+tokenColumns+` FROM devices d CROSS JOIN device_tokens t ON t.device=d.key
			WHERE d.id=? ORDER BY t.created_at, t.id`, deviceID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			token, err := scanToken(rows)
			if err != nil {
				return err
			}
			tokens = append(tokens, token)
		}
		return rows.Err()
	})
	return tokens, err
}

// DeviceTokenByHash implements hearth.DeviceStore.
func (s *Store) DeviceTokenByHash(ctx context.Context, hash []byte) (token hearth.DeviceToken, err error) {
	err = s.read(ctx, "DeviceTokenByHash", func(r *reader) error {
		// By the unique index of device_tokens.hash.
		token, err = scanToken(r.row(`SELECT `+tokenColumns+` FROM device_tokens t JOIN devices d ON d.key=t.device WHERE t.hash=?`, hash))
		return found(err, "device token")
	})
	return token, err
}

// DeleteDeviceToken implements hearth.DeviceStore.
func (s *Store) DeleteDeviceToken(ctx context.Context, deviceID, tokenID string, effects hearth.SideEffects) error {
	return s.write(ctx, "DeleteDeviceToken", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		result, err := t.exec(`DELETE FROM device_tokens WHERE id=? AND device=(SELECT key FROM devices WHERE id=?)`, tokenID, deviceID)
		return changedOne(result, err, "device token")
	})
}

// TouchDeviceToken implements hearth.DeviceStore.
func (s *Store) TouchDeviceToken(ctx context.Context, tokenID string, at time.Time) error {
	return s.write(ctx, "TouchDeviceToken", func(t *tx) error {
		_, err := t.exec(`UPDATE device_tokens SET last_used_at=? WHERE id=?`, millis(at), tokenID)
		return err
	})
}

// changedOne turns a statement that met no row into CodeNotFound for that kind of object.
func changedOne(result sql.Result, err error, kind string) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	if errors.Is(err, sql.ErrNoRows) {
		return hearth.NotFound(kind)
	}
	return err
}
