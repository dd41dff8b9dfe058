package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"hearth"
	"hearth/internal/tsdb"
)

// Logs implements hearth.LogStore.
func (s *Store) Logs(ctx context.Context, query hearth.LogQuery) (out []hearth.LogEntry, err error) {
	err = s.read(ctx, "Logs", func(r *reader) error {
		p := &logPage{LogQuery: query}
		var scope int64
		err := r.row(`SELECT scope FROM devices WHERE key=?`, query.Device).Scan(&scope)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		of := logScope{span: query.Span}
		if query.Event != "" {
			of.events = []string{query.Event}
		}
		if p.view, err = s.openView(r, of); err != nil {
			return err
		}
		defer p.view.returnMemory()
		p.view.scopes = []int64{scope}
		p.view.devices = map[int64]map[int64]bool{scope: {query.Device: true}}
		out, err = p.collect(scope)
		return err
	})
	return out, err
}

// logPage gathers one page of a device's logs.
type logPage struct {
	hearth.LogQuery
	view *logView
	out  []hearth.LogEntry
	err  error
}

// order compares as the page is sorted.
func (p *logPage) order(a, b hearth.LogEntry) int {
	order := cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
	if p.Ascending {
		return order
	}
	return -order
}

// collect returns the first Limit+1 entries, from the chunks and the tail.
func (p *logPage) collect(scope int64) ([]hearth.LogEntry, error) {
	v := p.view
	if p.After != nil {
		if p.Ascending {
			v.from = max(v.from, p.After.At)
		} else {
			v.to = min(v.to, p.After.At+1)
		}
	}
	if v.from >= v.to || v.events != nil && len(v.events) == 0 {
		return nil, nil
	}
	// The tail is small and in order of arrival: take all, then sort.
	v.tailEntries(func(series []tsdb.Series, e *tsdb.Entry) { p.add(series, e) })
	fromTail := p.out
	p.out = nil
	if p.err == nil {
		p.err = p.fromChunks(scope)
	}
	if p.err != nil {
		return nil, p.err
	}
	all := append(p.out, fromTail...)
	slices.SortFunc(all, p.order)
	return all[:min(len(all), p.Limit+1)], nil
}

// add takes an entry if it is past the place where the page starts; false says that the page is full.
func (p *logPage) add(series []tsdb.Series, e *tsdb.Entry) bool {
	entry := hearth.LogEntry{Device: p.Device, Value: e.Value, At: e.At, Seq: e.Seq}
	if p.After != nil && p.order(entry, *p.After) <= 0 {
		return true
	}
	if entry.Event, p.err = p.view.store.names.name(p.view.q, series[e.Series].Event); p.err != nil {
		return false
	}
	p.out = append(p.out, entry)
	return len(p.out) <= p.Limit
}

// fromChunks goes through the hours in which the device has such logs, so that a rare event is found without decoding
// what lies between.
func (p *logPage) fromChunks(scope int64) error {
	v := p.view
	first, last := tsdb.BucketOf(tsdb.LevelDay, v.from), tsdb.BucketOf(tsdb.LevelDay, v.to-1)
	for batch := 2; first <= last; batch = min(2*batch, 64) {
		days, err := v.daysOf(scope, p.Device, timeRange{from: first, to: last, backward: !p.Ascending}, batch)
		if err != nil {
			return err
		}
		for _, run := range days.hourRuns(!p.Ascending) {
			in := timeRange{from: max(v.from, run[0]), to: min(v.to, run[1]), backward: !p.Ascending}
			if in.from >= in.to {
				continue
			}
			if err := v.chunkEntries(scope, in, p.add); err != nil || p.err != nil {
				return errors.Join(err, p.err)
			}
			if len(p.out) > p.Limit {
				return nil
			}
		}
		if len(days) < batch {
			return nil
		}
		if p.Ascending {
			first = days[len(days)-1].day + 1
		} else {
			last = days[len(days)-1].day - 1
		}
	}
	return nil
}

// dayHours says in which hours of a day there are logs.
type dayHours struct {
	day   int64
	hours uint32
}

type dayList []dayHours

// daysOf returns up to limit days of the range (of days, both ends inclusive) with the hours in which a device has wanted
// logs; days without any are among them.
func (v *logView) daysOf(scope, device int64, in timeRange, limit int) (dayList, error) {
	// By primary key.
	query := `SELECT day, data FROM log_days WHERE scope=? AND day BETWEEN ? AND ? AND grp=? ORDER BY day LIMIT ?`
	if in.backward {
		query = `SELECT day, data FROM log_days WHERE scope=? AND day BETWEEN ? AND ? AND grp=? ORDER BY day DESC LIMIT ?`
	}
	rows, err := v.q.query(query, scope, in.from, in.to, device/tsdb.GroupSize, limit)
	if err != nil {
		return nil, err
	}
	var out dayList
	day := &v.day
	parts := tsdb.DayParts{Keep: func(d, event int64) bool { return d == device && v.wantsEvent(event) }}
	var data sql.RawBytes
	for rows.Next() {
		var d dayHours
		if err := rows.Scan(&d.day, &data); err != nil {
			return nil, closed(rows, err)
		}
		if err := tsdb.DecodeDay(day, data, parts); err != nil {
			return nil, closed(rows, err)
		}
		for i := range day.Lines {
			d.hours |= day.Lines[i].All
		}
		out = append(out, d)
	}
	return out, closed(rows, nil)
}

// hourRuns returns ranges of milliseconds that hold all the hours, in the list's order; hours that lie close together share
// one.
func (l dayList) hourRuns(backward bool) [][2]int64 {
	const near = 2 * tsdb.HourMillis
	var out [][2]int64
	for _, d := range l {
		for i := range 24 {
			hour := i
			if backward {
				hour = 23 - i
			}
			if d.hours>>hour&1 == 0 {
				continue
			}
			start := tsdb.BucketStart(tsdb.LevelDay, d.day) + int64(hour)*tsdb.HourMillis
			end := start + tsdb.HourMillis
			if n := len(out); n > 0 && start-out[n-1][1] <= near && out[n-1][0]-end <= near {
				out[n-1][0], out[n-1][1] = min(out[n-1][0], start), max(out[n-1][1], end)
				continue
			}
			out = append(out, [2]int64{start, end})
		}
	}
	return out
}

// CountLogs implements hearth.LogStore.
func (s *Store) CountLogs(ctx context.Context, reach hearth.Reach) (count int64, err error) {
	err = s.read(ctx, "CountLogs", func(r *reader) error {
		v, err := s.openView(r, logScope{reach: reach, span: everSpan()})
		if err != nil {
			return err
		}
		defer v.returnMemory()
		var pending bool
		if err := r.row(`SELECT pending FROM log_state`).Scan(&pending); err != nil {
			return err
		}
		q := newRollupQuery(v)
		q.groupers = []*tsdb.Grouper{tsdb.NewGrouper(hearth.Grouping{})}
		for _, scope := range v.scopes {
			if pending || v.deadScopes[scope] > 0 {
				// What is counted is not all visible.
				if err := q.runPlan(scope, q.planFor(scope, q.groupers[0]), q.groupers); err != nil {
					return err
				}
				continue
			}
			var n int64
			err := r.row(`SELECT coalesce(sum(entries), 0) FROM log_counts WHERE scope=?`, scope).Scan(&n)
			if err != nil {
				return err
			}
			count += n
		}
		count += q.groupers[0].Count()
		v.tailEntries(func([]tsdb.Series, *tsdb.Entry) { count++ })
		return nil
	})
	return count, err
}
