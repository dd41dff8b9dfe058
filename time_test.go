package hearth_test

import (
	"testing"
	"time"

	"hearth"
)

func TestAClockThatIsPutBackIsNoticed(t *testing.T) {
	t.Parallel()
	var clock hearth.PutBack
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		by   time.Duration
		seen bool
	}{
		{0, true}, // while the program was stopped
		{time.Second, false}, {24 * time.Hour, false}, {-5 * time.Second, false}, {-time.Hour, true}, {time.Second, false},
	} {
		now = now.Add(step.by)
		if seen := clock.Seen(now); seen != step.seen {
			t.Errorf("step %d: %v, want %v", i, seen, step.seen)
		}
	}
	clock.Note(now.Add(-time.Minute))
	if clock.Seen(now) {
		t.Error("an earlier time that is noted counts")
	}
	clock.Note(now.Add(time.Hour))
	if !clock.Seen(now) {
		t.Error("a later time that is noted does not count")
	}
	clock.Forget()
	if !clock.Seen(now) || clock.Seen(now) {
		t.Error("after a failure it is not noticed again, or for ever")
	}
}
