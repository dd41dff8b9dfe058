package sqlite

import (
	"testing"

	"hearth"
	"hearth/internal/store/storetest"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	storetest.Commands(t, func(t *testing.T) storetest.CommandStore { return openTest(t) })
}

// TestABatchKeepsItsDevicesUntilTheirCommandsArePlaced: 10,000 ids take 370 KB, and a batch is kept for long. One of a program that did not
// count what is placed goes on.
func TestABatchKeepsItsDevicesUntilTheirCommandsArePlaced(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	if err := s.CreateCommandBatch(t.Context(), hearth.CommandBatch{ID: "b", DeviceIDs: []string{"x", "y", "z"}, Total: 3, Name: "on"}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), "Test", func(t *tx) error {
		_, err := t.exec(`ALTER TABLE commands_in_bulk DROP COLUMN placed`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	for left := 2; left >= 0; left-- { // there is no such device: no command is placed
		_, after, err := s.PlaceCommands(t.Context(), "b", 1, nil, nil)
		if err != nil || len(after.DeviceIDs) != left {
			t.Fatalf("%d are left, %v; want %d", len(after.DeviceIDs), err, left)
		}
	}
	if n := number(t, s, `SELECT ifnull(length(devices), 0)+ifnull(placed, 0) FROM commands_in_bulk`); n != 0 {
		t.Errorf("%d bytes of ids are kept", n)
	}
}
