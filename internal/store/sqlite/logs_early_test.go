package sqlite

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"hearth"
)

// longTexts returns logs of a device with texts that are too long for one write.
func longTexts(device int64) []hearth.LogEntry {
	entries := make([]hearth.LogEntry, 4000)
	for i := range entries {
		entries[i] = hearth.LogEntry{
			Device: device, Event: "text", At: int64(i), Value: hearth.Text(strings.Repeat(string(rune('a'+i%26)), 200) + time.Duration(i).String()),
		}
	}
	return entries
}

// rowsOfTail returns how many rows the tail has, those that nobody sees included, and how many batches are unfinished.
func rowsOfTail(t *testing.T, s *Store) (rows, unfinished int) {
	t.Helper()
	err := s.read(t.Context(), "", func(r *reader) error {
		return r.row(`SELECT (SELECT count(*) FROM log_tail), (SELECT count(*) FROM log_unfinished)`).Scan(&rows, &unfinished)
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows, unfinished
}

func oneDevice(t *testing.T, s *Store) int64 {
	t.Helper()
	made, err := s.CreateDevices(t.Context(), []hearth.Device{{ID: "a", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u"}}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return made[0].Key
}

func wantLogs(t *testing.T, s *Store, want int64) {
	t.Helper()
	if n, err := s.CountLogs(t.Context(), hearth.Reach{All: true}); err != nil || n != want {
		t.Errorf("readers see %d logs, want %d (%v)", n, want, err)
	}
}

func TestALargeBatchIsSeenWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	b := logBackend{s}
	entries := longTexts(oneDevice(t, s))
	batch, err := s.Resolve(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	early, err := b.pack(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.storeEarly(t.Context(), &early); err != nil {
		t.Fatal(err)
	}
	if rows, unfinished := rowsOfTail(t, s); rows < 2 || unfinished != 1 || !early.unfinished {
		t.Fatalf("the tail has %d rows of %d batches: the batch is too small for this test", rows, unfinished)
	}
	wantLogs(t, s, 0)
	// What is stored meanwhile has other numbers, though they come from the database again.
	err = s.write(t.Context(), "", func(t *tx) error { t.w.logs.forget(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.AppendLogs(t.Context(), entries[:1], nil, hearth.SideEffects{})
	if err != nil || first <= early.last {
		t.Errorf("the next log has the number %d, the unfinished batch has those up to %d (%v)", first, early.last, err)
	}
	if err := s.FoldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	thaw, err := s.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	thaw()
	wantLogs(t, s, 1)
	if err := b.discard(t.Context(), early.first); err != nil {
		t.Fatal(err)
	}
	if rows, unfinished := rowsOfTail(t, s); rows != 0 || unfinished != 0 {
		t.Errorf("%d rows and %d unfinished batches are left", rows, unfinished)
	}
	if err := b.storeEarly(t.Context(), &early); hearth.ErrorCode(err) != hearth.CodeUnavailable && len(early.rows) > pieceOf(early.rows) {
		t.Errorf("a batch that was discarded goes on: %v", err)
	}
	if err := s.write(t.Context(), "", func(t *tx) error { return finish(t, early.first) }); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("a batch that was discarded is finished: %v", err)
	}
	if _, err := s.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	wantLogs(t, s, 1+int64(len(entries)))
	if _, unfinished := rowsOfTail(t, s); unfinished != 0 {
		t.Errorf("%d batches are unfinished", unfinished)
	}
}

func TestALargeBatchThatFailsInTheEndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	entries := longTexts(oneDevice(t, s))
	record := &hearth.IdempotencyRecord{Caller: "u", Key: "k", Operation: "create-logs", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	if _, err := s.AppendLogs(t.Context(), entries[:1], nil, hearth.SideEffects{Idempotency: record}); err != nil {
		t.Fatal(err)
	}
	_, err := s.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{Idempotency: record})
	if replayed := new(hearth.Replayed); !errors.As(err, &replayed) {
		t.Errorf("the error is %v", err)
	}
	if rows, unfinished := rowsOfTail(t, s); rows != 1 || unfinished != 0 {
		t.Errorf("the tail has %d rows and %d unfinished batches", rows, unfinished)
	}
	wantLogs(t, s, 1)
}

// What a process left that ended while it stored a batch is never seen, and is removed later.
func TestUnfinishedBatchesAreRemoved(t *testing.T) {
	t.Parallel()
	now := time.Now()
	path := newFile(t)
	open := func() *Store {
		s, err := Open(t.Context(), Options{Path: path, Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	batch, err := s.Resolve(t.Context(), longTexts(oneDevice(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	early, err := logBackend{s}.pack(t.Context(), batch)
	if err == nil {
		err = logBackend{s}.storeEarly(t.Context(), &early)
	}
	if err != nil || !early.unfinished {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	wantLogs(t, s, 0)
	for _, age := range []time.Duration{0, unfinishedTime + time.Second} {
		now = now.Add(age)
		if _, err := s.Tidy(context.Background()); err != nil {
			t.Fatal(err)
		}
		if rows, unfinished := rowsOfTail(t, s); (rows == 0) != (age > 0) || (unfinished == 0) != (age > 0) {
			t.Errorf("%d rows and %d unfinished batches are there after %v", rows, unfinished, age)
		}
	}
}
