package queuetest

import (
	"slices"
	"testing"
	"time"

	"hearth"
	"hearth/internal/queue"
)

func testAdministration(t *testing.T, setup Setup) {
	t.Run("an unknown job is not found", func(t *testing.T) {
		b := start(t, setup)
		id := queue.NewID(b.clock.Now())
		_, err := b.Job(t.Context(), id)
		wantCode(t, err, hearth.CodeNotFound)
		wantCode(t, b.Cancel(t.Context(), id), hearth.CodeNotFound)
		wantCode(t, b.Retry(t.Context(), id), hearth.CodeNotFound)
		wantCode(t, b.Delete(t.Context(), id), hearth.CodeNotFound)
	})

	t.Run("cancelling a waiting job ends it at once", func(t *testing.T) {
		b := start(t, setup)
		pending := b.job()
		scheduled := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(time.Hour) })
		b.add(t, pending, scheduled)
		for _, id := range []string{pending.ID, scheduled.ID} {
			if err := b.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if got := b.wantState(t, id, queue.Completed); !got.Cancelled || got.FinishedAt.IsZero() {
				t.Fatalf("the job is %+v", got)
			}
			wantCode(t, b.Cancel(t.Context(), id), hearth.CodeConflict)
		}
		b.clock.move(2 * time.Hour)
		if jobs := b.claimAll(t, "w"); len(jobs) > 0 {
			t.Fatal("a cancelled job runs")
		}
	})

	t.Run("cancelling a running job twice is no error", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		run := b.claimOne(t, "w")
		for range 2 {
			if err := b.Cancel(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
		}
		b.wantState(t, run.ID, queue.Running)
		if ids, err := b.Cancelling(t.Context(), "another worker"); err != nil || len(ids) > 0 {
			t.Fatalf("another worker is told %v, error %v", ids, err)
		}
	})

	t.Run("a dead job retried has all its attempts again", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		run := b.claimOne(t, "w")
		wantCode(t, b.Retry(t.Context(), run.ID), hearth.CodeConflict)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Dead, LastError: "x"})
		if err := b.Retry(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		if got := b.wantState(t, run.ID, queue.Pending); got.Attempt != 0 || !got.FinishedAt.IsZero() || got.LastError != "x" {
			t.Fatalf("the job is %+v", got)
		}
		wantCode(t, b.Retry(t.Context(), run.ID), hearth.CodeConflict)
		again := b.claimOne(t, "w")
		b.end(t, queue.Outcome{ID: again.ID, Lease: again.Lease, State: queue.Completed})
		wantCode(t, b.Retry(t.Context(), run.ID), hearth.CodeConflict)
	})

	t.Run("a waiting job retried is due at once", func(t *testing.T) {
		b := start(t, setup)
		scheduled := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(time.Hour) })
		b.add(t, scheduled)
		if err := b.Retry(t.Context(), scheduled.ID); err != nil {
			t.Fatal(err)
		}
		b.claimOne(t, "w")
	})

	t.Run("a dead job cannot come back while another holds its key", func(t *testing.T) {
		b := start(t, setup)
		unique := func(j *queue.Job) { j.Unique = "k" }
		b.add(t, b.job(unique))
		run := b.claimOne(t, "w")
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Dead})
		holder := b.job(unique)
		b.add(t, holder)
		wantCode(t, b.Retry(t.Context(), run.ID), hearth.CodeConflict)
		b.wantState(t, run.ID, queue.Dead)
		if err := b.Delete(t.Context(), holder.ID); err != nil {
			t.Fatal(err)
		}
		if err := b.Retry(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a job is deleted unless it runs", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		run := b.claimOne(t, "w")
		wantCode(t, b.Delete(t.Context(), run.ID), hearth.CodeConflict)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Dead})
		if err := b.Delete(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, b.Delete(t.Context(), run.ID), hearth.CodeNotFound)
	})

	t.Run("lists are newest first, filtered and paged", func(t *testing.T) {
		b := start(t, setup)
		var want []string
		for i := range 25 {
			j := b.job(func(j *queue.Job) {
				if i%5 == 0 {
					j.Queue, j.Kind = queue.Export, "other"
				}
			})
			b.add(t, j)
			b.clock.move(time.Second)
			want = append([]string{j.ID}, want...)
		}
		list := func(f queue.Filter) []string {
			t.Helper()
			var got []string
			for {
				page, err := b.List(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				if f.Limit > 0 && len(page.Jobs) > f.Limit {
					t.Fatalf("a page of %d jobs", len(page.Jobs))
				}
				got = append(got, idsOf(page.Jobs)...)
				if page.Next == "" {
					return got
				}
				f.Before = page.Next
			}
		}
		if got := list(queue.Filter{Limit: 7}); !slices.Equal(got, want) {
			t.Fatalf("all: %v, want %v", got, want)
		}
		exports := list(queue.Filter{Queue: queue.Export, Limit: 2})
		if len(exports) != 5 || !slices.Equal(exports, list(queue.Filter{Kind: "other"})) {
			t.Fatalf("exports: %v", exports)
		}
		if err := b.Cancel(t.Context(), exports[1]); err != nil {
			t.Fatal(err)
		}
		if got := list(queue.Filter{State: queue.Completed, Queue: queue.Export}); !slices.Equal(got, exports[1:2]) {
			t.Fatalf("completed: %v", got)
		}
		_, err := b.List(t.Context(), queue.Filter{Limit: 201})
		wantCode(t, err, hearth.CodeValidationFailed)
	})

	t.Run("counts follow the jobs", func(t *testing.T) {
		b := start(t, setup)
		want := map[queue.Count]int64{}
		check := func(state queue.State, change int64) {
			t.Helper()
			want[queue.Count{Queue: queue.Notification, State: state}] += change
			counts, err := b.Counts(t.Context())
			if err != nil || len(counts) != len(queue.Names())*len(queue.States()) {
				t.Fatalf("%d counts, error %v", len(counts), err)
			}
			for _, c := range counts {
				n := c.Jobs
				c.Jobs = 0
				if n != want[c] {
					t.Fatalf("%s %s: %d, want %d", c.Queue, c.State, n, want[c])
				}
			}
		}
		check(queue.Pending, 0)
		b.add(t, b.job(), b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(time.Hour) }))
		want[queue.Count{Queue: queue.Notification, State: queue.Pending}]++
		check(queue.Scheduled, 1)
		run := b.claimOne(t, "w")
		want[queue.Count{Queue: queue.Notification, State: queue.Pending}]--
		check(queue.Running, 1)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Dead})
		want[queue.Count{Queue: queue.Notification, State: queue.Running}]--
		check(queue.Dead, 1)
		if err := b.Delete(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		check(queue.Dead, -1)
	})
}
