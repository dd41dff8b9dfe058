package hearth

import (
	"slices"
	"time"
)

// Step is the width of a trend's buckets. Buckets start at whole UTC minutes, hours or days.
type Step time.Duration

// The steps; StepNone puts the whole range into one group.
const (
	StepNone   Step = 0
	StepMinute      = Step(time.Minute)
	StepHour        = Step(time.Hour)
	StepDay         = Step(24 * time.Hour)
)

// Floor returns the Unix milliseconds of the start of the bucket that at (Unix milliseconds) is in; 0 for StepNone.
func (s Step) Floor(at int64) int64 {
	width := time.Duration(s).Milliseconds()
	if width == 0 {
		return 0
	}
	rest := at % width
	if rest < 0 {
		rest += width
	}
	return at - rest
}

// Stats sums up values. Strings are counted and not summed: Sum, Min and Max are of the numbers and booleans, and mean nothing if
// there are none. The zero Stats is of no values.
type Stats struct {
	Count int64
	// Texts is how many of Count are strings.
	Texts int64
	Sum   float64
	Min   float64
	Max   float64
}

// Numbers returns how many values are not strings.
func (s *Stats) Numbers() int64 { return s.Count - s.Texts }

// Add counts one number.
func (s *Stats) Add(value float64) {
	if s.Count == s.Texts {
		s.Min, s.Max = value, value
	} else {
		s.Min, s.Max = min(s.Min, value), max(s.Max, value)
	}
	s.Count++
	s.Sum += value
}

// AddText counts one string.
func (s *Stats) AddText() {
	s.Count++
	s.Texts++
}

// Merge counts all values of other.
func (s *Stats) Merge(other Stats) {
	switch {
	case other.Count == other.Texts:
	case s.Count == s.Texts:
		s.Sum, s.Min, s.Max = other.Sum, other.Min, other.Max
	default:
		s.Min, s.Max = min(s.Min, other.Min), max(s.Max, other.Max)
		s.Sum += other.Sum
	}
	s.Count += other.Count
	s.Texts += other.Texts
}

// ValueChange says how the values of one event changed, in the order of time and number.
type ValueChange struct {
	// First and Last are the first and the last value, if the group is of one device.
	First, Last Value
	// Increase is the sum of the rises from each number or boolean to the next of the same device, the one before the group included. A
	// fall is a reset to zero: the new value counts whole. The very first one of a device counts 0.
	Increase float64
}

// Rise returns what a reading adds to Increase after the one before it.
func Rise(before, after float64) float64 {
	if after < before {
		return after
	}
	return after - before
}

// Grouping says how logs are put into groups: by any of device, event and bucket of time.
type Grouping struct {
	ByDevice bool
	ByEvent  bool
	Step     Step
	// Bounds, if not nil, are the starts of the buckets in Unix milliseconds, ascending, in place of Step; the first is not after the
	// range's start.
	Bounds []int64
	// Sketch asks for each group's Quantiles as well.
	Sketch bool
	// Changes asks for each group's ValueChange as well. The query must pick one event.
	Changes bool
}

// Floor returns the Unix milliseconds of the start of the bucket that at is in.
func (g *Grouping) Floor(at int64) int64 {
	if g.Bounds == nil {
		return g.Step.Floor(at)
	}
	i, found := slices.BinarySearch(g.Bounds, at)
	if !found {
		i = max(0, i-1)
	}
	return g.Bounds[i]
}

// RollupQuery asks for sums over the logs of a range. Its cost follows the range and the number of devices, not the
// number of logs: whole hours and days come from rollups, cut hours from the logs themselves, so that counts, minima and
// maxima are exact and totals exact to floating-point addition.
type RollupQuery struct {
	Reach Reach
	// Devices, if not nil, picks devices of the reach by key.
	Devices []int64
	// Event, if set, picks one event.
	Event string
	Span  Span
	// Groupings are answered side by side, from one snapshot.
	Groupings []Grouping
}

// Rollup is one group: its Device (key), Event and At (Unix milliseconds, the start of the bucket) as far as the grouping
// asked for them, zero otherwise. Groups without logs are left out; the order is by At, Device, Event.
type Rollup struct {
	Device int64
	Event  string
	At     int64
	Stats
	Sketch Quantiles
	Change *ValueChange
}

// Quantiles answers which values the numbers of a group have.
type Quantiles interface {
	// Count returns how many there are.
	Count() int64
	// Quantile returns the least value that at least the share q (0 to 1) of them does not exceed (the nearest rank, so that the 99th
	// percentile of three values is the largest), within 1 % of it. It is 0 if there are none.
	Quantile(q float64) float64
}
