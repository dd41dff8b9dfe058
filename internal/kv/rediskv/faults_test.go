package rediskv_test

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
	"hearth/internal/kv/rediskv"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
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

// TestARedisThatIsGoneCostsLittle is not parallel: it counts goroutines.
func TestARedisThatIsGoneCostsLittle(t *testing.T) {
	for _, fault := range []struct {
		name       string
		begin, end func(*testserver.Redis)
	}{
		{"hung", (*testserver.Redis).Hang, (*testserver.Redis).Resume},
		{"killed and restarted empty", (*testserver.Redis).Stop, (*testserver.Redis).Start},
	} {
		t.Run(fault.name, func(t *testing.T) {
			server := testserver.StartRedis(t)
			log := &lines{}
			conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: server.URL(), Logger: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Close)
			cache := instance(t, conn)
			limits := kv.Limits{"auth": {Limit: 10, Per: time.Hour}, "general": {Limit: 1_000_000, Per: time.Second}}
			limited := limiter(t, conn, limits)
			for range 10 {
				if d, err := limited.Allow(t.Context(), "auth", "known", 1); err != nil || !d.Allowed {
					t.Fatalf("before: %+v, %v", d, err)
				}
			}
			get(t, cache, "v")

			fault.begin(server)
			before := runtime.NumGoroutine()
			took := storm(t, cache, limited)
			if p99 := took[len(took)*99/100]; p99 > 500*time.Millisecond {
				t.Errorf("a call took %s at the 99th percentile", p99)
			}
			if known := took[len(took)/2]; known > 5*time.Millisecond {
				t.Errorf("a call took %s at the median", known)
			}
			if grown := runtime.NumGoroutine() - before; grown > 20 {
				t.Errorf("%d goroutines more", grown)
			}
			// What was spent before stays spent, a new key has its limit, and no more than that.
			if d, err := limited.Allow(t.Context(), "auth", "known", 1); err != nil || d.Allowed {
				t.Errorf("a spent key while Redis is away: %+v, %v", d, err)
			}
			allowed := 0
			for range 30 {
				d, err := limited.Allow(t.Context(), "auth", "new", 1)
				if err != nil {
					t.Fatal(err)
				}
				if d.Allowed {
					allowed++
				}
			}
			if allowed != 10 {
				t.Errorf("a new key was allowed %d while Redis is away, want 10", allowed)
			}
			if err := conn.Ping(t.Context()); err == nil {
				t.Error("the health says nothing")
			}

			fault.end(server)
			back := time.Now()
			eventually(t, "the cache is back", cache.Hearing)
			if took := time.Since(back); took > 5*time.Second {
				t.Errorf("it came back after %s", took)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Errorf("the health says %v", err)
			}
			other := instance(t, conn)
			share(t, cache, other, get(t, cache, "again"))
			if gone, back := log.count("Redis is away"), log.count("Redis is back"); gone != 1 || back != 1 {
				t.Errorf("the log says %d times that Redis is away and %d times that it is back, want 1 and 1:\n%s", gone, back, log.text.String())
			}
		})
	}
}

// storm calls from several goroutines and returns how long each call took, shortest first.
func storm(t *testing.T, cache *rediskv.Cache, limited *rediskv.Limiter) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 250 {
				began := time.Now()
				if d, err := limited.Allow(context.Background(), "general", "k", 1); err != nil || !d.Allowed {
					t.Errorf("%+v, %v", d, err)
				}
				_, err := cache.Load(context.Background(), key, kept, func(context.Context) ([]byte, error) { return []byte("v"), nil })
				cache.Invalidate(context.Background(), key)
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

func TestAValueIsKeptShortlyWhileNoInstancePublishesChanges(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	cache := instance(t, connect(t, server.URL(), 0))
	get(t, cache, "old")
	server.Stop()
	stopped := time.Now()
	// Another instance changed the value and cannot say so: it shows nonetheless.
	eventually(t, "the change shows", func() bool { return get(t, cache, "new") == "new" })
	if took := time.Since(stopped); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestManyOwedInvalidationsEndEverything(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	a, b := instance(t, connect(t, server.URL(), 0)), instance(t, connect(t, server.URL(), 0))
	share(t, a, b, "old")
	server.Stop()
	eventually(t, "the instances notice", func() bool { return !a.Hearing() && !b.Hearing() })
	names := []string{"org:7"}
	for i := range 1500 {
		names = append(names, "name:"+strings.Repeat("x", i))
	}
	a.Invalidate(t.Context(), names...)
	server.Start()
	eventually(t, "the instances are back", func() bool { return a.Hearing() && b.Hearing() })
	if got := get(t, b, "new"); got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsMissingIsRefused(t *testing.T) {
	t.Parallel()
	near, err := memkv.NewCache(memkv.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rediskv.NewCache(rediskv.CacheOptions{Near: near}); err == nil {
		t.Error("a cache without a connection was made")
	}
	if _, err := rediskv.NewLimiter(rediskv.LimiterOptions{}); err == nil {
		t.Error("a limiter without a connection was made")
	}
	if _, err := rediskv.NewLeases(rediskv.LeasesOptions{}); err == nil {
		t.Error("leases without a connection were made")
	}
}
