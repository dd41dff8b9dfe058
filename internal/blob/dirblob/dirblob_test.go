package dirblob_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/blob/blobtest"
	"hearth/internal/blob/dirblob"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t testing.TB) func() blob.Store {
		dir := filepath.Join(t.TempDir(), "files")
		return func() blob.Store { return open(t, dir) }
	})
}

func open(t testing.TB, dir string) *dirblob.Store {
	t.Helper()
	s, err := dirblob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func begin(t testing.TB, s *dirblob.Store, key string) blob.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	return w
}

func temporaries(t testing.TB, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestFilesAndDirectoriesAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "files")
	s := open(t, dir)
	if _, err := begin(t, s, "a/b/file").Commit(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpeningSweepsWhatDeadWritersLeftAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	living := begin(t, s, "living")
	// What a killed process leaves: a file that no process holds.
	if err := os.WriteFile(filepath.Join(dir, ".tmp", "DEAD"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if n := temporaries(t, dir); n != 1 {
		t.Fatalf("%d temporary files are there after the sweep", n)
	}
	if _, err := living.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := temporaries(t, dir); n != 0 {
		t.Fatalf("%d temporary files are there after the commit", n)
	}
}

func TestLinksOutOfTheDirectoryLeadNowhere(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	for link, target := range map[string]string{"file": filepath.Join(outside, "secret"), "dir": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"file", "dir/secret"} {
		if _, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("%s was opened", key)
		}
	}
	if _, err := begin(t, s, "dir/new").Commit(); err == nil {
		t.Error("a file was written outside")
	}
	if page, err := s.List(t.Context(), blob.ListOptions{}); err != nil || len(page.Files) != 0 {
		t.Errorf("the list shows %v, error %v", page.Files, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside are %v, error %v", entries, err)
	}
}

func TestAFileInAnothersWayIsAConflict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := begin(t, s, "a").Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t, s, "a/b").Commit(); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Fatalf("the error is %v", err)
	}
	if n := temporaries(t, dir); n != 0 {
		t.Fatalf("%d temporary files stayed", n)
	}
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "a"); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("create: %v", err)
	}
	if err := s.Ping(t.Context()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("ping: %v", err)
	}
}
