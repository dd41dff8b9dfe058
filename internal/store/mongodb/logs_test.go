package mongodb

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

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
					if err := s.Collection(collDevices).FindOne(ctx, map[string]int64{"key": key}).Decode(&d); err != nil {
						return err
					}
					return s.DeleteDevice(ctx, d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{})
				},
				MoveDevice: func(ctx context.Context, _ *tsdb.Engine, key int64, scope hearth.Scope) error {
					var d deviceDoc
					if err := s.Collection(collDevices).FindOne(ctx, map[string]int64{"key": key}).Decode(&d); err != nil {
						return err
					}
					owner := strings.TrimPrefix(string(scope), string(hearth.UserScope("")))
					err := s.CreateUser(ctx, hearth.User{ID: owner, Email: owner + "@example.com", Role: hearth.RoleUser}, hearth.SideEffects{})
					if err != nil && hearth.ErrorCode(err) != hearth.CodeConflict && hearth.ErrorCode(err) != hearth.CodeEmailTaken {
						return err
					}
					_, err = s.TransferDevice(ctx, d.ID, func(d hearth.Device) (hearth.Device, error) {
						d.OwnerID = owner
						return d, nil
					}, hearth.SideEffects{})
					return err
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

// What a change replaces gets a time at which the server removes it, and nothing that is seen does. Readers are right whether it is
// there, or not marked yet, or removed.
func TestReplacedDocumentsAreRemoved(t *testing.T) {
	t.Parallel()
	s := openAt(t, Options{URI: newDatabase(t), Logs: quiet})
	devices := makeDevices(t, s, "u1")
	count := func(filter bson.D) int {
		n, err := s.logs.docs.CountDocuments(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	purged := bson.D{{Key: "purge_at", Value: bson.D{{Key: "$exists", Value: true}}}}
	for i := range 12 {
		entry := hearth.LogEntry{Device: devices[0].Key, Event: "a", Value: hearth.Number(float64(i)), At: noon.UnixMilli() + int64(i%3)}
		if _, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry}, nil, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		if err := s.FoldAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := s.logs.docs.Distinct(t.Context(), "k", bson.D{}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	values, err := keys.Values()
	if all, replaced := count(bson.D{}), count(purged); err != nil || all-replaced != len(values) || replaced < 11*7 {
		t.Errorf("%d documents of %d keys are stored, %d of them are to be removed, %v", all, len(values), replaced, err)
	}
	// A long view keeps chunks for longer than itself, and nothing else.
	if n := sumUp(t, s); n != 12 {
		t.Errorf("%d logs, want 12", n)
	}
	late := bson.D{{Key: "purge_at", Value: bson.D{{Key: "$gt", Value: time.Now().Add(longViewTime)}}}, {Key: "del", Value: nil}}
	if n := count(late); n != 0 {
		t.Errorf("%d documents that were replaced before a long view are kept for it", n)
	}
	chunks := bson.E{Key: "t", Value: anyOf([]tsdb.Table{tsdb.Chunks, chunkData})}
	live := count(bson.D{chunks, {Key: "purge_at", Value: nil}})
	for more := true; more; {
		if _, more, err = s.TrimLogs(t.Context(), noon.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(append(late, chunks)); n != live || count(late) != n {
		t.Errorf("%d documents are kept for long views, %d of them of chunks, want the %d of chunks", count(late), n, live)
	}
	if all, replaced := count(bson.D{}), count(purged); all != replaced {
		t.Errorf("%d documents are stored after all logs are trimmed, %d of them are to be removed", all, replaced)
	}
	if err := s.logs.updateMany(t.Context(), s.logs.docs, purged, bson.D{{Key: "$unset", Value: bson.D{{Key: "gone", Value: ""}}}}); err != nil {
		t.Fatal(err)
	}
	if n := sumUp(t, s); n != 0 {
		t.Errorf("%d logs without the marks after all are trimmed", n)
	}
	if _, err := s.logs.docs.DeleteMany(t.Context(), purged); err != nil {
		t.Fatal(err)
	}
	if n := sumUp(t, s); n != 0 {
		t.Errorf("%d logs after all are trimmed", n)
	}
}
