package kvtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/kv"
)

// LimiterSetup is a limiter that knows no key and what the suite needs around it.
type LimiterSetup struct {
	Limiter kv.Limiter
	// Advance lets so much time pass for the limiter.
	Advance func(time.Duration)
}

// Limits are what the suite's limiters are opened with.
var Limits = kv.Limits{ // never written to
	"slow":  {Limit: 5, Per: time.Hour},
	"many":  {Limit: 50, Per: time.Hour},
	"quick": {Limit: 2, Per: 200 * time.Millisecond},
	"off":   {},
}

// Limiter runs the suite for limiters, each opened with Limits.
func Limiter(t *testing.T, open func(t *testing.T) LimiterSetup) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, LimiterSetup)
	}{
		{"allows the limit and refuses the next", refusesTheNext},
		{"regains units evenly", regains},
		{"takes all units or none", takesAll},
		{"reports without taking", peeks},
		{"counts keys and classes apart", countsApart},
		{"allows everything in a class without a limit", noLimit},
		{"is exact among many at once", exact},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func allow(t *testing.T, l kv.Limiter, key string, n int, class string) kv.Decision {
	t.Helper()
	d, err := l.Allow(t.Context(), class, key, n)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func refusesTheNext(t *testing.T, s LimiterSetup) {
	for want := 4; want >= 0; want-- {
		d := allow(t, s.Limiter, "k", 1, "slow")
		if !d.Allowed || d.Limit != 5 || d.Remaining != want || d.RetryAfter != 0 {
			t.Fatalf("with %d to remain: %+v", want, d)
		}
		spent := time.Duration(5-want) * 12 * time.Minute
		if d.ResetAfter > spent || d.ResetAfter < spent-time.Minute {
			t.Errorf("with %d units spent ResetAfter is %s, want about %s", 5-want, d.ResetAfter, spent)
		}
	}
	for range 3 {
		d := allow(t, s.Limiter, "k", 1, "slow")
		if d.Allowed || d.Remaining != 0 || d.Limit != 5 {
			t.Fatalf("beyond the limit: %+v", d)
		}
		if d.RetryAfter <= 11*time.Minute || d.RetryAfter > 12*time.Minute || d.ResetAfter > time.Hour {
			t.Errorf("a refusal must not cost: %+v", d)
		}
	}
}

func regains(t *testing.T, s LimiterSetup) {
	for range 2 {
		if d := allow(t, s.Limiter, "k", 1, "quick"); !d.Allowed {
			t.Fatalf("within the limit: %+v", d)
		}
	}
	d := allow(t, s.Limiter, "k", 1, "quick")
	for tries := 0; !d.Allowed; tries++ {
		if d.RetryAfter <= 0 || d.RetryAfter > 100*time.Millisecond || tries > 3 {
			t.Fatalf("try %d: %+v", tries, d)
		}
		s.Advance(d.RetryAfter)
		d = allow(t, s.Limiter, "k", 1, "quick")
	}
	s.Advance(400 * time.Millisecond)
	if d := allow(t, s.Limiter, "k", 2, "quick"); !d.Allowed || d.Remaining != 0 {
		t.Errorf("a key at rest: %+v", d)
	}
}

func takesAll(t *testing.T, s LimiterSetup) {
	for _, step := range []struct {
		n       int
		allowed bool
		remain  int
	}{{3, true, 2}, {3, false, 2}, {2, true, 0}, {1, false, 0}} {
		d := allow(t, s.Limiter, "k", step.n, "slow")
		if d.Allowed != step.allowed || d.Remaining != step.remain || (d.RetryAfter > 0) == step.allowed {
			t.Errorf("%d units: %+v", step.n, d)
		}
	}
	for _, n := range []int{6, 1 << 30} {
		if d := allow(t, s.Limiter, "fresh", n, "slow"); d.Allowed || d.Remaining != 5 || d.RetryAfter <= 0 {
			t.Errorf("%d units of 5: %+v", n, d)
		}
	}
}

func peeks(t *testing.T, s LimiterSetup) {
	for range 10 {
		if d := allow(t, s.Limiter, "k", 0, "slow"); !d.Allowed || d.Remaining != 5 || d.ResetAfter != 0 {
			t.Fatalf("a fresh key: %+v", d)
		}
	}
	allow(t, s.Limiter, "k", 5, "slow")
	if d := allow(t, s.Limiter, "k", 0, "slow"); d.Allowed || d.Remaining != 0 || d.RetryAfter <= 0 {
		t.Errorf("a spent key: %+v", d)
	}
}

func countsApart(t *testing.T, s LimiterSetup) {
	allow(t, s.Limiter, "k", 5, "slow")
	if d := allow(t, s.Limiter, "k", 50, "many"); !d.Allowed {
		t.Errorf("another class: %+v", d)
	}
	for _, key := range []string{"", "K", "k ", "k\x00", "k\n", "ключ"} {
		if d := allow(t, s.Limiter, key, 5, "slow"); !d.Allowed {
			t.Errorf("another key, %q: %+v", key, d)
		}
	}
}

func noLimit(t *testing.T, s LimiterSetup) {
	for _, class := range []string{"off", "unknown"} {
		for range 100 {
			if d := allow(t, s.Limiter, "k", 10, class); d != (kv.Decision{Allowed: true}) {
				t.Fatalf("class %s: %+v", class, d)
			}
		}
	}
}

func exact(t *testing.T, s LimiterSetup) {
	var allowed, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			d, err := s.Limiter.Allow(context.Background(), "many", fmt.Sprint("k", i%2), 1)
			if err != nil {
				t.Error(err)
			}
			if d.Allowed {
				allowed.Add(1)
			} else {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if a, r := allowed.Load(), refused.Load(); a != 100 || r != 100 {
		t.Errorf("of 100 on each of two keys %d were allowed and %d refused, want 100 and 100", a, r)
	}
}
