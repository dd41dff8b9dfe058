package sqlite

import (
	"context"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// Large batches reserve their numbers before their write; what another process stores meanwhile has others.
func TestTwoProcessesNumberLargeBatches(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	var stores []*Store
	for range 2 {
		s, err := Open(t.Context(), Options{Path: path, Logs: tsdb.Options{FoldIdle: time.Hour, FoldAge: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		stores = append(stores, s)
	}
	owner := hearth.Device{ID: "a", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u"}
	made, err := stores[0].CreateDevices(t.Context(), []hearth.Device{owner}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	const batches, size = 20, packEarly + 10
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range batches {
				entries := make([]hearth.LogEntry, size)
				for j := range entries {
					entries[j] = hearth.LogEntry{Device: made[0].Key, Event: "e", Value: hearth.Number(1), At: int64(j)}
				}
				first, err := stores[i%2].AppendLogs(context.Background(), entries, nil, hearth.SideEffects{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for n := range uint64(size) {
					if seen[first+n] {
						t.Errorf("the number %d is given twice", first+n)
					}
					seen[first+n] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n, err := stores[0].CountLogs(t.Context(), hearth.Reach{All: true}); err != nil || n != 4*batches*size {
		t.Errorf("%d logs are stored, want %d (%v)", n, 4*batches*size, err)
	}
}
