package sqlite_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
	"hearth/internal/store/storetest"
	"hearth/internal/tsdb"
)

// tiny makes everything that happens to large data happen to small data.
var tiny = tsdb.Options{FoldRows: 20, ChunkRows: 8, FoldIdle: time.Hour, FoldAge: time.Hour}

func TestLogsConform(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]tsdb.Options{
		"as it is":      {},
		"tiny":          tiny,
		"all in chunks": {FoldRows: 1, ChunkRows: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			storetest.Logs(t, storetest.LogsHarness{
				Typed: true,
				Open: func(t testing.TB, name string) storetest.LogStore {
					t.Helper()
					path := sqlitetest.File(t, filepath.Join(dir, strings.NewReplacer("/", "_", "'", "").Replace(name)))
					s, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Logs: options})
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Settle: func(ctx context.Context, s storetest.LogStore) error { return s.(*sqlite.Store).FoldLogs(ctx) },
			})
		})
	}
}

func TestTwoProgramsWriteLogsToOneFile(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t, t.TempDir())
	var stores []*sqlite.Store
	for range 2 {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Logs: tiny})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		stores = append(stores, s)
	}
	devices, err := stores[0].CreateDevices(t.Context(), []hearth.Device{
		{ID: "a", Name: "a", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: time.Now(), UpdatedAt: time.Now()},
		{ID: "b", Name: "b", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: time.Now(), UpdatedAt: time.Now()},
	}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	all := hearth.Reach{All: true}
	seen := map[uint64]bool{}
	for i := range 60 {
		s := stores[i%2]
		first, err := s.AppendLogs(t.Context(), []hearth.LogEntry{
			{Device: devices[0].Key, Event: "e", Value: hearth.Number(1), At: int64(i)}, {Device: devices[1].Key, Event: []string{"f", "g"}[i%2], Value: hearth.Number(2), At: int64(i)},
		}, nil, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		if seen[first] || seen[first+1] {
			t.Errorf("the number %d was given twice", first)
		}
		seen[first], seen[first+1] = true, true
		if n, err := stores[1-i%2].CountLogs(t.Context(), all); err != nil || n != int64(2*i+2) {
			t.Fatalf("the other program sees %d logs, %v; want %d", n, err, 2*i+2)
		}
	}
	if err := stores[1].DeleteDevice(t.Context(), "a", func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stores[0].AppendLogs(t.Context(), []hearth.LogEntry{{Device: devices[0].Key, Event: "e", Value: hearth.Number(1)}}, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = stores[0].Reclaim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range stores {
		out, err := s.Rollups(t.Context(), hearth.RollupQuery{
			Reach: all, Span: hearth.Span{From: time.UnixMilli(0), To: time.UnixMilli(1000)}, Groupings: []hearth.Grouping{{}, {ByEvent: true}},
		})
		if err != nil || out[0][0].Count != 60 || len(out[1]) != 2 {
			t.Errorf("got %+v, %v; want 60 logs of two events", out, err)
		}
	}
}
