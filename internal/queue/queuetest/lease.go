package queuetest

import (
	"slices"
	"testing"
	"time"

	"hearth/internal/queue"
)

func testLease(t *testing.T, setup Setup) {
	rescue := func(t *testing.T, b bundle, want int) {
		t.Helper()
		n, err := b.Rescue(t.Context())
		if err != nil || n != want {
			t.Fatalf("%d jobs were taken back (error %v), want %d", n, err, want)
		}
	}

	t.Run("a job whose lease ran out is pending again, its attempt not lost", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		first := b.claimOne(t, "dead worker")
		b.clock.move(9 * time.Second)
		rescue(t, b, 0)
		b.clock.move(2 * time.Second)
		rescue(t, b, 1)
		rescue(t, b, 0)
		got := b.wantState(t, first.ID, queue.Pending)
		if got.Attempt != 0 || got.Losses != 1 || got.Worker != "" || got.LastError == "" {
			t.Fatalf("the job is %+v", got)
		}
		second := b.claimOne(t, "living worker")
		if second.ID != first.ID || second.Attempt != 1 || second.Lease == first.Lease {
			t.Fatalf("the second run is %+v", second)
		}
	})

	t.Run("a clock that is put back an hour leaves no job behind", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		first := b.claimOne(t, "dead worker")
		waiting := b.job()
		b.add(t, waiting)
		b.clock.move(-time.Hour)
		if next := b.claimOne(t, "living worker"); next.ID != waiting.ID {
			t.Fatalf("%s is claimed, want the job that waits", next.ID)
		}
		rescue(t, b, 1)
		if second := b.claimOne(t, "living worker"); second.ID != first.ID {
			t.Fatalf("%s is claimed, want the one of the dead worker", second.ID)
		}
		rescue(t, b, 0) // those of the living one are of the new time
	})

	t.Run("a clock that is put back an hour delays no job", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		failed := b.claimOne(t, "w")
		b.end(t, queue.Outcome{ID: failed.ID, Lease: failed.Lease, State: queue.Retrying, RunAt: b.clock.Now().Add(time.Minute), LastError: "x"})
		scheduled := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(2 * time.Minute) })
		b.add(t, scheduled)
		b.clock.move(-time.Hour)
		if jobs := b.claimAll(t, "w"); len(jobs) != 2 || jobs[0].ID != failed.ID || jobs[1].ID != scheduled.ID {
			t.Fatalf("%v are claimed, want %s and %s", jobs, failed.ID, scheduled.ID)
		}
		later := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(time.Minute) })
		b.add(t, later)
		if jobs, next, err := b.Claim(t.Context(), asking("w", 10)); err != nil || len(jobs) > 0 || !next.Equal(later.ScheduledAt) {
			t.Fatalf("claimed %v, next %v, error %v; want one that is due in a minute to wait", jobs, next, err)
		}
	})

	t.Run("a beat keeps the lease and stores progress", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		run := b.claimOne(t, "w")
		progress := queue.Progress{Step: "writing", Done: 30, Total: 120}
		for range 3 {
			b.clock.move(8 * time.Second)
			lost, err := b.Beat(t.Context(), queue.Beat{Worker: "w", Lease: 10 * time.Second,
				Jobs: []queue.Held{{ID: run.ID, Lease: run.Lease, Progress: &progress}}})
			if err != nil || len(lost) > 0 {
				t.Fatalf("beat: lost %v, error %v", lost, err)
			}
			rescue(t, b, 0)
		}
		if got := b.wantState(t, run.ID, queue.Running); got.Progress != progress || got.Progress.Percentage() != 25 {
			t.Fatalf("the progress is %+v", got.Progress)
		}
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Completed})
	})

	t.Run("a worker that lost a job learns it, and its outcome does not count", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		first := b.claimOne(t, "slow")
		b.clock.move(time.Minute)
		rescue(t, b, 1)
		kept := b.job()
		b.add(t, kept)
		var other queue.Job
		for _, j := range b.claimAll(t, "slow") {
			if j.ID == kept.ID {
				other = j
			}
		}
		// The very same worker has it again, under a new number: the old run is lost all the same.
		lost, err := b.Beat(t.Context(), queue.Beat{Worker: "slow", Lease: 10 * time.Second, Jobs: []queue.Held{
			{ID: first.ID, Lease: first.Lease}, {ID: other.ID, Lease: other.Lease}}})
		if err != nil || !slices.Equal(lost, []string{first.ID}) {
			t.Fatalf("beat: lost %v, error %v", lost, err)
		}
		lost, err = b.Finish(t.Context(), []queue.Outcome{
			{ID: first.ID, Lease: first.Lease, State: queue.Dead, LastError: "late"}, {ID: other.ID, Lease: other.Lease, State: queue.Completed}})
		if err != nil || !slices.Equal(lost, []string{first.ID}) {
			t.Fatalf("finish: lost %v, error %v", lost, err)
		}
		b.wantState(t, first.ID, queue.Running)
		b.wantState(t, other.ID, queue.Completed)
	})

	t.Run("a job that kills its worker again and again dies", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		var id string
		for range queue.MaxLosses + 1 {
			id = b.claimOne(t, "w").ID
			b.clock.move(time.Minute)
			rescue(t, b, 1)
		}
		b.wantState(t, id, queue.Dead)
		if err := b.Retry(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		b.claimOne(t, "w")
		b.clock.move(time.Minute)
		rescue(t, b, 1)
		b.wantState(t, id, queue.Pending)
	})

	t.Run("a lost job that was being cancelled does not run again", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		run := b.claimOne(t, "w")
		if err := b.Cancel(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		b.clock.move(time.Minute)
		rescue(t, b, 1)
		if got := b.wantState(t, run.ID, queue.Completed); !got.Cancelled {
			t.Fatal("it is not marked as cancelled")
		}
	})
}
