package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"hearth"
)

// DevicesByKey implements hearth.DeviceStore.
func (s *Store) DevicesByKey(ctx context.Context, keys []int64) (devices []hearth.Device, err error) {
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, "DevicesByKey", func(r *reader) error {
		// Each by the primary key of devices.
		devices, err = scanDevices(r.query(`SELECT `+deviceColumns+` FROM json_each(?) keys
			CROSS JOIN devices d ON d.key=keys.value CROSS JOIN presence p ON p.device=d.key`, string(list)))
		return err
	})
	return devices, err
}

// countColumns wants the time that who is online is judged at.
const countColumns = `count(*), coalesce(sum(d.status='active'), 0), coalesce(sum(` + offlineAt + ` > ?), 0)
	FROM devices d CROSS JOIN presence p ON p.device=d.key`

// CountDevices implements hearth.DeviceStore.
func (s *Store) CountDevices(ctx context.Context, reach hearth.Reach, now time.Time) (counts hearth.DeviceCounts, err error) {
	names, err := json.Marshal(reach.Scopes)
	if err != nil {
		return counts, err
	}
	err = s.read(ctx, "CountDevices", func(r *reader) error {
		row := func() rowScanner {
			if reach.All {
				return r.row(`SELECT `+countColumns, now.UnixMilli())
			}
			// Served by devices_scope_status, scope by scope.
			return r.row(`SELECT `+countColumns+` WHERE d.scope IN (SELECT key FROM scopes WHERE name IN (SELECT value FROM json_each(?)))`,
				now.UnixMilli(), string(names))
		}()
		return row.Scan(&counts.Total, &counts.Active, &counts.Online)
	})
	return counts, err
}
