package tsdb

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"

	"hearth"
	"hearth/internal/tsdb/codec"
	"hearth/internal/tsdb/grouping"
)

// changeQuery finds how the values of one event changed. It goes through time once: each day of a device is a change, where Days know it and
// no bucket ends within the day, or else each hour, or else the logs of the hour. It holds no logs but the tail's.
type changeQuery struct {
	*view
	groupers []*grouping.Grouper
	event    int64
	// start is where it begins: a day before the range, where the values before the range are that most devices need.
	start int64
	// states are of the devices of the groups that are looked at now; tails is what is in no document, by device, in order.
	states  map[int64]*changingDevice
	tails   map[int64][]changeLog
	scopeOf map[int64]int64
	// other is the memory of a look at what comes before start.
	other *viewMemory
	// sums are added from the Days that it goes through; cuts add the logs of parts of an hour, while these are decoded.
	sums []daySums
	cuts map[int64][]func() error
	// known and series are memory that is used again.
	known  []hourChange
	series []*changingDevice
}

// changingDevice is what is known of a device so far.
type changingDevice struct {
	// before is the last number, if there is one; asked says that it was looked for before start.
	before        float64
	known, asked  bool
	device, scope int64
	// tail is what is left of the device's logs that are in no document.
	tail []changeLog
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

// newChangeQuery returns what adds their changes to the groups of the groupers that ask for them; nil if none does.
func newChangeQuery(v *view, groupers []*grouping.Grouper) *changeQuery {
	groupers = slices.DeleteFunc(slices.Clone(groupers), func(g *grouping.Grouper) bool { return !g.Changes })
	if len(groupers) == 0 {
		return nil
	}
	q := &changeQuery{
		view: v, groupers: groupers, start: max(firstMilli, v.s.Horizon(), codec.BucketStart(codec.LevelDay, codec.BucketOf(codec.LevelDay, v.from)-1)),
		tails: map[int64][]changeLog{}, scopeOf: map[int64]int64{}, other: &viewMemory{}, cuts: map[int64][]func() error{},
	}
	for event := range v.events {
		q.event = event
	}
	return q
}

// readsDays reports whether run goes through each of the Days of named devices once, from start to the end of the range.
func (q *changeQuery) readsDays() bool { return q.devices != nil && !q.ofLogs() }

// ofLogs reports whether some buckets are shorter than an hour, so that the logs are needed.
func (q *changeQuery) ofLogs() bool {
	return slices.ContainsFunc(q.groupers, func(g *grouping.Grouper) bool { return topOf(&g.Grouping) < codec.LevelHour })
}

func (q *changeQuery) run() error {
	q.tailIn(timeRange{from: q.start, to: q.to}, func(series []codec.Series, e *codec.Entry) {
		s := &series[e.Series]
		q.scopeOf[s.Device] = s.Scope
		q.tails[s.Device] = append(q.tails[s.Device], changeLog{e.At, e.Seq, s.Value(e)})
	})
	for _, logs := range q.tails {
		slices.SortFunc(logs, changeLog.compare)
	}
	if q.ofLogs() {
		return q.addLogs()
	}
	windows, err := q.windows()
	for _, groups := range windows {
		if err == nil {
			q.states = nil
			err = q.addGroups(groups)
		}
	}
	for _, hour := range slices.Sorted(maps.Keys(q.cuts)) {
		if err == nil {
			err = q.addCuts(hour)
		}
	}
	return err
}

// addCuts adds the logs of parts of an hour.
func (q *changeQuery) addCuts(hour int64) error {
	for _, add := range q.cuts[hour] {
		if err := add(); err != nil {
			return err
		}
	}
	delete(q.cuts, hour)
	return nil
}

// device returns what is known of a device.
func (q *changeQuery) device(device, scope int64) *changingDevice {
	d := q.states[device]
	if d == nil {
		if q.states == nil {
			q.states = map[int64]*changingDevice{}
		}
		d = &changingDevice{device: device, scope: scope, tail: q.tails[device]}
		q.states[device] = d
	}
	return d
}

// addLogs adds all logs of the range, one after the other: for buckets that are shorter than an hour.
func (q *changeQuery) addLogs() error {
	scopes, err := q.scopesWithLogs()
	if err != nil {
		return err
	}
	for _, scope := range scopes {
		if err := q.eachLog(scope, timeRange{from: q.start, to: q.to}, func(int64) bool { return true }); err != nil {
			return err
		}
	}
	return q.addTails(Everything, q.to)
}

// unwanted stands for the devices that are not asked for.
var unwanted = &changingDevice{} // never written to

// eachLog adds the logs of a scope, of the devices that are wanted, and those of the tail before them.
func (q *changeQuery) eachLog(scope int64, in timeRange, wanted func(device int64) bool) error {
	return q.eachChunk([]int64{scope}, in, func(_ int64, series []codec.Series, entries []codec.Entry) error {
		q.series = append(q.series[:0], make([]*changingDevice, len(series))...)
		for i := range entries {
			e := &entries[i]
			s := &series[e.Series]
			d := q.series[e.Series]
			if d == nil {
				if d = unwanted; wanted(s.Device) {
					d = q.device(s.Device, scope)
				}
				q.series[e.Series] = d
			}
			if d == unwanted {
				continue
			}
			log := changeLog{e.At, e.Seq, s.Value(e)}
			if err := q.addTail(d, log); err != nil {
				return err
			}
			if err := q.addLog(d, log); err != nil {
				return err
			}
		}
		return nil
	})
}

// addTail adds the logs of the tail that come before another one.
func (q *changeQuery) addTail(d *changingDevice, before changeLog) error {
	for len(d.tail) > 0 && d.tail[0].compare(before) < 0 {
		if err := q.addLog(d, d.tail[0]); err != nil {
			return err
		}
		d.tail = d.tail[1:]
	}
	return nil
}

// addTails adds the logs of the tail, of the devices of some groups, from before a time.
func (q *changeQuery) addTails(groups Range, to int64) error {
	for device := range q.tails {
		if group := device / codec.GroupSize; group < groups.From || group > groups.To {
			continue
		}
		if err := q.addTail(q.device(device, q.scopeOf[device]), changeLog{at: to}); err != nil {
			return err
		}
	}
	return nil
}

func (q *changeQuery) addLog(d *changingDevice, log changeLog) error {
	var one codec.Change
	one.Add(log.value)
	return q.addChange(d, log.at, &one)
}

// maxGroups is how many groups are looked at together, and maxDayLines about how many lines of their Days.
const (
	maxGroups   = 64
	maxDayLines = 1 << 13
)

// windows returns ranges of groups that together have all wanted devices with logs in Days, few in each.
func (q *changeQuery) windows() (out []Range, err error) {
	if q.devices != nil {
		return q.groupRanges(), nil
	}
	found := map[int64]bool{}
	days := Range{codec.BucketOf(codec.LevelDay, q.start), codec.BucketOf(codec.LevelDay, q.to-1)}
	err = q.s.Find(q.ctx, Query{Table: Days, Scopes: q.scopes, Major: days, Minor: Everything}, func(d *Doc) error {
		found[d.Minor] = true
		return nil
	})
	for device := range q.tails {
		found[device/codec.GroupSize] = true
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(found)), maxGroups) {
		out = append(out, Range{some[0], some[len(some)-1]})
	}
	return out, err
}

// addGroups adds the changes of the devices of some groups.
func (q *changeQuery) addGroups(groups Range) error {
	first, last := codec.BucketOf(codec.LevelDay, q.start), codec.BucketOf(codec.LevelDay, q.to-1)
	for n := int64(2); first <= last; {
		end := min(last, first+n-1)
		lines, err := q.addDays(groups, Range{first, end})
		if err != nil {
			return err
		}
		first = end + 1
		if lines < maxDayLines/4 {
			n = min(2*n, 1<<20)
		} else if lines > maxDayLines {
			n = max(1, n/2)
		}
	}
	return nil
}

type deviceHour struct{ hour, device int64 }

// hourChange is how the values of a device changed in an hour, or in a day whose first hour with logs it is.
type hourChange struct {
	deviceHour
	codec.Change
}

// dayChanges are the hours of some days: those that are known, and those of which the logs are needed.
type dayChanges struct {
	known  []hourChange
	needed map[deviceHour]bool
	// scopes are those that have needed hours, by hour.
	scopes map[int64][]int64
}

// addDays adds the changes of some days, and returns how many lines of Days they had.
func (q *changeQuery) addDays(groups, days Range) (lines int, err error) {
	found := dayChanges{known: q.known[:0], needed: map[deviceHour]bool{}, scopes: map[int64][]int64{}}
	query := Query{Table: Days, Scopes: q.scopes, Major: days, Minor: groups, Data: MainData}
	err = q.s.Find(q.ctx, query, func(d *Doc) error {
		parts := codec.DayParts{Hours: codec.WholeDay, Keep: q.wantsIn(d.Scope), Changes: true}
		for i := range q.sums {
			parts.Sketches = parts.Sketches || q.sums[i].sketch && q.sums[i].of(d) != 0
		}
		if err := codec.DecodeDay(&q.day, d.Data[0], parts); err != nil {
			return err
		}
		for i := range q.sums {
			q.sums[i].add(&q.day, d)
		}
		lines += len(q.day.Lines)
		for i := range q.day.Lines {
			q.addLine(&found, d.Scope, d.Major, &q.day.Lines[i])
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	byHour := func(a, b hourChange) int { return cmp.Compare(a.hour, b.hour) }
	if !slices.IsSortedFunc(found.known, byHour) {
		slices.SortFunc(found.known, byHour)
	}
	known := found.known
	q.known = known
	for _, hour := range slices.Sorted(maps.Keys(found.scopes)) {
		// What is known of earlier hours comes first.
		n, _ := slices.BinarySearchFunc(known, hour, func(c hourChange, hour int64) int { return cmp.Compare(c.hour, hour) })
		if err := q.addKnown(known[:n]); err != nil {
			return 0, err
		}
		known = known[n:]
		in := timeRange{from: max(q.start, codec.BucketStart(codec.LevelHour, hour)), to: min(q.to, codec.BucketStart(codec.LevelHour, hour+1))}
		for _, scope := range found.scopes[hour] {
			needed := func(device int64) bool { return found.needed[deviceHour{hour, device}] }
			if err := q.eachLog(scope, in, needed); err != nil {
				return 0, err
			}
		}
		if err := q.addCuts(hour); err != nil {
			return 0, err
		}
	}
	if err := q.addKnown(known); err != nil {
		return 0, err
	}
	return lines, q.addTails(groups, codec.BucketStart(codec.LevelDay, days.To+1))
}

// addKnown adds the changes of hours.
func (q *changeQuery) addKnown(known []hourChange) error {
	for i := range known {
		d := q.states[known[i].device]
		at := codec.BucketStart(codec.LevelHour, known[i].hour)
		if err := q.addTail(d, changeLog{at: at}); err != nil {
			return err
		}
		if err := q.addChange(d, at, &known[i].Change); err != nil {
			return err
		}
	}
	return nil
}

// addLine takes the hours of a line.
func (q *changeQuery) addLine(found *dayChanges, scope, day int64, line *codec.DayLine) {
	changes := q.day.ChangesOf(line)
	q.device(line.Device, scope)
	if c, ok := q.wholeDay(day, line, changes); ok {
		found.known = append(found.known, hourChange{deviceHour{day*24 + int64(bits.TrailingZeros32(line.Hours)), line.Device}, c})
		return
	}
	for set := line.Hours; set != 0; set &= set - 1 {
		hour := day*24 + int64(bits.TrailingZeros32(set))
		c := changes[0]
		changes = changes[1:]
		if codec.BucketStart(codec.LevelHour, hour+1) <= q.start || codec.BucketStart(codec.LevelHour, hour) >= q.to {
			continue
		}
		// lastAt is the time of the hour's last log, where it is known.
		lastAt := int64(math.MaxInt64)
		if set&(set-1) == 0 && line.LastAt != codec.UnknownTime {
			lastAt = codec.BucketStart(codec.LevelDay, day) + line.LastAt
		}
		key := deviceHour{hour, line.Device}
		within := timeRange{from: codec.BucketStart(codec.LevelHour, hour), to: codec.BucketStart(codec.LevelHour, hour+1)}
		if !c.Unknown && !q.cut(within, lastAt) && !q.tailWithin(line.Device, within, lastAt) {
			found.known = append(found.known, hourChange{key, c})
			continue
		}
		found.needed[key] = true
		if !slices.Contains(found.scopes[hour], scope) {
			found.scopes[hour] = append(found.scopes[hour], scope)
		}
	}
}

// wholeDay returns how the values of a line, with those changes by hour, changed in its day; ok is false if its hours must be looked at.
func (q *changeQuery) wholeDay(day int64, line *codec.DayLine, changes []codec.Change) (all codec.Change, ok bool) {
	within := timeRange{from: codec.BucketStart(codec.LevelDay, day), to: codec.BucketStart(codec.LevelDay, day+1)}
	lastAt := int64(math.MaxInt64)
	if line.LastAt != codec.UnknownTime {
		lastAt = within.from + line.LastAt
	}
	if q.cut(within, lastAt) || q.tailWithin(line.Device, within, lastAt) {
		return all, false
	}
	for i := range changes {
		all.Join(&changes[i])
	}
	return all, !all.Unknown
}

// cut reports whether an hour or a day, whose last log is at lastAt, is partly out of the range or in several buckets.
func (q *changeQuery) cut(of timeRange, lastAt int64) bool {
	if of.from < q.from && q.from < of.to || of.from < q.start || of.to > q.to && lastAt >= q.to {
		return true
	}
	return slices.ContainsFunc(q.groupers, func(g *grouping.Grouper) bool { return g.Splits(of.from, of.to-1) })
}

// tailWithin reports whether the tail has logs of an hour or a day that may not come after those at lastAt.
func (q *changeQuery) tailWithin(device int64, of timeRange, lastAt int64) bool {
	logs := q.tails[device]
	at, _ := slices.BinarySearchFunc(logs, of.from, func(l changeLog, at int64) int { return cmp.Compare(l.at, at) })
	return at < len(logs) && logs[at].at < of.to && logs[at].at <= lastAt
}

// addChange adds what comes next of a device.
func (q *changeQuery) addChange(d *changingDevice, at int64, c *codec.Change) error {
	rise := 0.0
	if c.Numbers {
		if !d.known && !d.asked && at >= q.from {
			d.asked = true
			var err error
			if d.before, d.known, err = q.numberBefore(d); err != nil {
				return err
			}
		}
		if d.known {
			rise = hearth.Rise(d.before, c.Head)
		}
		d.before, d.known = c.Tail, true
	}
	if at < q.from {
		return nil
	}
	for _, g := range q.groupers {
		g.AddChange(d.device, q.event, at, c, rise)
	}
	return nil
}

// numberBefore returns the last number or boolean of a device from before start. It leaves the memory of the view as it is.
func (q *changeQuery) numberBefore(d *changingDevice) (n float64, ok bool, err error) {
	span := *q.view
	span.lastKey = Key{}
	span.scopes, span.devices, span.viewMemory = []int64{d.scope}, map[int64]bool{d.device: true}, q.other
	page := &logPage{LogQuery: hearth.LogQuery{Device: d.device, Limit: 1}, view: &span}
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
