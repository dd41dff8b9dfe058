package queuetest

import (
	"slices"
	"testing"
	"time"

	"hearth/internal/queue"
)

func testFinish(t *testing.T, setup Setup) {
	begin := func(t *testing.T) (bundle, queue.Job) {
		t.Helper()
		b := start(t, setup)
		b.add(t, b.job())
		run := b.claimOne(t, "w")
		b.clock.move(time.Second)
		return b, run
	}

	t.Run("completed", func(t *testing.T) {
		b, run := begin(t)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Completed, Progress: &queue.Progress{Done: 5, Total: 5}})
		got := b.wantState(t, run.ID, queue.Completed)
		if got.Cancelled || !got.FinishedAt.Equal(b.clock.Now()) || got.Worker != "" || got.Progress.Done != 5 {
			t.Fatalf("the job is %+v", got)
		}
		if string(got.Payload) != "{}" {
			t.Fatalf("a completed job keeps its payload %s", got.Payload)
		}
	})

	t.Run("retrying comes back at its time with its attempt counted", func(t *testing.T) {
		b, run := begin(t)
		at := b.clock.Now().Add(time.Minute)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Retrying, RunAt: at, LastError: "no luck"})
		got := b.wantState(t, run.ID, queue.Retrying)
		if got.LastError != "no luck" || !got.ScheduledAt.Equal(at) || got.Attempt != 1 || string(got.Payload) != `{"n":1}` {
			t.Fatalf("the job is %+v", got)
		}
		if jobs := b.claimAll(t, "w"); len(jobs) > 0 {
			t.Fatal("it came back before its time")
		}
		b.clock.move(time.Minute)
		if again := b.claimOne(t, "w"); again.Attempt != 2 || again.LastError != "no luck" {
			t.Fatalf("the second run is %+v", again)
		}
	})

	t.Run("dead keeps everything", func(t *testing.T) {
		b, run := begin(t)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Dead, LastError: "for good"})
		got := b.wantState(t, run.ID, queue.Dead)
		if got.LastError != "for good" || string(got.Payload) != `{"n":1}` || got.FinishedAt.IsZero() {
			t.Fatalf("the job is %+v", got)
		}
	})

	t.Run("handed back costs no attempt and is due at once", func(t *testing.T) {
		b, run := begin(t)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Pending})
		if got := b.wantState(t, run.ID, queue.Pending); got.Attempt != 0 || got.Losses != 0 {
			t.Fatalf("the job is %+v", got)
		}
		if again := b.claimOne(t, "other"); again.Attempt != 1 {
			t.Fatalf("the second run is attempt %d", again.Attempt)
		}
	})

	t.Run("the wish to cancel wins over every outcome but success", func(t *testing.T) {
		for _, state := range []queue.State{queue.Retrying, queue.Pending, queue.Dead, queue.Completed} {
			b, run := begin(t)
			if err := b.Cancel(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
			ids, err := b.Cancelling(t.Context(), "w")
			if err != nil || !slices.Equal(ids, []string{run.ID}) {
				t.Fatalf("cancelling are %v, error %v", ids, err)
			}
			b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: state, RunAt: b.clock.Now(), LastError: "x"})
			got := b.wantState(t, run.ID, queue.Completed)
			if got.Cancelled != (state != queue.Completed) {
				t.Fatalf("after %s the job's mark is %v", state, got.Cancelled)
			}
			if ids, err := b.Cancelling(t.Context(), "w"); err != nil || len(ids) > 0 {
				t.Fatalf("still cancelling: %v, error %v", ids, err)
			}
		}
	})

	t.Run("a run ends once", func(t *testing.T) {
		b, run := begin(t)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Completed})
		lost, err := b.Finish(t.Context(), []queue.Outcome{{ID: run.ID, Lease: run.Lease, State: queue.Dead}})
		if err != nil || !slices.Equal(lost, []string{run.ID}) {
			t.Fatalf("lost %v, error %v", lost, err)
		}
		b.wantState(t, run.ID, queue.Completed)
	})

	t.Run("old ended jobs are purged by age", func(t *testing.T) {
		b, run := begin(t)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Completed})
		b.add(t, b.job())
		dead := b.claimOne(t, "w")
		b.end(t, queue.Outcome{ID: dead.ID, Lease: dead.Lease, State: queue.Dead})
		waiting := b.job()
		b.add(t, waiting)
		b.clock.move(time.Hour)
		purge := func(p queue.Purge, want int) {
			t.Helper()
			if n, err := b.Purge(t.Context(), p); err != nil || n != want {
				t.Fatalf("%d jobs were purged (error %v), want %d", n, err, want)
			}
		}
		now := b.clock.Now()
		purge(queue.Purge{}, 0)
		purge(queue.Purge{CompletedBefore: now.Add(-2 * time.Hour), DeadBefore: now.Add(-2 * time.Hour)}, 0)
		purge(queue.Purge{CompletedBefore: now}, 1)
		b.wantState(t, dead.ID, queue.Dead)
		purge(queue.Purge{CompletedBefore: now, DeadBefore: now}, 1)
		b.wantState(t, waiting.ID, queue.Pending)
	})
}
