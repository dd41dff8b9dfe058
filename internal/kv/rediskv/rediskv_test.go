package rediskv_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/bus/redisbus"
	"hearth/internal/kv"
	"hearth/internal/kv/kvtest"
	"hearth/internal/kv/memkv"
	"hearth/internal/kv/rediskv"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

func TestMain(m *testing.M) {
	// The library's clean-up of a cluster's client ends by itself, a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// connect opens a connection that the test's end closes. A zero timeout is one that no slow machine exceeds.
func connect(t testing.TB, url string, timeout time.Duration) *redisconn.Conn {
	t.Helper()
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	c, err := redisconn.Connect(t.Context(), redisconn.Options{URL: url, CallTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// join makes the end of a bus.
func join(t testing.TB, conn *redisconn.Conn) *redisbus.Bus {
	t.Helper()
	b := redisbus.New(conn)
	t.Cleanup(b.Close)
	return b
}

// instance opens the cache of one instance, and waits until it hears the others.
func instance(t testing.TB, conn *redisconn.Conn) *rediskv.Cache {
	t.Helper()
	near, err := memkv.NewCache(memkv.CacheOptions{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rediskv.NewCache(rediskv.CacheOptions{Bus: join(t, conn), Near: near, Patience: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	eventually(t, "the cache hears the others", c.Hearing)
	return c
}

// eventually waits for what a real server does in its own time.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func localLimiter(t testing.TB, limits kv.Limits) *memkv.Limiter {
	t.Helper()
	l, err := memkv.NewLimiter(memkv.LimiterOptions{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func limiter(t testing.TB, conn *redisconn.Conn, limits kv.Limits) *rediskv.Limiter {
	t.Helper()
	l, err := rediskv.NewLimiter(rediskv.LimiterOptions{Conn: conn, Limits: limits, Local: localLimiter(t, limits)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCache(t *testing.T) {
	t.Parallel()
	kvtest.Cache(t, func(t *testing.T) kvtest.CacheSetup {
		url := testserver.StartRedis(t).URL()
		return kvtest.CacheSetup{
			Cache: instance(t, connect(t, url, 0)), Peer: instance(t, connect(t, url, 0)), Advance: time.Sleep,
		}
	})
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	kvtest.Limiter(t, func(t *testing.T) kvtest.LimiterSetup {
		return kvtest.LimiterSetup{Limiter: limiter(t, connect(t, testserver.StartRedis(t).URL(), 0), kvtest.Limits), Advance: time.Sleep}
	})
}

func TestLeases(t *testing.T) {
	t.Parallel()
	kvtest.Leases(t, func(t *testing.T) kvtest.LeasesSetup {
		l, err := rediskv.NewLeases(rediskv.LeasesOptions{Conn: connect(t, testserver.StartRedis(t).URL(), 0)})
		if err != nil {
			t.Fatal(err)
		}
		return kvtest.LeasesSetup{Leases: l, Advance: time.Sleep}
	})
}
