package mongodb

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/tsdbtest"
)

// quiet folds only when a test says so.
var quiet = tsdb.Options{FoldRows: 1 << 20, FoldIdle: time.Hour, FoldAge: time.Hour, ChunkRows: 4} // never written to

func makeDevices(t testing.TB, s *Store, owners ...string) []hearth.Device {
	t.Helper()
	var devices []hearth.Device
	for i, owner := range owners {
		devices = append(devices, hearth.Device{
			ID: fmt.Sprintf("0195a000-0000-7000-8000-%012d", i), Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60,
			OwnerID: owner, CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0),
		})
	}
	devices, err := s.CreateDevices(t.Context(), devices, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return devices
}

// logDatabases opens databases by name, more than once each.
func logDatabases() tsdbtest.Harness {
	var mu sync.Mutex
	uris, done := map[string]string{}, map[string]func(){}
	made := 0
	return tsdbtest.Harness{
		Fleet: true,
		Open: func(t testing.TB, name string) tsdbtest.Database {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if uris[name] == "" {
				uris[name], done[name] = databases.MongoDB(t)
			}
			s, err := Open(context.Background(), Options{URI: uris[name], Logs: quiet, MaxConns: 20, OperationTimeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			return tsdbtest.Database{
				Backend: s.logs,
				AddDevice: func(ctx context.Context, scope hearth.Scope) (int64, error) {
					mu.Lock()
					made++
					d := hearth.Device{
						ID: fmt.Sprintf("0195a000-0000-7000-8000-%012d", made), Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60,
						CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0),
					}
					mu.Unlock()
					d.OwnerID = strings.TrimPrefix(string(scope), string(hearth.UserScope("")))
					created, err := s.CreateDevices(ctx, []hearth.Device{d}, hearth.SideEffects{})
					if err != nil {
						return 0, err
					}
					return created[0].Key, nil
				},
				DeleteDevice: func(ctx context.Context, key int64) error {
					var d deviceDoc
					if err := s.db.Collection(collDevices).FindOne(ctx, map[string]int64{"key": key}).Decode(&d); err != nil {
						return err
					}
					return s.DeleteDevice(ctx, d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{})
				},
				Checkpoint: s.ImportCheckpoint,
				Close:      s.Close,
			}
		},
		Done: func(name string) {
			mu.Lock()
			defer mu.Unlock()
			done[name]()
		},
	}
}

func TestTheLogBackend(t *testing.T) {
	t.Parallel()
	tsdbtest.Backend(t, logDatabases())
}

// What a change replaces is removed some minutes later: by the changes after it, and where there are none by the store's care.
func TestReplacedDocumentsAreRemoved(t *testing.T) {
	t.Parallel()
	now := noon
	s := openAt(t, Options{URI: newDatabase(t), Logs: quiet, Clock: func() time.Time { return now }})
	devices := makeDevices(t, s, "u1")
	stored := func() int64 {
		n, err := s.logs.docs.CountDocuments(t.Context(), map[string]int{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range 30 {
		entry := hearth.LogEntry{Device: devices[0].Key, Event: "a", Value: hearth.Number(float64(i)), At: noon.UnixMilli() + int64(i%3)}
		if _, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry}, nil, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		if err := s.FoldAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(keepReplaced)
	}
	if n := stored(); n > 150 {
		t.Errorf("%d documents are stored after 30 folds", n)
	}
	now = now.Add(time.Hour)
	if err := s.logs.tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := s.logs.docs.CountDocuments(t.Context(), map[string]any{"gone": map[string]bool{"$exists": true}})
	if err != nil || n != 0 {
		t.Errorf("%d replaced documents are left, %v", n, err)
	}
	if n, err := s.CountLogs(t.Context(), hearth.Reach{All: true}); err != nil || n != 30 {
		t.Errorf("%d logs, %v", n, err)
	}
	scanned := 0
	for _, err := range s.ScanLogs(t.Context(), hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everSpan}) {
		if err != nil {
			t.Fatal(err)
		}
		scanned++
	}
	if scanned != 30 {
		t.Errorf("%d logs are scanned", scanned)
	}
	// Each chunk's data is one document beside its own.
	chunks, err := s.logs.docs.CountDocuments(t.Context(), map[string]int{"t": int(tsdb.Chunks)})
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := s.logs.docs.CountDocuments(t.Context(), map[string]any{"t": nil}); err != nil || parts != chunks {
		t.Errorf("%d documents of data of %d chunks, %v", parts, chunks, err)
	}
}
