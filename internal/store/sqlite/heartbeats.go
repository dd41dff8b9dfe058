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
		if at := millis(beat.At); at >= last.at {
			last.at, last.until = at, millis(beat.Until)
		}
		if beat.Status != "" {
			last.status = beat.Status
		}
		heard[beat.Key] = last
	}
	keys := slices.Sorted(maps.Keys(heard))
	silent, lasting := heardLists(keys, heard)
	told := map[hearth.DeviceStatus][]int64{}
	for _, key := range keys {
		told[heard[key].status] = append(told[heard[key].status], key)
	}
	return s.write(ctx, "RecordHeartbeats", func(t *tx) error {
		// Each device by its primary key, in ascending order. An object is read with no look into its values. What a connection promised counts
		// until then, unless silence counts for longer.
		if _, err := t.exec(`UPDATE presence SET last_active_at=beat.value, offline_at=CASE
				WHEN offline_at=0 OR offline_at<=beat.value+3000*(SELECT interval FROM devices WHERE key=device) THEN 0 ELSE offline_at END
			FROM json_each(?) beat WHERE device=beat.key AND last_active_at<beat.value`, silent); err != nil {
			return err
		}
		if lasting != "{}" {
			if _, err := t.exec(`UPDATE presence SET last_active_at=beat.value->>0, offline_at=beat.value->>1
				FROM json_each(?) beat WHERE device=beat.key AND last_active_at<=beat.value->>0`, lasting); err != nil {
				return err
			}
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

// lastBeat is when a device was heard last and until when it said to be online, in milliseconds, and the last status that it told; "" for none.
type lastBeat struct {
	at     int64
	until  int64
	status hearth.DeviceStatus
}

// heardLists returns {"key":at, …} of those whose silence decides, and {"key":[at,until], …} of the others.
func heardLists(keys []int64, heard map[int64]lastBeat) (silent, lasting string) {
	lists := [2][]byte{make([]byte, 0, 24*len(keys)+2), []byte("{")}
	lists[0] = append(lists[0], '{')
	for _, key := range keys {
		beat := heard[key]
		list := &lists[0]
		if beat.until != 0 {
			list = &lists[1]
		}
		if len(*list) > 1 {
			*list = append(*list, ',')
		}
		*list = append(*list, '"')
		*list = strconv.AppendInt(*list, key, 10)
		*list = append(*list, '"', ':')
		if beat.until != 0 {
			*list = append(*list, '[')
		}
		*list = strconv.AppendInt(*list, beat.at, 10)
		if beat.until != 0 {
			*list = append(*list, ',')
			*list = append(strconv.AppendInt(*list, beat.until, 10), ']')
		}
	}
	return string(append(lists[0], '}')), string(append(lists[1], '}'))
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
	err = s.writeLong(ctx, "IdleDevices", func(t *tx) error {
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

// PutBackHeartbeats implements hearth.DeviceStore.
func (s *Store) PutBackHeartbeats(ctx context.Context, beats []hearth.Heartbeat) error {
	return s.write(ctx, "PutBackHeartbeats", func(t *tx) error {
		for _, beat := range beats {
			at := millis(beat.At)
			if _, err := t.exec(`UPDATE presence SET last_active_at=?, offline_at=? WHERE device=? AND last_active_at>?`,
				at, millis(beat.Until), beat.Key, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// offlineAt is when a device d is offline, of which presence p knows.
const offlineAt = `CASE WHEN p.offline_at>0 THEN p.offline_at ELSE p.last_active_at+3000*d.interval END`

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
					WHERE p.device>?1 AND p.last_active_at>0 AND `+offlineAt+`>?2 ORDER BY p.device LIMIT ?3`,
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
