package queuetest

import (
	"testing"
	"time"

	"hearth/internal/queue"
)

func testClaim(t *testing.T, setup Setup) {
	t.Run("the oldest due job comes first, as far as slots go", func(t *testing.T) {
		b := start(t, setup)
		late := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(2 * time.Minute) })
		soon := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(time.Minute) })
		b.add(t, late, soon)
		b.clock.move(3 * time.Minute)
		now := b.job()
		b.add(t, now)
		jobs, _, err := b.Claim(t.Context(), asking("w", 2))
		if err != nil {
			t.Fatal(err)
		}
		wantIDs(t, jobs, soon.ID, late.ID)
		wantIDs(t, b.claimAll(t, "w"), now.ID)
	})

	t.Run("a claimed job is running, with its attempt counted", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		b.clock.move(time.Second)
		run := b.claimOne(t, "w")
		if run.State != queue.Running || run.Attempt != 1 || run.Worker != "w" || run.Lease == 0 || !run.StartedAt.Equal(b.clock.Now()) {
			t.Fatalf("the claimed job is %+v", run)
		}
		if got := b.read(t, run.ID); got.State != queue.Running || got.Attempt != 1 || got.Worker != "w" || got.Lease != run.Lease {
			t.Fatalf("the stored job is %+v", got)
		}
	})

	t.Run("a job is not claimed before its time, and the next time is returned", func(t *testing.T) {
		b := start(t, setup)
		at := b.clock.Now().Add(time.Hour)
		b.add(t, b.job(func(j *queue.Job) { j.ScheduledAt = at }), b.job(func(j *queue.Job) { j.ScheduledAt = at.Add(time.Hour) }))
		jobs, next, err := b.Claim(t.Context(), asking("w", 10))
		if err != nil || len(jobs) != 0 || !next.Equal(at) {
			t.Fatalf("got %d jobs, next %v, error %v", len(jobs), next, err)
		}
		b.clock.move(time.Hour)
		jobs, next, err = b.Claim(t.Context(), asking("w", 10))
		if err != nil || len(jobs) != 1 || !next.Equal(at.Add(time.Hour)) {
			t.Fatalf("got %d jobs, next %v, error %v", len(jobs), next, err)
		}
		b.clock.move(time.Hour)
		jobs, next, err = b.Claim(t.Context(), asking("w", 10))
		if err != nil || len(jobs) != 1 || !next.IsZero() {
			t.Fatalf("got %d jobs, next %v, error %v", len(jobs), next, err)
		}
	})

	t.Run("only queues with slots are served", func(t *testing.T) {
		b := start(t, setup)
		export := b.job(func(j *queue.Job) { j.Queue = queue.Export })
		b.add(t, b.job(), export)
		jobs, _, err := b.Claim(t.Context(), queue.Claim{Worker: "w", Lease: time.Second, Kinds: map[string]int{"test": 0},
			Slots: map[queue.Name]int{queue.Export: 1}})
		if err != nil {
			t.Fatal(err)
		}
		wantIDs(t, jobs, export.ID)
	})

	t.Run("a job of an unknown kind stays, and runs once its kind is known", func(t *testing.T) {
		b := start(t, setup)
		unknown := b.job(func(j *queue.Job) { j.Kind = "from.a.newer.version" })
		b.add(t, unknown)
		if jobs := b.claimAll(t, "w"); len(jobs) != 0 {
			t.Fatal("a job without a handler was claimed")
		}
		if got := b.wantState(t, unknown.ID, queue.Pending); got.Attempt != 0 {
			t.Fatalf("it lost %d attempts", got.Attempt)
		}
		c := asking("w", 1)
		c.Kinds = map[string]int{"from.a.newer.version": 0}
		jobs, _, err := b.Claim(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		wantIDs(t, jobs, unknown.ID)
	})

	t.Run("a kind's number of attempts wins over the job's", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job(func(j *queue.Job) { j.MaxAttempts = 2 }))
		c := asking("w", 1)
		c.Kinds["test"] = 5
		jobs, _, err := b.Claim(t.Context(), c)
		if err != nil || len(jobs) != 1 || jobs[0].MaxAttempts != 5 {
			t.Fatalf("got %+v, error %v", jobs, err)
		}
		if got := b.read(t, jobs[0].ID); got.MaxAttempts != 5 {
			t.Fatalf("stored are %d", got.MaxAttempts)
		}
	})

	t.Run("a running job belongs to no other worker", func(t *testing.T) {
		b := start(t, setup)
		b.add(t, b.job())
		b.claimOne(t, "one")
		if jobs := b.claimAll(t, "two"); len(jobs) != 0 {
			t.Fatal("two workers have the job")
		}
		other := bundle{Backend: b.open(), clock: b.clock}
		if jobs := other.claimAll(t, "three"); len(jobs) != 0 {
			t.Fatal("a worker of another instance has the job too")
		}
	})
}
