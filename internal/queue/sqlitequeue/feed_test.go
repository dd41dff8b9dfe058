package sqlitequeue_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"hearth/internal/queue/sqlitequeue"
)

func TestWhatOneProcessTellsTheOthersHearOnceInOrder(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	path := filepath.Join(t.TempDir(), "queue.db")
	open := func() *sqlitequeue.Queue {
		q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q
	}
	teller, hearer := open(), open()
	tell := func(messages ...string) {
		t.Helper()
		all := make([][]byte, len(messages))
		for i, m := range messages {
			all[i] = []byte(m)
		}
		if err := teller.Tell(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(after int64) ([]string, int64) {
		t.Helper()
		messages, next, err := hearer.Told(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, m := range messages {
			all = append(all, string(m))
		}
		return all, next
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	tell("before anybody listened")
	got, place := hear(-1)
	want(got)
	changed, stop := hearer.Watch()
	defer stop()
	tell("one", "two")
	<-changed
	got, place = hear(place)
	want(got, "one", "two")
	got, place = hear(place)
	want(got)
	// What is old goes, and numbers are not used again.
	now = now.Add(2 * time.Minute)
	tell()
	tell("three")
	got, _ = hear(0)
	want(got, "three")
	got, place = hear(place)
	want(got, "three")
	for range 2 {
		many := make([]string, 400)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		tell(many...)
	}
	got, place = hear(place)
	rest, _ := hear(place)
	if len(got) != 500 || len(rest) != 300 || rest[0] != "100" {
		t.Errorf("heard %d and %d, the second from %q", len(got), len(rest), rest[0])
	}
}

func TestAFileOfTheFirstVersionIsTakenOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.MakeFirstVersion(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Tell(t.Context(), []byte("x")); err != nil {
			t.Error(err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
