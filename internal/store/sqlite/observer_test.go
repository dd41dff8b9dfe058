package sqlite

import (
	"context"
	"sync"
	"testing"
	"time"

	"hearth"
)

// witness counts what a store tells.
type witness struct {
	mu       sync.Mutex
	ended    map[string]int
	codes    map[hearth.Code]int
	writes   int
	commits  int
	negative bool
}

func (w *witness) Operation(_ context.Context, name string, took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended[name]++
	w.negative = w.negative || took <= 0
	if err != nil {
		w.codes[hearth.ErrorCode(err)]++
	}
}

func (w *witness) Commit(writes int, waited, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes += writes
	w.commits++
	w.negative = w.negative || waited < 0 || took <= 0
}

// openWitnessed opens a new store that is closed when the test ends, and a witness of it.
func openWitnessed(t *testing.T) (*Store, *witness) {
	t.Helper()
	w := &witness{ended: map[string]int{}, codes: map[hearth.Code]int{}}
	s, err := Open(t.Context(), Options{Path: newFile(t), Observer: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, w
}

func TestTheObserverIsToldOfEveryOperationAndCommit(t *testing.T) {
	t.Parallel()
	s, seen := openWitnessed(t)
	const writes = 100
	var all sync.WaitGroup
	for range writes {
		all.Go(func() {
			if err := s.write(t.Context(), "Test", func(*tx) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := s.User(t.Context(), "nobody"); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Error(err)
	}
	// A reader that works is busy for everybody to see. The engine's look for rows of others may be another for a moment.
	if err := s.read(t.Context(), "Test", func(*reader) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
			inUse, most := map[string]int{}, map[string]int{}
			for _, p := range s.Pools() {
				inUse[p.Name], most[p.Name] = p.InUse, p.Max
			}
			if inUse["read"] == 1 && inUse["scan"] == 0 && most["read"] >= 4 && most["scan"] >= 4 {
				return nil
			}
			if time.Now().After(deadline) {
				t.Errorf("the pools have %v of %v in use", inUse, most)
				return nil
			}
		}
	}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if seen.ended["Test"] != writes+1 || seen.ended["User"] != 1 || seen.codes[hearth.CodeNotFound] != 1 {
		t.Errorf("the observer saw %v and the errors %v", seen.ended, seen.codes)
	}
	if seen.writes != writes || seen.commits == 0 || seen.commits > writes || seen.negative {
		t.Errorf("the observer saw %d writes in %d commits; want %d, none of negative time", seen.writes, seen.commits, writes)
	}
}
