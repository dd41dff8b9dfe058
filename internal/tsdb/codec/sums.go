package codec

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"

	"hearth"
)

// The levels of sums.
const (
	LevelHour = iota
	LevelDay
	LevelMonth
)

// Milliseconds.
const (
	HourMillis = int64(3_600_000)
	DayMillis  = 24 * HourMillis
)

// GroupSize is how many devices share one Day.
const GroupSize = 32

// BucketOf returns the bucket of a level that at (Unix milliseconds) is in.
func BucketOf(level int, at int64) int64 {
	switch level {
	case LevelHour:
		return FloorDiv(at, HourMillis)
	case LevelDay:
		return FloorDiv(at, DayMillis)
	}
	t := time.UnixMilli(at).UTC()
	return int64(t.Year()-1970)*12 + int64(t.Month()-1)
}

// BucketStart returns the first millisecond of a bucket.
func BucketStart(level int, bucket int64) int64 {
	switch level {
	case LevelHour:
		return bucket * HourMillis
	case LevelDay:
		return bucket * DayMillis
	}
	return time.Date(1970, time.Month(1+bucket), 1, 0, 0, 0, 0, time.UTC).UnixMilli()
}

// FloorDiv divides and rounds down.
func FloorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Sum sums up the logs of one bucket of a level.
type Sum struct {
	Bucket  int64
	Entries int64
	// MinAt and MaxAt are the times of the oldest and the newest of them, in Unix milliseconds.
	MinAt, MaxAt int64
	Totals       []Cell // by event; Device is 0
	Sketches     Sketches
	Cells        []Cell // by device and event; none for hours
}

// Merge adds other's logs.
func (s *Sum) Merge(other *Sum) {
	if other.Entries == 0 {
		return
	}
	if s.Entries == 0 {
		s.MinAt, s.MaxAt = other.MinAt, other.MaxAt
	}
	s.Entries += other.Entries
	s.MinAt, s.MaxAt = min(s.MinAt, other.MinAt), max(s.MaxAt, other.MaxAt)
	s.Totals = MergeCells(s.Totals, other.Totals)
	s.Cells = MergeCells(s.Cells, other.Cells)
	s.Sketches.Merge(&other.Sketches)
}

// MergeCells merges two sorted lists.
func MergeCells(a, b []Cell) []Cell {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]Cell, 0, max(len(a), len(b))+min(len(a), len(b))/4)
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

// Rollups are the sums of some logs.
type Rollups struct {
	Hours, Days, Months []Sum
	// Groups are sorted by day and group.
	Groups []DayGroup
}

// DayGroup is one day of the devices of one group: those whose keys divided by GroupSize are Group.
type DayGroup struct {
	Bucket, Group int64
	Day
}

// noIndex is the index of a string, which is in no sketch.
const noIndex = math.MinInt32

// SumUp returns the sums of entries of one scope, sorted by Entry.Compare; series are sorted.
func SumUp(series []Series, entries []Entry) *Rollups {
	r := &Rollups{}
	indexes := make([]int32, len(entries))
	for i := range entries {
		indexes[i] = noIndex
		if !series[entries[i].Series].IsText() {
			indexes[i] = SketchIndex(entries[i].Value)
		}
	}
	r.sumHours(series, entries, indexes)
	r.sumSeries(series, entries, indexes)
	r.Days = coarser(r.Hours, LevelHour, LevelDay)
	r.dayCells()
	r.Months = coarser(r.Days, LevelDay, LevelMonth)
	return r
}

// sumHours sums up hour by hour, which in entries come one after the other.
func (r *Rollups) sumHours(series []Series, entries []Entry, indexes []int32) {
	byEvent := map[int64]*eventSum{}
	var events []int64
	for start := 0; start < len(entries); {
		hour := BucketOf(LevelHour, entries[start].At)
		limit := BucketStart(LevelHour, hour+1)
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
			if indexes[end] == noIndex {
				last.AddText()
				continue
			}
			last.Add(entries[end].Value)
			last.indexes = append(last.indexes, indexes[end])
		}
		s := Sum{Bucket: hour, Entries: int64(end - start), MinAt: entries[start].At, MaxAt: entries[end-1].At}
		slices.Sort(events)
		for _, event := range events {
			e := byEvent[event]
			s.Totals = append(s.Totals, Cell{Event: event, Stats: e.Stats})
			s.Sketches.Events = append(s.Sketches.Events, event)
			s.Sketches.Sketches = append(s.Sketches.Sketches, SketchOf(e.indexes))
			e.Stats, e.indexes = hearth.Stats{}, e.indexes[:0]
		}
		events = events[:0]
		r.Hours = append(r.Hours, s)
		start = end
	}
}

type eventSum struct {
	hearth.Stats
	indexes []int32
}

// SketchOf counts indexes, which it sorts.
func SketchOf(indexes []int32) (sketch Sketch) {
	slices.Sort(indexes)
	n := 0
	for i := range indexes {
		if i == 0 || indexes[i] != indexes[i-1] {
			n++
		}
	}
	sketch.Bins = make([]SketchBin, 0, n)
	for i := range indexes {
		if i == 0 || indexes[i] != indexes[i-1] {
			sketch.Bins = append(sketch.Bins, SketchBin{Index: indexes[i]})
		}
		sketch.Bins[len(sketch.Bins)-1].Count++
	}
	return sketch
}

// sumSeries makes the day groups.
func (r *Rollups) sumSeries(series []Series, entries []Entry, indexes []int32) {
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
	for i := 0; i < len(series); {
		s := series[i]
		line := order[starts[i]:starts[i+1]]
		kinds := 1
		for i++; i < len(series) && series[i].sameLine(&s); i++ {
			line = line[:len(line)+int(starts[i+1]-starts[i])] // they follow one another in order
			kinds++
		}
		if kinds > 1 {
			slices.Sort(line) // by time, whatever their kinds
		}
		for len(line) > 0 {
			day := BucketOf(LevelDay, entries[line[0]].At)
			key := [2]int64{day, s.Device / GroupSize}
			at, ok := groups[key]
			if !ok {
				at = len(r.Groups)
				groups[key] = at
				r.Groups = append(r.Groups, DayGroup{Bucket: day, Group: key[1]})
			}
			group := &r.Groups[at]
			n := group.addLine(s, series, entries, line)
			scratch = scratch[:0]
			for _, e := range line[:n] {
				if indexes[e] != noIndex {
					scratch = append(scratch, indexes[e])
				}
			}
			group.Lines[len(group.Lines)-1].Sketch = SketchOf(scratch)
			line = line[n:]
		}
	}
	sort.Slice(r.Groups, func(i, j int) bool {
		a, b := &r.Groups[i], &r.Groups[j]
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Group, b.Group)) < 0
	})
}

// addLine adds the line of one series, from those of its entries that are of the group's day; it returns their number.
func (g *DayGroup) addLine(s Series, series []Series, entries []Entry, line []int32) int {
	start := BucketStart(LevelDay, g.Bucket)
	out := DayLine{Device: s.Device, Event: s.Event, First: len(g.Stats)}
	hour := int64(-1)
	n := 0
	for ; n < len(line); n++ {
		e := &entries[line[n]]
		if e.At >= start+DayMillis {
			break
		}
		if h := (e.At - start) / HourMillis; h != hour {
			hour = h
			out.Hours |= 1 << h
			g.Stats = append(g.Stats, hearth.Stats{})
			g.Changes = append(g.Changes, Change{})
			g.starts = append(g.starts, e.At-start)
		}
		of := &series[e.Series]
		of.Add(&g.Stats[len(g.Stats)-1], e)
		g.Changes[len(g.Changes)-1].Add(of.Value(e))
		out.LastAt = e.At - start
	}
	g.Lines = append(g.Lines, out)
	return n
}

// coarser sums sorted sums up to a coarser level.
func coarser(fine []Sum, from, to int) []Sum {
	var out []Sum
	for i := range fine {
		bucket := BucketOf(to, BucketStart(from, fine[i].Bucket))
		if len(out) == 0 || out[len(out)-1].Bucket != bucket {
			out = append(out, Sum{Bucket: bucket})
		}
		out[len(out)-1].Merge(&fine[i])
	}
	return out
}

// dayCells fills in the days' cells from the groups.
func (r *Rollups) dayCells() {
	at := 0
	for i := range r.Groups {
		g := &r.Groups[i]
		for r.Days[at].Bucket != g.Bucket {
			at++
		}
		for j := range g.Lines {
			line := &g.Lines[j]
			cell := Cell{Device: line.Device, Event: line.Event}
			for _, s := range g.StatsOf(line) {
				cell.Merge(s)
			}
			r.Days[at].Cells = append(r.Days[at].Cells, cell)
		}
	}
}

// DeviceCells sums cells up by device.
func DeviceCells(cells []Cell) []Cell {
	out := make([]Cell, 0, len(cells))
	for i := range cells {
		if n := len(out); n > 0 && out[n-1].Device == cells[i].Device {
			out[n-1].Merge(cells[i].Stats)
			continue
		}
		out = append(out, Cell{Device: cells[i].Device, Stats: cells[i].Stats})
	}
	return out
}
