package tsdb

import (
	"cmp"
	"math/bits"
	"slices"

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
}

type groupKey struct{ device, event, at int64 }

type group struct {
	key   groupKey
	place int
	hearth.Stats
	sketch hearth.Sketch
	spare  []hearth.SketchBin // memory for its next merge
	change *hearth.ValueChange
	// indexes are values that are not in the sketch yet.
	indexes []int32
}

// NewGrouper makes an empty Grouper.
func NewGrouper(g hearth.Grouping) *Grouper {
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
	if g.Bounds != nil || g.Step != hearth.StepNone {
		key.at = g.Floor(at)
	}
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

// Add adds a sum of logs of the bucket that at (Unix milliseconds) is in.
func (g *Grouper) Add(device, event, at int64, stats hearth.Stats) {
	g.of(device, event, at).Merge(stats)
}

// AddLine adds those hours of a line that are wanted: each has its bit in hours.
func (g *Grouper) AddLine(day *codec.Day, line *codec.DayLine, bucket int64, hours uint32) {
	stats := day.StatsOf(line)
	start := codec.BucketStart(codec.LevelDay, bucket)
	whole := g.Bounds == nil && g.Step != hearth.StepHour || g.Bounds != nil && g.Floor(start) == g.Floor(start+codec.DayMillis-1)
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
func (g *Grouper) AddSketch(device, event, at int64, sketch *hearth.Sketch) {
	if g.Sketch {
		g.of(device, event, at).addSketch(sketch)
	}
}

// AddEntry adds one log of a series.
func (g *Grouper) AddEntry(s *codec.Series, e *codec.Entry) {
	into := g.of(s.Device, s.Event, e.At)
	s.Add(&into.Stats, e)
	if g.Sketch && !s.IsText() {
		into.indexes = append(into.indexes, hearth.SketchIndex(e.Value))
		if len(into.indexes) >= 1<<12 {
			into.settle()
		}
	}
}

func (g *group) addSketch(sketch *hearth.Sketch) { g.spare = g.sketch.MergeWith(sketch, g.spare) }

// settle puts the waiting values into the sketch.
func (g *group) settle() {
	sketch := codec.SketchOf(g.indexes)
	g.addSketch(&sketch)
	g.indexes = g.indexes[:0]
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
			r.Sketch = &into.sketch
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
