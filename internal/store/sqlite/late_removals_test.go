package sqlite

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/store/record"
)

// withCommands returns a device with more commands than one write removes, and how many these are.
func withCommands(t *testing.T, s *Store) (id string, n int) {
	t.Helper()
	oneDevice(t, s)
	n = 3*changedAtOnce + 1
	err := s.write(t.Context(), "", func(t *tx) error {
		for i := range n {
			if _, err := t.exec(`INSERT INTO commands(id, device_id, seq, turn, state) VALUES(?, 'a', ?, 0, 'succeeded')`, fmt.Sprint(i), i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return "a", n
}

// wantCommands checks how many commands and how many late removals are stored.
func wantCommands(t *testing.T, s *Store, commands, removals int) {
	t.Helper()
	var c, r int
	err := s.read(t.Context(), "", func(q *reader) error {
		return q.row(`SELECT (SELECT count(*) FROM commands), (SELECT count(*) FROM late_removals)`).Scan(&c, &r)
	})
	if err != nil || c != commands || r != removals {
		t.Errorf("%d commands and %d late removals, want %d and %d (%v)", c, r, commands, removals, err)
	}
}

func anyDevice(hearth.Device) error { return nil }

func TestADeviceWithManyCommandsIsRemovedByManyWrites(t *testing.T) {
	t.Parallel()
	s, w := openWitnessed(t)
	id, _ := withCommands(t, s)
	if err := s.DeleteDevice(t.Context(), id, anyDevice, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	wantCommands(t, s, 0, 0)
	if w.ended["RemoveLate"] < 3 {
		t.Errorf("the writes were %v", w.ended)
	}
}

// What a crash leaves is removed by the next start.
func TestWhatACrashLeavesOfADeviceIsRemoved(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	id, n := withCommands(t, s)
	// A write whose process dies before what comes after it.
	err = s.write(t.Context(), "", func(tx *tx) error {
		err := s.deleteWhere(tx, commandsOf(t), record.Filter{record.Eq("device_id", id)})
		tx.req.after = nil
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCommands(t, s, n-changedAtOnce, 1)
	s = reopen(t, s)
	wantCommands(t, s, 0, 0)
}

func commandsOf(t *testing.T) *record.Schema {
	t.Helper()
	s := archive.SchemaOf("commands")
	if s == nil {
		t.Fatal("there is no kind of commands")
	}
	return s
}

func TestManyRecordsAreRemovedAndChangedByManyWrites(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	_, n := withCommands(t, s)
	b, kind := records{s}, commandsOf(t)
	done := record.Filter{record.Eq("state", "succeeded")}
	if changed, err := b.Change(t.Context(), "", kind, done, record.Changes{record.Set("state", "failed")}); err != nil || changed != n {
		t.Errorf("%d of %d changed, %v", changed, n, err)
	}
	failed := record.Filter{record.Eq("state", "failed")}
	limit := changedAtOnce + 1
	if removed, err := b.Remove(t.Context(), "", kind, failed, "seq", limit); err != nil || removed != limit {
		t.Errorf("%d removed, want %d (%v)", removed, limit, err)
	}
	if list, err := s.Commands(t.Context(), hearth.CommandFilter{DeviceID: "a"}, hearth.Page{}); err != nil || len(list.Items) == 0 || list.Items[0].ID != fmt.Sprint(n-1) {
		t.Errorf("not the first ones were removed: %v, %v", list.Items, err)
	}
	if removed, err := b.Remove(t.Context(), "", kind, failed, "seq", 0); err != nil || removed != n-limit {
		t.Errorf("%d removed, want %d (%v)", removed, n-limit, err)
	}
	wantCommands(t, s, 0, 0)
}

func TestExpiredIdempotencyRecordsAreRemovedByManyWrites(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	now := time.Now()
	for i := range changedAtOnce + 3 {
		err := s.Record(t.Context(), hearth.SideEffects{Idempotency: &hearth.IdempotencyRecord{
			Caller: "u", Key: fmt.Sprint(i), Created: make([]byte, (i%3)*expiredBytes/2), CreatedAt: now, ExpiresAt: now.Add(time.Duration(i) * time.Second),
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	n, err := s.DeleteExpiredIdempotencyRecords(context.Background(), now.Add(changedAtOnce*time.Second), 1000)
	if err != nil || n != changedAtOnce+1 {
		t.Errorf("%d removed, want %d (%v)", n, changedAtOnce+1, err)
	}
}
