package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/bus/membus"
	"hearth/internal/core/devices"
	"hearth/internal/newid"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

var (
	ann    = hearth.Caller{UserID: "ann"}
	lamp   = hearth.Caller{DeviceID: "0199a1b2-c3d4-7000-8000-000000000000"}
	answer = hearth.CommandAnswer{OK: true, Result: json.RawMessage(`1`)}
)

// recorder counts the events of each command by state.
type recorder struct {
	mu    sync.Mutex
	count map[string]int
}

func (r *recorder) Publish(events ...hearth.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		c, _ := e.Data.(hearth.Command)
		r.count[c.ID+" "+string(c.State)]++
		if c.State.Ended() {
			r.count[c.ID+" ends"]++
		}
	}
}

func (r *recorder) of(c hearth.Command, what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[c.ID+" "+what]
}

// fleet is several services over one store and one bus.
type fleet struct {
	services []*Service
	store    *sqlite.Store
	network  membus.Network
	events   *recorder
}

func newFleet(tb testing.TB, n, deviceCount int) *fleet {
	tb.Helper()
	store, err := sqlite.Open(tb.Context(), sqlite.Options{Path: sqlitetest.File(tb, tb.TempDir())})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	batch := make([]hearth.Device, deviceCount)
	for i := range batch {
		id := fmt.Sprintf("0199a1b2-c3d4-7000-8000-%012d", i)
		batch[i] = hearth.Device{ID: id, OwnerID: "ann", Name: id, Type: "lamp", Status: hearth.StatusActive, Interval: 60}
	}
	if _, err := store.CreateDevices(tb.Context(), batch, hearth.SideEffects{}); err != nil {
		tb.Fatal(err)
	}
	f := &fleet{store: store, events: &recorder{count: map[string]int{}}}
	for range n {
		directory, err := devices.New(devices.Options{Store: store})
		if err != nil {
			tb.Fatal(err)
		}
		end := f.network.Join()
		s, err := New(Options{
			Store: store, Devices: store, Directory: directory, Bus: end, Publisher: f.events,
			limits: limits{polls: 100_000, posts: 1000, pollsOfDevice: 4, look: 20 * time.Millisecond},
		})
		if err != nil {
			tb.Fatal(err)
		}
		s.Start()
		tb.Cleanup(func() { s.Stop(); end.Close(); directory.Stop() })
		f.services = append(f.services, s)
	}
	return f
}

// await waits until a condition holds, which other goroutines bring about.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func (f *fleet) send(t testing.TB, order Order) hearth.Command {
	t.Helper()
	c, err := f.services[0].Send(t.Context(), ann, lamp.DeviceID, order, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pendingOf(t *testing.T, s *Service) (int, error) {
	n, err := s.Pending(t.Context(), []string{lamp.DeviceID})
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// Where no message comes through, those who wait find what happened in the store.
func TestWaitsEndWhileTheBusIsDown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 1)
	here, there := f.services[0], f.services[1]
	await(t, "the bus", func() bool { return here.heard.Load() && there.heard.Load() })
	f.network.Cut()
	await(t, "the cut", func() bool { return !here.heard.Load() && !there.heard.Load() })
	type result struct {
		c   hearth.Command
		err error
	}
	ended := make(chan result, 1)
	go func() {
		c, err := here.Send(t.Context(), ann, lamp.DeviceID, Order{Name: "x"}, 30*time.Second, nil)
		ended <- result{c, err}
	}()
	got, err := there.Next(t.Context(), lamp, lamp.DeviceID, 30*time.Second)
	if err != nil || got == nil {
		t.Fatalf("polled %v, %v", got, err)
	}
	if n, err := pendingOf(t, there); err != nil || n != 1 {
		t.Errorf("%d are pending, %v", n, err)
	}
	if err := there.Answer(t.Context(), lamp, lamp.DeviceID, got.ID, answer); err != nil {
		t.Fatal(err)
	}
	if r := <-ended; r.err != nil || r.c.State != hearth.CommandSucceeded {
		t.Errorf("waited for %+v, %v", r.c, r.err)
	}
	if n, err := pendingOf(t, here); err != nil || n != 0 {
		t.Errorf("%d are pending, %v", n, err)
	}
	f.network.Mend()
	await(t, "the bus again", func() bool { return here.heard.Load() && there.heard.Load() })
	go func() { _, _ = here.Send(t.Context(), ann, lamp.DeviceID, Order{Name: "y"}, 0, nil) }()
	if c, err := there.Next(t.Context(), lamp, lamp.DeviceID, 30*time.Second); err != nil || c == nil || c.Name != "y" {
		t.Errorf("after it: %v, %v", c, err)
	}
}

// The number of pending commands is the same at every instance, as soon as a message has come through.
func TestPendingCommandsAreCountedAtEveryInstance(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 1)
	await(t, "the bus", func() bool { return f.services[0].heard.Load() && f.services[1].heard.Load() })
	expect := func(what string, want int) {
		t.Helper()
		for _, s := range f.services {
			await(t, what, func() bool {
				n, err := pendingOf(t, s)
				return err == nil && n == want
			})
		}
	}
	expect("none", 0)
	a := f.send(t, Order{Name: "a"})
	b := f.send(t, Order{Name: "b"})
	expect("two", 2)
	if err := f.services[1].Acknowledge(t.Context(), lamp, lamp.DeviceID, a.ID); err != nil {
		t.Fatal(err)
	}
	expect("one", 1)
	if _, err := f.services[0].Cancel(t.Context(), ann, b.ID); err != nil {
		t.Fatal(err)
	}
	expect("none again", 0)
	f.send(t, Order{Name: "c", ExpiresIn: time.Second})
	expect("one more", 1)
	expect("none after the expiry", 0)
}

// Whatever ends a command at the same time, at different instances, one of them does, and one event says so.
func TestACommandEndsOnceWhateverEndsIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 1)
	for round := range 40 {
		c := f.send(t, Order{Name: "x", ExpiresIn: time.Second})
		if round%4 == 0 { // in the moment of its expiry
			time.Sleep(time.Until(c.ExpiresAt.Add(-time.Millisecond)))
		}
		var accepted atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			s := f.services[i%2]
			wg.Go(func() {
				var err error
				switch i / 2 {
				case 0:
					if _, err = s.Cancel(t.Context(), ann, c.ID); err == nil {
						accepted.Add(1)
					}
					if hearth.ErrorCode(err) == hearth.CodeConflict {
						err = nil
					}
				case 1:
					err = s.Answer(t.Context(), lamp, lamp.DeviceID, c.ID, answer)
				case 2:
					err = s.Acknowledge(t.Context(), lamp, lamp.DeviceID, c.ID)
				default:
					if err = s.Sent(t.Context(), lamp, c, time.Now()); hearth.ErrorCode(err) == hearth.CodeConflict {
						err = nil
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		await(t, "the end's event", func() bool { return f.events.of(c, "ends") > 0 })
		after, err := f.store.Command(t.Context(), c.ID)
		if err != nil || !after.State.Ended() || f.events.of(c, "ends") != 1 || f.events.of(c, string(after.State)) != 1 {
			t.Errorf("it is %s, %v, with %d events of its end", after.State, err, f.events.of(c, "ends"))
		}
		if (accepted.Load() == 1) != (after.State == hearth.CommandCancelled) || accepted.Load() > 1 {
			t.Errorf("%d cancelled it, and it is %s", accepted.Load(), after.State)
		}
	}
}

// Two instances watch the time, and each command expires once, with one event, by itself.
func TestEachExpiryIsPublishedOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, 1)
	var all []hearth.Command
	for range 250 {
		all = append(all, f.send(t, Order{Name: "x", ExpiresIn: time.Second}))
	}
	for _, c := range all {
		await(t, "the expiry", func() bool { return f.events.of(c, "expired") > 0 })
		if n := f.events.of(c, "ends"); n != 1 {
			t.Errorf("it ended with %d events", n)
		}
	}
}

// A stop answers all who wait, and a client that leaves ends its wait.
func TestABatchIsCountedAsExpiredFromThatMomentOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1)
	now := time.Now()
	batch := hearth.CommandBatch{
		ID: newid.New(), DeviceIDs: []string{lamp.DeviceID}, Total: 1, Name: "x", CreatedBy: ann.UserID,
		CreatedAt: now.Add(-time.Minute), ExpiresAt: now.Add(-time.Millisecond),
	}
	if err := f.store.CreateCommandBatch(t.Context(), batch, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	_, counts, err := f.services[0].Batch(t.Context(), ann, batch.ID)
	if err != nil || counts[hearth.CommandExpired] != 1 || counts[hearth.CommandQueued] != 0 {
		t.Errorf("counted %v, %v, want one that is expired", counts, err)
	}
}

func TestWaitsEndAtAStopAndWithTheirClient(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, 1)
	s := f.services[0]
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := s.Next(ctx, lamp, lamp.DeviceID, time.Minute)
		left <- err
	}()
	await(t, "the wait", func() bool { return s.Waiting() == 1 })
	leave()
	if err := <-left; err == nil {
		t.Error("a client that left was answered")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if c, err := s.Next(t.Context(), lamp, lamp.DeviceID, time.Minute); c != nil || err != nil {
			t.Errorf("at the stop: %v, %v", c, err)
		}
	})
	await(t, "the wait", func() bool { return s.Waiting() == 1 })
	s.Drain()
	wg.Wait()
	if c, err := s.Send(t.Context(), ann, lamp.DeviceID, Order{Name: "x"}, time.Minute, nil); err != nil || c.State != hearth.CommandQueued {
		t.Errorf("after it: %v, %v", c.State, err)
	}
	if s.Waiting() != 0 {
		t.Errorf("%d wait", s.Waiting())
	}
}

func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWaits(3, 2)
	first, err := w.add("a")
	for _, key := range []string{"a", "b"} {
		if err == nil {
			_, err = w.add(key)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.add("c"); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("one too many: %v", err)
	}
	w.remove("a", first)
	w.remove("a", first)
	second, err := w.add("b")
	if err != nil || w.len() != 3 {
		t.Errorf("%v, and %d wait", err, w.len())
	}
	w.remove("b", second)
	if third, err := w.add("b"); err != nil || third.displaced.Load() {
		t.Error(err)
	}
}

// Whatever is sent at the same time while a device waits, it gets in the order of the numbers.
func TestADeviceThatWaitsGetsWhatIsSentAtOnceInOrder(t *testing.T) {
	t.Parallel()
	const many = 8
	f := newFleet(t, 1, 1)
	s := f.services[0]
	for round := range 5 {
		var senders sync.WaitGroup
		waits := make(chan struct{})
		for range many {
			senders.Go(func() {
				<-waits
				if _, err := s.Send(t.Context(), ann, lamp.DeviceID, Order{Name: "x"}, 0, nil); err != nil {
					t.Error(err)
				}
			})
		}
		go func() {
			for s.Waiting() == 0 && t.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
			close(waits)
		}()
		last := int64(0)
		for range many {
			c, err := s.Next(t.Context(), lamp, lamp.DeviceID, 30*time.Second)
			if err != nil || c == nil {
				t.Fatalf("polled %v, %v", c, err)
			}
			if err := s.Sent(t.Context(), lamp, *c, time.Now()); err != nil {
				t.Error(err)
			}
			if err := s.Answer(t.Context(), lamp, lamp.DeviceID, c.ID, answer); err != nil {
				t.Error(err)
			}
			if c.Seq <= last {
				t.Errorf("round %d: number %d came after %d", round, c.Seq, last)
			}
			last = c.Seq
		}
		senders.Wait()
	}
}

// BenchmarkCommands sends commands that devices wait for, from 64 devices at once: each is stored, sent, acknowledged and answered.
func BenchmarkCommands(b *testing.B) {
	const count = 64
	f := newFleet(b, 1, count)
	s := f.services[0]
	ctx, stop := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for i := range count {
		device := hearth.Caller{DeviceID: fmt.Sprintf("0199a1b2-c3d4-7000-8000-%012d", i)}
		wg.Go(func() {
			for ctx.Err() == nil {
				c, err := s.Next(ctx, device, device.DeviceID, 30*time.Second)
				if err != nil || c == nil {
					continue
				}
				if err := s.Sent(ctx, device, *c, time.Now()); err != nil {
					continue
				}
				_ = s.Answer(ctx, device, device.DeviceID, c.ID, answer)
			}
		})
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprintf("0199a1b2-c3d4-7000-8000-%012d", n.Add(1)%count)
			if _, err := s.Send(ctx, ann, id, Order{Name: "x", Params: json.RawMessage(`{"level":3}`)}, 0, nil); err != nil && hearth.ErrorCode(err) != hearth.CodeConflict {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	stop()
	wg.Wait()
}
