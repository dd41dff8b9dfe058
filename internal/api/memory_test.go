package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
)

// What bodies are read at once is bounded, in all and of each caller; who waits for too long is refused, and a canceled request leaves nothing.
func TestMemoryForBodiesIsSharedByCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newBodyMemory(100)
		hold := func(caller string, n int64) func() {
			t.Helper()
			release, err := m.hold(t.Context(), caller, n)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		first := hold("ann", 1000) // as much as one may have
		start := time.Now()
		if _, err := m.hold(t.Context(), "ann", 1); hearth.ErrorCode(err) != hearth.CodeUnavailable || time.Since(start) != memoryWait {
			t.Errorf("after %v: %v; want %s after %v", time.Since(start), err, hearth.CodeUnavailable, memoryWait)
		}
		second := hold("bob", 50)
		gone, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, err := m.hold(gone, "eve", 1); err == nil {
			t.Error("a request that is gone has memory")
		}
		done := make(chan func())
		go func() { done <- hold("eve", 30) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("more than all of the memory is held")
		default:
		}
		first()
		third := <-done
		second()
		third()
		if len(m.callers) != 0 || !m.all.TryAcquire(100) {
			t.Errorf("%d callers hold memory after the last", len(m.callers))
		}
	})
}
