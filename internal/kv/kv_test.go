package kv_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/kv"
)

func TestARateNeverAllowsMoreThanItsBurstAndWhatWasRegained(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := kv.Rate{
			Limit: rapid.IntRange(1, 50).Draw(t, "limit"),
			Per:   time.Duration(rapid.IntRange(1, 5000).Draw(t, "per ms")) * time.Millisecond,
		}
		interval := rate.Per.Microseconds() / int64(rate.Limit)
		start := int64(1_700_000_000_000_000)
		now, full, taken := start, int64(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 2*rate.Per.Microseconds()).Draw(t, "pause")
			n := rapid.IntRange(0, rate.Limit+2).Draw(t, "n")
			next, d := rate.Take(full, now, n)
			if d.Allowed {
				taken += int64(n)
			} else if next > max(full, now) {
				t.Fatalf("a refusal changed the state from %d to %d", full, next)
			}
			full = next
			if most := int64(rate.Limit) + (now-start)/interval + 1; taken > most {
				t.Fatalf("%d units were allowed, want %d at most", taken, most)
			}
			if d.Remaining < 0 || d.Remaining > rate.Limit || d.ResetAfter < 0 || d.ResetAfter > rate.Per {
				t.Fatalf("out of bounds: %+v", d)
			}
			if !d.Allowed && n <= rate.Limit {
				if d.RetryAfter <= 0 || d.RetryAfter > rate.Per {
					t.Fatalf("a refusal of %d says: %+v", n, d)
				}
				if _, later := rate.Take(full, now+d.RetryAfter.Microseconds(), n); !later.Allowed {
					t.Fatalf("after RetryAfter %d units were refused: %+v", n, later)
				}
				if _, early := rate.Take(full, now+d.RetryAfter.Microseconds()-1, n); early.Allowed {
					t.Fatalf("RetryAfter of %d units is too long: %+v", n, d)
				}
			}
		}
	})
}

func TestKeysAndTheirNames(t *testing.T) {
	t.Parallel()
	key := kv.Key(kv.KindAnalytics, "user:1", "dashboard", "24h")
	if key != "analytics:{user:1}:dashboard:24h" {
		t.Errorf("the key is %q", key)
	}
	want := []string{"tag", key, "analytics:", "analytics:{user:", "analytics:{user:1}:", "analytics:{user:1}:dashboard:"}
	if got := kv.Names(key, []string{"tag"}); !slices.Equal(got, want) {
		t.Errorf("its names are %q, want %q", got, want)
	}
	if !slices.Contains(kv.Names(key, nil), kv.Prefix(kv.KindAnalytics, "user:1")) {
		t.Error("the owner's prefix is not one of them")
	}
	long := kv.Key(kv.KindAnalytics, "u", strings.Repeat("q", 1000))
	if len(long) > 100 || !strings.HasPrefix(long, kv.Prefix(kv.KindAnalytics, "u")) {
		t.Errorf("a long key is %q", long)
	}
	if long == kv.Key(kv.KindAnalytics, "u", strings.Repeat("q", 1001)) {
		t.Error("two long keys are the same")
	}
}
