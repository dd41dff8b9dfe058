package redisqueue_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/bus/redisbus"
	"hearth/internal/queue"
	"hearth/internal/queue/redisqueue"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

// outbox is the store's side of a relay.
type outbox struct {
	mu   sync.Mutex
	jobs []hearth.OutboxJob
}

func (o *outbox) put(n int) (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range n {
		id := queue.NewID(time.Now())
		ids = append(ids, id)
		o.jobs = append(o.jobs, hearth.OutboxJob{ID: id, Kind: "test", Queue: string(queue.Export), Payload: []byte(`{}`)})
	}
	return ids
}

func (o *outbox) PendingOutbox(_ context.Context, limit int) ([]hearth.OutboxJob, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.jobs[:min(limit, len(o.jobs))]), nil
}

func (o *outbox) DeleteOutbox(_ context.Context, ids []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.jobs = slices.DeleteFunc(o.jobs, func(j hearth.OutboxJob) bool { return slices.Contains(ids, j.ID) })
	return nil
}

func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.jobs)
}

func relay(t *testing.T, q queue.Queue, o *outbox) *queue.Relay {
	t.Helper()
	r, err := queue.NewRelay(queue.RelayOptions{Outbox: o, Queue: q, Poll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually waits for what a real server does in its own time.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func waiting(t *testing.T, q queue.Queue) int64 {
	t.Helper()
	counts, err := q.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, c := range counts {
		if !c.State.Ended() {
			total += c.Jobs
		}
	}
	return total
}

func TestJobsOfARedisThatLostThemComeBackFromTheOutbox(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testserver.Redis){
		"flushed":         (*testserver.Redis).Flush,
		"restarted empty": func(r *testserver.Redis) { r.Stop(); r.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			q := open(t, server.URL(), nil)
			o := &outbox{}
			ids := o.put(30)
			r := relay(t, q, o)
			move := func() {
				t.Helper()
				eventually(t, "the relay moves", func() bool { _, err := r.Move(t.Context()); return err == nil })
			}
			move()
			// Some end before the loss, one is deleted by an administrator: they do not come back.
			jobs, _, err := q.Claim(t.Context(), queue.Claim{Worker: "w", Lease: time.Minute, Kinds: map[string]int{"test": 0}, Slots: map[queue.Name]int{queue.Export: 10}})
			if err != nil || len(jobs) != 10 {
				t.Fatalf("%d jobs, %v", len(jobs), err)
			}
			var outcomes []queue.Outcome
			for _, j := range jobs {
				outcomes = append(outcomes, queue.Outcome{ID: j.ID, Lease: j.Lease, State: queue.Completed})
			}
			if _, err := q.Finish(t.Context(), outcomes); err != nil {
				t.Fatal(err)
			}
			deleted := ids[slices.IndexFunc(ids, func(id string) bool {
				return !slices.ContainsFunc(jobs, func(j queue.Job) bool { return j.ID == id })
			})]
			for _, id := range []string{deleted, jobs[1].ID} {
				if err := q.Delete(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the ended leave the outbox", func() bool { move(); return o.left() == 19 })

			lose(server)
			eventually(t, "the others are back", func() bool { move(); return waiting(t, q) == 19 })
			if _, err := q.Job(t.Context(), deleted); hearth.ErrorCode(err) != hearth.CodeNotFound {
				t.Errorf("the deleted job: %v", err)
			}
			if _, err := q.Job(t.Context(), jobs[0].ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
				t.Errorf("an ended job: %v", err)
			}
		})
	}
}

func TestJobsSurviveAKilledRedis(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, "--appendonly", "yes")
	q := open(t, server.URL(), nil)
	var ids []string
	for range 50 {
		job := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export}
		if _, err := q.Enqueue(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, job.ID)
	}
	server.Stop()
	eventually(t, "the queue is gone", func() bool { return hearth.ErrorCode(q.Ping(t.Context())) == hearth.CodeUnavailable })
	server.Start()
	eventually(t, "the queue is back", func() bool { return q.Ping(t.Context()) == nil })
	for _, id := range ids {
		if _, err := q.Job(t.Context(), id); err != nil {
			t.Errorf("a job that was acknowledged: %v", err)
		}
	}
}

func TestAWorkerOutlivesARedisThatIsGone(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct{ begin, end func(*testserver.Redis) }{
		"killed": {(*testserver.Redis).Stop, (*testserver.Redis).Start},
		"hung":   {(*testserver.Redis).Hang, (*testserver.Redis).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t, "--appendonly", "yes")
			q := open(t, server.URL(), nil)
			ran := make(chan string, 100)
			w, err := queue.NewWorker(queue.WorkerOptions{Backend: q, Lease: 2 * time.Second, Kinds: []queue.Kind{{Name: "test",
				Handler: func(_ context.Context, task *queue.Task) error { ran <- task.Job.ID; return nil }}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = w.Stop(context.Background()) })
			run := func() {
				t.Helper()
				job := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export}
				eventually(t, "the job is taken", func() bool { _, err := q.Enqueue(t.Context(), job); return err == nil })
				select {
				case id := <-ran:
					if id != job.ID {
						t.Errorf("%s ran, want %s", id, job.ID)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("the job did not run")
				}
			}
			run()
			fault.begin(server)
			eventually(t, "the queue is gone", func() bool { return hearth.ErrorCode(q.Ping(t.Context())) == hearth.CodeUnavailable })
			fault.end(server)
			run()
		})
	}
}

func TestEverythingWorksOnACluster(t *testing.T) {
	t.Parallel()
	q := open(t, testserver.StartRedisCluster(t).URL(), nil)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export, Unique: "u"}
	second := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Cleanup}
	_, err := q.Enqueue(ctx, first, second)
	must(err)
	_, err = q.EnqueueSlot(ctx, queue.Slot{Name: "s", At: time.Now()}, second)
	must(err)
	jobs, _, err := q.Claim(ctx, queue.Claim{Worker: "w", Lease: time.Minute, Kinds: map[string]int{"test": 3},
		Slots: map[queue.Name]int{queue.Export: 1, queue.Cleanup: 1}})
	must(err)
	if len(jobs) != 2 {
		t.Fatalf("%d jobs were claimed", len(jobs))
	}
	_, err = q.Beat(ctx, queue.Beat{Worker: "w", Lease: time.Minute, Jobs: []queue.Held{{ID: jobs[0].ID, Lease: jobs[0].Lease}}})
	must(err)
	must(q.Cancel(ctx, jobs[0].ID))
	_, err = q.Cancelling(ctx, "w")
	must(err)
	_, err = q.Finish(ctx, []queue.Outcome{{ID: jobs[0].ID, Lease: jobs[0].Lease, State: queue.Completed},
		{ID: jobs[1].ID, Lease: jobs[1].Lease, State: queue.Dead}})
	must(err)
	must(q.Retry(ctx, jobs[1].ID))
	must(q.Delete(ctx, jobs[1].ID))
	_, err = q.Rescue(ctx)
	must(err)
	_, err = q.Purge(ctx, queue.Purge{CompletedBefore: time.Now().Add(time.Hour)})
	must(err)
	page, err := q.List(ctx, queue.Filter{})
	must(err)
	if len(page.Jobs) != 0 || waiting(t, q) != 0 {
		t.Errorf("%d jobs are left", len(page.Jobs))
	}
}

func TestAFullBacklogRefuses(t *testing.T) {
	t.Parallel()
	conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: testserver.StartRedis(t).URL(), CallTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	end := redisbus.New(conn)
	t.Cleanup(func() { end.Close(); conn.Close() })
	q, err := redisqueue.Open(redisqueue.Options{Bus: end, MaxBacklog: 2})
	if err != nil {
		t.Fatal(err)
	}
	job := func() queue.Job { return queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export} }
	first := job()
	if _, err := q.Enqueue(t.Context(), first, job()); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), job()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Fatalf("the error is %v", err)
	}
	if err := q.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), job()); err != nil {
		t.Fatalf("after one ended: %v", err)
	}
	if _, err := redisqueue.Open(redisqueue.Options{}); err == nil {
		t.Error("a queue without a connection was opened")
	}
}
