package tsdb_test

import (
	"context"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/memtsdb"
)

// chunkSizes returns the numbers of logs of the chunks of all scopes.
func chunkSizes(t *testing.T, s *memtsdb.Store) (sizes []int64) {
	t.Helper()
	err := s.View(t.Context(), tsdb.ViewOptions{}, func(snapshot tsdb.Snapshot) error {
		query := tsdb.Query{Table: tsdb.Chunks, Major: tsdb.Everything, Minor: tsdb.Everything}
		return snapshot.Find(t.Context(), query, func(d *tsdb.Doc) error {
			sizes = append(sizes, d.Entries)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}

func TestScatteredLogsShareSmallChunks(t *testing.T) {
	t.Parallel()
	const rows, late = 1024, 8
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		devices int
		// from and step say when the late logs are, in minutes.
		from, step int
		largest    int64
	}{
		"late logs of one device":                    {1, 100, 100, rows / 8},
		"late logs among those of many devices":      {256, 100, 100, rows},
		"logs after those before, of one device":     {1, rows, 1, rows},
		"logs around the end of those of one device": {1, rows - late/2, 1, rows},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := memtsdb.New(1)
			var devices []int64
			for range test.devices {
				devices = append(devices, s.AddDevice(hearth.UserScope("u")))
			}
			e, err := tsdb.New(s, tsdb.Options{ChunkRows: rows, FoldIdle: time.Hour, FoldAge: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			fold := func(n, from, step int) {
				t.Helper()
				var logs []hearth.LogEntry
				for i := range n {
					at := start.Add(time.Duration(from+i*step) * time.Minute)
					logs = append(logs, hearth.LogEntry{Device: devices[i%len(devices)], Event: "a", Value: hearth.Number(float64(i)), At: at.UnixMilli()})
				}
				if _, err := e.AppendLogs(t.Context(), logs, nil, hearth.SideEffects{}); err != nil {
					t.Fatal(err)
				}
				if err := e.FoldAll(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			fold(rows, 0, 1)
			fold(late, test.from, test.step)
			total, largest := int64(0), int64(0)
			for _, n := range chunkSizes(t, s) {
				total, largest = total+n, max(largest, n)
			}
			if total != rows+late || (largest > rows/8) != (test.largest > rows/8) {
				t.Errorf("the chunks have %v logs, want %d, and up to about %d in each", chunkSizes(t, s), rows+late, test.largest)
			}
		})
	}
}
