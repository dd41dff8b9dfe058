// Package grouping sums up logs by device, event and time, as a question about rollups groups them.
package grouping

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// Grouper sums up for one grouping.
type Grouper struct {
	hearth.Grouping
	groups map[groupKey]*group
	// ring holds the groups in the order in which they were met, which is the order in which most rows have them; at is
	// the one that was added to last.
	ring []*group
	at   int
	// bucket is the one that was looked for last.
	bucket bucket
}

// bucket is the time from low to high, high not included, of which the groups' At is at.
type bucket struct{ low, high, at int64 }

type groupKey struct{ device, event, at int64 }

type group struct {
	key   groupKey
	place int
	hearth.Stats
	sketch mergedSketch
	change *hearth.ValueChange
	// indexes are values that are not in the sketch yet.
	indexes []int32
}

// New makes an empty Grouper.
func New(g hearth.Grouping) *Grouper {
	return &Grouper{Grouping: g, groups: map[groupKey]*group{}}
}

// of returns the group of a device, an event and a time.
func (g *Grouper) of(device, event, at int64) *group {
	var key groupKey
	if g.ByDevice {
		key.device = device
	}
	if g.ByEvent {
		key.event = event
	}
	if at < g.bucket.low || at >= g.bucket.high {
		g.bucket = g.bucketOf(at)
	}
	key.at = g.bucket.at
	if g.at < len(g.ring) && g.ring[g.at].key == key {
		return g.ring[g.at]
	}
	next := g.at + 1
	if next >= len(g.ring) {
		next = 0
	}
	if next < len(g.ring) && g.ring[next].key == key {
		g.at = next
		return g.ring[next]
	}
	into := g.groups[key]
	if into == nil {
		into = &group{key: key, place: len(g.ring)}
		g.groups[key] = into
		g.ring = append(g.ring, into)
	}
	g.at = into.place
	return into
}

// bucketOf returns the bucket that at is in.
func (g *Grouper) bucketOf(at int64) bucket {
	switch {
	case g.Bounds != nil:
		i, found := slices.BinarySearch(g.Bounds, at)
		if !found {
			i = max(0, i-1)
		}
		b := bucket{g.Bounds[i], math.MaxInt64, g.Bounds[i]}
		if i == 0 {
			b.low = math.MinInt64
		}
		if i+1 < len(g.Bounds) {
			b.high = g.Bounds[i+1]
		}
		return b
	case g.Step != hearth.StepNone:
		low := g.Step.Floor(at)
		return bucket{low, low + time.Duration(g.Step).Milliseconds(), low}
	}
	return bucket{math.MinInt64, math.MaxInt64, 0}
}

// Splits reports whether first and last (Unix milliseconds), which is not before it, are in two buckets.
func (g *Grouper) Splits(first, last int64) bool {
	if first < g.bucket.low || first >= g.bucket.high {
		g.bucket = g.bucketOf(first)
	}
	return last >= g.bucket.high
}

// Add adds a sum of logs of the bucket that at (Unix milliseconds) is in.
func (g *Grouper) Add(device, event, at int64, stats hearth.Stats) {
	g.of(device, event, at).Merge(stats)
}

// AddLine adds those hours of a line that are wanted: each has its bit in hours.
func (g *Grouper) AddLine(day *codec.Day, line *codec.DayLine, bucket int64, hours uint32) {
	stats := day.StatsOf(line)
	start := codec.BucketStart(codec.LevelDay, bucket)
	whole := !g.Splits(start, start+codec.DayMillis-1)
	var total hearth.Stats
	for left := line.Hours; left != 0; left &= left - 1 {
		of := &stats[0]
		stats = stats[1:]
		switch bit := left & -left; {
		case hours&bit == 0:
		case whole:
			total.Merge(*of)
		default:
			g.Add(line.Device, line.Event, start+int64(bits.TrailingZeros32(bit))*codec.HourMillis, *of)
		}
	}
	if total.Count > 0 {
		g.Add(line.Device, line.Event, start, total)
	}
}

// AddChange adds how the values of logs of the bucket that at is in changed, in the order of a device's logs; before is what they add to the
// increase of what comes before them.
func (g *Grouper) AddChange(device, event, at int64, c *codec.Change, before float64) {
	into := g.of(device, event, at)
	if into.change == nil {
		into.change = &hearth.ValueChange{First: c.First}
	}
	into.change.Last = c.Last
	into.change.Increase += c.Increase + before
}

// AddSketch adds the values of logs of the bucket that at is in, if the grouping asks for sketches.
func (g *Grouper) AddSketch(device, event, at int64, sketch *codec.Sketch) {
	if g.Sketch {
		g.of(device, event, at).sketch.add(sketch)
	}
}

// AddEntry adds one log of a series.
func (g *Grouper) AddEntry(s *codec.Series, e *codec.Entry) {
	into := g.of(s.Device, s.Event, e.At)
	s.Add(&into.Stats, e)
	if g.Sketch && !s.IsText() {
		into.indexes = append(into.indexes, codec.SketchIndex(e.Value))
		if len(into.indexes) >= 1<<12 {
			into.settle()
		}
	}
}

// settle puts the waiting values into the sketch.
func (g *group) settle() {
	sketch := codec.SketchOf(g.indexes)
	g.sketch.add(&sketch)
	g.indexes = g.indexes[:0]
}

// mergedSketch is a sketch that many are merged into. The newest are merged with one another first: those of one day after the other are
// alike, and far smaller than the sketch of a year. The zero mergedSketch is empty.
type mergedSketch struct {
	all, newest codec.Sketch
	// merged is how many newest has.
	merged int
	// spares are memory for the next merge of each.
	spare, newestSpare []codec.SketchBin
}

// mergeTogether is how many sketches are merged with one another first.
const mergeTogether = 16

func (m *mergedSketch) add(sketch *codec.Sketch) {
	m.newestSpare = m.newest.MergeWith(sketch, m.newestSpare)
	if m.merged++; m.merged == mergeTogether {
		m.result()
	}
}

// result returns the sketch of all that were added.
func (m *mergedSketch) result() *codec.Sketch {
	if m.merged > 0 {
		m.spare = m.all.MergeWith(&m.newest, m.spare)
		m.newest.Bins, m.merged = m.newest.Bins[:0], 0
	}
	return &m.all
}

// Result returns the groups in the contract's order; name returns the name of an event.
func (g *Grouper) Result(name func(event int64) (string, error)) ([]hearth.Rollup, error) {
	out := make([]hearth.Rollup, 0, len(g.groups))
	for key, into := range g.groups {
		r := hearth.Rollup{Device: key.device, At: key.at, Stats: into.Stats, Change: into.change}
		if g.ByEvent {
			var err error
			if r.Event, err = name(key.event); err != nil {
				return nil, err
			}
		}
		if g.Sketch {
			into.settle()
			r.Sketch = into.sketch.result()
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b hearth.Rollup) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Event, b.Event))
	})
	return out, nil
}

// Count returns the number of all values added.
func (g *Grouper) Count() (n int64) {
	for _, into := range g.ring {
		n += into.Count
	}
	return n
}
