package sqlite

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hearth"
	"hearth/internal/store/archive"
)

func TestExamineFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	if e, err := Examine(t.Context(), filepath.Join(t.TempDir(), "none.db")); err != nil || e.Exists {
		t.Errorf("no database: %+v, %v", e, err)
	}
	s := openTest(t)
	path := s.options.Path
	if e, err := Examine(t.Context(), path); err != nil || e.Version != e.Newest || len(e.Missing)+len(e.Damage) > 0 || e.Restoring != "" {
		t.Errorf("a sound database, open: %+v, %v", e, err)
	}
	if _, err := s.BeginRestore(t.Context(), archive.Restore{Source: "here"}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`DROP INDEX devices_name`, `DROP TRIGGER audit_no_delete`} {
		if err := s.write(t.Context(), "Test", func(t *tx) error { return t.w.exec(statement) }); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Examine(t.Context(), path)
	if err != nil || e.Restoring != "here" || !slices.Equal(e.Missing, []string{"index devices_name", "trigger audit_no_delete"}) {
		t.Errorf("a restored database without an index and a trigger: %+v, %v", e, err)
	}
	if err := s.write(t.Context(), "Test", func(t *tx) error {
		return t.w.exec(`INSERT INTO goose_db_version(version_id, is_applied) VALUES(999, 1)`)
	}); err != nil {
		t.Fatal(err)
	}
	if e, err := Examine(t.Context(), path); err != nil || e.Version != 999 || e.Version <= e.Newest {
		t.Errorf("a newer database: %+v, %v", e, err)
	}
	bad := filepath.Join(t.TempDir(), "bad.db")
	if err := os.WriteFile(bad, []byte("this is not a database, whatever its name says, and long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Examine(t.Context(), bad); err == nil {
		t.Error("what is no database is examined without an error")
	}
}

func TestAFrozenStoreReadsAndWritesNothingUntilItThaws(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{{ID: "a", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u"}}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendLogs(t.Context(), []hearth.LogEntry{{Device: 1, Event: "e", At: 1}}, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	thaw, err := s.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var parts int
	for _, err := range s.Archive(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		parts++
	}
	if parts != 3 { // counters, devices, logs
		t.Errorf("the frozen store gives %d parts; want 3", parts)
	}
	written := make(chan error, 1)
	go func() { written <- s.AppendAudit(t.Context(), hearth.AuditEntry{Action: "a.b"}) }()
	// The write is behind the one that holds the store: it cannot be done before the thaw.
	select {
	case err := <-written:
		t.Fatalf("a frozen store was written to: %v", err)
	default:
	}
	thaw()
	thaw()
	if err := <-written; err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}
