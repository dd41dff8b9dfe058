package tsdb

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth/internal/tsdb/codec"
)

// Reconcile compares the rollups with the logs, and makes those anew that differ; it returns the number of days (of a scope) that it
// mended. The numbers of logs are compared for all days; every sum only for days since the given one, because that reads the logs. Nothing but
// damage from outside makes them differ.
func (e *Engine) Reconcile(ctx context.Context, since time.Time) (mended int, err error) {
	scopes := map[int64]bool{}
	err = e.backend.View(ctx, ViewOptions{Operation: "Reconcile"}, func(s Snapshot) error {
		for _, query := range []Query{
			{Table: Chunks, Major: Everything, Minor: Everything}, {Table: Sums, Major: Range{codec.LevelMonth, codec.LevelMonth}, Minor: Everything},
		} {
			err := s.Find(ctx, query, func(d *Doc) error {
				scopes[d.Scope] = true
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, scope := range slices.Sorted(maps.Keys(scopes)) {
		if err != nil {
			return mended, err
		}
		var n int
		n, err = e.reconcileScope(ctx, scope, codec.BucketOf(codec.LevelDay, since.UnixMilli()))
		mended += n
	}
	return mended, err
}

func (e *Engine) reconcileScope(ctx context.Context, scope, since int64) (mended int, err error) {
	var days []int64
	err = e.backend.View(ctx, ViewOptions{Operation: "Reconcile", Scopes: []int64{scope}}, func(s Snapshot) (err error) {
		days, err = suspectDays(ctx, s, scope, since)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, day := range days {
		wrong := false
		err := e.update(ctx, "Reconcile", scope, func(s Snapshot) (*Change, error) {
			m := e.newMerge(ctx, s)
			if err := m.replaceDay(scope, day, nil); err != nil {
				return nil, err
			}
			var partial bool
			var err error
			if wrong, partial, err = m.differs(); err != nil || !wrong && !partial {
				return nil, err
			}
			return m.finish()
		})
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil {
			return mended, err
		}
		if wrong {
			e.options.Logger.WarnContext(ctx, "rollups did not equal the logs and were made anew", "scope", scope, "day", day)
			mended++
		}
	}
	return mended, nil
}

// suspectDays returns the days since the given one, and those of which the numbers of logs do not agree.
func suspectDays(ctx context.Context, s Snapshot, scope, since int64) ([]int64, error) {
	var logs, hours int64
	byDay, byMonth := map[int64]int64{}, map[int64]int64{}
	suspects := map[int64]bool{}
	all := map[int64]bool{}
	err := s.Find(ctx, Query{Table: Chunks, Scopes: []int64{scope}, Major: Everything, Minor: Everything}, func(d *Doc) error {
		logs += d.Entries
		all[codec.BucketOf(codec.LevelDay, d.MinAt)] = true
		all[codec.BucketOf(codec.LevelDay, d.MaxAt)] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	for level := codec.LevelHour; level <= codec.LevelMonth; level++ {
		query := Query{Table: Sums, Scopes: []int64{scope}, Major: Range{int64(level), int64(level)}, Minor: Everything}
		err := s.Find(ctx, query, func(d *Doc) error {
			start := codec.BucketStart(level, d.Minor)
			day := codec.BucketOf(codec.LevelDay, start)
			all[day] = all[day] || level != codec.LevelMonth
			switch level {
			case codec.LevelHour:
				hours += d.Entries
				byDay[day] += d.Entries
				byMonth[codec.BucketOf(codec.LevelMonth, start)] += d.Entries
			case codec.LevelDay:
				byDay[d.Minor] -= d.Entries
			default:
				byMonth[d.Minor] -= d.Entries
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for day := range all {
		suspects[day] = day >= since || logs != hours
	}
	err = s.Find(ctx, Query{Table: Days, Scopes: []int64{scope}, Major: Everything, Minor: Everything}, func(d *Doc) error {
		suspects[d.Major] = suspects[d.Major] || d.Major >= since || logs != hours
		return nil
	})
	for day, n := range byDay {
		suspects[day] = suspects[day] || n != 0
	}
	for month, n := range byMonth {
		day := codec.BucketOf(codec.LevelDay, codec.BucketStart(codec.LevelMonth, month))
		suspects[day] = suspects[day] || n != 0
	}
	maps.DeleteFunc(suspects, func(_ int64, suspect bool) bool { return !suspect })
	return slices.Sorted(maps.Keys(suspects)), err
}

// differs reports whether what takes the place of stored documents is not what they say, and whether they leave out changes, which is so
// where logs came out of order.
func (m *merge) differs() (wrong, partial bool, err error) {
	found := 0
	for _, key := range m.Delete {
		err = errors.Join(err, m.s.Get(m.ctx, []Key{key}, NoData, func(*Doc) error {
			wrong = true
			return nil
		}))
	}
	for key, want := range m.sums {
		if err != nil || wrong {
			return wrong, false, err
		}
		stored := &merge{e: m.e, s: m.s, ctx: m.ctx}
		got := map[Key]*codec.Sum{key: {Bucket: key.Minor}}
		if err := stored.loadSums([]Key{key}, got); err != nil {
			return errors.Is(err, codec.ErrCorrupt), false, passCorrupt(err) // what cannot be read is damaged
		}
		wrong = !codec.SameSums(got[key], want)
	}
	if err != nil || wrong {
		return wrong, false, err
	}
	var day codec.Day
	err = m.s.Get(m.ctx, sortedKeys(m.days), MainData, func(d *Doc) error {
		found++
		want := m.days[d.Key]
		wrong = wrong || codec.DecodeDay(&day, d.Data[0], codec.DayParts{Hours: codec.WholeDay, Sketches: true, Changes: true}) != nil || !codec.SameDays(&day, want)
		if wrong {
			return nil
		}
		for i := range day.Changes {
			got := &day.Changes[i]
			partial = partial || got.Unknown && !want.Changes[i].Unknown
			wrong = wrong || !got.Unknown && !codec.SameChanges(got, &want.Changes[i], &want.Stats[i])
		}
		return nil
	})
	return wrong || found < len(m.days), partial, err
}

func passCorrupt(err error) error {
	if errors.Is(err, codec.ErrCorrupt) {
		return nil
	}
	return err
}
