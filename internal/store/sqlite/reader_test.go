package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"hearth"
)

func TestReadersNeverWaitForOneAnother(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	// Every connection is inside a snapshot before any of them needs a statement that is not prepared yet.
	var inside, wg sync.WaitGroup
	inside.Add(s.readers.size)
	for range s.readers.size {
		wg.Go(func() {
			err := s.read(t.Context(), "Test", func(r *reader) error {
				inside.Done()
				inside.Wait()
				for n := range 20 {
					var got int
					if err := r.row(fmt.Sprintf(`SELECT %d`, n)).Scan(&got); err != nil || got != n {
						return fmt.Errorf("got %d: %w", got, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAReadIsOfOneSnapshot(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	err := s.read(t.Context(), "Test", func(r *reader) error {
		var before, after int
		if err := r.row(`SELECT count(*) FROM scopes`).Scan(&before); err != nil {
			return err
		}
		if err := s.write(t.Context(), "Test", func(t *tx) error { _, err := t.exec(`INSERT INTO scopes(name) VALUES('x')`); return err }); err != nil {
			return err
		}
		if err := r.row(`SELECT count(*) FROM scopes`).Scan(&after); err != nil {
			return err
		}
		if after != before {
			t.Errorf("the snapshot went from %d to %d rows", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := scopeCount(t, s); n != 1 {
		t.Errorf("the next read sees %d rows, want 1", n)
	}
}

func TestAReadThatFailsOrPanicsLeavesItsConnectionUsable(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	refusal := errors.New("no")
	for range 3 * s.readers.size {
		if err := s.read(t.Context(), "Test", func(*reader) error { return refusal }); !errors.Is(err, refusal) {
			t.Errorf("got %v", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = s.read(t.Context(), "Test", func(*reader) error { panic("a bug") })
		}()
		ended, cancel := context.WithCancel(t.Context())
		err := s.read(ended, "Test", func(r *reader) error {
			cancel()
			var n int
			return r.row(`SELECT 1`).Scan(&n)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled read gave %v", err)
		}
	}
	scopeCount(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("a closed store answered %v", err)
	}
}
