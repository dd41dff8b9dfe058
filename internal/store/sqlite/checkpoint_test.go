package sqlite

import (
	"errors"
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
