package rediskv_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
	"hearth/internal/kv/rediskv"
	"hearth/internal/testserver"
)

const key = "devices:{user:1}:limit=50"

// kept are the options of values that the tests share.
var kept = kv.Options{TTL: time.Hour, Tags: []string{"org:7"}} // never written to

func get(t testing.TB, c *rediskv.Cache, load string) string {
	t.Helper()
	value, err := c.Load(t.Context(), key, kept, func(context.Context) ([]byte, error) { return []byte(load), nil })
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// share has both instances keep a value.
func share(t testing.TB, a, b *rediskv.Cache, value string) {
	t.Helper()
	eventually(t, "both have the value", func() bool { return get(t, a, value) == value && get(t, b, value) == value })
}

func TestAnInstanceUsesWhatAnotherLoaded(t *testing.T) {
	t.Parallel()
	url := testserver.StartRedis(t).URL()
	a, b := instance(t, connect(t, url, 0)), instance(t, connect(t, url, 0))
	get(t, a, "v")
	eventually(t, "the second uses the first one's value", func() bool {
		return get(t, b, "v") == "v" && a.Stats()[1].Loads == 1
	})
	if loads := b.Stats()[1].Loads; loads > 0 {
		t.Errorf("the second loaded %d times", loads)
	}
}

func TestManyInstancesLoadOnce(t *testing.T) {
	t.Parallel()
	url := testserver.StartRedis(t).URL()
	const instances, askers = 3, 20
	var calls atomic.Int64
	release := make(chan struct{})
	caches := make([]*rediskv.Cache, instances)
	var wg sync.WaitGroup
	for i := range caches {
		c := instance(t, connect(t, url, 0))
		caches[i] = c
		for range askers {
			wg.Go(func() {
				got, err := c.Load(context.Background(), key, kept, func(context.Context) ([]byte, error) {
					calls.Add(1)
					<-release
					return []byte("v"), nil
				})
				if err != nil || string(got) != "v" {
					t.Errorf("Load = %q, %v", got, err)
				}
			})
		}
	}
	for _, c := range caches {
		eventually(t, "all wait", func() bool { return c.Stats()[0].Misses == askers })
	}
	close(release)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d instances loaded %d times, want 1", instances, n)
	}
}

func TestAnInvalidationReachesEveryInstanceWithinASecond(t *testing.T) {
	t.Parallel()
	url := testserver.StartRedis(t).URL()
	a, b := instance(t, connect(t, url, 0)), instance(t, connect(t, url, 0))
	for i, name := range []string{"org:7", key, "devices:", "devices:{user:1}:"} {
		old, next := fmt.Sprint("old ", i), fmt.Sprint("new ", i)
		a.Invalidate(t.Context(), key)
		share(t, a, b, old)
		a.Invalidate(t.Context(), name)
		told := time.Now()
		eventually(t, "the other follows "+name, func() bool { return get(t, b, next) == next })
		if took := time.Since(told); took > time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// asked returns how many scripts Redis ran.
func asked(t testing.TB, r *testserver.Redis) int {
	t.Helper()
	for line := range strings.Lines(r.Do("INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

func TestAValidValueCostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	c := instance(t, connect(t, server.URL(), 0))
	get(t, c, "v")
	eventually(t, "the value is in Redis", func() bool { return server.Do("EXISTS", key) == "1" })
	before := asked(t, server)
	for range 1000 {
		get(t, c, "another")
	}
	if n := asked(t, server) - before; n != 0 {
		t.Errorf("1,000 cached reads ran %d scripts", n)
	}
}

func TestValuesOfARedisThatForgotInvalidationsAreNotUsed(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	a, b := instance(t, connect(t, server.URL(), 0)), instance(t, connect(t, server.URL(), 0))
	share(t, a, b, "old")
	server.Stop()
	// Redis is away: the invalidation cannot be published, and yet no instance may return the old value once it is back.
	eventually(t, "the instances notice", func() bool { return !a.Hearing() && !b.Hearing() })
	a.Invalidate(t.Context(), "org:7")
	if got := get(t, a, "new"); got != "new" {
		t.Errorf("who invalidated got %q", got)
	}
	server.Start()
	if server.Do("EXISTS", key) != "1" {
		t.Fatal("the test is void: the old value is gone")
	}
	eventually(t, "the instances are back", func() bool { return a.Hearing() && b.Hearing() })
	for range 3 {
		if got := get(t, b, "new"); got != "new" {
			t.Fatalf("the other instance got %q", got)
		}
	}
}

func TestAFlushCostsALoadAndNothingElse(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	a, b := instance(t, connect(t, server.URL(), 0)), instance(t, connect(t, server.URL(), 0))
	share(t, a, b, "old")
	server.Flush()
	a.Invalidate(t.Context(), "org:7")
	eventually(t, "the other follows", func() bool { return get(t, b, "new") == "new" })
	if got := get(t, a, "new"); got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestLimitsHoldAcrossInstances(t *testing.T) {
	t.Parallel()
	url := testserver.StartRedisCluster(t).URL()
	limits := kv.Limits{"auth": {Limit: 50, Per: time.Hour}, "off": {}}
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		l := limiter(t, connect(t, url, 0), limits)
		for range 60 {
			wg.Go(func() {
				decisions, err := l.AllowAll(context.Background(), rediskv.Ask{Class: "off", Key: "k", N: 1},
					rediskv.Ask{Class: "auth", Key: "k", N: 1}, rediskv.Ask{Class: "auth", Key: "another", N: 0})
				if err != nil || !decisions[0].Allowed || !decisions[2].Allowed {
					t.Errorf("%+v, %v", decisions, err)
					return
				}
				if decisions[1].Allowed {
					allowed.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if n := allowed.Load(); n != 50 {
		t.Errorf("two instances allowed %d, want 50", n)
	}
}

func TestLimitsOfOneRequestTakeOneRoundTrip(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	l := limiter(t, connect(t, server.URL(), 0), kv.Limits{"auth": {Limit: 50, Per: time.Hour}})
	ask := func() {
		if _, err := l.AllowAll(t.Context(), rediskv.Ask{Class: "auth", Key: "ip:192.0.2.7", N: 1},
			rediskv.Ask{Class: "auth", Key: "email:x", N: 1}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	before := asked(t, server)
	ask()
	if n := asked(t, server) - before; n != 2 {
		t.Errorf("two limits ran %d scripts, want 2", n)
	}
	if keys := server.Do("KEYS", "*192.0.2.7*"); keys != "0" {
		t.Error("a key holds an address in plain text")
	}
}

func TestEverythingWorksOnACluster(t *testing.T) {
	t.Parallel()
	conn := connect(t, testserver.StartRedisCluster(t).URL(), 0)
	a, b := instance(t, conn), instance(t, conn)
	for _, name := range []string{"devices:", "org:7", key} {
		share(t, a, b, "before "+name)
		a.Invalidate(t.Context(), name)
		eventually(t, "the other follows "+name, func() bool { return get(t, b, "after "+name) == "after "+name })
		a.Invalidate(t.Context(), key)
	}
	leases, err := rediskv.NewLeases(rediskv.LeasesOptions{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	lease, err := leases.Acquire(t.Context(), "clean-up", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leases.Renew(t.Context(), lease, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := leases.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkCache(b *testing.B) {
	server := testserver.StartRedis(b)
	conn := connect(b, server.URL(), 0)
	load := func(context.Context) ([]byte, error) { return make([]byte, 1000), nil }
	b.Run("near hit", func(b *testing.B) {
		c := instance(b, conn)
		for b.Loop() {
			if _, err := c.Load(b.Context(), key, kept, load); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("redis hit", func(b *testing.B) {
		near, err := memkv.NewCache(memkv.CacheOptions{Bytes: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		c, err := rediskv.NewCache(rediskv.CacheOptions{Bus: join(b, conn), Near: near})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		eventually(b, "it hears", c.Hearing)
		for b.Loop() {
			near.Invalidate(b.Context(), key)
			if _, err := c.Load(b.Context(), key, kept, load); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("limiter", func(b *testing.B) {
		l := limiter(b, conn, kv.Limits{"general": {Limit: 1_000_000, Per: time.Millisecond}})
		for b.Loop() {
			if _, err := l.Allow(b.Context(), "general", "user:1", 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
