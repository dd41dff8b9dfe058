package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// dataVersion returns what SQLite counts up with each commit of another connection.
func dataVersion(t *testing.T, conn *sql.Conn) (version int64) {
	t.Helper()
	if err := conn.QueryRowContext(t.Context(), `PRAGMA data_version`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

// A writer that meets another one waits by sleeping: a source must never be one, not even to fold what it finds unfolded.
func TestASourceReadsBesideAWriterAndWritesNothing(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: newFile(t), Logs: tsdb.Options{FoldIdle: time.Hour, FoldAge: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{{ID: "a", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u"}}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	store := func(at int64) {
		t.Helper()
		if _, err := s.AppendLogs(t.Context(), []hearth.LogEntry{{Device: 1, Event: "e", Value: hearth.Number(1), At: at}}, nil, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	store(1) // stays in the tail
	watching, err := sql.Open("sqlite", dsn(s.options.Path, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watching.Close() }()
	conn, err := watching.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := dataVersion(t, conn)

	source, err := OpenSource(t.Context(), Options{Path: s.options.Path, Logs: tsdb.Options{FoldIdle: time.Nanosecond, FoldAge: time.Nanosecond}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Restoring(t.Context()); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a store that is not being restored: %v", err)
	}
	logs, parts := 0, 0
	for part, err := range source.Archive(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if parts++; parts == 1 && dataVersion(t, conn) != before {
			t.Error("opening a source wrote to the database")
		}
		if parts == 1 {
			store(2) // while the source reads, and not in what it reads
		}
		logs += len(part.Logs)
	}
	if logs != 1 {
		t.Errorf("the source gives %d logs, want the 1 of its moment", logs)
	}
	before = dataVersion(t, conn)
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if dataVersion(t, conn) != before {
		t.Error("a source wrote to the database")
	}
}

func TestASourceRefusesWhatItCannotArchive(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/none.db"
	if _, err := OpenSource(t.Context(), Options{Path: path}); err == nil || !strings.Contains(err.Error(), "there is no database") {
		t.Errorf("no database: %v", err)
	}
	s := openTest(t)
	if err := s.write(context.Background(), "Test", func(t *tx) error {
		return t.w.exec(`INSERT INTO goose_db_version(version_id, is_applied) VALUES(999, 1)`)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSource(t.Context(), Options{Path: s.options.Path}); err == nil || !strings.Contains(err.Error(), "has schema 999") {
		t.Errorf("a database of another program: %v", err)
	}
}
