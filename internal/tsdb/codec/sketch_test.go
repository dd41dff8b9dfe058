package codec

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantilesAreOfTheNearestRank(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		values []float64
		q      float64
		want   float64
	}{
		"the middle of an odd number":  {[]float64{3, 1, 2}, 0.5, 2},
		"the lower middle of an even":  {[]float64{1, 2, 3, 4}, 0.5, 2},
		"a high one of few":            {[]float64{1, 2, 21.5}, 0.99, 21.5},
		"a share that is whole ranks":  {[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, 0.95, 19},
		"zeros and negative values":    {[]float64{-5, 0, 0, 7}, 0.5, 0},
		"the least":                    {[]float64{-5, 0, 7}, 0, -5},
		"nothing":                      {nil, 0.5, 0},
		"the extremes of the contract": {[]float64{-1e300, 1e300}, 1, 1e300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s Sketch
			for _, v := range tt.values {
				s.Add(v)
			}
			if got := s.Quantile(tt.q); math.Abs(got-tt.want) > 0.01*math.Abs(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMergingIsAddingAndCanBeTakenBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Float64Range(-1e6, 1e6)
		a, b := rapid.SliceOf(value).Draw(t, "a"), rapid.SliceOf(value).Draw(t, "b")
		var left, right, both Sketch
		for _, v := range a {
			left.Add(v)
			both.Add(v)
		}
		for _, v := range b {
			right.Add(v)
			both.Add(v)
		}
		merged := Sketch{Bins: slices.Clone(left.Bins)}
		merged.Merge(&right, 1)
		if !slices.Equal(merged.Bins, both.Bins) {
			t.Fatalf("merged %v, added %v", merged.Bins, both.Bins)
		}
		merged.Merge(&right, -1)
		if !slices.Equal(merged.Bins, left.Bins) {
			t.Fatalf("taken back %v, before %v", merged.Bins, left.Bins)
		}
	})
}

// Add counts one finite value.
func (s *Sketch) Add(value float64) { s.AddIndex(SketchIndex(value), 1) }
