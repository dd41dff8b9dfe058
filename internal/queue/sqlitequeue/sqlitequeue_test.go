package sqlitequeue_test

import (
	"path/filepath"
	"testing"

	"hearth"
	"hearth/internal/bus/sqlitebus"
	"hearth/internal/queue"
	"hearth/internal/queue/queuetest"
	"hearth/internal/queue/sqlitequeue"
)

func TestConformance(t *testing.T) { t.Parallel(); queuetest.Run(t, setup) }

func BenchmarkQueue(b *testing.B) { queuetest.Bench(b, setup) }

func setup(t testing.TB, clock hearth.Clock) func() queue.Backend {
	dir := t.TempDir()
	return func() queue.Backend {
		end, err := sqlitebus.Open(t.Context(), sqlitebus.Options{Path: filepath.Join(dir, "bus.db")})
		if err != nil {
			t.Fatalf("open the bus: %v", err)
		}
		t.Cleanup(func() { _ = end.Close() })
		q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(dir, "queue.db"), Clock: clock, Bus: end})
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		t.Cleanup(func() {
			if err := q.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return q
	}
}
