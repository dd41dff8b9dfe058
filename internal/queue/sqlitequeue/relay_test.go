package sqlitequeue_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/queue"
	"hearth/internal/queue/sqlitequeue"
)

// outbox is a store's outbox: a list that can fail to forget.
type outbox struct {
	mu     sync.Mutex
	jobs   []hearth.OutboxJob
	broken bool
	empty  chan struct{}
}

func (o *outbox) PendingOutbox(_ context.Context, limit int) ([]hearth.OutboxJob, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.jobs[:min(limit, len(o.jobs))]), nil
}

func (o *outbox) DeleteOutbox(_ context.Context, ids []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken {
		return errors.New("died before it could forget")
	}
	o.jobs = slices.DeleteFunc(o.jobs, func(j hearth.OutboxJob) bool { return slices.Contains(ids, j.ID) })
	if len(o.jobs) == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
	return nil
}

func outboxJob() hearth.OutboxJob {
	return hearth.OutboxJob{ID: queue.NewID(time.Now()), Kind: "test", Queue: "export", Payload: []byte(`{"a":1}`)}
}

func relay(t *testing.T, o *outbox, change ...func(*queue.RelayOptions)) (*queue.Relay, *sqlitequeue.Queue) {
	t.Helper()
	q := openAt(t, sqlitequeue.Options{})
	options := queue.RelayOptions{Outbox: o, Queue: q, Batch: 10}
	for _, c := range change {
		c(&options)
	}
	r, err := queue.NewRelay(options)
	if err != nil {
		t.Fatal(err)
	}
	return r, q
}

func jobsIn(t *testing.T, q queue.Queue) int {
	t.Helper()
	page, err := q.List(t.Context(), queue.Filter{Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Jobs)
}

func TestRelayAddsOnceWhenItDiesBeforeItForgets(t *testing.T) {
	t.Parallel()
	o := &outbox{broken: true, jobs: []hearth.OutboxJob{outboxJob(), outboxJob()}}
	first := o.jobs[0]
	r, q := relay(t, o)
	for range 3 {
		if _, err := r.Move(t.Context()); err == nil {
			t.Fatal("a failure to forget was not told")
		}
	}
	o.broken = false
	if _, err := r.Move(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(o.jobs) != 0 || jobsIn(t, q) != 2 {
		t.Fatalf("%d jobs stayed, %d were added", len(o.jobs), jobsIn(t, q))
	}
	got, err := q.Job(t.Context(), first.ID)
	if err != nil || got.Kind != "test" || got.Queue != queue.Export || string(got.Payload) != `{"a":1}` {
		t.Fatalf("the job is %+v, error %v", got, err)
	}
}

func TestRelayKeepsAJobThatTheQueueRefusesAndMovesTheOthers(t *testing.T) {
	t.Parallel()
	bad := outboxJob()
	bad.Queue = "other"
	o := &outbox{jobs: []hearth.OutboxJob{bad}}
	for range 25 {
		o.jobs = append(o.jobs, outboxJob())
	}
	r, q := relay(t, o)
	for {
		more, err := r.Move(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	if len(o.jobs) != 1 || o.jobs[0].ID != bad.ID || jobsIn(t, q) != 25 {
		t.Fatalf("%d jobs stayed, %d were added", len(o.jobs), jobsIn(t, q))
	}
}

func TestRelayMovesAtOnceWhenWoken(t *testing.T) {
	t.Parallel()
	wake := make(chan struct{}, 1)
	o := &outbox{}
	r, _ := relay(t, o, func(ro *queue.RelayOptions) { ro.Wake, ro.Poll = wake, time.Hour })
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(context.Background()) })
	empty := make(chan struct{})
	o.mu.Lock()
	o.empty = empty
	for range 35 {
		o.jobs = append(o.jobs, outboxJob())
	}
	o.mu.Unlock()
	wake <- struct{}{}
	select {
	case <-empty:
	case <-time.After(20 * time.Second):
		t.Fatal("the jobs were not moved")
	}
	for range 2 {
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRelayLeavesJobsWhereTheyAreWhileTheQueueIsGone(t *testing.T) {
	t.Parallel()
	o := &outbox{jobs: []hearth.OutboxJob{outboxJob()}}
	r, q := relay(t, o)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Move(t.Context()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Fatalf("the error is %v", err)
	}
	if len(o.jobs) != 1 {
		t.Fatal("a job was forgotten")
	}
}
