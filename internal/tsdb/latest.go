package tsdb

import (
	"cmp"
	"context"
	"math"
	"math/bits"
	"slices"

	"hearth"
)

// LatestLogs implements hearth.LogStore. The tail has what came last; of the rest, Days know the time of each event's last log of a day and its
// value, so that no chunk is read.
func (e *Engine) LatestLogs(ctx context.Context, devices []int64) (out []hearth.LogEntry, err error) {
	of := subject{operation: "LatestLogs", reach: hearth.Reach{All: true}, devices: append([]int64{}, devices...), span: Ever()}
	err = e.view(ctx, of, func(v *view) error {
		q := &latestQuery{view: v, found: map[deviceEvent]*latestLog{}}
		v.tailEntries(func(series []Series, e *Entry) {
			s := &series[e.Series]
			q.offer(s.line(), latestLog{at: e.At, seq: e.Seq, value: s.value(e)})
		})
		for _, groups := range v.groupRanges() {
			if err := q.addDays(groups); err != nil {
				return err
			}
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
}

type deviceEvent struct{ device, event int64 }

func (s *Series) line() deviceEvent { return deviceEvent{s.Device, s.Event} }

type latestLog struct {
	at    int64
	seq   uint64
	value hearth.Value
	// folded says that the newest day with logs of the event was looked at.
	folded bool
}

// offer keeps a log that is newer than what was found.
func (q *latestQuery) offer(of deviceEvent, log latestLog) {
	best := q.found[of]
	if best == nil {
		q.found[of] = &log
		return
	}
	if cmp.Or(cmp.Compare(log.at, best.at), cmp.Compare(log.seq, best.seq)) > 0 {
		log.folded = log.folded || best.folded
		*best = log
	}
	best.folded = best.folded || log.folded
}

// addDays looks at the days of some groups, the newest of each scope first.
func (q *latestQuery) addDays(groups Range) error {
	query := Query{
		Table: Days, Scopes: q.scopes, Major: Range{BucketOf(LevelDay, q.from), Everything.To}, Minor: groups, Backward: true, Data: MainData,
	}
	var hours []deviceHourOf
	err := q.s.Find(q.ctx, query, func(d *Doc) error {
		isNew := func(device, event int64) bool {
			best := q.found[deviceEvent{device, event}]
			return q.wants(d.Scope, device, event) && (best == nil || !best.folded)
		}
		if err := DecodeDay(&q.day, d.Data[0], DayParts{Keep: isNew}); err != nil || len(q.day.Lines) == 0 {
			return err
		}
		last := uint32(0)
		for i := range q.day.Lines {
			last |= lastHour(&q.day.Lines[i])
		}
		if err := DecodeDay(&q.day, d.Data[0], DayParts{Keep: isNew, Hours: last, changes: true}); err != nil {
			return err
		}
		for i := range q.day.Lines {
			line := &q.day.Lines[i]
			of := deviceEvent{line.Device, line.Event}
			bit := lastHour(line)
			hour := d.Major*24 + int64(bits.TrailingZeros32(bit))
			c := q.day.changes[line.place(bit)]
			if BucketStart(LevelHour, hour) < q.from {
				q.hide(of)
				continue
			}
			log := latestLog{at: BucketStart(LevelDay, d.Major) + line.lastAt, value: c.last, folded: true}
			best := q.found[of]
			if line.lastAt == unknownTime || c.unknown || best != nil && best.at == log.at {
				// Their logs tell; of the same time, the number does.
				hours = append(hours, deviceHourOf{of, d.Scope, hour})
				log = latestLog{at: math.MinInt64, folded: true}
			}
			q.offer(of, log)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return q.readHours(hours)
}

// hide notes that the event's logs of before the horizon are not to be seen.
func (q *latestQuery) hide(of deviceEvent) {
	if best := q.found[of]; best != nil {
		best.folded = true
	}
}

// lastHour returns the bit of the line's last hour.
func lastHour(line *DayLine) uint32 { return 1 << (bits.Len32(line.All) - 1) }

// deviceHourOf is an hour of which only the logs tell what came last.
type deviceHourOf struct {
	deviceEvent
	scope, hour int64
}

// readHours looks at the logs of hours.
func (q *latestQuery) readHours(hours []deviceHourOf) error {
	slices.SortFunc(hours, func(a, b deviceHourOf) int { return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.hour, b.hour)) })
	hours = slices.CompactFunc(hours, func(a, b deviceHourOf) bool { return a.scope == b.scope && a.hour == b.hour })
	for _, h := range hours {
		in := timeRange{from: BucketStart(LevelHour, h.hour), to: BucketStart(LevelHour, h.hour+1)}
		err := q.eachChunk([]int64{h.scope}, in, func(_ int64, series []Series, entries []Entry) error {
			for i := range entries {
				e := &entries[i]
				s := &series[e.Series]
				q.offer(s.line(), latestLog{at: e.At, seq: e.Seq, value: s.value(e)})
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
