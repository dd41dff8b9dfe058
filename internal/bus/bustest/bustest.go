// Package bustest is the suite that every adapter of bus.Bus passes.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/bus"
)

// Service is what the ends of one bus have in common.
type Service struct {
	// Join adds the end of another process, which ends with the test.
	Join func(testing.TB) bus.Bus
	// Cut takes the links of all ends down, Mend up again; nil where that cannot be.
	Cut, Mend func()
}

// Run runs the suite. open makes a service of its own for each test.
func Run(t *testing.T, open func(testing.TB) Service) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Service){
		"all hear all messages once and in one order":       oneOrder,
		"a process hears what it follows and nothing else":  followers,
		"a message after Follow is heard":                   follows,
		"topics that come and go end as they should":        comesAndGoes,
		"a closed subscription is silent":                   closes,
		"bytes and sizes pass as they are, within bounds":   sizes,
		"a failed Up is called again":                       upAgain,
		"a link that goes down is told of":                  linkDown,
		"all answer a question once":                        allAnswer,
		"an answer that is too long is left out":            longAnswer,
		"those who ask the same share one question":         shared,
		"a process that does not answer is not waited for":  silent,
		"a link that is down leaves a question to oneself":  downQuestion,
		"two listeners of a process hear the same messages": twoListeners,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// patience is more than any slow machine takes.
const patience = 20 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// ear is a listener that notes what it hears.
type ear struct {
	bus.Subscription
	end        bus.Bus
	ups, downs atomic.Int64

	mu    sync.Mutex
	heard []bus.Message
}

// listen returns an ear that hears the topics.
func listen(t testing.TB, end bus.Bus, topics ...string) *ear {
	t.Helper()
	e := &ear{end: end}
	e.Subscription = end.Listen(bus.Listener{
		Topics: topics,
		Heard:  func(m bus.Message) { e.mu.Lock(); e.heard = append(e.heard, m); e.mu.Unlock() },
		Up:     func(context.Context) error { e.ups.Add(1); return nil }, Down: func() { e.downs.Add(1) },
	})
	t.Cleanup(e.Close)
	eventually(t, "the link is up", func() bool { return e.ups.Load() > 0 })
	return e
}

func (e *ear) all() []bus.Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]bus.Message(nil), e.heard...)
}

func (e *ear) texts() string {
	var texts []string
	for _, m := range e.all() {
		texts = append(texts, m.Topic+"="+m.Data)
	}
	return strings.Join(texts, " ")
}

func (e *ear) expect(t testing.TB, want string) {
	t.Helper()
	for deadline := time.Now().Add(patience); e.texts() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("heard %q, want %q", e.texts(), want)
		}
	}
}

func publish(t testing.TB, from bus.Bus, topic, data string) {
	t.Helper()
	if err := from.Publish(t.Context(), topic, data); err != nil {
		t.Fatal(err)
	}
}

func oneOrder(t *testing.T, s Service) {
	const ends, each = 3, 200
	var ears []*ear
	for range ends {
		ears = append(ears, listen(t, s.Join(t), "t"))
	}
	var publishing sync.WaitGroup
	for _, e := range ears {
		publishing.Go(func() {
			for n := range each {
				publish(t, e.end, "t", fmt.Sprint(n))
			}
		})
	}
	publishing.Wait()
	for _, e := range ears {
		eventually(t, "all is heard", func() bool { return len(e.all()) >= ends*each })
	}
	first := ears[0].all()
	next := map[string]int{}
	for i, m := range first {
		if m.Data != fmt.Sprint(next[m.From]) {
			t.Fatalf("message %d of %s is %s, want %d", i, m.From, m.Data, next[m.From])
		}
		next[m.From]++
	}
	for _, e := range ears {
		if next[e.end.ID()] != each {
			t.Errorf("%d messages are from %s, want %d", next[e.end.ID()], e.end.ID(), each)
		}
		if got := e.all(); fmt.Sprint(got) != fmt.Sprint(first) {
			t.Error("two processes heard another order")
		}
	}
}

func followers(t *testing.T, s Service) {
	a, b := listen(t, s.Join(t), "x", "both"), listen(t, s.Join(t), "y", "both")
	publish(t, a.end, "x", "1")
	publish(t, a.end, "y", "2")
	publish(t, b.end, "nobody's", "3")
	publish(t, b.end, "both", "4")
	a.expect(t, "x=1 both=4")
	b.expect(t, "y=2 both=4")
	if n, err := a.end.PublishCounted(t.Context(), "both", "5"); err != nil || n != 2 && n != bus.Uncounted {
		t.Errorf("%d hear it, %v", n, err)
	}
	if n, err := a.end.PublishCounted(t.Context(), "y", "6"); err != nil || n != 1 && n != bus.Uncounted {
		t.Errorf("%d hear it, %v", n, err)
	}
	b.expect(t, "y=2 both=4 both=5 y=6")
}

func follows(t *testing.T, s Service) {
	a, b := s.Join(t), listen(t, s.Join(t))
	var want []string
	for n := range 50 {
		topic := fmt.Sprint("t", n)
		if err := b.Follow(t.Context(), topic, topic+"'"); err != nil {
			t.Fatal(err)
		}
		publish(t, a, topic, "1")
		want = append(want, topic+"=1")
	}
	b.expect(t, strings.Join(want, " "))
}

func comesAndGoes(t *testing.T, s Service) {
	a, b := s.Join(t), listen(t, s.Join(t))
	var working sync.WaitGroup
	for worker := range 4 {
		working.Go(func() {
			for n := range 100 {
				topic := fmt.Sprint("t", worker, n%3)
				if err := b.Follow(t.Context(), topic); err != nil {
					t.Error(err)
				}
				if n%3 != 0 {
					b.Unfollow(topic)
				}
			}
		})
	}
	working.Wait()
	var want []string
	for worker := range 4 {
		for n := range 3 {
			topic := fmt.Sprint("t", worker, n)
			publish(t, a, topic, "x")
			if n == 0 {
				want = append(want, topic+"=x")
			}
		}
	}
	b.expect(t, strings.Join(want, " "))
}

func closes(t *testing.T, s Service) {
	a := s.Join(t)
	closed, open := listen(t, a, "t"), listen(t, a, "t")
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for n := range 200 {
			publish(t, a, "t", fmt.Sprint(n))
		}
	})
	eventually(t, "something is heard", func() bool { return len(closed.all()) > 0 })
	closed.Close()
	heard := len(closed.all())
	publishing.Wait()
	eventually(t, "the other hears all", func() bool { return len(open.all()) == 200 })
	if now := len(closed.all()); now != heard {
		t.Errorf("it heard %d messages after its end", now-heard)
	}
}

func sizes(t *testing.T, s Service) {
	a, b := s.Join(t), listen(t, s.Join(t), "t")
	messages := []string{"", "\x00\xff\n \r\n", strings.Repeat("long\n", 100_000)}
	for _, m := range messages {
		publish(t, a, "t", m)
	}
	eventually(t, "all is heard", func() bool { return len(b.all()) == len(messages) })
	for i, m := range b.all() {
		if m.Data != messages[i] || m.From != a.ID() || m.Topic != "t" {
			t.Errorf("message %d differs", i)
		}
	}
	for _, bad := range [][2]string{{"", "x"}, {strings.Repeat("t", 300), "x"}, {"t", strings.Repeat("x", 5<<20)}} {
		if err := a.Publish(t.Context(), bad[0], bad[1]); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
			t.Errorf("a topic of %d bytes with %d: %v", len(bad[0]), len(bad[1]), err)
		}
	}
	if err := b.Follow(t.Context(), ""); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
		t.Errorf("no topic is followed: %v", err)
	}
}

func upAgain(t *testing.T, s Service) {
	var calls atomic.Int64
	subscription := s.Join(t).Listen(bus.Listener{Topics: []string{"t"}, Heard: func(bus.Message) {}, Up: func(context.Context) error {
		if calls.Add(1) < 3 {
			return errors.New("not yet")
		}
		return nil
	}})
	t.Cleanup(subscription.Close)
	eventually(t, "the third call succeeds", func() bool { return calls.Load() == 3 })
}

func linkDown(t *testing.T, s Service) {
	if s.Cut == nil {
		t.Skip("the link cannot be cut")
	}
	a, b := listen(t, s.Join(t), "t"), listen(t, s.Join(t), "t")
	if err := b.Follow(t.Context(), "later"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ups, downs := b.ups.Load(), b.downs.Load()
		s.Cut()
		eventually(t, "it is told", func() bool { return b.downs.Load() > downs && a.downs.Load() > downs })
		eventually(t, "a message is refused", func() bool {
			return hearth.ErrorCode(a.end.Publish(t.Context(), "t", "lost")) == hearth.CodeUnavailable
		})
		if err := b.Follow(t.Context(), "refused"); hearth.ErrorCode(err) != hearth.CodeUnavailable {
			t.Errorf("a topic is followed while the link is down: %v", err)
		}
		s.Mend()
		eventually(t, "it is up again", func() bool { return b.ups.Load() > ups && a.ups.Load() > ups })
		eventually(t, "a message passes", func() bool { return a.end.Publish(t.Context(), "later", "x") == nil })
		publish(t, a.end, "refused", "y")
		publish(t, a.end, "t", "z")
		eventually(t, "the last one is heard", func() bool { return strings.HasSuffix(b.texts(), "later=x t=z") })
		if strings.Contains(b.texts(), "refused") || strings.Contains(b.texts(), "lost") {
			t.Errorf("it heard %q", b.texts())
		}
	}
}

func twoListeners(t *testing.T, s Service) {
	end := s.Join(t)
	a, b := listen(t, end, "t"), listen(t, end, "t", "u")
	publish(t, end, "t", "1")
	a.Unfollow("t")
	publish(t, end, "t", "2")
	publish(t, end, "u", "3")
	b.expect(t, "t=1 t=2 u=3")
	if got := a.texts(); got != "" && got != "t=1" {
		t.Errorf("the other heard %q", got)
	}
	if err := a.Follow(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	publish(t, end, "u", "4")
	eventually(t, "the last message is heard", func() bool { return strings.HasSuffix(a.texts(), "u=4") })
}
