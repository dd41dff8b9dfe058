package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/newid"
)

// The log is copied while writes go on, and begun anew long before the writer would have to copy it itself.
func TestTheLogIsCopiedWhileWritesGoOn(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	// written returns the pages that are in the log after n more devices.
	written := func(n int) (pages int) {
		devices := make([]hearth.Device, n)
		for i := range devices {
			devices[i] = hearth.Device{ID: newid.New(), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u",
				Metadata: []byte(`{"a":"` + strings.Repeat("x", 8000) + `"}`)}
		}
		if _, err := s.CreateDevices(t.Context(), devices, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		pages, _, err := logPages(t.Context(), s.writer.conn, `PRAGMA wal_checkpoint(NOOP)`)
		if err != nil && !errors.Is(err, errBusyLog) {
			t.Fatal(err)
		}
		return pages
	}
	long := 0
	for long <= copyFrom {
		long = max(long, written(50))
	}
	for pages := long; pages >= long; long = max(long, pages) {
		if pages = written(1); pages > 3*copyFrom {
			t.Fatalf("the log has %d pages, and was not copied", pages)
		}
	}
}

// What was copied before a flush failed may not be on the disk, and the next flush does not say so: all is copied again.
func TestAFailedFlushHasTheLogCopiedAgain(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	c := s.writer.checkpoint
	c.stop()
	<-c.done
	c.stopping = t.Context()
	copied := func() int {
		t.Helper()
		_, n, err := logPages(t.Context(), c.conn, `PRAGMA wal_checkpoint(NOOP)`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := s.AppendAudit(t.Context(), hearth.AuditEntry{Action: "a.b"}); err != nil {
		t.Fatal(err)
	}
	file := c.file
	closed, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	c.file = closed
	c.copy()
	if n := copied(); n != 0 {
		t.Errorf("after a flush that failed, %d pages count as copied", n)
	}
	c.file = file
	c.copy()
	if copied() == 0 {
		t.Error("nothing was copied after that")
	}
	if err := s.AppendAudit(t.Context(), hearth.AuditEntry{Action: "a.b"}); err != nil {
		t.Fatal(err)
	}
	if head, err := s.AuditHead(t.Context()); err != nil || head.Seq != 2 {
		t.Errorf("the audit has %d entries, %v", head.Seq, err)
	}
}
