package redisqueue_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth"
	"hearth/internal/bus/redisbus"
	"hearth/internal/queue"
	"hearth/internal/queue/queuetest"
	"hearth/internal/queue/redisqueue"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

func TestMain(m *testing.M) {
	// The library's clean-up of a cluster's client ends by itself, a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

func TestConformance(t *testing.T) { t.Parallel(); queuetest.Run(t, setup) }

func BenchmarkQueue(b *testing.B) { queuetest.Bench(b, setup) }

func setup(t testing.TB, clock hearth.Clock) func() queue.Backend {
	server := testserver.StartRedis(t, "--appendonly", "yes")
	return func() queue.Backend { return open(t, server.URL(), clock) }
}

// open opens a queue as another process would, with a connection of its own.
func open(t testing.TB, url string, clock hearth.Clock) *redisqueue.Queue {
	t.Helper()
	conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: url, CallTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	end := redisbus.New(conn)
	t.Cleanup(func() { end.Close(); conn.Close() })
	q, err := redisqueue.Open(redisqueue.Options{Bus: end, Clock: clock, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return q
}
