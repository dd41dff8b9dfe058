package keymutex

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestHoldersOfOneKeyExcludeOneAnother(t *testing.T) {
	t.Parallel()
	var m Mutex[string]
	counts := map[string]*int{"a": new(int), "b": new(int)}
	var wg sync.WaitGroup
	for key, count := range counts {
		for range 8 {
			wg.Go(func() {
				for range 500 {
					unlock, err := m.Lock(t.Context(), key)
					if err != nil {
						t.Error(err)
						return
					}
					*count++ // the race detector reports two holders
					unlock()
				}
			})
		}
	}
	wg.Wait()
	if *counts["a"] != 4000 || *counts["b"] != 4000 {
		t.Errorf("counted %d and %d", *counts["a"], *counts["b"])
	}
	if len(m.locks) != 0 {
		t.Errorf("%d keys are kept that no caller uses", len(m.locks))
	}
}

func TestAKeyDoesNotWaitForAnother(t *testing.T) {
	t.Parallel()
	var m Mutex[int]
	unlock, err := m.Lock(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	other, err := m.Lock(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	other()
}

func TestAnEndedContextStopsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m Mutex[string]
		unlock, err := m.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { _, err := m.Lock(ctx, "a"); result <- err }()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		unlock()
		again, err := m.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		again()
		if len(m.locks) != 0 {
			t.Errorf("%d keys are kept", len(m.locks))
		}
	})
}

func TestTooManyUsersAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := Mutex[string]{MaxUsers: 2}
		unlock, err := m.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan func())
		go func() {
			unlock, err := m.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			second <- unlock
		}()
		synctest.Wait()
		if _, err := m.Lock(t.Context(), "a"); !errors.Is(err, ErrBusy) {
			t.Errorf("the error of a third user is %v", err)
		}
		unlock()
		(<-second)()
		if unlock, err = m.Lock(t.Context(), "a"); err != nil {
			t.Errorf("a free key is refused: %v", err)
		} else {
			unlock()
		}
	})
}
