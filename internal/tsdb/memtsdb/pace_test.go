package memtsdb_test

import (
	"context"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/memtsdb"
)

// Logs of many documents are folded with a rest between one slice and the next, others are not.
func TestNarrowFoldsGiveWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every time.Duration
		rests bool
	}{"50 years": {400 * time.Hour, true}, "minutes": {10 * time.Millisecond, false}} {
		store, rests := memtsdb.New(1), 0
		e, err := tsdb.New(store, tsdb.Options{GiveWay: func(context.Context, time.Duration) { rests++ }})
		if err != nil {
			t.Fatal(err)
		}
		entries := make([]hearth.LogEntry, 1000)
		device := store.AddDevice("user:a")
		for i := range entries {
			entries[i] = hearth.LogEntry{Device: device, Event: "e", Value: hearth.Number(1), At: int64(i) * c.every.Milliseconds()}
		}
		if _, err := e.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		if err := e.FoldAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if (rests > 0) != c.rests {
			t.Errorf("%s: %d rests", name, rests)
		}
	}
}
