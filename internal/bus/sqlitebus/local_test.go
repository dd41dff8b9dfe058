package sqlitebus_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"hearth/internal/bus"
	"hearth/internal/bus/sqlitebus"
)

// numbers listens to counted messages of one publisher, and fails for one that does not follow the one before.
type numbers struct {
	bus.Subscription
	mu   sync.Mutex
	last int
}

// hear returns once the end hears what is published from now on.
func hear(t *testing.T, end bus.Bus, first int) *numbers {
	t.Helper()
	n, up := &numbers{last: first}, make(chan struct{}, 1)
	n.Subscription = end.Listen(bus.Listener{
		Topics: []string{"t"},
		Heard: func(m bus.Message) {
			got, err := strconv.Atoi(strings.TrimSpace(m.Data))
			n.mu.Lock()
			defer n.mu.Unlock()
			if err != nil || n.last > 0 && got != n.last+1 {
				t.Errorf("heard %.20q after %d, %v", m.Data, n.last, err)
			}
			n.last = got
		},
		Up: func(context.Context) error {
			select {
			case up <- struct{}{}:
			default:
			}
			return nil
		},
	})
	<-up
	return n
}

func (n *numbers) reached() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

// stored returns how many messages were ever in the file.
func stored(t *testing.T, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0)`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Messages of a process that is alone do not touch the file, and nothing is lost, doubled or out of order when others come and go.
func TestMessagesStayInOrderWhileOtherProcessesComeAndGo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bus.db")
	a := join(t, sqlitebus.Options{Path: path})
	own := hear(t, a, 1)
	t.Cleanup(own.Close)
	n := 1
	say := func(times int) {
		t.Helper()
		for range times {
			n++
			if err := a.Publish(t.Context(), "t", strconv.Itoa(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// outside reports whether so many messages pass without the file.
	outside := func(times int) bool {
		before := stored(t, path)
		say(times)
		return stored(t, path) == before
	}
	for range 5 {
		if sqlitebus.SeesOthers {
			waitFor(t, "messages of a process that is alone go to the file", func() bool { return outside(1) })
			if !outside(200) {
				t.Error("messages of a process that is alone go to the file")
			}
		}
		awaitNumber(t, own, n)
		b, err := sqlitebus.Open(t.Context(), sqlitebus.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		say(3)
		other := hear(t, b, 0)
		say(50)
		awaitNumber(t, other, n)
		other.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		say(50)
		awaitNumber(t, own, n)
	}
}

func awaitNumber(t *testing.T, n *numbers, want int) {
	t.Helper()
	waitFor(t, "it never heard "+strconv.Itoa(want), func() bool { return n.reached() == want })
}

// A listener that hangs has messages go to the file, where their number does not matter.
func TestMessagesInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	const many = 40 // more than 8 MiB that are being heard, and 8 MiB that wait
	padding := strings.Repeat(" ", 512<<10)
	path := filepath.Join(t.TempDir(), "bus.db")
	a := join(t, sqlitebus.Options{Path: path})
	own := hear(t, a, 0)
	t.Cleanup(own.Close)
	own.mu.Lock()
	for i := range many {
		if err := a.Publish(t.Context(), "t", strconv.Itoa(i+1)+padding); err != nil {
			t.Fatal(err)
		}
	}
	own.mu.Unlock()
	awaitNumber(t, own, many)
	if stored(t, path) == 0 {
		t.Errorf("%d messages were in memory", many)
	}
}
