package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"hearth/internal/tsdb"
)

// Bounds of one step that takes back space.
const (
	maxStepChunks = 64
	maxStepDays   = 8
	maxStepScopes = 32
)

// TrimLogs implements hearth.LogStore.
func (s *Store) TrimLogs(ctx context.Context, before time.Time) (removed int64, more bool, err error) {
	horizon := tsdb.BucketOf(tsdb.LevelHour, max(firstMilli, min(endMilli, before.UnixMilli()))) * tsdb.HourMillis
	err = s.write(ctx, "TrimLogs", func(t *tx) error {
		var stored int64
		var pending bool
		var hidden bool
		err := t.row(`SELECT horizon, pending, EXISTS (SELECT 1 FROM log_tail WHERE min_at<horizon) FROM log_state`).Scan(&stored, &pending, &hidden)
		if err != nil {
			return err
		}
		back := horizon < stored && !pending
		if back && hidden {
			// Folding drops what the tail still has from before the horizon: it must not come back.
			if err := s.fold(t); err != nil {
				return err
			}
		}
		if err := t.row(`SELECT trimmed FROM log_state`).Scan(&removed); err != nil {
			return err
		}
		switch {
		case back && hidden:
			more = true
		case horizon > stored:
			stored, pending = horizon, true
		case horizon < stored && pending:
			// What was promised to be gone goes before the horizon moves back.
			more = true
		case horizon < stored:
			stored = horizon
		}
		if pending {
			n, left, err := s.trimStep(t, stored)
			if err != nil {
				return err
			}
			removed, pending = removed+n, left
		}
		more = more || pending
		_, err = t.exec(`UPDATE log_state SET horizon=?, pending=?, trimmed=0`, stored, pending)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	return removed, more, nil
}

// trimStep removes some of what is older than the horizon; more says that there is more.
func (s *Store) trimStep(t *tx, horizon int64) (removed int64, more bool, err error) {
	// The smallest hour of each scope is the first row of its part of the primary key.
	rows, err := t.query(`SELECT scope FROM log_counts c WHERE
		(SELECT bucket FROM log_sums s WHERE s.scope=c.scope AND level=0 ORDER BY bucket LIMIT 1)<? LIMIT ?`,
		tsdb.BucketOf(tsdb.LevelHour, horizon), maxStepScopes+1)
	if err != nil {
		return 0, false, err
	}
	scopes, err := keys(rows)
	if err != nil {
		return 0, false, err
	}
	budget := maxStepChunks
	for i, scope := range scopes {
		if i == maxStepScopes || budget <= 0 {
			return removed, true, nil
		}
		n, left, err := s.trimScope(t, scope, horizon, &budget)
		if err != nil {
			return 0, false, err
		}
		removed, more = removed+n, more || left
	}
	return removed, more, nil
}

func keys(rows *sql.Rows) (out []int64, err error) {
	for rows.Next() {
		var key int64
		if err := rows.Scan(&key); err != nil {
			return nil, closed(rows, err)
		}
		out = append(out, key)
	}
	return out, closed(rows, nil)
}

// trimScope removes the oldest chunks of a scope, at most budget of them and, when none is left, the sums.
func (s *Store) trimScope(t *tx, scope, horizon int64, budget *int) (removed int64, more bool, err error) {
	rows, err := t.query(`SELECT key FROM log_chunks WHERE scope=? AND low_at<? AND min_at<? ORDER BY low_at, low_seq LIMIT ?`,
		scope, horizon, horizon, *budget)
	if err != nil {
		return 0, false, err
	}
	chunks, err := keys(rows)
	if err != nil {
		return 0, false, err
	}
	for _, key := range chunks {
		n, err := s.filterChunk(t, key, func(_ tsdb.Series, e *tsdb.Entry) bool { return e.At >= horizon })
		if err != nil {
			return 0, false, err
		}
		removed += n
	}
	*budget -= len(chunks)
	if err := addCount(t, scope, -int(removed)); err != nil {
		return 0, false, err
	}
	if *budget <= 0 {
		return removed, true, nil
	}
	more, err = s.trimSums(t, scope, horizon)
	return removed, more, err
}

// trimSums removes the sums of a scope from before the horizon and makes those that it cuts anew.
func (s *Store) trimSums(t *tx, scope, horizon int64) (more bool, err error) {
	day := tsdb.BucketOf(tsdb.LevelDay, horizon)
	var first int64
	err = t.row(`SELECT day FROM log_days WHERE scope=? ORDER BY day LIMIT 1`, scope).Scan(&first)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if err == nil && first < day {
		until := min(day, first+maxStepDays)
		if _, err := t.exec(`DELETE FROM log_days WHERE scope=? AND day<?`, scope, until); err != nil {
			return false, err
		}
		if until < day {
			return true, nil
		}
	}
	cutDay := tsdb.BucketStart(tsdb.LevelDay, day) < horizon
	for level, bucket := range []int64{tsdb.BucketOf(tsdb.LevelHour, horizon), day, tsdb.BucketOf(tsdb.LevelMonth, horizon)} {
		if err := deleteSums(t, scope, level, math.MinInt64, bucket-1); err != nil {
			return false, err
		}
	}
	if cutDay {
		return false, s.rebuildDay(t, scope, day)
	}
	return false, s.rebuildMonth(t, scope, tsdb.BucketOf(tsdb.LevelMonth, horizon))
}

// filterChunk rewrites a chunk without the entries that keep refuses and returns their number; an empty one goes.
func (s *Store) filterChunk(t *tx, key int64, keep func(tsdb.Series, *tsdb.Entry) bool) (removed int64, err error) {
	var data []byte
	if err := t.row(`SELECT data FROM log_chunks WHERE key=?`, key).Scan(&data); err != nil {
		return 0, err
	}
	w := t.w.logs
	var chunk tsdb.Chunk
	if err := w.decoder.Decode(&chunk, data, nil); err != nil {
		return 0, err
	}
	kept := chunk.Entries[:0]
	for i := range chunk.Entries {
		if e := &chunk.Entries[i]; keep(chunk.Series[e.Series], e) {
			kept = append(kept, *e)
		}
	}
	switch removed = int64(len(chunk.Entries) - len(kept)); {
	case removed == 0:
		return 0, nil
	case len(kept) == 0:
		_, err = t.exec(`DELETE FROM log_chunks WHERE key=?`, key)
		return removed, err
	}
	w.blob = w.encoder.Encode(w.blob[:0], chunk.Series, kept)
	_, err = t.exec(`UPDATE log_chunks SET entries=?, min_at=?, max_at=?, data=? WHERE key=?`,
		len(kept), kept[0].At, kept[len(kept)-1].At, w.blob, key)
	return removed, err
}

// maxRebuild bounds the entries that a rebuild sums up at once.
const maxRebuild = 1 << 18

// rebuildDay makes the sums of a day, and its month's, anew from the chunks.
func (s *Store) rebuildDay(t *tx, scope, day int64) error {
	start := tsdb.BucketStart(tsdb.LevelDay, day)
	if err := errors.Join(deleteSums(t, scope, tsdb.LevelHour, day*24, day*24+23), deleteSums(t, scope, tsdb.LevelDay, day, day)); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM log_days WHERE scope=? AND day=?`, scope, day); err != nil {
		return err
	}
	v := &logView{store: s, q: t, viewMemory: &viewMemory{}}
	var part foldBatch
	index := map[tsdb.Series]uint32{}
	flush := func() error {
		if len(part.entries) == 0 {
			return nil
		}
		part.sortSeries()
		sums := tsdb.SumUp(part.series, part.entries)
		sums.Months = nil
		part.series, part.entries = part.series[:0], part.entries[:0]
		clear(index)
		return s.addRollups(t, scope, sums)
	}
	var failed error
	err := v.chunkEntries(scope, timeRange{from: start, to: start + tsdb.DayMillis}, func(series []tsdb.Series, e *tsdb.Entry) bool {
		if len(part.entries) >= maxRebuild {
			if failed = flush(); failed != nil {
				return false
			}
		}
		at, ok := index[series[e.Series]]
		if !ok {
			at = uint32(len(part.series))
			index[series[e.Series]] = at
			part.series = append(part.series, series[e.Series])
		}
		entry := *e
		entry.Series = at
		part.entries = append(part.entries, entry)
		return true
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return s.rebuildMonth(t, scope, tsdb.BucketOf(tsdb.LevelMonth, start))
}

// rebuildMonth makes the sums of a month anew from its days'.
func (s *Store) rebuildMonth(t *tx, scope, month int64) error {
	first := tsdb.BucketOf(tsdb.LevelDay, tsdb.BucketStart(tsdb.LevelMonth, month))
	last := tsdb.BucketOf(tsdb.LevelDay, tsdb.BucketStart(tsdb.LevelMonth, month+1)) - 1
	rows, err := t.query(`SELECT bucket FROM log_sums WHERE scope=? AND level=1 AND bucket BETWEEN ? AND ?`, scope, first, last)
	if err != nil {
		return err
	}
	days, err := keys(rows)
	if err != nil {
		return err
	}
	total := tsdb.Sum{Bucket: month}
	for _, day := range days {
		stored, err := loadSum(t, scope, tsdb.LevelDay, day)
		if err != nil {
			return err
		}
		total.Merge(&stored)
	}
	return storeSum(t, scope, tsdb.LevelMonth, &total)
}

// Reclaim implements hearth.LogStore: a step takes the dead devices of one scope out of one day.
func (s *Store) Reclaim(ctx context.Context) (more bool, err error) {
	var dead bool
	err = s.read(ctx, "Reclaim", func(r *reader) error { return r.row(`SELECT EXISTS (SELECT 1 FROM log_dead)`).Scan(&dead) })
	if err != nil || !dead {
		return false, err
	}
	err = s.write(ctx, "Reclaim", func(t *tx) error {
		var scope, next, seq int64
		// By log_dead_scope.
		err := t.row(`SELECT scope, next_day FROM log_dead ORDER BY scope, next_day LIMIT 1`).Scan(&scope, &next)
		if errors.Is(err, sql.ErrNoRows) {
			more = false
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := t.query(`SELECT device FROM log_dead WHERE scope=? AND next_day=?`, scope, next)
		if err != nil {
			return err
		}
		devices, err := keys(rows)
		if err != nil {
			return err
		}
		if err := t.row(`SELECT max(seq) FROM log_dead WHERE scope=? AND next_day=?`, scope, next).Scan(&seq); err != nil {
			return err
		}
		// Folding drops what the tail still has of them.
		var oldest int64
		switch err := t.row(`SELECT seq FROM log_tail ORDER BY seq LIMIT 1`).Scan(&oldest); {
		case err == nil && oldest < seq:
			more = true
			return s.fold(t)
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if more, err = s.reclaimDay(t, scope, next, devices); err != nil || more {
			return err
		}
		if _, err := t.exec(`DELETE FROM log_dead WHERE scope=? AND next_day=?`, scope, next); err != nil {
			return err
		}
		return t.row(`SELECT EXISTS (SELECT 1 FROM log_dead)`).Scan(&more)
	})
	return more, err
}

// reclaimDay takes dead devices out of the first day, from next on, that has any of them; false if there is none.
func (s *Store) reclaimDay(t *tx, scope, next int64, devices []int64) (bool, error) {
	v := &logView{store: s, q: t, viewMemory: &viewMemory{}, devices: map[int64]map[int64]bool{scope: {}}}
	dead := v.devices[scope]
	for _, device := range devices {
		dead[device] = true
	}
	day, found, err := v.firstDay(scope, next)
	if err != nil || !found {
		return false, err
	}
	start := tsdb.BucketStart(tsdb.LevelDay, day)
	rows, err := t.query(chunkKeysForward, scope, start, start+tsdb.DayMillis)
	if err != nil {
		return false, err
	}
	chunks, err := keys(rows)
	if err != nil {
		return false, err
	}
	removed := int64(0)
	for _, key := range chunks {
		n, err := s.filterChunk(t, key, func(s tsdb.Series, _ *tsdb.Entry) bool { return !dead[s.Device] })
		if err != nil {
			return false, err
		}
		removed += n
	}
	if err := addCount(t, scope, -int(removed)); err != nil {
		return false, err
	}
	if err := s.rebuildDay(t, scope, day); err != nil {
		return false, err
	}
	_, err = t.exec(`UPDATE log_dead SET next_day=? WHERE scope=? AND next_day=?`, day+1, scope, next)
	return true, err
}

// firstDay returns the first day, from next on, on which any of the wanted devices has logs.
func (v *logView) firstDay(scope, next int64) (first int64, found bool, err error) {
	var day tsdb.Day
	for _, groups := range v.groupRanges(scope) {
		rows, err := v.q.query(`SELECT day, data FROM log_days WHERE scope=? AND day>=? AND grp BETWEEN ? AND ? ORDER BY day`,
			scope, next, groups[0], groups[1])
		if err != nil {
			return 0, false, err
		}
		var data sql.RawBytes
		for rows.Next() {
			var bucket int64
			if err := rows.Scan(&bucket, &data); err != nil {
				return 0, false, closed(rows, err)
			}
			if found && bucket >= first {
				break
			}
			if err := tsdb.DecodeDay(&day, data, tsdb.DayParts{}); err != nil {
				return 0, false, closed(rows, err)
			}
			hit := false
			for i := range day.Lines {
				hit = hit || v.wants(scope, day.Lines[i].Device, day.Lines[i].Event)
			}
			if hit {
				first, found = bucket, true
				break
			}
		}
		if err := closed(rows, nil); err != nil {
			return 0, false, err
		}
	}
	return first, found, nil
}
