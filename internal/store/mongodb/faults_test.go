package mongodb

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/testserver"
)

// throughWire returns the options of a store behind a wire, and the wire.
func throughWire(t *testing.T) (Options, *testserver.Wire) {
	t.Helper()
	uri, err := url.Parse(newDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	wire := testserver.NewWire(t, uri.Host)
	uri.Host = wire.Addr()
	return Options{URI: uri.String(), Clock: atNoon, OperationTimeout: 2 * time.Second}, wire
}

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// until calls try until it succeeds, within a bound.
func until(t *testing.T, bound time.Duration, try func() error) {
	t.Helper()
	start := time.Now()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Since(start) > bound {
			t.Fatalf("not within %v: %v", bound, err)
		}
		if err := steps.Pause(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALostDatabaseIsSaidAtOnceAndFoundAgain: with the server stopped, hung or slow.
func TestALostDatabaseIsSaidAtOnceAndFoundAgain(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name       string
		begin, end func(*testserver.Wire)
	}{
		{"stopped", (*testserver.Wire).Cut, (*testserver.Wire).Mend},
		{"hung", (*testserver.Wire).Hang, (*testserver.Wire).Clear},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			options, wire := throughWire(t)
			said := &lines{}
			options.Logger = slog.New(slog.NewTextHandler(said, nil))
			s := openAt(t, options)
			furnish(t, s)
			fault.begin(wire)
			refused := func() time.Duration {
				start := time.Now()
				_, readErr := s.User(t.Context(), "ann")
				took := time.Since(start)
				writeErr := rename(t.Context(), s, "1")
				for _, err := range []error{readErr, writeErr, s.Ping(t.Context())} {
					e, ok := errors.AsType[*hearth.Error](err)
					if !ok || e.Code != hearth.CodeUnavailable || e.RetryAfter <= 0 {
						t.Fatalf("the answer is %v", err)
					}
				}
				return took
			}
			if took := refused(); took > 3*time.Second {
				t.Errorf("the first answer took %v", took)
			}
			until(t, 15*time.Second, func() error {
				if took := refused(); took > 100*time.Millisecond {
					return fmt.Errorf("an answer took %v", took)
				}
				return nil
			})
			fault.end(wire)
			until(t, 10*time.Second, func() error { return rename(t.Context(), s, "2") })
			if n := verifyChain(t, s); n < 3 {
				t.Errorf("the audit has %d entries", n)
			}
			for _, line := range []string{"no server of the database", "the database is back"} {
				if n := said.count(line); n != 1 {
					t.Errorf("the log says %d times: %s", n, line)
				}
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		options, wire := throughWire(t)
		options.OperationTimeout = 10 * time.Second
		s := openAt(t, options)
		furnish(t, s)
		wire.Slow(50 * time.Millisecond)
		if err := rename(t.Context(), s, "1"); err != nil {
			t.Error(err)
		}
	})
}

// TestACutWireLosesAndDoublesNothing cuts the connections again and again under writes that are tried until they are
// answered, each under a key of its own.
func TestACutWireLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	options, wire := throughWire(t)
	options.Grace = 100 * time.Millisecond
	s := openAt(t, options)
	furnish(t, s)
	entriesBefore := verifyChain(t, s)
	const writes = 25
	stop, stopped := make(chan struct{}), make(chan struct{})
	var done atomic.Int64
	go func() {
		defer close(stopped)
		const shortest = 500 * time.Millisecond
		longest, before := shortest, int64(0)
		for {
			select {
			case <-stop:
				return
			case <-time.After(rand.N(longest)):
				wire.Cut()
				wire.Mend()
			}
			// A machine that is so busy that no write gets through between two cuts gets more time.
			if longest *= 2; done.Load() > before {
				longest, before = shortest, done.Load()
			}
		}
	}()
	for n := range writes {
		until(t, time.Minute, func() error {
			_, _, err := s.UpdateUser(t.Context(), "ann", func(u hearth.User) (hearth.UserChange, error) {
				u.Epoch++
				return hearth.UserChange{User: u, SideEffects: hearth.SideEffects{
					Idempotency: once(fmt.Sprint(n)), Audit: entries("count"), Jobs: []hearth.OutboxJob{outboxJob(n)},
				}}, nil
			})
			if _, ok := errors.AsType[*hearth.Replayed](err); ok {
				return nil // it was done, and the answer lost
			}
			return err
		})
		done.Add(1)
	}
	close(stop)
	<-stopped
	if err := s.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, err := s.User(t.Context(), "ann")
	if err != nil || u.Epoch != writes {
		t.Errorf("%d writes count as %d, %v", writes, u.Epoch, err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 2*writes); err != nil || len(jobs) != writes {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
	if n := verifyChain(t, s) - entriesBefore; n != writes {
		t.Errorf("%d entries", n)
	}
}
