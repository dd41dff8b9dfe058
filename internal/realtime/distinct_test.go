package realtime

import (
	"fmt"
	"math"
	"testing"
)

func TestWhoIsInTwoSetsCountsOnce(t *testing.T) {
	t.Parallel()
	names := func(from, to int) (all []string) {
		for i := from; i < to; i++ {
			all = append(all, fmt.Sprintf("0195a1b2-c3d4-7e5f-8a9b-%012x", i))
		}
		return append(all, all[:len(all)/2]...) // some have several connections
	}
	for _, test := range []struct {
		a, b [2]int
		want int
		off  float64
	}{
		{a: [2]int{0, 0}, b: [2]int{0, 0}},
		{a: [2]int{0, 1}, b: [2]int{0, 1}, want: 1},
		{a: [2]int{0, 3000}, b: [2]int{2000, 4000}, want: 4000},
		{a: [2]int{0, 4095}, b: [2]int{0, 0}, want: 4095},
		{a: [2]int{0, 20_000}, b: [2]int{10_000, 30_000}, want: 30_000, off: 0.06},
		{a: [2]int{0, 100_000}, b: [2]int{5, 6}, want: 100_000, off: 0.06},
	} {
		a, b := DistinctOf(names(test.a[0], test.a[1])), DistinctOf(names(test.b[0], test.b[1]))
		for _, got := range []int{a.Union(b).Count(), b.Union(a).Count()} {
			if math.Abs(float64(got-test.want)) > test.off*float64(test.want) {
				t.Errorf("%v and %v: counted %d, want %d", test.a, test.b, got, test.want)
			}
		}
		if n := len(a.Union(b)); n > maxDistinct {
			t.Errorf("%d hashes are kept", n)
		}
	}
}
