package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/testfile"
)

// empty is a new database: to make its schema takes longer than most tests.
var empty = testfile.File{Make: func(path string) error {
	s, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		return err
	}
	return s.Close()
}}

// newFile returns the path of a database of the test's own with nothing in it.
func newFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "hearth.db")
	empty.Copy(tb, path)
	return path
}

func openTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: newFile(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// reopen closes a store and opens its database anew, until the test ends.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), Options{Path: s.options.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
	return again
}

func scopeCount(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.read(t.Context(), "ScopeCount", func(r *reader) error { return r.row(`SELECT count(*) FROM scopes`).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWritesThatShareACommitFailAlone(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	refusal := errors.New("no")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := s.write(context.Background(), "Test", func(t *tx) error {
				if _, err := t.exec(`INSERT INTO scopes(name) VALUES(?)`, fmt.Sprint(i)); err != nil {
					return err
				}
				switch i % 4 {
				case 1:
					return refusal
				case 2:
					panic("a bug")
				}
				return nil
			})
			if wrong := (err == nil) != (i%4 == 0 || i%4 == 3); wrong {
				t.Errorf("write %d: %v", i, err)
			}
			if i%4 == 1 && !errors.Is(err, refusal) {
				t.Errorf("write %d lost its own error: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := scopeCount(t, s); n != 100 {
		t.Errorf("%d rows are stored, want 100", n)
	}
}

// TestARefusedWriteLeavesNothing: also one that is the first of its group, and what follows is written.
func TestARefusedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	insert := func(name string, then func() error) error {
		return s.write(t.Context(), "Test", func(t *tx) error {
			t.onCommit(func() {
				if name != "kept" {
					panic("a hook of a write that failed")
				}
			})
			if _, err := t.exec(`INSERT INTO scopes(name) VALUES(?)`, name); err != nil {
				return err
			}
			return then()
		})
	}
	refusal := errors.New("no")
	if err := insert("refused", func() error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("got %v, want the refusal", err)
	}
	if err := insert("bug", func() error { panic("a bug") }); err == nil {
		t.Error("a write that panicked is acknowledged")
	}
	if err := insert("kept", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if n := scopeCount(t, s); n != 1 {
		t.Errorf("%d rows are stored, want 1", n)
	}
}

func TestAClosedStoreRefusesWrites(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := s.write(t.Context(), "Test", func(*tx) error { return nil })
	if hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestASchemaOfTheFutureIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hearth.db")
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), "Test", func(t *tx) error {
		_, err := t.exec(`INSERT INTO goose_db_version(version_id, is_applied) VALUES(9999, 1)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: path}); err == nil {
		t.Error("a newer schema was opened")
	}
}

// What is acknowledged must survive a power cut: every commit is fsynced before it returns.
func TestTheWriterSyncsEveryCommit(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
		var got string
		if err := s.write(t.Context(), "Test", func(t *tx) error { return t.row(`PRAGMA ` + pragma).Scan(&got) }); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

func TestNobodyGivesWayToNobody(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	s.writer.shared.Store(0)
	s.writer.giveWay(t.Context(), time.Hour)
	if err := s.write(t.Context(), "Test", func(*tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := s.writer.shared.Load(); n == 0 {
		t.Error("a short write is not counted")
	}
	start := time.Now()
	s.writer.giveWay(t.Context(), time.Hour)
	if took := time.Since(start); took < mostRest {
		t.Errorf("the rest was %v, want %v", took, mostRest)
	}
}
