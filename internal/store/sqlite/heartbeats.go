package sqlite

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"hearth"
)

// RecordHeartbeats implements hearth.DeviceStore. However many heartbeats there are, it runs one statement for when the
// devices were heard, one for each status that was told, and one for those that told none.
func (s *Store) RecordHeartbeats(ctx context.Context, beats []hearth.Heartbeat) error {
	if len(beats) == 0 {
		return nil
	}
	// The last sign of life of each device and the last status that it told: the rest cannot show.
	heard := make(map[int64]lastBeat, len(beats))
	for _, beat := range beats {
		last := heard[beat.Key]
		last.at = max(last.at, millis(beat.At))
		if beat.Status != "" {
			last.status = beat.Status
		}
		heard[beat.Key] = last
	}
	keys := slices.Sorted(maps.Keys(heard))
	times := heardList(keys, heard)
	told := map[hearth.DeviceStatus][]int64{}
	for _, key := range keys {
		told[heard[key].status] = append(told[heard[key].status], key)
	}
	return s.write(ctx, "RecordHeartbeats", func(t *tx) error {
		// Each device by its primary key, in ascending order. An object is read with no look into its values.
		if _, err := t.exec(`UPDATE presence SET last_active_at=beat.value FROM json_each(?) beat
			WHERE device=beat.key AND last_active_at<beat.value`, times); err != nil {
			return err
		}
		for status, keys := range told {
			query := `UPDATE devices SET status=?1, idle=0 WHERE key IN (SELECT value FROM json_each(?2)) AND (status<>?1 OR idle)`
			if status == "" {
				status, query = hearth.StatusActive, `UPDATE devices SET status=?1, idle=0 WHERE key IN (SELECT value FROM json_each(?2)) AND idle`
			}
			// What is as told is not written.
			if _, err := t.exec(query, string(status), keyList(keys)); err != nil {
				return err
			}
		}
		return nil
	})
}

// lastBeat is when a device was heard last, in milliseconds, and the last status that it told; "" for none.
type lastBeat struct {
	at     int64
	status hearth.DeviceStatus
}

// heardList returns {"key":at, …}.
func heardList(keys []int64, heard map[int64]lastBeat) string {
	list := make([]byte, 0, 24*len(keys)+2)
	list = append(list, '{')
	for i, key := range keys {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, '"')
		list = strconv.AppendInt(list, key, 10)
		list = append(list, '"', ':')
		list = strconv.AppendInt(list, heard[key].at, 10)
	}
	return string(append(list, '}'))
}

// keyList returns [key, …].
func keyList(keys []int64) string {
	list := make([]byte, 0, 8*len(keys)+2)
	list = append(list, '[')
	for i, key := range keys {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, key, 10)
	}
	return string(append(list, ']'))
}

// IdleDevices implements hearth.DeviceStore. The silent ones are looked for beside the writes; each is looked at again
// when it is written.
func (s *Store) IdleDevices(ctx context.Context, silentSince time.Time, limit int) (idled []hearth.Device, err error) {
	var keys []int64
	err = s.read(ctx, "IdleDevices", func(r *reader) error {
		// A walk over presence, which is small, that stops at the limit.
		rows, err := r.query(`SELECT d.key FROM presence p CROSS JOIN devices d ON d.key=p.device
			WHERE p.last_active_at<?1 AND d.status='active' AND (p.last_active_at>0 OR d.created_at<?1) LIMIT ?2`,
			millis(silentSince), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key int64
			if err := rows.Scan(&key); err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return rows.Err()
	})
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, "IdleDevices", func(t *tx) error {
		devices, err := scanDevices(t.query(`SELECT `+deviceColumns+` FROM json_each(?2) list
			CROSS JOIN devices d ON d.key=list.value CROSS JOIN presence p ON p.device=d.key
			WHERE p.last_active_at<?1 AND d.status='active' AND (p.last_active_at>0 OR d.created_at<?1)`, millis(silentSince), string(list)))
		if err != nil {
			return err
		}
		for i := range devices {
			devices[i].Status, devices[i].Idle = hearth.StatusInactive, true
			if _, err := t.exec(`UPDATE devices SET status='inactive', idle=1 WHERE key=?`, devices[i].Key); err != nil {
				return err
			}
		}
		idled = devices
		return nil
	})
	if err != nil {
		return nil, err
	}
	return idled, nil
}

// onlinePage bounds what OnlineDevices holds in memory, and how long each of its snapshots lasts.
const onlinePage = 500

// OnlineDevices implements hearth.DeviceStore.
func (s *Store) OnlineDevices(ctx context.Context, at time.Time) iter.Seq2[hearth.Device, error] {
	return func(yield func(hearth.Device, error) bool) {
		for after := int64(0); ; {
			var devices []hearth.Device
			err := s.read(ctx, "OnlineDevices", func(r *reader) (err error) {
				// A walk over presence by its primary key.
				devices, err = scanDevices(r.query(`SELECT `+deviceColumns+` FROM presence p CROSS JOIN devices d ON d.key=p.device
					WHERE p.device>?1 AND p.last_active_at>0 AND p.last_active_at+3000*d.interval>?2 ORDER BY p.device LIMIT ?3`,
					after, millis(at), onlinePage))
				return err
			})
			if err != nil {
				yield(hearth.Device{}, err)
				return
			}
			for _, d := range devices {
				if !yield(d, nil) {
					return
				}
				after = d.Key
			}
			if len(devices) < onlinePage {
				return
			}
		}
	}
}
