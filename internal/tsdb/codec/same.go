package codec

import (
	"bytes"
	"math"
	"slices"

	"hearth"
)

// SameSums compares two sums of one bucket.
func SameSums(a, b *Sum) bool {
	return a.Entries == b.Entries && (a.Entries == 0 || a.MinAt == b.MinAt && a.MaxAt == b.MaxAt) &&
		slices.EqualFunc(a.Totals, b.Totals, sameCell) && slices.EqualFunc(a.Cells, b.Cells, sameCell) &&
		bytes.Equal(AppendSketches(nil, &a.Sketches), AppendSketches(nil, &b.Sketches))
}

// sameCell compares, but for the order in which the sums were added up.
func sameCell(a, b Cell) bool {
	return a.Device == b.Device && a.Event == b.Event && sameStats(a.Stats, b.Stats)
}

// sameStats compares; sums may differ by the order in which they were added up.
func sameStats(a, b hearth.Stats) bool {
	scale := float64(a.Count) * max(math.Abs(a.Min), math.Abs(a.Max))
	return a.Count == b.Count && a.Texts == b.Texts && a.Min == b.Min && a.Max == b.Max && math.Abs(a.Sum-b.Sum) <= 1e-9*scale
}

// SameChanges compares two changes of logs whose statistics are of.
func SameChanges(a, b *Change, of *hearth.Stats) bool {
	return a.First == b.First && a.Last == b.Last && a.Numbers == b.Numbers && a.Head == b.Head && a.Tail == b.Tail &&
		math.Abs(a.Increase-b.Increase) <= 1e-9*float64(of.Count)*max(math.Abs(of.Min), math.Abs(of.Max))
}

// SameDays compares two days, but for the order in which their sums were added up.
func SameDays(a, b *Day) bool {
	return slices.EqualFunc(a.Lines, b.Lines, func(x, y DayLine) bool {
		return x.Device == y.Device && x.Event == y.Event && x.Hours == y.Hours &&
			slices.EqualFunc(a.StatsOf(&x), b.StatsOf(&y), sameStats) && slices.Equal(x.Sketch.Bins, y.Sketch.Bins)
	})
}
