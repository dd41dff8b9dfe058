package sqlitequeue_test

import (
	"path/filepath"
	"testing"

	"hearth"
	"hearth/internal/queue"
	"hearth/internal/queue/queuetest"
	"hearth/internal/queue/sqlitequeue"
)

func TestConformance(t *testing.T) { t.Parallel(); queuetest.Run(t, setup) }

func BenchmarkQueue(b *testing.B) { queuetest.Bench(b, setup) }

func setup(t testing.TB, clock hearth.Clock) func() queue.Backend {
	path := filepath.Join(t.TempDir(), "queue.db")
	return func() queue.Backend {
		q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path, Clock: clock})
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
