package mongodb

import (
	"context"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/storetest"
	"hearth/internal/tsdb"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	storetest.Devices(t, func(t *testing.T) hearth.DeviceStore { return openTest(t, nil) })
}

func TestLogsConform(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]tsdb.Options{
		"as it is":      {},
		"all in chunks": {FoldRows: 1, FoldIdle: time.Millisecond, FoldAge: time.Millisecond, ChunkRows: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Logs(t, harness(options))
		})
	}
}

// harness opens stores by name: each name has a database of its own.
func harness(settings tsdb.Options) storetest.LogsHarness {
	var mu sync.Mutex
	uris, done := map[string]string{}, map[string]func(){}
	return storetest.LogsHarness{
		Typed: true,
		Open: func(t testing.TB, name string) storetest.LogStore {
			t.Helper()
			mu.Lock()
			if uris[name] == "" {
				uris[name], done[name] = databases.MongoDB(t)
			}
			uri := uris[name]
			mu.Unlock()
			s, err := Open(context.Background(), Options{URI: uri, Logs: settings})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Done: func(name string) {
			mu.Lock()
			defer mu.Unlock()
			done[name]()
		},
		Settle: func(ctx context.Context, s storetest.LogStore) error { return s.(*Store).FoldAll(ctx) },
	}
}
