package memkv_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/kv"
	"hearth/internal/kv/kvtest"
	"hearth/internal/kv/memkv"
)

// testClock starts at the present and moves only when it is set.
func testClock() (hearth.Clock, func(time.Duration)) {
	now := new(atomic.Int64)
	now.Store(time.Now().UnixNano())
	return func() time.Time { return time.Unix(0, now.Load()) }, func(d time.Duration) { now.Add(int64(d)) }
}

func newCache(t testing.TB, options memkv.CacheOptions) *memkv.Cache {
	t.Helper()
	c, err := memkv.NewCache(options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// journaled is newLimiter with a journal.
func journaled(t testing.TB, path string, options memkv.LimiterOptions) *memkv.Limiter {
	t.Helper()
	l := newLimiter(t, options)
	if err := l.Remember(path); err != nil {
		t.Fatal(err)
	}
	return l
}

func newLimiter(t testing.TB, options memkv.LimiterOptions) *memkv.Limiter {
	t.Helper()
	l, err := memkv.NewLimiter(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestCache(t *testing.T) {
	t.Parallel()
	kvtest.Cache(t, func(t *testing.T) kvtest.CacheSetup {
		clock, advance := testClock()
		return kvtest.CacheSetup{Cache: newCache(t, memkv.CacheOptions{Bytes: 1 << 20, Clock: clock}), Advance: advance}
	})
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	kvtest.Limiter(t, func(t *testing.T) kvtest.LimiterSetup {
		clock, advance := testClock()
		return kvtest.LimiterSetup{Limiter: newLimiter(t, memkv.LimiterOptions{Limits: kvtest.Limits, Clock: clock}), Advance: advance}
	})
}

func TestLimiterWithAJournal(t *testing.T) {
	t.Parallel()
	kvtest.Limiter(t, func(t *testing.T) kvtest.LimiterSetup {
		clock, advance := testClock()
		return kvtest.LimiterSetup{Limiter: journaled(t, filepath.Join(t.TempDir(), "limits"), memkv.LimiterOptions{
			Limits: kvtest.Limits, Clock: clock, Lasting: []string{"slow", "many", "quick"},
		}), Advance: advance}
	})
}

func TestTheSystemsClockDrivesEverything(t *testing.T) {
	t.Parallel()
	kvtest.Limiter(t, func(t *testing.T) kvtest.LimiterSetup {
		return kvtest.LimiterSetup{Limiter: newLimiter(t, memkv.LimiterOptions{Limits: kvtest.Limits}), Advance: time.Sleep}
	})
}

func TestOptionsOutOfBoundsAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := memkv.NewCache(memkv.CacheOptions{Bytes: 1000}); err == nil {
		t.Error("a cache of 1,000 bytes was made")
	}
	for _, rate := range []kv.Rate{{Limit: -1, Per: time.Second}, {Limit: 1}, {Limit: 1, Per: 48 * time.Hour}, {Limit: kv.MaxRateLimit + 1, Per: time.Hour}} {
		if _, err := memkv.NewLimiter(memkv.LimiterOptions{Limits: kv.Limits{"x": rate}}); err == nil {
			t.Errorf("a limiter of %+v was made", rate)
		}
	}
}

var lastingLimits = kv.Limits{"auth": {Limit: 5, Per: time.Hour}, "general": {Limit: 5, Per: time.Hour}}

func spend(t *testing.T, l *memkv.Limiter, class, key string) (allowed int) {
	t.Helper()
	for {
		d, err := l.Allow(t.Context(), class, key, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !d.Allowed {
			return allowed
		}
		allowed++
	}
}

func TestLimitsOfLastingClassesSurviveAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "limits")
	clock, advance := testClock()
	options := memkv.LimiterOptions{Limits: lastingLimits, Clock: clock}
	first := journaled(t, path, options) // not closed before the next one starts, as after a kill
	for _, key := range []string{"secret@example.com", "192.0.2.7"} {
		if n := spend(t, first, "auth", key); n != 5 {
			t.Fatalf("%d were allowed at first, want 5", n)
		}
	}
	spend(t, first, "general", "192.0.2.7")

	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(file), "secret") || strings.Contains(string(file), "192.0.2.7") {
		t.Errorf("the journal holds a key in plain text:\n%s", file)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the journal's mode is %v, %v", info.Mode(), err)
	}

	second := journaled(t, path, options)
	if n := spend(t, second, "auth", "secret@example.com"); n != 0 {
		t.Errorf("%d more were allowed after the restart", n)
	}
	if n := spend(t, second, "auth", "another"); n != 5 {
		t.Errorf("another key was allowed %d, want 5", n)
	}
	if n := spend(t, second, "general", "192.0.2.7"); n != 5 {
		t.Errorf("a class that does not last was allowed %d, want 5", n)
	}
	advance(time.Hour)
	third := journaled(t, path, options)
	if n := spend(t, third, "auth", "secret@example.com"); n != 5 {
		t.Errorf("%d were allowed after a rest, want 5", n)
	}
}

func TestADamagedJournalStopsNothing(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":       "",
		"not ours":    "once upon a time\n",
		"no salt":     "hearth-limits-1\n",
		"cut line":    "hearth-limits-1 ABCDEFGHIJKLMNOPQRSTUVWXYZ\nauth abc 99999",
		"wrong lines": "hearth-limits-1 ABCDEFGHIJKLMNOPQRSTUVWXYZ\nauth\nauth a b c\nauth a nine\nnone a 9\n\n",
		"far future":  "hearth-limits-1 ABCDEFGHIJKLMNOPQRSTUVWXYZ\nauth x 9223372036854775807\nauth y -9223372036854775808\n",
		"long line":   "hearth-limits-1 ABCDEFGHIJKLMNOPQRSTUVWXYZ\n" + strings.Repeat("x", 100_000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "limits")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			l := journaled(t, path, memkv.LimiterOptions{Limits: lastingLimits})
			if n := spend(t, l, "auth", "k"); n != 5 {
				t.Errorf("%d were allowed, want 5", n)
			}
			next := journaled(t, path, memkv.LimiterOptions{Limits: lastingLimits})
			if n := spend(t, next, "auth", "k"); n != 0 {
				t.Errorf("%d were allowed after a restart", n)
			}
		})
	}
}

func TestTheJournalIsWrittenAnewWhenItGrew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "limits")
	clock, _ := testClock()
	options := memkv.LimiterOptions{Limits: kv.Limits{"auth": {Limit: 100_000, Per: time.Hour}}, Clock: clock}
	l := journaled(t, path, options)
	for range 50_000 {
		if _, err := l.Allow(t.Context(), "auth", "k", 1); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 21_000*60 {
		t.Errorf("after 50,000 records of one key the journal has %d bytes, %v", info.Size(), err)
	}
	next := journaled(t, path, options)
	if d, err := next.Allow(t.Context(), "auth", "k", 0); err != nil || d.Remaining != 50_000 {
		t.Errorf("restored: %+v, %v", d, err)
	}
}

func TestALimiterForgetsIdleKeysFirstAndStaysBounded(t *testing.T) {
	t.Parallel()
	clock, advance := testClock()
	l := newLimiter(t, memkv.LimiterOptions{
		Limits: kv.Limits{"auth": {Limit: 100, Per: time.Hour}}, MaxKeys: 6400, Clock: clock,
	})
	take := func(key string, n int) kv.Decision {
		d, err := l.Allow(t.Context(), "auth", key, n)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	take("hit its limit", 100)
	for i := range 100_000 {
		take(fmt.Sprint("passing by ", i), 1)
	}
	if n := l.Keys(); n > 6400 {
		t.Errorf("%d keys are remembered, want 6,400 at most", n)
	}
	if d := take("hit its limit", 1); d.Allowed {
		t.Error("a hit limit was washed out by many other keys")
	}
	advance(time.Hour)
	for i := range 6400 {
		take(fmt.Sprint("later ", i), 1)
	}
	if n := l.Keys(); n > 6400 {
		t.Errorf("%d keys are remembered after a rest, want 6,400 at most", n)
	}
}

func TestAClockThatJumpsBackLocksNobodyOutForLong(t *testing.T) {
	t.Parallel()
	clock, advance := testClock()
	l := newLimiter(t, memkv.LimiterOptions{Limits: kv.Limits{"auth": {Limit: 5, Per: time.Minute}}, Clock: clock})
	spend(t, l, "auth", "k")
	advance(-24 * time.Hour)
	d, err := l.Allow(t.Context(), "auth", "k", 1)
	if err != nil || d.Allowed || d.RetryAfter > 12*time.Second {
		t.Errorf("after the jump: %+v, %v", d, err)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c := newCache(b, memkv.CacheOptions{})
	options := kv.Options{TTL: time.Hour, Tags: []string{"org:1", "user:1"}}
	load := func(context.Context) ([]byte, error) { return make([]byte, 1000), nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Load(b.Context(), "devices:{user:1}:limit=50", options, load); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheMiss(b *testing.B) {
	c := newCache(b, memkv.CacheOptions{Bytes: 4 << 20})
	options := kv.Options{TTL: time.Hour, Tags: []string{"org:1", "user:1"}}
	load := func(context.Context) ([]byte, error) { return make([]byte, 1000), nil }
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := c.Load(b.Context(), fmt.Sprint("devices:{user:1}:limit=", i), options, load); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLimiterAllow(b *testing.B) {
	for _, test := range []struct{ name, journal string }{{"memory", ""}, {"journal", "limits"}} {
		b.Run(test.name, func(b *testing.B) {
			options := memkv.LimiterOptions{Limits: kv.Limits{"auth": {Limit: 1_000_000, Per: time.Millisecond}}}
			l := newLimiter(b, options)
			if test.journal != "" {
				l = journaled(b, filepath.Join(b.TempDir(), test.journal), options)
			}
			keys := make([]string, 1000)
			for i := range keys {
				keys[i] = fmt.Sprint("user:", i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if _, err := l.Allow(b.Context(), "auth", keys[i%len(keys)], 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
