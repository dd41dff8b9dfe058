package queuetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth/internal/queue"
)

func testConcurrency(t *testing.T, setup Setup) {
	t.Run("many claimers on several instances share the jobs without overlap", func(t *testing.T) {
		b := start(t, setup)
		const total = 300
		jobs := make([]queue.Job, total)
		for i := range jobs {
			jobs[i] = b.job()
		}
		b.add(t, jobs...)
		instances := []queue.Backend{b.Backend, b.open(), b.open()}
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for w := range 6 {
			q := instances[w%len(instances)]
			name := fmt.Sprintf("worker-%d", w)
			wg.Go(func() {
				for {
					got, _, err := q.Claim(t.Context(), asking(name, 7))
					if err != nil {
						t.Errorf("claim: %v", err)
						return
					}
					if len(got) == 0 {
						return
					}
					outcomes := make([]queue.Outcome, len(got))
					mu.Lock()
					for i, j := range got {
						seen[j.ID]++
						outcomes[i] = queue.Outcome{ID: j.ID, Lease: j.Lease, State: queue.Completed}
					}
					mu.Unlock()
					if lost, err := q.Finish(t.Context(), outcomes); err != nil || len(lost) > 0 {
						t.Errorf("finish: lost %v, error %v", lost, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if len(seen) != total {
			t.Fatalf("%d jobs ran, want %d", len(seen), total)
		}
		for id, n := range seen {
			if n != 1 {
				t.Fatalf("job %s ran %d times", id, n)
			}
		}
	})

	t.Run("many adders of one unique key make one job", func(t *testing.T) {
		b := start(t, setup)
		other := b.open()
		var wg sync.WaitGroup
		for i := range 20 {
			q := b.Backend
			if i%2 == 0 {
				q = other
			}
			wg.Go(func() {
				if _, err := q.Enqueue(t.Context(), b.job(func(j *queue.Job) { j.Unique = "only" })); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b.claimOne(t, "w")
	})

	t.Run("finish, cancel and rescue racing leave one outcome", func(t *testing.T) {
		b := start(t, setup)
		for range 20 {
			b.add(t, b.job())
			run := b.claimOne(t, "w")
			b.clock.move(time.Minute)
			var wg sync.WaitGroup
			var lost []string
			wg.Go(func() {
				var err error
				if lost, err = b.Finish(t.Context(), []queue.Outcome{{ID: run.ID, Lease: run.Lease, State: queue.Completed}}); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() { _ = b.Cancel(t.Context(), run.ID) })
			wg.Go(func() {
				if _, err := b.Rescue(t.Context()); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			got := b.read(t, run.ID)
			switch {
			case len(lost) == 0 && (got.State != queue.Completed || got.Cancelled):
				t.Fatalf("the outcome was taken, but the job is %s, cancelled %v", got.State, got.Cancelled)
			case len(lost) == 1 && got.State == queue.Completed && !got.Cancelled:
				t.Fatal("the outcome was refused, but the job did its work")
			}
			if !got.State.Ended() {
				if err := b.Cancel(t.Context(), run.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
