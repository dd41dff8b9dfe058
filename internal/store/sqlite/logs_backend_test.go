package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/tsdbtest"
)

// logsHarness opens stores as the log engine's suite wants them.
func logsHarness(t *testing.T) tsdbtest.Harness {
	t.Helper()
	dir := t.TempDir()
	var made atomic.Int64
	return tsdbtest.Harness{
		Fleet: true,
		Open: func(t testing.TB, name string) tsdbtest.Database {
			t.Helper()
			path := sqlitetest.File(t, filepath.Join(dir, strings.NewReplacer("/", "_", "'", "").Replace(name)))
			s, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Logs: tsdb.Options{FoldIdle: time.Hour, FoldAge: time.Hour}})
			if err != nil {
				t.Fatal(err)
			}
			return tsdbtest.Database{
				Backend: s.LogBackend(),
				AddDevice: func(ctx context.Context, scope hearth.Scope) (int64, error) {
					return s.AddDevice(ctx, fmt.Sprint(made.Add(1)), scope)
				},
				DeleteDevice: func(ctx context.Context, key int64) error {
					d, err := s.DeviceByKey(ctx, key)
					if err != nil {
						return err
					}
					return s.DeleteDevice(ctx, d, func(hearth.Device) error { return nil }, hearth.SideEffects{})
				},
				MoveDevice: func(ctx context.Context, _ *tsdb.Engine, key int64, scope hearth.Scope) error {
					id, err := s.DeviceByKey(ctx, key)
					if err != nil {
						return err
					}
					owner := strings.TrimPrefix(string(scope), string(hearth.UserScope("")))
					err = s.CreateUser(ctx, hearth.User{ID: owner, Email: owner + "@example.com", Role: hearth.RoleUser}, hearth.SideEffects{})
					if err != nil && hearth.ErrorCode(err) != hearth.CodeConflict && hearth.ErrorCode(err) != hearth.CodeEmailTaken {
						return err
					}
					_, err = s.TransferDevice(ctx, id, func(d hearth.Device) (hearth.Device, error) {
						d.OwnerID = owner
						return d, nil
					}, hearth.SideEffects{})
					return err
				},
				Checkpoint: s.ImportCheckpoint,
				Close:      s.Close,
			}
		},
	}
}

func TestLogBackendConforms(t *testing.T) {
	t.Parallel()
	tsdbtest.Backend(t, logsHarness(t))
}

func TestLogEngineConforms(t *testing.T) {
	t.Parallel()
	tsdbtest.Engine(t, logsHarness(t))
}
