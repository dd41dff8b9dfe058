package backup

import (
	"testing"

	"hearth"
)

// A store adds values hour by hour, a restore one after another: at millions of them the sums differ in what additions round.
func TestSumsOfMillionsAreTheSameInAnotherOrder(t *testing.T) {
	t.Parallel()
	const n, hour = 10_000_000, 3600
	value := func(i int) float64 { return 20 + float64(i*7919%800)/100 }
	one := hearth.Stats{Count: n, Min: 20, Max: 27.99}
	other := one
	var cell float64
	for i := range n {
		one.Sum += value(i)
		cell += value(i)
		if i%hour == hour-1 || i == n-1 {
			other.Sum, cell = other.Sum+cell, 0
		}
	}
	if one.Sum == other.Sum {
		t.Fatal("the order makes no difference: this test shows nothing")
	}
	if !sameStats(other, one) {
		t.Errorf("%v and %v are not the same", other.Sum, one.Sum)
	}
	for name, change := range map[string]func(*hearth.Stats){
		"one value is missing":    func(s *hearth.Stats) { s.Count--; s.Sum -= 20 },
		"one value is another":    func(s *hearth.Stats) { s.Sum += 7.99 },
		"the least is another":    func(s *hearth.Stats) { s.Min = 20.01 },
		"the greatest is another": func(s *hearth.Stats) { s.Max = 27.98 },
	} {
		changed := other
		change(&changed)
		if sameStats(changed, one) {
			t.Errorf("%s, and nobody notices", name)
		}
	}
}
