package sqlitebus_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/bus"
	"hearth/internal/bus/bustest"
	"hearth/internal/bus/sqlitebus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func join(t testing.TB, o sqlitebus.Options) *sqlitebus.Bus {
	t.Helper()
	b, err := sqlitebus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestSuite(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t testing.TB) bustest.Service {
		path := filepath.Join(t.TempDir(), "bus.db")
		return bustest.Service{Join: func(t testing.TB) bus.Bus { return join(t, sqlitebus.Options{Path: path}) }}
	})
}

// flip seals by turning every bit.
type flip struct{}

func (flip) Seal(plain []byte) ([]byte, error) {
	out := bytes.Clone(plain)
	for i := range out {
		out[i] = ^out[i]
	}
	return out, nil
}

func (f flip) Open(sealed []byte) ([]byte, error) { return f.Seal(sealed) }

func TestWhatLiesInTheFileIsSealedAndForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "bus.db")
	a, b := join(t, sqlitebus.Options{Path: path, Sealer: flip{}}), join(t, sqlitebus.Options{Path: path, Sealer: flip{}})
	heard, up := make(chan string, 1), make(chan struct{}, 1)
	s := b.Listen(bus.Listener{
		Topics: []string{"t"}, Heard: func(m bus.Message) { heard <- m.Data }, Up: func(context.Context) error { up <- struct{}{}; return nil },
	})
	t.Cleanup(s.Close)
	<-up
	if err := a.Publish(t.Context(), "t", "a secret text"); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "a secret text" {
		t.Errorf("heard %q", got)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("secret")) {
			t.Errorf("%s holds the text", file)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v, %v", file, info.Mode(), err)
		}
	}
}

// A process that slept for longer than messages are kept learns it; what is old goes.
func TestAProcessThatDidNotReadForLongLearnsThatItMissedSome(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bus.db")
	var minutes atomic.Int64
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return began.Add(time.Duration(minutes.Load()) * time.Minute) }
	a, b := join(t, sqlitebus.Options{Path: path, Clock: clock}), join(t, sqlitebus.Options{Path: path, Clock: clock})
	hold, heard := make(chan struct{}), make(chan string, 100)
	var ups, downs atomic.Int64
	s := b.Listen(bus.Listener{
		Topics: []string{"t"}, Heard: func(m bus.Message) { <-hold; heard <- m.Data },
		Up: func(context.Context) error { ups.Add(1); return nil }, Down: func() { downs.Add(1) },
	})
	t.Cleanup(s.Close)
	waitFor(t, "it never heard", func() bool { return ups.Load() == 1 })
	say := func(text string) {
		t.Helper()
		if err := a.Publish(t.Context(), "t", text); err != nil {
			t.Fatal(err)
		}
	}
	say("one")
	time.Sleep(200 * time.Millisecond) // it reads, and is held while it handles the first
	say("lost")
	minutes.Add(2)
	say("three")
	close(hold)
	if first, second := <-heard, <-heard; first != "one" || second != "three" {
		t.Errorf("heard %q and %q", first, second)
	}
	waitFor(t, "it was not told", func() bool { return ups.Load() == 2 && downs.Load() == 1 })
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	a := join(b, sqlitebus.Options{Path: filepath.Join(b.TempDir(), "bus.db")})
	for b.Loop() {
		if err := a.Publish(b.Context(), "t", "some text of a message"); err != nil {
			b.Fatal(err)
		}
	}
}
