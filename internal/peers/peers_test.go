package peers_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/peers"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

func TestMain(m *testing.M) {
	// The library's clean-up of a cluster's client ends by itself, a second later.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

const (
	// patient is a wait that no slow machine exceeds, fresh a time for which no answer is kept.
	patient = 20 * time.Second
	fresh   = time.Nanosecond
)

// process is one of a group: it says its name and what it was asked for.
type process struct {
	*peers.Question[string, string]
	conn  *redisconn.Conn
	asked atomic.Int64
}

type processOptions struct {
	peers.Options
	name string
	// question is what the process knows an answer to; empty is "who".
	question string
	// before is called before each answer to another process.
	before func()
}

func start(t testing.TB, url string, o processOptions) *process {
	t.Helper()
	conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	o.Conn = conn
	group, err := peers.New(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	if o.question == "" {
		o.question = "who"
	}
	p := &process{conn: conn}
	p.Question = peers.NewQuestion(group, o.question, func(argument string) string {
		p.asked.Add(1)
		if o.before != nil && argument != "own" {
			o.before()
		}
		return o.name + " " + argument
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { group.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); conn.Close() })
	return p
}

// hears waits until the process has the answers of all the names, its own first.
func (p *process) hears(t *testing.T, argument string, names ...string) {
	t.Helper()
	want := make([]string, len(names))
	for i, name := range names {
		want[i] = name + " " + argument
	}
	var got []string
	for deadline := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		got = p.Ask(t.Context(), argument)
		slices.Sort(got[1:])
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestEverybodyAnswersOnce(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]func(testing.TB) *testserver.Redis{
		"one server": func(tb testing.TB) *testserver.Redis { return testserver.StartRedis(tb) }, "a cluster": testserver.StartRedisCluster,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := server(t)
			options := peers.Options{Wait: patient, Keep: fresh}
			a := start(t, redis.URL(), processOptions{Options: options, name: "a"})
			b := start(t, redis.URL(), processOptions{Options: options, name: "b"})
			c := start(t, redis.URL(), processOptions{Options: options, name: "c"})
			// It does not know the question, and says so: nobody waits for it.
			start(t, redis.URL(), processOptions{Options: options, name: "old", question: "something else"})
			redis.Do("PUBLISH", "hearth:questions:0", "nonsense")
			a.hears(t, "x y", "a", "b", "c")
			b.hears(t, "", "b", "a", "c")
			c.hears(t, strings.Repeat("long\n", 10_000), "c", "a", "b")
			began := time.Now()
			a.hears(t, "again", "a", "b", "c")
			if took := time.Since(began); took > patient/2 {
				t.Errorf("all answered, and it took %s", took)
			}
		})
	}
}

func TestAnAnswerThatIsTooLongIsLeftOut(t *testing.T) {
	t.Parallel()
	redis := testserver.StartRedis(t)
	options := peers.Options{Wait: patient, Keep: fresh}
	a, b := start(t, redis.URL(), processOptions{Options: options, name: "a"}), start(t, redis.URL(), processOptions{Options: options, name: "b"})
	b.hears(t, "", "b", "a")
	a.hears(t, "", "a", "b")
	if got := a.Ask(t.Context(), strings.Repeat("x", 2<<20)); len(got) != 1 {
		t.Errorf("%d answers", len(got))
	}
	a.hears(t, "", "a", "b")
}

func TestThoseWhoAskTheSameShareOneQuestion(t *testing.T) {
	t.Parallel()
	redis := testserver.StartRedis(t)
	options := peers.Options{Wait: patient, Keep: time.Hour}
	a, b := start(t, redis.URL(), processOptions{Options: options, name: "a"}), start(t, redis.URL(), processOptions{Options: options, name: "b"})
	for n := 0; len(a.Ask(t.Context(), strings.Repeat("?", n))) < 2; n++ { // another question each time, until they hear one another
		time.Sleep(time.Millisecond)
	}
	before, own := b.asked.Load(), a.asked.Load()
	var askers sync.WaitGroup
	for range 50 {
		askers.Go(func() {
			if got := a.Ask(t.Context(), "x"); len(got) != 2 {
				t.Errorf("got %q", got)
			}
		})
	}
	askers.Wait()
	if others, own := b.asked.Load()-before, a.asked.Load()-own; others != 1 || own != 50 {
		t.Errorf("the other was asked %d times, itself %d; want once, and each time anew", others, own)
	}
}

func TestWhoDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	redis := testserver.StartRedis(t)
	over := make(chan struct{})
	b := start(t, redis.URL(), processOptions{Options: peers.Options{Wait: patient, Keep: fresh}, name: "b"})
	start(t, redis.URL(), processOptions{Options: peers.Options{Wait: patient}, name: "silent", before: func() { <-over }})
	t.Cleanup(func() { close(over) }) // the end of the process, which comes after, waits for its answer
	a := start(t, redis.URL(), processOptions{Options: peers.Options{Keep: fresh}, name: "a"})
	for range 3 {
		began := time.Now()
		a.hears(t, "x", "a", "b")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	}
	if b.asked.Load() < 3 {
		t.Errorf("the other was asked %d times", b.asked.Load())
	}
}

// TestAHungRedisCostsLittle is not parallel: it counts goroutines.
func TestAHungRedisCostsLittle(t *testing.T) {
	redis := testserver.StartRedis(t)
	options := peers.Options{Keep: fresh}
	a, b := start(t, redis.URL(), processOptions{Options: options, name: "a"}), start(t, redis.URL(), processOptions{Options: options, name: "b"})
	a.hears(t, "x", "a", "b")
	b.hears(t, "x", "b", "a")

	redis.Hang()
	before, began := runtime.NumGoroutine(), time.Now()
	var askers sync.WaitGroup
	for range 8 {
		askers.Go(func() {
			for range 100 {
				if got := a.Ask(t.Context(), "x"); len(got) != 1 || got[0] != "a x" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	askers.Wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("800 questions took %s", took)
	}
	if grown := runtime.NumGoroutine() - before; grown > 20 {
		t.Errorf("%d goroutines more", grown)
	}
	redis.Resume()
	a.hears(t, "x", "a", "b")
	redis.Stop()
	if got := a.Ask(t.Context(), "x"); len(got) == 0 || got[0] != "a x" {
		t.Errorf("got %q", got)
	}
	redis.Start()
	a.hears(t, "x", "a", "b")
}

func TestAProcessThatIsAloneAsksNobody(t *testing.T) {
	t.Parallel()
	alone := peers.NewQuestion(nil, "who", func(argument int) int { return argument + 1 })
	if got := alone.Ask(t.Context(), 1); !slices.Equal(got, []int{2}) {
		t.Errorf("got %v", got)
	}
	if _, err := peers.New(peers.Options{}); err == nil {
		t.Error("a group without a connection was made")
	}
}

// BenchmarkAsk asks two other processes for 20 kB each.
func BenchmarkAsk(b *testing.B) {
	redis := testserver.StartRedis(b)
	options := peers.Options{Wait: patient, Keep: fresh}
	answer := strings.Repeat("x", 20_000)
	a := start(b, redis.URL(), processOptions{Options: options, name: "a"})
	for range 2 {
		start(b, redis.URL(), processOptions{Options: options, name: answer})
	}
	for len(a.Ask(b.Context(), "x")) < 3 {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		if got := a.Ask(b.Context(), "x"); len(got) != 3 {
			b.Fatalf("%d answers", len(got))
		}
	}
}
