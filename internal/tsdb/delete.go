package tsdb

import (
	"context"
	"errors"
	"slices"

	"hearth"
	"hearth/internal/tsdb/codec"
)

const (
	// maxDeleteDays bounds the days that are looked up together, maxDeleteLogs the logs of their scope that one step counts anew, unless a single
	// day has more.
	maxDeleteDays = 64
	maxDeleteLogs = 1 << 15
)

// DeleteLogs implements hearth.LogStore. Chunks and rollups of a few days are made anew without the logs in one change.
func (e *Engine) DeleteLogs(ctx context.Context, deletion hearth.LogDeletion) (deleted int64, err error) {
	if err := e.settleMoves(ctx, deletion.Device); err != nil {
		return 0, err
	}
	d := &logDeletion{
		Engine: e, device: deletion.Device,
		subject: subject{operation: "DeleteLogs", reach: hearth.Reach{All: true}, devices: []int64{deletion.Device}, span: deletion.Span},
	}
	if deletion.Event != "" {
		d.events = []string{deletion.Event}
	}
	if err := d.foldTail(ctx); err != nil {
		return 0, err
	}
	for next, more := int64(firstMilli), true; more; {
		var days dayRun
		if days, more, err = d.daysFrom(ctx, next); err != nil || !more {
			return deleted, err
		}
		n, err := d.deleteDays(ctx, days)
		deleted += n
		if err != nil {
			return deleted, err
		}
		next = days.to
	}
	return deleted, nil
}

// logDeletion is a deletion under way.
type logDeletion struct {
	*Engine
	subject
	device int64
}

// dayRun is days that one step deletes logs of.
type dayRun struct {
	scope int64
	days  []int64
	// event is the event whose logs go, 0 for all.
	event int64
	timeRange
}

// foldTail moves logs that are to go from the tail into chunks.
func (d *logDeletion) foldTail(ctx context.Context) error {
	scope := int64(0)
	err := d.view(ctx, d.subject, func(v *view) error {
		v.tailEntries(func(series []codec.Series, e *codec.Entry) { scope = series[e.Series].Scope })
		return nil
	})
	if err != nil || scope == 0 {
		return err
	}
	return d.foldStored(ctx, func(p int) bool { return p == d.backend.Partition(scope) })
}

// daysFrom returns the first days, from a time on, that have such logs: of one month, and not too many of them.
func (d *logDeletion) daysFrom(ctx context.Context, from int64) (run dayRun, found bool, err error) {
	err = d.view(ctx, d.subject, func(v *view) error {
		run, found = dayRun{scope: v.scopes[0]}, false
		for event := range v.events {
			run.event = event
		}
		if v.from = max(v.from, from); v.from >= v.to {
			return nil
		}
		p := &logPage{LogQuery: hearth.LogQuery{Device: d.device, Ascending: true}, view: v}
		first, last := codec.BucketOf(codec.LevelDay, v.from), codec.BucketOf(codec.LevelDay, v.to-1)
		for first <= last {
			days, err := p.daysOf(first, last, maxDeleteDays)
			if err != nil {
				return err
			}
			logs := int64(0)
			for _, day := range days {
				if day.hours&hoursIn(day.day, v.from, v.to) == 0 {
					continue
				}
				n, err := v.logsOf(run.scope, day.day)
				if err != nil {
					return err
				}
				start := codec.BucketStart(codec.LevelDay, day.day)
				if logs += n; found && (logs > maxDeleteLogs || codec.BucketOf(codec.LevelMonth, start) != codec.BucketOf(codec.LevelMonth, run.from)) {
					return nil
				}
				if !found {
					found, run.from = true, max(v.from, start)
				}
				run.days = append(run.days, day.day)
				run.to = min(v.to, start+codec.DayMillis)
			}
			if found || len(days) < maxDeleteDays {
				return nil
			}
			first = days[len(days)-1].day + 1
		}
		return nil
	})
	return run, found, err
}

// hoursIn returns the bits of a day's hours that touch [from, to).
func hoursIn(day, from, to int64) uint32 {
	first := max(0, codec.BucketOf(codec.LevelHour, from)-day*24)
	last := min(23, codec.BucketOf(codec.LevelHour, to-1)-day*24)
	if first > last {
		return 0
	}
	return 1<<(last+1) - 1<<first
}

// logsOf returns the number of logs of a scope on a day.
func (v *view) logsOf(scope, day int64) (n int64, err error) {
	err = v.s.Get(v.ctx, []Key{sumKey(scope, codec.LevelDay, day)}, NoData, func(d *Doc) error {
		n = d.Entries
		return nil
	})
	return n, err
}

// deleteDays deletes logs of a few days in one change. It waits where another changes the partition.
func (d *logDeletion) deleteDays(ctx context.Context, run dayRun) (deleted int64, err error) {
	goes := func(s *codec.Series, at int64) bool {
		// Only the run's days are counted anew: what came to another one meanwhile stays.
		return s.Device == d.device && (run.event == 0 || s.Event == run.event) && at >= run.from && at < run.to &&
			slices.Contains(run.days, codec.BucketOf(codec.LevelDay, at))
	}
	keep := func(s *codec.Series, at int64) bool { return !goes(s, at) }
	for try := 0; ; try++ {
		err = d.update(ctx, d.operation, run.scope, func(s Snapshot) (*Change, error) {
			m := d.newMerge(ctx, s)
			keys, err := m.chunksOf(run.scope, run.from, run.to)
			if err != nil {
				return nil, err
			}
			if deleted, err = m.filterChunks(keys, keep); err != nil || deleted == 0 {
				return nil, err
			}
			for _, day := range run.days {
				if err := m.replaceDay(run.scope, day, keep); err != nil {
					return nil, err
				}
			}
			return m.finish()
		})
		switch {
		case errors.Is(err, ErrBusy), errors.Is(err, ErrStale) && try < maxTries:
			if err := pause(ctx, try); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		default:
			return deleted, nil
		}
	}
}
