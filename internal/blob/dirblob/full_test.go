//go:build linux

package dirblob

import (
	"os"
	"testing"

	"hearth"
)

func TestAFullDiskIsSaidAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	created, err := s.Create(t.Context(), "export")
	if err != nil {
		t.Fatal(err)
	}
	// The system's own full disk stands in for the temporary file.
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := created.(*writer)
	if err := w.f.Close(); err != nil {
		t.Fatal(err)
	}
	w.f = full
	for range 2 {
		if _, err := w.Write([]byte("x")); hearth.ErrorCode(err) != hearth.CodeStorageFull {
			t.Fatalf("write: %v", err)
		}
	}
	if _, err := w.Commit(); hearth.ErrorCode(err) != hearth.CodeStorageFull {
		t.Fatalf("commit: %v", err)
	}
	if names, err := s.names(temporary); err != nil || len(names) != 0 {
		t.Fatalf("temporary files %v stayed, error %v", names, err)
	}
	if _, err := s.Stat(t.Context(), "export"); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Fatalf("stat: %v", err)
	}
}
