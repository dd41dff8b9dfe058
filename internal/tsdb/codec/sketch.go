package codec

import (
	"math"
	"slices"
)

// Accuracy is the relative error within which a Sketch answers: a little under the promised 1 %, so that rounding cannot
// exceed it.
const Accuracy = 0.0099

var (
	sketchGamma   = (1 + Accuracy) / (1 - Accuracy)
	sketchInverse = 1 / math.Log(sketchGamma)
)

// Sketch counts values in buckets of logarithmic width, so that quantiles are answered within Accuracy of the exact
// value and merging is adding (DDSketch: Masson, Rim, Lee, VLDB 2019). Removing what was added is exact too. The zero
// Sketch is empty and ready.
type Sketch struct {
	// Bins are sorted by Index, each with a Count of at least 1.
	Bins []SketchBin
}

// SketchBin counts the values of one bucket. Index orders buckets as their values: negative values first, then zero
// (index 0), then positive ones.
type SketchBin struct {
	Index int32
	Count int64
}

// sketchOffset keeps the indexes of positive values above zero: |log(v)|·sketchInverse is below 37,700 for every float64,
// subnormal ones included.
const sketchOffset = 40_000

// SketchIndex returns the bucket of a finite value.
func SketchIndex(value float64) int32 {
	switch {
	case value > 0 && value < 0x1p-1022:
		// math.Log does not tell subnormal numbers apart on every machine.
		return sketchOffset + int32(math.Ceil((math.Log(value*0x1p52)-52*math.Ln2)*sketchInverse))
	case value > 0:
		return sketchOffset + int32(math.Ceil(math.Log(value)*sketchInverse))
	case value < 0:
		return -SketchIndex(-value)
	}
	return 0
}

// sketchValue returns the value that stands for a bucket: within Accuracy of each of its values.
func sketchValue(index int32) float64 {
	switch {
	case index > 0:
		return 2 * math.Exp(float64(index-sketchOffset)/sketchInverse) / (1 + sketchGamma)
	case index < 0:
		return -sketchValue(-index)
	}
	return 0
}

// AddIndex adds count (negative to remove) to a bucket; a bucket that comes to nothing is dropped.
func (s *Sketch) AddIndex(index int32, count int64) {
	at, found := slices.BinarySearchFunc(s.Bins, index, func(b SketchBin, i int32) int { return int(b.Index) - int(i) })
	if !found {
		s.Bins = slices.Insert(s.Bins, at, SketchBin{Index: index})
	}
	s.Bins[at].Count += count
	if s.Bins[at].Count <= 0 {
		s.Bins = slices.Delete(s.Bins, at, at+1)
	}
}

// Merge adds sign times all of other: 1 adds, -1 removes what was added before.
func (s *Sketch) Merge(other *Sketch, sign int64) {
	if other != nil && len(other.Bins) > 0 {
		s.Bins = s.appendMerged(make([]SketchBin, 0, len(s.Bins)+len(other.Bins)), other, sign)
	}
}

// MergeWith adds all of other, and returns the bins of before for the next call to write into, which pass them as spare: a sketch that many
// are merged into needs no memory for each. Its bins must be in use nowhere else.
func (s *Sketch) MergeWith(other *Sketch, spare []SketchBin) []SketchBin {
	before := s.Bins
	s.Bins = s.appendMerged(spare[:0], other, 1)
	return before
}

// appendMerged appends the bins of s and sign times other.
func (s *Sketch) appendMerged(merged []SketchBin, other *Sketch, sign int64) []SketchBin {
	i, j := 0, 0
	for i < len(s.Bins) || j < len(other.Bins) {
		var bin SketchBin
		switch {
		case j == len(other.Bins) || i < len(s.Bins) && s.Bins[i].Index < other.Bins[j].Index:
			bin = s.Bins[i]
			i++
		case i == len(s.Bins) || other.Bins[j].Index < s.Bins[i].Index:
			bin = SketchBin{other.Bins[j].Index, sign * other.Bins[j].Count}
			j++
		default:
			bin = SketchBin{s.Bins[i].Index, s.Bins[i].Count + sign*other.Bins[j].Count}
			i++
			j++
		}
		if bin.Count > 0 {
			merged = append(merged, bin)
		}
	}
	return merged
}

// Count returns the number of values.
func (s *Sketch) Count() int64 {
	var n int64
	for _, bin := range s.Bins {
		n += bin.Count
	}
	return n
}

// Quantile returns the least value that at least the share q (0 to 1) of the values does not exceed (the nearest rank, so
// that the 99th percentile of three values is the largest), within Accuracy. It is 0 for an empty sketch.
func (s *Sketch) Quantile(q float64) float64 {
	// A share such as 0.95 is a little off in binary: 0.95·20 must not round up to 20.
	rank := max(0, int64(math.Ceil(q*float64(s.Count())-1e-6))-1)
	for _, bin := range s.Bins {
		rank -= bin.Count
		if rank < 0 {
			return sketchValue(bin.Index)
		}
	}
	return 0
}
