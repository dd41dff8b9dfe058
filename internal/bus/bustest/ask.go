package bustest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/bus"
)

// fresh is a time for which no answer is kept.
const fresh = time.Nanosecond

// process is one that asks and answers: it says its name and what it was asked for.
type process struct {
	*bus.Question[string, string]
	asked atomic.Int64
}

type processOptions struct {
	bus.AskerOptions
	name string
	// question is what the process knows an answer to; empty is "who".
	question string
	// before is called before each answer to another process.
	before func()
}

func start(t testing.TB, s Service, o processOptions) *process {
	t.Helper()
	o.Bus = s.Join(t)
	asker, err := bus.NewAsker(o.AskerOptions)
	if err != nil {
		t.Fatal(err)
	}
	if o.question == "" {
		o.question = "who"
	}
	p := &process{}
	p.Question = bus.NewQuestion(asker, o.question, func(argument string) string {
		p.asked.Add(1)
		if o.before != nil && argument != "own" {
			o.before()
		}
		return o.name + " " + argument
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { asker.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// hears waits until the process has the answers of all the names, its own first.
func (p *process) hears(t testing.TB, argument string, names ...string) {
	t.Helper()
	want := make([]string, len(names))
	for i, name := range names {
		want[i] = name + " " + argument
	}
	var got []string
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
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

// counts reports whether the bus knows how many hear a message; where it does not, each question takes the whole wait.
func counts(t testing.TB, s Service) bool {
	t.Helper()
	n, err := s.Join(t).PublishCounted(t.Context(), "who counts", "")
	return err == nil && n != bus.Uncounted
}

// wait is patience, or a short wait where a bus that does not count would make each question take it.
func wait(t testing.TB, s Service) time.Duration {
	t.Helper()
	if counts(t, s) {
		return patience
	}
	return time.Second
}

func allAnswer(t *testing.T, s Service) {
	options := bus.AskerOptions{Wait: wait(t, s), Keep: fresh}
	a := start(t, s, processOptions{AskerOptions: options, name: "a"})
	b := start(t, s, processOptions{AskerOptions: options, name: "b"})
	c := start(t, s, processOptions{AskerOptions: options, name: "c"})
	// It does not know the question, and says so: none waits for it.
	start(t, s, processOptions{AskerOptions: options, name: "old", question: "something else"})
	publish(t, s.Join(t), "questions", "nonsense")
	a.hears(t, "x y", "a", "b", "c")
	b.hears(t, "", "b", "a", "c")
	c.hears(t, strings.Repeat("long\n", 10_000), "c", "a", "b")
	began := time.Now()
	a.hears(t, "again", "a", "b", "c")
	if took := time.Since(began); took > patience/2 {
		t.Errorf("all answered, and it took %s", took)
	}
}

func longAnswer(t *testing.T, s Service) {
	options := bus.AskerOptions{Wait: wait(t, s), Keep: fresh}
	a, b := start(t, s, processOptions{AskerOptions: options, name: "a"}), start(t, s, processOptions{AskerOptions: options, name: "b"})
	b.hears(t, "", "b", "a")
	a.hears(t, "", "a", "b")
	if got := a.Ask(t.Context(), strings.Repeat("x", 2<<20)); len(got) != 1 {
		t.Errorf("%d answers", len(got))
	}
	a.hears(t, "", "a", "b")
}

func shared(t *testing.T, s Service) {
	options := bus.AskerOptions{Wait: wait(t, s), Keep: time.Hour}
	a, b := start(t, s, processOptions{AskerOptions: options, name: "a"}), start(t, s, processOptions{AskerOptions: options, name: "b"})
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

func silent(t *testing.T, s Service) {
	over := make(chan struct{})
	b := start(t, s, processOptions{AskerOptions: bus.AskerOptions{Wait: patience, Keep: fresh}, name: "b"})
	start(t, s, processOptions{AskerOptions: bus.AskerOptions{Wait: patience}, name: "silent", before: func() { <-over }})
	t.Cleanup(func() { close(over) }) // the end of the process, which comes after, waits for its answer
	a := start(t, s, processOptions{AskerOptions: bus.AskerOptions{Keep: fresh}, name: "a"})
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

func downQuestion(t *testing.T, s Service) {
	if s.Cut == nil {
		t.Skip("the link cannot be cut")
	}
	options := bus.AskerOptions{Keep: fresh}
	a, b := start(t, s, processOptions{AskerOptions: options, name: "a"}), start(t, s, processOptions{AskerOptions: options, name: "b"})
	a.hears(t, "x", "a", "b")
	b.hears(t, "x", "b", "a")
	s.Cut()
	began := time.Now()
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
	s.Mend()
	a.hears(t, "x", "a", "b")
}
