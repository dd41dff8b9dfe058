package editdistance

import "testing"

func TestDistances(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"addr", "adr", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 2}, {"flaw", "lawn", 2},
	} {
		if got, back := Of(test.a, test.b), Of(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("from %q to %q: %d, back %d, want %d", test.a, test.b, got, back, test.want)
		}
	}
}
