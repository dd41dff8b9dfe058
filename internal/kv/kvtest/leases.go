package kvtest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/kv"
)

// LeasesSetup is free leases and what the suite needs around them.
type LeasesSetup struct {
	Leases kv.Leases
	// Advance lets so much time pass for the leases.
	Advance func(time.Duration)
}

// Leases runs the suite for leases.
func Leases(t *testing.T, open func(t *testing.T) LeasesSetup) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, LeasesSetup)
	}{
		{"grants a name to one of many", oneHolder},
		{"grants a name again when it ran out, with a higher token", ranOut},
		{"renews", renews},
		{"does not renew what was lost", lost},
		{"releases only its own", releases},
		{"refuses a TTL out of bounds", ttlBounds},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func acquire(t *testing.T, l kv.Leases, ttl time.Duration) kv.Lease {
	t.Helper()
	lease, err := l.Acquire(t.Context(), "name", ttl)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func refused(t *testing.T, err error, what string) {
	t.Helper()
	if hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("%s: got %v, want a conflict", what, err)
	}
}

func oneHolder(t *testing.T, s LeasesSetup) {
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			lease, err := s.Leases.Acquire(context.Background(), "name", ttl)
			if err == nil {
				got.Add(1)
				if left := time.Until(lease.ExpiresAt); lease.Name != "name" || left < ttl/2 {
					t.Errorf("a lease that makes no sense: %+v, %s left", lease, left)
				}
			} else {
				refused(t, err, "a held name")
			}
		})
	}
	wg.Wait()
	if n := got.Load(); n != 1 {
		t.Errorf("%d hold the name, want 1", n)
	}
	if _, err := s.Leases.Acquire(t.Context(), "another", ttl); err != nil {
		t.Errorf("another name: %v", err)
	}
}

func ranOut(t *testing.T, s LeasesSetup) {
	first := acquire(t, s.Leases, short)
	s.Advance(short + 20*time.Millisecond)
	second := acquire(t, s.Leases, ttl)
	if second.Token <= first.Token {
		t.Errorf("the token went from %d to %d", first.Token, second.Token)
	}
	if err := s.Leases.Release(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if third := acquire(t, s.Leases, ttl); third.Token <= second.Token {
		t.Errorf("after a release the token went from %d to %d", second.Token, third.Token)
	}
}

func renews(t *testing.T, s LeasesSetup) {
	lease := acquire(t, s.Leases, 5*short)
	for range 6 {
		s.Advance(short)
		renewed, err := s.Leases.Renew(t.Context(), lease, 5*short)
		if err != nil {
			t.Fatal(err)
		}
		if renewed.Token != lease.Token || !renewed.ExpiresAt.After(lease.ExpiresAt) {
			t.Errorf("%+v was renewed to %+v", lease, renewed)
		}
		lease = renewed
	}
	_, err := s.Leases.Acquire(t.Context(), "name", ttl)
	refused(t, err, "a renewed name")
}

func lost(t *testing.T, s LeasesSetup) {
	lease := acquire(t, s.Leases, short)
	s.Advance(short + 20*time.Millisecond)
	_, err := s.Leases.Renew(t.Context(), lease, ttl)
	refused(t, err, "renewing one that ran out")
	acquire(t, s.Leases, ttl)
	_, err = s.Leases.Renew(t.Context(), lease, ttl)
	refused(t, err, "renewing one that another took")
	_, err = s.Leases.Renew(t.Context(), kv.Lease{Name: "never"}, ttl)
	refused(t, err, "renewing one that never was")
}

func releases(t *testing.T, s LeasesSetup) {
	first := acquire(t, s.Leases, short)
	s.Advance(short + 20*time.Millisecond)
	second := acquire(t, s.Leases, ttl)
	if err := s.Leases.Release(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	_, err := s.Leases.Acquire(t.Context(), "name", ttl)
	refused(t, err, "after the former holder released")
	for range 2 {
		if err := s.Leases.Release(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	}
	acquire(t, s.Leases, ttl)
}

func ttlBounds(t *testing.T, s LeasesSetup) {
	held := acquire(t, s.Leases, ttl)
	for _, wrong := range []time.Duration{0, -time.Second, time.Microsecond, kv.MaxLeaseTTL + 1} {
		if _, err := s.Leases.Acquire(t.Context(), "other", wrong); err == nil {
			t.Errorf("acquired for %s", wrong)
		}
		if _, err := s.Leases.Renew(t.Context(), held, wrong); err == nil {
			t.Errorf("renewed for %s", wrong)
		}
	}
}
