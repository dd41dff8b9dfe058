package tsdb

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth/internal/tsdb/codec"
)

// Bounds of one step that takes back space.
const (
	maxStepChunks = 64
	maxStepScopes = 32
	maxStepDocs   = 2048
	maxStepGraves = 1000
)

// TrimLogs implements hearth.LogStore. The horizon hides at once; what lies before it is removed, and the day and the month that it
// cuts are made anew, step by step.
func (e *Engine) TrimLogs(ctx context.Context, before time.Time) (removed int64, more bool, err error) {
	horizon := codec.BucketOf(codec.LevelHour, max(firstMilli, min(endMilli, before.UnixMilli()))) * codec.HourMillis
	stored, err := e.backend.Horizon(ctx)
	if err != nil {
		return 0, false, err
	}
	if horizon > stored {
		if err := e.backend.MoveHorizon(ctx, stored, horizon); err != nil {
			return 0, true, passBusy(err)
		}
		stored = horizon
	}
	// What was promised to be gone goes before the horizon moves back. The tail is looked at first: what leaves it from then on is in documents,
	// where the step finds it.
	if horizon < stored {
		hidden := false
		err := e.backend.View(ctx, ViewOptions{Operation: "Tail"}, func(s Snapshot) error {
			rows, err := s.Tail(ctx, firstMilli, stored)
			hidden = slices.ContainsFunc(rows, func(r TailRow) bool { return r.MinAt < stored })
			return err
		})
		if err != nil {
			return 0, false, err
		}
		if hidden {
			return 0, true, e.FoldAll(ctx)
		}
	}
	removed, more, err = e.trimStep(ctx, stored)
	if err != nil || more || horizon >= stored {
		return removed, more, err
	}
	return removed, false, passBusy(e.backend.MoveHorizon(ctx, stored, horizon))
}

// passBusy passes over ErrBusy: the next step comes to it.
func passBusy(err error) error {
	if errors.Is(err, ErrBusy) {
		return nil
	}
	return err
}

// trimStep removes some of what is older than the horizon; more says that there is more.
func (e *Engine) trimStep(ctx context.Context, horizon int64) (removed int64, more bool, err error) {
	// A scope has hours from before the horizon as long as it has anything from then.
	old := map[int64]bool{}
	query := Query{
		Table: Sums, Major: Range{codec.LevelHour, codec.LevelHour}, Minor: Range{Everything.From, codec.BucketOf(codec.LevelHour, horizon) - 1}, Limit: maxStepDocs,
	}
	err = e.backend.View(ctx, ViewOptions{Operation: "TrimLogs"}, func(s Snapshot) error {
		return s.Find(ctx, query, func(d *Doc) error {
			if old[d.Scope] = true; len(old) > maxStepScopes {
				return ErrEnough
			}
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return 0, false, err
	}
	for scope := range maps.Keys(old) {
		var n int64
		err := e.update(ctx, "TrimLogs", scope, func(s Snapshot) (_ *Change, err error) {
			m := e.newMerge(ctx, s)
			if n, err = m.trim(scope, horizon); err != nil {
				return nil, err
			}
			return m.finish()
		})
		if err != nil {
			return removed, true, passBusy(err)
		}
		removed += n
	}
	return removed, true, nil
}

// update changes the partition of a scope.
func (e *Engine) update(ctx context.Context, operation string, scope int64, fn func(s Snapshot) (*Change, error)) error {
	p := e.backend.Partition(scope)
	e.partitions[p].folding.Lock()
	defer e.partitions[p].folding.Unlock()
	return e.backend.Update(ctx, operation, p, fn)
}

// trim removes the oldest chunks of a scope and, when none is left, the sums.
func (m *merge) trim(scope, horizon int64) (removed int64, err error) {
	var chunks []Key
	query := Query{
		Table: Chunks, Scopes: []int64{scope}, Major: Range{Everything.From, horizon - 1}, Minor: Everything, Limit: maxStepChunks + 1,
	}
	err = m.s.Find(m.ctx, query, func(d *Doc) error {
		if d.MinAt < horizon {
			chunks = append(chunks, d.Key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	keep := func(_ *codec.Series, at int64) bool { return at >= horizon }
	if len(chunks) > maxStepChunks {
		return m.filterChunks(chunks[:maxStepChunks], keep)
	}
	if removed, err = m.filterChunks(chunks, keep); err != nil {
		return 0, err
	}
	day := codec.BucketOf(codec.LevelDay, horizon)
	more, err := m.dropSums(scope, [3]int64{codec.BucketOf(codec.LevelHour, horizon), day, codec.BucketOf(codec.LevelMonth, horizon)}, maxStepDocs)
	if err != nil || more {
		return removed, err
	}
	if codec.BucketStart(codec.LevelDay, day) < horizon {
		return removed, m.replaceDay(scope, day, keep)
	}
	return removed, m.replaceMonth(scope, codec.BucketOf(codec.LevelMonth, horizon))
}

// graveTime is how long a deleted device is remembered after its logs were removed: longer than any process can take it for alive (see
// deviceMemory), so that late logs of it are found.
const graveTime = 10 * time.Minute

// Reclaim implements hearth.LogStore: a step takes the deleted devices of one scope out of one day.
func (e *Engine) Reclaim(ctx context.Context) (more bool, err error) {
	now := e.options.Clock.Now()
	clean := false
	graves, err := e.backend.DueGraves(ctx, time.Time{}, maxStepGraves)
	if err == nil && len(graves) == 0 {
		clean = true
		graves, err = e.backend.DueGraves(ctx, now.Add(-graveTime), maxStepGraves)
	}
	if err != nil || len(graves) == 0 {
		return false, err
	}
	if graves[0].Moved {
		return true, e.reclaimMoved(ctx, graves, clean)
	}
	scope := graves[0].Scope
	dead := map[int64]bool{}
	for _, grave := range graves {
		dead[grave.Device] = true
	}
	e.reclaimed.Lock()
	from, begun := e.reclaimed.from[scope]
	e.reclaimed.Unlock()
	if !begun {
		from = Everything.From
		// Folding drops what the tail still has of them.
		if err := e.foldStored(ctx, func(p int) bool { return p == e.backend.Partition(scope) }); err != nil {
			return true, err
		}
	}
	day, found, err := e.dayOf(ctx, scope, from, dead)
	if err != nil {
		return true, err
	}
	if found {
		err := e.update(ctx, "Reclaim", scope, func(s Snapshot) (*Change, error) {
			m := e.newMerge(ctx, s)
			start := codec.BucketStart(codec.LevelDay, day)
			keys, err := m.chunksOf(scope, start, start+codec.DayMillis)
			if err != nil {
				return nil, err
			}
			keep := func(s *codec.Series, _ int64) bool { return !dead[s.Device] }
			if _, err := m.filterChunks(keys, keep); err != nil {
				return nil, err
			}
			if err := m.replaceDay(scope, day, keep); err != nil {
				return nil, err
			}
			return m.finish()
		})
		if err == nil {
			e.reclaimed.Lock()
			e.reclaimed.from[scope] = day
			e.reclaimed.Unlock()
		}
		return true, passBusy(err)
	}
	e.reclaimed.Lock()
	delete(e.reclaimed.from, scope)
	e.reclaimed.Unlock()
	if begun {
		return true, nil // once more from the beginning, for devices that were deleted meanwhile
	}
	if clean {
		return true, e.backend.RemoveGraves(ctx, graves)
	}
	return true, e.backend.Cleaned(ctx, graves, now)
}

// dayOf returns the first day of a scope, from a day on, on which any of the devices has logs.
func (e *Engine) dayOf(ctx context.Context, scope, from int64, devices map[int64]bool) (first int64, found bool, err error) {
	var day codec.Day
	v := view{devices: devices}
	parts := codec.DayParts{Keep: func(device, _ int64) bool { return devices[device] }}
	err = e.backend.View(ctx, ViewOptions{Operation: "Reclaim", Scopes: []int64{scope}}, func(s Snapshot) error {
		found = false
		for _, groups := range v.groupRanges() {
			query := Query{Table: Days, Scopes: []int64{scope}, Major: Range{from, Everything.To}, Minor: groups, Data: MainData}
			err := s.Find(ctx, query, func(d *Doc) error {
				if found && d.Major >= first {
					return ErrEnough
				}
				if err := codec.DecodeDay(&day, d.Data[0], parts); err != nil {
					return err
				}
				if len(day.Lines) == 0 {
					return nil
				}
				first, found = d.Major, true
				return ErrEnough
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return first, found, err
}
