package queuetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/queue"
)

func testSlots(t *testing.T, setup Setup) {
	t.Run("a slot adds its job once, across instances", func(t *testing.T) {
		b := start(t, setup)
		other := b.open()
		at := b.clock.Now()
		tell := func(q queue.Backend, at time.Time, want bool) {
			t.Helper()
			added, err := q.EnqueueSlot(t.Context(), queue.Slot{Name: "nightly", At: at}, b.job())
			if err != nil || added != want {
				t.Fatalf("added %v (error %v), want %v", added, err, want)
			}
		}
		tell(b, at, false) // the first ever is only noted
		tell(other, at, false)
		b.clock.move(2 * time.Hour)
		tell(other, at.Add(time.Hour), true)
		tell(b, at.Add(time.Hour), false)
		tell(b, at, false)
		tell(b, at.Add(2*time.Hour), true)
		if jobs := b.claimAll(t, "w"); len(jobs) != 2 {
			t.Fatalf("%d jobs were added", len(jobs))
		}
	})

	t.Run("a clock that was ahead and is put right holds no slot up", func(t *testing.T) {
		b := start(t, setup)
		tell := func(want bool) {
			t.Helper()
			added, err := b.EnqueueSlot(t.Context(), queue.Slot{Name: "hourly", At: b.clock.Now()}, b.job())
			if err != nil || added != want {
				t.Fatalf("added %v (error %v), want %v", added, err, want)
			}
		}
		tell(false)
		b.clock.move(30 * 24 * time.Hour)
		tell(true)
		b.clock.move(-30 * 24 * time.Hour)
		tell(false) // it may have run before
		b.clock.move(time.Hour)
		tell(true)
	})

	t.Run("slots do not pile up behind a unique key", func(t *testing.T) {
		b := start(t, setup)
		for i := range 4 {
			b.clock.move(time.Hour)
			added, err := b.EnqueueSlot(t.Context(), queue.Slot{Name: "n", At: b.clock.Now()},
				b.job(func(j *queue.Job) { j.Unique = "periodic:n" }))
			if err != nil || added != (i == 1) {
				t.Fatalf("slot %d: added %v, error %v", i, added, err)
			}
		}
	})

	t.Run("racing instances add one job a slot", func(t *testing.T) {
		b := start(t, setup)
		instances := []queue.Backend{b.Backend, b.open(), b.open()}
		for i := range 10 {
			b.clock.move(time.Hour)
			var added atomic.Int64
			var wg sync.WaitGroup
			for _, q := range instances {
				wg.Go(func() {
					ok, err := q.EnqueueSlot(t.Context(), queue.Slot{Name: "n", At: b.clock.Now()}, b.job())
					if err != nil {
						t.Error(err)
					}
					if ok {
						added.Add(1)
					}
				})
			}
			wg.Wait()
			if want := int64(min(i, 1)); added.Load() != want {
				t.Fatalf("slot %d was added %d times, want %d", i, added.Load(), want)
			}
		}
	})
}

func testWatch(t *testing.T, setup Setup) {
	await := func(t *testing.T, ch <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-ch:
		case <-time.After(10 * time.Second):
			t.Fatalf("no signal after %s", what)
		}
	}

	t.Run("adding, cancelling, retrying and handing back are signalled", func(t *testing.T) {
		b := start(t, setup)
		ch, stop := b.Watch()
		defer stop()
		b.add(t, b.job())
		await(t, ch, "adding")
		run := b.claimOne(t, "w")
		if err := b.Cancel(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		await(t, ch, "cancelling")
		b.add(t, b.job())
		await(t, ch, "adding another")
		other := b.claimOne(t, "w")
		b.end(t, queue.Outcome{ID: other.ID, Lease: other.Lease, State: queue.Pending})
		await(t, ch, "handing back")
	})

	t.Run("another instance's job is signalled", func(t *testing.T) {
		b := start(t, setup)
		ch, stop := b.open().Watch()
		defer stop()
		in := b.job()
		b.add(t, in)
		await(t, ch, "adding in another process")
	})

	t.Run("stopping twice is harmless", func(t *testing.T) {
		b := start(t, setup)
		ch, stop := b.Watch()
		stop()
		stop()
		b.add(t, b.job())
		select {
		case <-ch:
			t.Fatal("a stopped watch was signalled")
		default:
		}
	})
}
