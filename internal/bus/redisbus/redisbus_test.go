package redisbus_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/bus"
	"hearth/internal/bus/bustest"
	"hearth/internal/bus/redisbus"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

func TestMain(m *testing.M) {
	// The library's clean-up of a cluster's client ends by itself, a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

func join(t testing.TB, url string) *redisbus.Bus {
	t.Helper()
	conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	b := redisbus.New(conn)
	t.Cleanup(func() { b.Close(); conn.Close() })
	return b
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		server    func(testing.TB) *testserver.Redis
		cut, mend func(*testserver.Redis)
	}{
		"a server that is stopped": {
			func(tb testing.TB) *testserver.Redis { return testserver.StartRedis(tb) }, (*testserver.Redis).Stop, (*testserver.Redis).Start,
		},
		"a server that hangs": {
			func(tb testing.TB) *testserver.Redis { return testserver.StartRedis(tb) }, (*testserver.Redis).Hang, (*testserver.Redis).Resume,
		},
		"a cluster": {testserver.StartRedisCluster, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bustest.Run(t, func(t testing.TB) bustest.Service {
				redis := test.server(t)
				s := bustest.Service{Join: func(t testing.TB) bus.Bus { return join(t, redis.URL()) }}
				if test.cut != nil {
					s.Cut, s.Mend = func() { test.cut(redis) }, func() { test.mend(redis) }
				}
				return s
			})
		})
	}
}

// TestAHungRedisCostsLittle is not parallel: it counts goroutines.
func TestAHungRedisCostsLittle(t *testing.T) {
	redis := testserver.StartRedis(t)
	b := join(t, redis.URL())
	var ups, downs atomic.Int64
	s := b.Listen(bus.Listener{
		Topics: []string{"t"}, Heard: func(bus.Message) {}, Up: func(context.Context) error { ups.Add(1); return nil }, Down: func() { downs.Add(1) },
	})
	t.Cleanup(s.Close)
	until(t, func() bool { return ups.Load() == 1 })
	redis.Hang()
	before, began := runtime.NumGoroutine(), time.Now()
	var publishing sync.WaitGroup
	for range 8 {
		publishing.Go(func() {
			for range 100 {
				_ = b.Publish(t.Context(), "t", "x")
			}
		})
	}
	publishing.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("800 messages took %s", took)
	}
	if grown := runtime.NumGoroutine() - before; grown > 20 {
		t.Errorf("%d goroutines more", grown)
	}
	until(t, func() bool { return downs.Load() > 0 })
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	redis.Resume()
	until(t, func() bool { return ups.Load() >= 2 })
}

func until(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to be")
		}
	}
}

// What Redis sends to an instance is what it follows: nine others that follow other topics cost nothing.
func TestTrafficDoesNotGrowWithTheInstances(t *testing.T) {
	t.Parallel()
	redis := testserver.StartRedis(t)
	var heard atomic.Int64
	for n := range 10 {
		b, up := join(t, redis.URL()), make(chan struct{}, 10)
		s := b.Listen(bus.Listener{
			Topics: []string{fmt.Sprint("t", n)}, Heard: func(bus.Message) { heard.Add(1) }, Up: func(context.Context) error { up <- struct{}{}; return nil },
		})
		t.Cleanup(s.Close)
		<-up
	}
	from, text := join(t, redis.URL()), strings.Repeat("x", 10_000)
	for range 100 {
		if n, err := from.PublishCounted(t.Context(), "t3", text); err != nil || n != 1 {
			t.Fatalf("%d processes were sent it, %v", n, err)
		}
	}
	until(t, func() bool { return heard.Load() == 100 })
}

// BenchmarkFollow follows and leaves topics of 8 clients at once.
func BenchmarkFollow(b *testing.B) {
	end := join(b, testserver.StartRedis(b).URL())
	up := make(chan struct{}, 10)
	s := end.Listen(bus.Listener{Heard: func(bus.Message) {}, Up: func(context.Context) error { up <- struct{}{}; return nil }})
	b.Cleanup(s.Close)
	<-up
	var topics atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			topic := fmt.Sprint(topics.Add(1))
			if err := s.Follow(b.Context(), topic); err != nil {
				b.Error(err)
			}
			s.Unfollow(topic)
		}
	})
}

// BenchmarkAsk asks two other processes for 20 kB each.
func BenchmarkAsk(b *testing.B) {
	redis := testserver.StartRedis(b)
	answer := strings.Repeat("x", 20_000)
	var asks [3]*bus.Question[string, string]
	for i := range asks {
		asker, err := bus.NewAsker(bus.AskerOptions{Bus: join(b, redis.URL()), Wait: 20 * time.Second, Keep: time.Nanosecond})
		if err != nil {
			b.Fatal(err)
		}
		asks[i] = bus.NewQuestion(asker, "who", func(string) string { return answer })
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { asker.Run(ctx) })
		b.Cleanup(func() { cancel(); running.Wait() })
	}
	for len(asks[0].Ask(b.Context(), "x")) < 3 {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		if got := asks[0].Ask(b.Context(), "x"); len(got) != 3 {
			b.Fatalf("%d answers", len(got))
		}
	}
}
