package memtsdb_test

import (
	"context"
	"sync"
	"testing"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/memtsdb"
	"hearth/internal/tsdb/tsdbtest"
)

// harness keeps what was stored while nobody has it open.
func harness(partitions int) tsdbtest.Harness {
	var mu sync.Mutex
	stores := map[string]*memtsdb.Store{}
	return tsdbtest.Harness{
		Fleet: true,
		Open: func(_ testing.TB, name string) tsdbtest.Database {
			mu.Lock()
			defer mu.Unlock()
			if stores[name] == nil {
				stores[name] = memtsdb.New(partitions)
			}
			s := stores[name]
			return tsdbtest.Database{
				Backend:   s,
				AddDevice: func(_ context.Context, scope hearth.Scope) (int64, error) { return s.AddDevice(scope), nil },
				DeleteDevice: func(_ context.Context, key int64) error {
					s.DeleteDevice(key)
					return nil
				},
				MoveDevice: func(ctx context.Context, e *tsdb.Engine, key int64, scope hearth.Scope) error {
					from, to := s.BeginMove(key, scope)
					if err := e.Copy(ctx, key, from, to); err != nil {
						return err
					}
					s.EndMove(key, from, to)
					e.Forget(key)
					return e.Copy(ctx, key, from, to)
				},
				Checkpoint: s.ImportCheckpoint,
				Close:      func() error { return nil },
			}
		},
		Done: func(name string) {
			mu.Lock()
			defer mu.Unlock()
			delete(stores, name)
		},
	}
}

func TestBackend(t *testing.T) {
	t.Parallel()
	tsdbtest.Backend(t, harness(2))
}

func TestEngine(t *testing.T) {
	t.Parallel()
	tsdbtest.Engine(t, harness(2))
}
