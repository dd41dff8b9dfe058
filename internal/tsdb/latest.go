package tsdb

import (
	"cmp"
	"context"
	"math"
	"math/bits"
	"slices"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// LatestLogs implements hearth.LogStore. The tail has what came last; of the rest, months know which events there are, and Days the time and
// the value of each event's last log of a day: the newest month of an event is looked at from its end on, so that history costs nothing but
// its months.
func (e *Engine) LatestLogs(ctx context.Context, devices []int64) (out []hearth.LogEntry, err error) {
	of := subject{operation: "LatestLogs", reach: hearth.Reach{All: true}, devices: append([]int64{}, devices...), span: Ever()}
	err = e.view(ctx, of, func(v *view) error {
		q := &latestQuery{view: v, found: map[deviceEvent]*latestLog{}}
		v.tailEntries(func(series []codec.Series, e *codec.Entry) {
			s := &series[e.Series]
			q.offer(lineOf(s), latestLog{at: e.At, seq: e.Seq, value: s.Value(e)})
		})
		newest, err := q.newestMonths()
		if err != nil {
			return err
		}
		for month, lines := range newest {
			if err := q.addMonth(month, lines); err != nil {
				return err
			}
		}
		if err := q.readHours(); err != nil {
			return err
		}
		out, err = q.result()
		return err
	})
	return out, err
}

// latestQuery finds the newest log of each event of some devices.
type latestQuery struct {
	*view
	// found has what is known so far.
	found map[deviceEvent]*latestLog
	// hours are those of which only the logs tell what came last.
	hours []scopeBucket
}

type deviceEvent struct{ device, event int64 }

func lineOf(s *codec.Series) deviceEvent { return deviceEvent{s.Device, s.Event} }

type latestLog struct {
	at    int64
	seq   uint64
	value hearth.Value
}

// offer keeps a log that is newer than what was found.
func (q *latestQuery) offer(of deviceEvent, log latestLog) {
	best := q.found[of]
	if best == nil || cmp.Or(cmp.Compare(log.at, best.at), cmp.Compare(log.seq, best.seq)) > 0 {
		q.found[of] = &log
	}
}

// newestMonths returns the wanted events by the newest month that has logs of them in documents.
func (q *latestQuery) newestMonths() (map[int64][]deviceEvent, error) {
	query := Query{
		Table: Cells, Scopes: q.scopes, Major: Range{codec.LevelMonth, codec.LevelMonth}, Minor: Range{codec.BucketOf(codec.LevelMonth, q.from), math.MaxInt64},
		Data: Fields{2: true},
	}
	months := map[deviceEvent]int64{}
	err := q.s.Find(q.ctx, query, func(d *Doc) error {
		return codec.EachCellKey(d.Data[2], func(device, event int64) {
			of := deviceEvent{device, event}
			if !q.wants(d.Scope, device, event) {
				return
			}
			if known, ok := months[of]; !ok || known < d.Minor {
				months[of] = d.Minor
			}
		})
	})
	out := map[int64][]deviceEvent{}
	for of, month := range months {
		out[month] = append(out[month], of)
	}
	return out, err
}

// addMonth finds the last logs of lines, each of which has some in the month, or all of them before the horizon.
func (q *latestQuery) addMonth(month int64, lines []deviceEvent) error {
	first, end := codec.BucketStart(codec.LevelMonth, month), codec.BucketStart(codec.LevelMonth, month+1)
	days := Range{codec.BucketOf(codec.LevelDay, max(q.from, first)), codec.BucketOf(codec.LevelDay, end-1)}
	for _, groups := range q.groupRanges() {
		left := map[deviceEvent]bool{}
		for _, of := range lines {
			if group := of.device / codec.GroupSize; groups.From <= group && group <= groups.To {
				left[of] = true
			}
		}
		if len(left) == 0 {
			continue
		}
		query := Query{Table: Days, Scopes: q.scopes, Major: days, Minor: groups, Backward: true, Data: MainData}
		err := q.s.Find(q.ctx, query, func(d *Doc) error {
			if err := q.addDay(d, left); err != nil || len(left) > 0 {
				return err
			}
			return ErrEnough
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addDay looks at a day, after those that follow it, for the last logs of the lines that are left, and removes those that it has.
func (q *latestQuery) addDay(d *Doc, left map[deviceEvent]bool) error {
	isLeft := func(device, event int64) bool {
		return left[deviceEvent{device, event}] && q.wants(d.Scope, device, event)
	}
	if err := codec.DecodeDay(&q.day, d.Data[0], codec.DayParts{Keep: isLeft}); err != nil || len(q.day.Lines) == 0 {
		return err
	}
	last := uint32(0)
	for i := range q.day.Lines {
		last |= lastHour(&q.day.Lines[i])
	}
	if err := codec.DecodeDay(&q.day, d.Data[0], codec.DayParts{Keep: isLeft, Hours: last, Changes: true}); err != nil {
		return err
	}
	for i := range q.day.Lines {
		line := &q.day.Lines[i]
		of := deviceEvent{line.Device, line.Event}
		delete(left, of)
		bit := lastHour(line)
		hour := d.Major*24 + int64(bits.TrailingZeros32(bit))
		if codec.BucketStart(codec.LevelHour, hour) < q.from {
			continue
		}
		at, c := codec.BucketStart(codec.LevelDay, d.Major)+line.LastAt, q.day.Changes[line.Place(bit)]
		best := q.found[of]
		if line.LastAt == codec.UnknownTime || c.Unknown || best != nil && best.at == at {
			// Their logs tell; of the same time, the number does.
			q.hours = append(q.hours, scopeBucket{d.Scope, hour})
			continue
		}
		q.offer(of, latestLog{at: at, value: c.Last})
	}
	return nil
}

// lastHour returns the bit of the line's last hour.
func lastHour(line *codec.DayLine) uint32 { return 1 << (bits.Len32(line.All) - 1) }

// readHours looks at the logs of hours.
func (q *latestQuery) readHours() error {
	slices.SortFunc(q.hours, func(a, b scopeBucket) int {
		return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.bucket, b.bucket))
	})
	for _, h := range slices.Compact(q.hours) {
		in := timeRange{from: max(q.from, codec.BucketStart(codec.LevelHour, h.bucket)), to: codec.BucketStart(codec.LevelHour, h.bucket+1)}
		err := q.eachChunk([]int64{h.scope}, in, func(_ int64, series []codec.Series, entries []codec.Entry) error {
			for i := range entries {
				e := &entries[i]
				s := &series[e.Series]
				q.offer(lineOf(s), latestLog{at: e.At, seq: e.Seq, value: s.Value(e)})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// result returns what was found, by device and event.
func (q *latestQuery) result() ([]hearth.LogEntry, error) {
	out := make([]hearth.LogEntry, 0, len(q.found))
	for of, log := range q.found {
		name, err := q.eventName(of.event)
		if err != nil {
			return nil, err
		}
		out = append(out, hearth.LogEntry{Device: of.device, Event: name, Value: log.value, At: log.at})
	}
	slices.SortFunc(out, func(a, b hearth.LogEntry) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Event, b.Event))
	})
	return out, nil
}
