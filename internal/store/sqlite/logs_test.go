package sqlite_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/store/sqlite"
	"hearth/internal/store/storetest"
)

// tiny makes everything that happens to large data happen to small data.
var tiny = sqlite.LogOptions{FoldRows: 20, ChunkRows: 8, FoldIdle: time.Hour, FoldAge: time.Hour}

func TestLogsConform(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]sqlite.LogOptions{
		"as it is":      {},
		"tiny":          tiny,
		"all in chunks": {FoldRows: 1, ChunkRows: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			storetest.Logs(t, storetest.LogsHarness{
				Open: func(t testing.TB, name string) storetest.LogStore {
					t.Helper()
					path := filepath.Join(dir, strings.NewReplacer("/", "_", "'", "").Replace(name)+".db")
					s, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Logs: options})
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Settle: func(ctx context.Context, s storetest.LogStore) error { return s.(*sqlite.Store).FoldLogs(ctx) },
			})
		})
	}
}
