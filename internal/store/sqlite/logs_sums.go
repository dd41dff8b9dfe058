package sqlite

import (
	"cmp"
	"database/sql"
	"errors"
	"math/bits"
	"slices"
	"time"

	"hearth"
	"hearth/internal/store/sqlite/logcodec"
)

// The levels of log_sums.
const (
	levelHour = iota
	levelDay
	levelMonth
)

const (
	hourMillis = int64(3_600_000)
	dayMillis  = 24 * hourMillis
	// groupSize is how many devices share a row of log_days.
	groupSize = 32
)

// bucketOf gives the bucket of a level that at (Unix milliseconds) is in.
func bucketOf(level int, at int64) int64 {
	switch level {
	case levelHour:
		return floorDiv(at, hourMillis)
	case levelDay:
		return floorDiv(at, dayMillis)
	}
	t := time.UnixMilli(at).UTC()
	return int64(t.Year()-1970)*12 + int64(t.Month()-1)
}

// bucketStart gives the first millisecond of a bucket.
func bucketStart(level int, bucket int64) int64 {
	switch level {
	case levelHour:
		return bucket * hourMillis
	case levelDay:
		return bucket * dayMillis
	}
	return time.Date(1970, time.Month(1+bucket), 1, 0, 0, 0, 0, time.UTC).UnixMilli()
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// sum is a row of log_sums.
type sum struct {
	bucket       int64
	entries      int64
	minAt, maxAt int64
	totals       []logcodec.Cell // by event; Device is 0
	sketches     logcodec.Sketches
	cells        []logcodec.Cell // by device and event; none for hours
}

// merge adds other's logs.
func (s *sum) merge(other *sum) {
	if other.entries == 0 {
		return
	}
	if s.entries == 0 {
		s.minAt, s.maxAt = other.minAt, other.maxAt
	}
	s.entries += other.entries
	s.minAt, s.maxAt = min(s.minAt, other.minAt), max(s.maxAt, other.maxAt)
	s.totals = mergeCells(s.totals, other.totals)
	s.cells = mergeCells(s.cells, other.cells)
	s.sketches.Merge(&other.sketches)
}

// mergeCells merges two sorted lists.
func mergeCells(a, b []logcodec.Cell) []logcodec.Cell {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]logcodec.Cell, 0, max(len(a), len(b))+min(len(a), len(b))/4)
	for len(a) > 0 && len(b) > 0 {
		switch order := cmp.Or(cmp.Compare(a[0].Device, b[0].Device), cmp.Compare(a[0].Event, b[0].Event)); {
		case order < 0:
			out = append(out, a[0])
			a = a[1:]
		case order > 0:
			out = append(out, b[0])
			b = b[1:]
		default:
			c := a[0]
			c.Merge(b[0].Stats)
			out = append(out, c)
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// rollups are the sums of some logs of one scope.
type rollups struct {
	hours, days, months []sum
	// groups are the rows of log_days, by day and group.
	groups []dayGroup
}

type dayGroup struct {
	day, group int64
	logcodec.Day
}

// sumUp gives the sums of entries of one scope, sorted by Entry.Compare; series are sorted.
func sumUp(series []logcodec.Series, entries []logcodec.Entry) *rollups {
	r := &rollups{}
	indexes := make([]int32, len(entries))
	for i := range entries {
		indexes[i] = hearth.SketchIndex(entries[i].Value)
	}
	r.sumHours(series, entries, indexes)
	r.sumSeries(series, entries, indexes)
	r.days = coarser(r.hours, levelHour, levelDay)
	r.dayCells()
	r.months = coarser(r.days, levelDay, levelMonth)
	return r
}

// sumHours sums up hour by hour, which in entries come one after the other.
func (r *rollups) sumHours(series []logcodec.Series, entries []logcodec.Entry, indexes []int32) {
	byEvent := map[int64]*eventSum{}
	var events []int64
	for start := 0; start < len(entries); {
		hour := bucketOf(levelHour, entries[start].At)
		limit := bucketStart(levelHour, hour+1)
		end := start
		var last *eventSum
		var lastEvent int64
		for ; end < len(entries) && entries[end].At < limit; end++ {
			event := series[entries[end].Series].Event
			if last == nil || event != lastEvent {
				if last = byEvent[event]; last == nil {
					last = &eventSum{}
					byEvent[event] = last
				}
				lastEvent = event
				if last.Count == 0 {
					events = append(events, event)
				}
			}
			last.Add(entries[end].Value)
			last.indexes = append(last.indexes, indexes[end])
		}
		s := sum{bucket: hour, entries: int64(end - start), minAt: entries[start].At, maxAt: entries[end-1].At}
		slices.Sort(events)
		for _, event := range events {
			e := byEvent[event]
			s.totals = append(s.totals, logcodec.Cell{Event: event, Stats: e.Stats})
			s.sketches.Events = append(s.sketches.Events, event)
			s.sketches.Sketches = append(s.sketches.Sketches, sketchOf(e.indexes))
			e.Stats, e.indexes = hearth.Stats{}, e.indexes[:0]
		}
		events = events[:0]
		r.hours = append(r.hours, s)
		start = end
	}
}

type eventSum struct {
	hearth.Stats
	indexes []int32
}

// sketchOf counts indexes, which it sorts.
func sketchOf(indexes []int32) (sketch hearth.Sketch) {
	slices.Sort(indexes)
	n := 0
	for i := range indexes {
		if i == 0 || indexes[i] != indexes[i-1] {
			n++
		}
	}
	sketch.Bins = make([]hearth.SketchBin, 0, n)
	for i := range indexes {
		if i == 0 || indexes[i] != indexes[i-1] {
			sketch.Bins = append(sketch.Bins, hearth.SketchBin{Index: indexes[i]})
		}
		sketch.Bins[len(sketch.Bins)-1].Count++
	}
	return sketch
}

// sumSeries makes the day groups.
func (r *rollups) sumSeries(series []logcodec.Series, entries []logcodec.Entry, indexes []int32) {
	// A counting sort by series keeps the order of time within each.
	starts := make([]int32, len(series)+1)
	for i := range entries {
		starts[entries[i].Series+1]++
	}
	for i := range series {
		starts[i+1] += starts[i]
	}
	order := make([]int32, len(entries))
	next := slices.Clone(starts)
	for i := range entries {
		at := &next[entries[i].Series]
		order[*at] = int32(i)
		*at++
	}
	groups := map[[2]int64]int{}
	var scratch []int32
	for i, s := range series {
		line := order[starts[i]:starts[i+1]]
		for len(line) > 0 {
			day := bucketOf(levelDay, entries[line[0]].At)
			key := [2]int64{day, s.Device / groupSize}
			at, ok := groups[key]
			if !ok {
				at = len(r.groups)
				groups[key] = at
				r.groups = append(r.groups, dayGroup{day: day, group: key[1]})
			}
			group := &r.groups[at]
			n := group.addLine(s, entries, line)
			scratch = scratch[:0]
			for _, e := range line[:n] {
				scratch = append(scratch, indexes[e])
			}
			group.Lines[len(group.Lines)-1].Sketch = sketchOf(scratch)
			line = line[n:]
		}
	}
	slices.SortFunc(r.groups, func(a, b dayGroup) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.group, b.group)) })
}

// addLine adds the line of one series, from those of its entries that are of the group's day; it gives their number.
func (g *dayGroup) addLine(s logcodec.Series, entries []logcodec.Entry, line []int32) int {
	start := bucketStart(levelDay, g.day)
	out := logcodec.DayLine{Device: s.Device, Event: s.Event, First: len(g.Stats)}
	hour := int64(-1)
	n := 0
	for ; n < len(line); n++ {
		e := &entries[line[n]]
		if e.At >= start+dayMillis {
			break
		}
		if h := (e.At - start) / hourMillis; h != hour {
			hour = h
			out.Hours |= 1 << h
			g.Stats = append(g.Stats, hearth.Stats{})
		}
		g.Stats[len(g.Stats)-1].Add(e.Value)
	}
	g.Lines = append(g.Lines, out)
	return n
}

// coarser sums sorted sums up to a coarser level.
func coarser(fine []sum, from, to int) []sum {
	var out []sum
	for i := range fine {
		bucket := bucketOf(to, bucketStart(from, fine[i].bucket))
		if len(out) == 0 || out[len(out)-1].bucket != bucket {
			out = append(out, sum{bucket: bucket})
		}
		out[len(out)-1].merge(&fine[i])
	}
	return out
}

// dayCells fills in the days' cells from the groups.
func (r *rollups) dayCells() {
	at := 0
	for i := range r.groups {
		g := &r.groups[i]
		for r.days[at].bucket != g.day {
			at++
		}
		for j := range g.Lines {
			line := &g.Lines[j]
			cell := logcodec.Cell{Device: line.Device, Event: line.Event}
			for _, s := range g.StatsOf(line) {
				cell.Merge(s)
			}
			r.days[at].cells = append(r.days[at].cells, cell)
		}
	}
}

// addRollups adds sums to the stored ones of a scope.
func (s *Store) addRollups(t *tx, scope int64, add *rollups) error {
	for level, sums := range [][]sum{add.hours, add.days, add.months} {
		for i := range sums {
			stored, err := loadSum(t, scope, level, sums[i].bucket)
			if err != nil {
				return err
			}
			stored.merge(&sums[i])
			if err := storeSum(t, scope, level, &stored); err != nil {
				return err
			}
		}
	}
	var old, merged logcodec.Day
	for i := range add.groups {
		g := &add.groups[i]
		var data []byte
		// By primary key.
		err := t.row(`SELECT data FROM log_days WHERE scope=? AND day=? AND grp=?`, scope, g.day, g.group).Scan(&data)
		day := &g.Day
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		default:
			if err := logcodec.DecodeDay(&old, data, logcodec.DayParts{Hours: logcodec.WholeDay, Sketches: true}); err != nil {
				return err
			}
			mergeDays(&merged, &old, &g.Day)
			day = &merged
		}
		if err := storeDay(t, scope, g.day, g.group, day); err != nil {
			return err
		}
	}
	return nil
}

// loadSum gives a stored sum, an empty one if there is none.
func loadSum(q querier, scope int64, level int, bucket int64) (sum, error) {
	s := sum{bucket: bucket}
	var totals, sketches, cells []byte
	// By the primary keys.
	err := q.row(`SELECT entries, min_at, max_at, totals, sketches, cells FROM log_sums JOIN log_cells USING (scope, level, bucket)
		WHERE scope=? AND level=? AND bucket=?`,
		scope, level, bucket).Scan(&s.entries, &s.minAt, &s.maxAt, &totals, &sketches, &cells)
	if errors.Is(err, sql.ErrNoRows) {
		return s, nil
	}
	if err == nil {
		s.totals, err = logcodec.DecodeCells(nil, totals)
	}
	if err == nil {
		s.sketches, err = logcodec.DecodeSketches(sketches)
	}
	if err == nil {
		s.cells, err = logcodec.DecodeCells(nil, cells)
	}
	return s, err
}

// storeSum stores a sum; one of nothing is removed.
func storeSum(t *tx, scope int64, level int, s *sum) error {
	if s.entries == 0 {
		return deleteSums(t, scope, level, s.bucket, s.bucket)
	}
	w := t.w.logs
	b := logcodec.AppendCells(w.blob[:0], s.totals)
	_, err := t.exec(`INSERT OR REPLACE INTO log_sums(scope, level, bucket, entries, min_at, max_at, totals) VALUES(?,?,?,?,?,?,?)`,
		scope, level, s.bucket, s.entries, s.minAt, s.maxAt, b)
	if err != nil {
		return err
	}
	b = logcodec.AppendSketches(b[:0], &s.sketches)
	devices := len(b)
	if byDevice := deviceCells(s.cells); len(byDevice) < len(s.cells) {
		b = logcodec.AppendCells(b, byDevice)
	}
	cells := len(b)
	b = logcodec.AppendCells(b, s.cells)
	w.blob = b
	_, err = t.exec(`INSERT INTO log_cells(scope, level, bucket, sketches, devices, cells) VALUES(?,?,?,?,?,?)
		ON CONFLICT(scope, level, bucket) DO UPDATE SET sketches=excluded.sketches, devices=excluded.devices, cells=excluded.cells`,
		scope, level, s.bucket, b[:devices], b[devices:cells], b[cells:])
	return err
}

// deviceCells sums cells up by device.
func deviceCells(cells []logcodec.Cell) []logcodec.Cell {
	out := make([]logcodec.Cell, 0, len(cells))
	for i := range cells {
		if n := len(out); n > 0 && out[n-1].Device == cells[i].Device {
			out[n-1].Merge(cells[i].Stats)
			continue
		}
		out = append(out, logcodec.Cell{Device: cells[i].Device, Stats: cells[i].Stats})
	}
	return out
}

// deleteSums removes the sums of the buckets from first to last.
func deleteSums(t *tx, scope int64, level int, first, last int64) error {
	_, err := t.exec(`DELETE FROM log_sums WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`, scope, level, first, last)
	if err == nil {
		_, err = t.exec(`DELETE FROM log_cells WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`, scope, level, first, last)
	}
	return err
}

// storeDay stores a row of log_days; one without lines is removed.
func storeDay(t *tx, scope, day, group int64, d *logcodec.Day) error {
	if len(d.Lines) == 0 {
		_, err := t.exec(`DELETE FROM log_days WHERE scope=? AND day=? AND grp=?`, scope, day, group)
		return err
	}
	w := t.w.logs
	w.blob = logcodec.AppendDay(w.blob[:0], d)
	_, err := t.exec(`INSERT INTO log_days(scope, day, grp, data) VALUES(?,?,?,?)
		ON CONFLICT(scope, day, grp) DO UPDATE SET data=excluded.data`, scope, day, group, w.blob)
	return err
}

// mergeDays puts the sum of two days into out.
func mergeDays(out, a, b *logcodec.Day) {
	out.Reset()
	i, j := 0, 0
	for i < len(a.Lines) || j < len(b.Lines) {
		var order int
		switch {
		case i == len(a.Lines):
			order = 1
		case j == len(b.Lines):
			order = -1
		default:
			order = cmp.Or(cmp.Compare(a.Lines[i].Device, b.Lines[j].Device), cmp.Compare(a.Lines[i].Event, b.Lines[j].Event))
		}
		switch {
		case order < 0:
			copyLine(out, a, &a.Lines[i])
			i++
		case order > 0:
			copyLine(out, b, &b.Lines[j])
			j++
		default:
			mergeLines(out, a, &a.Lines[i], b, &b.Lines[j])
			i++
			j++
		}
	}
}

func copyLine(out, from *logcodec.Day, line *logcodec.DayLine) {
	copied := *line
	copied.First = len(out.Stats)
	out.Stats = append(out.Stats, from.StatsOf(line)...)
	out.Lines = append(out.Lines, copied)
}

func mergeLines(out, a *logcodec.Day, x *logcodec.DayLine, b *logcodec.Day, y *logcodec.DayLine) {
	merged := logcodec.DayLine{Device: x.Device, Event: x.Event, Hours: x.Hours | y.Hours, First: len(out.Stats)}
	xs, ys := a.StatsOf(x), b.StatsOf(y)
	for hours := merged.Hours; hours != 0; hours &= hours - 1 {
		bit := uint32(1) << bits.TrailingZeros32(hours)
		var s hearth.Stats
		if x.Hours&bit != 0 {
			s, xs = xs[0], xs[1:]
		}
		if y.Hours&bit != 0 {
			s.Merge(ys[0])
			ys = ys[1:]
		}
		out.Stats = append(out.Stats, s)
	}
	merged.Sketch = x.Sketch
	merged.Sketch.Merge(&y.Sketch, 1)
	out.Lines = append(out.Lines, merged)
}
