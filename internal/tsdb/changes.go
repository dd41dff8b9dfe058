package tsdb

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"

	"hearth"
)

// changeQuery finds how the values of one event changed. It goes through time once: each hour of a device is a change, where Days know it and
// no bucket ends within the hour, or else the logs of the hour.
type changeQuery struct {
	*view
	groupers []*Grouper
	event    int64
	// start is where it begins: a day before the range, where the values before the range are that most devices need.
	start int64
	// before are the last numbers of devices so far.
	before map[int64]float64
	// asked are the devices whose last number before start was looked for; homes are the scopes of devices.
	asked map[int64]bool
	homes map[int64]int64
	// tail is what is in no document, by device, in order.
	tail map[int64][]changeLog
}

// changeLog is a log of the event.
type changeLog struct {
	at    int64
	seq   uint64
	value hearth.Value
}

func (l changeLog) compare(m changeLog) int {
	return cmp.Or(cmp.Compare(l.at, m.at), cmp.Compare(l.seq, m.seq))
}

// hourChange is what is known of a device's hour.
type hourChange struct {
	change
	// lastAt is the time of the last log, if it is known, in Unix milliseconds.
	lastAt int64
	logs   []changeLog
}

// addChanges adds their changes to the groups of the groupers that ask for them.
func addChanges(v *view, groupers []*Grouper) error {
	groupers = slices.DeleteFunc(slices.Clone(groupers), func(g *Grouper) bool { return !g.Changes })
	if len(groupers) == 0 {
		return nil
	}
	q := &changeQuery{
		view: v, groupers: groupers, start: max(firstMilli, v.s.Horizon(), BucketStart(LevelDay, BucketOf(LevelDay, v.from)-1)),
		before: map[int64]float64{}, asked: map[int64]bool{}, homes: map[int64]int64{}, tail: map[int64][]changeLog{},
	}
	for event := range v.events {
		q.event = event
	}
	v.tailIn(timeRange{from: firstMilli, to: v.to}, func(series []Series, e *Entry) {
		s := &series[e.Series]
		q.homes[s.Device] = s.Scope
		q.tail[s.Device] = append(q.tail[s.Device], changeLog{e.At, e.Seq, s.value(e)})
	})
	for _, logs := range q.tail {
		slices.SortFunc(logs, changeLog.compare)
	}
	return q.run()
}

// maxDayLines is about how many lines of Days are looked at together.
const maxDayLines = 1 << 13

func (q *changeQuery) run() error {
	first, last := BucketOf(LevelDay, q.start), BucketOf(LevelDay, q.to-1)
	for n := int64(2); first <= last; {
		lines, err := q.addDays(first, min(last, first+n-1))
		if err != nil {
			return err
		}
		first += n
		if lines < maxDayLines/4 {
			n = min(2*n, 1<<20)
		} else if lines > maxDayLines {
			n = max(1, n/2)
		}
	}
	return nil
}

type deviceHour struct{ device, hour int64 }

// addDays adds the changes of some days, and returns how many lines of Days they had.
func (q *changeQuery) addDays(first, last int64) (lines int, err error) {
	hours := map[deviceHour]*hourChange{}
	// needed are the hours of which the logs are needed, by scope.
	needed := map[int64][]int64{}
	for _, groups := range q.groupRanges() {
		query := Query{Table: Days, Scopes: q.scopes, Major: Range{first, last}, Minor: groups, Data: MainData}
		err := q.s.Find(q.ctx, query, func(d *Doc) error {
			if err := DecodeDay(&q.day, d.Data[0], DayParts{Hours: WholeDay, Keep: q.wantsIn(d.Scope), changes: true}); err != nil {
				return err
			}
			lines += len(q.day.Lines)
			for i := range q.day.Lines {
				q.addLine(hours, needed, d.Scope, d.Major, &q.day.Lines[i])
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	for _, scope := range slices.Sorted(maps.Keys(needed)) {
		if err := q.readLogs(hours, scope, needed[scope]); err != nil {
			return 0, err
		}
	}
	q.addTail(hours, timeRange{from: BucketStart(LevelDay, first), to: BucketStart(LevelDay, last+1)})
	keys := slices.SortedFunc(maps.Keys(hours), func(a, b deviceHour) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.hour, b.hour))
	})
	for _, key := range keys {
		if err := q.addHour(key, hours[key]); err != nil {
			return 0, err
		}
	}
	return lines, nil
}

// addLine takes the hours of a line, and notes those of which the logs are needed.
func (q *changeQuery) addLine(hours map[deviceHour]*hourChange, needed map[int64][]int64, scope, day int64, line *DayLine) {
	changes := q.day.changesOf(line)
	q.homes[line.Device] = scope
	for set := line.Hours; set != 0; set &= set - 1 {
		i := bits.TrailingZeros32(set)
		h := &hourChange{change: changes[0], lastAt: math.MaxInt64}
		changes = changes[1:]
		hour := day*24 + int64(i)
		if set&(set-1) == 0 && line.lastAt != unknownTime {
			h.lastAt = BucketStart(LevelDay, day) + line.lastAt
		}
		if BucketStart(LevelHour, hour+1) <= q.start || BucketStart(LevelHour, hour) >= q.to {
			continue
		}
		hours[deviceHour{line.Device, hour}] = h
		if h.unknown || q.cut(hour, h.lastAt) || q.tailWithin(line.Device, hour, h.lastAt) {
			h.unknown = true
			needed[scope] = append(needed[scope], hour)
		}
	}
}

// cut reports whether an hour, whose last log is at lastAt, is partly out of the range or in several buckets.
func (q *changeQuery) cut(hour, lastAt int64) bool {
	from, to := BucketStart(LevelHour, hour), BucketStart(LevelHour, hour+1)
	if from < q.from && q.from < to || from < q.start || to > q.to && lastAt >= q.to {
		return true
	}
	return slices.ContainsFunc(q.groupers, func(g *Grouper) bool {
		return (g.Bounds != nil || g.Step != hearth.StepNone) && g.Floor(from) != g.Floor(to-1)
	})
}

// tailWithin reports whether the tail has logs of the hour that may not come after those at lastAt.
func (q *changeQuery) tailWithin(device, hour, lastAt int64) bool {
	logs := q.tailOf(device, timeRange{from: BucketStart(LevelHour, hour), to: BucketStart(LevelHour, hour+1)})
	return len(logs) > 0 && logs[0].at <= lastAt
}

func (q *changeQuery) tailOf(device int64, in timeRange) []changeLog {
	logs := q.tail[device]
	byTime := func(l changeLog, at int64) int { return cmp.Compare(l.at, at) }
	first, _ := slices.BinarySearchFunc(logs, in.from, byTime)
	end, _ := slices.BinarySearchFunc(logs, in.to, byTime)
	return logs[first:max(first, end)]
}

// readLogs reads the logs of those hours of a scope that are unknown.
func (q *changeQuery) readLogs(hours map[deviceHour]*hourChange, scope int64, numbers []int64) error {
	return runsOf(numbers, func(first, last int64) error {
		in := timeRange{from: BucketStart(LevelHour, first), to: BucketStart(LevelHour, last+1)}
		return q.eachChunk([]int64{scope}, in, func(_ int64, series []Series, entries []Entry) error {
			for i := range entries {
				e := &entries[i]
				s := &series[e.Series]
				if h := hours[deviceHour{s.Device, BucketOf(LevelHour, e.At)}]; h != nil && h.unknown {
					h.logs = append(h.logs, changeLog{e.At, e.Seq, s.value(e)})
				}
			}
			return nil
		})
	})
}

// addTail adds the logs of the tail in a range of whole hours.
func (q *changeQuery) addTail(hours map[deviceHour]*hourChange, in timeRange) {
	in.from = max(in.from, q.start)
	for device := range q.tail {
		for _, l := range q.tailOf(device, in) {
			key := deviceHour{device, BucketOf(LevelHour, l.at)}
			if hours[key] == nil {
				hours[key] = &hourChange{change: change{unknown: true}}
			}
			hours[key].logs = append(hours[key].logs, l)
		}
	}
}

// addHour adds an hour to the groups.
func (q *changeQuery) addHour(key deviceHour, h *hourChange) error {
	if !h.unknown {
		if err := q.addChange(key.device, BucketStart(LevelHour, key.hour), &h.change); err != nil {
			return err
		}
	}
	slices.SortFunc(h.logs, changeLog.compare)
	for i := range h.logs {
		var one change
		one.add(h.logs[i].value)
		if at := h.logs[i].at; at >= q.start && at < q.to {
			if err := q.addChange(key.device, at, &one); err != nil {
				return err
			}
		}
	}
	return nil
}

// addChange adds what comes next of a device.
func (q *changeQuery) addChange(device, at int64, c *change) error {
	rise := 0.0
	if c.numbers {
		before, ok := q.before[device]
		if !ok && !q.asked[device] && at >= q.from {
			q.asked[device] = true
			var err error
			if before, ok, err = q.numberBefore(device); err != nil {
				return err
			}
		}
		if ok {
			rise = hearth.Rise(before, c.head)
		}
		q.before[device] = c.tail
	}
	if at < q.from {
		return nil
	}
	for _, g := range q.groupers {
		g.AddChange(device, q.event, at, c, rise)
	}
	return nil
}

// numberBefore returns the last number or boolean of a device from before start.
func (q *changeQuery) numberBefore(device int64) (n float64, ok bool, err error) {
	span := *q.view
	span.scopes, span.devices, span.lastKey = []int64{q.homes[device]}, map[int64]bool{device: true}, Key{}
	defer func() { q.lastKey = Key{} }()
	page := &logPage{LogQuery: hearth.LogQuery{Device: device, Limit: 1}, view: &span}
	for {
		page.out = nil
		span.from, span.to = max(firstMilli, q.s.Horizon()), q.start
		logs, err := page.collect()
		if err != nil || len(logs) == 0 {
			return 0, false, err
		}
		for i := range logs[:min(len(logs), page.Limit)] {
			if logs[i].Value.Kind() != hearth.TextKind {
				return logs[i].Value.Number(), true, nil
			}
			page.After = &logs[i]
		}
		if len(logs) <= page.Limit {
			return 0, false, nil
		}
		page.Limit = min(2*page.Limit, 1024)
	}
}
