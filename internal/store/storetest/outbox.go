package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// OutboxStore is what the suite of the outbox is about: the queue's relay reads what the writes of the store left behind.
type OutboxStore interface {
	// Record is one of the writes that store jobs in the same transaction.
	Record(ctx context.Context, effects hearth.SideEffects) error
	CreateUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
	DeleteOutbox(ctx context.Context, ids []string) error
	OutboxSignal() <-chan struct{}
}

// Outbox is the suite for the jobs that travel with writes. open returns an empty store; it is called once a test, in parallel.
func Outbox(t *testing.T, open func(t *testing.T) OutboxStore) {
	for name, test := range map[string]func(*testing.T, OutboxStore){
		"gives back the jobs that were written, oldest first": outboxRoundTrip,
		"a refused write leaves no job":                       outboxRefused,
		"deleting twice is no error":                          outboxDelete,
		"signals a write with jobs, and no other":             outboxSignal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// outboxJob returns a job; n makes ids that ascend.
func outboxJob(n int) hearth.OutboxJob {
	return hearth.OutboxJob{
		ID: fmt.Sprintf("0195b000-0000-7000-8000-%012d", n), Kind: "test.kind", Queue: "notification", Payload: []byte(`{"n":1}`),
	}
}

func pending(t *testing.T, s OutboxStore, limit int) []hearth.OutboxJob {
	t.Helper()
	jobs, err := s.PendingOutbox(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func recordJobs(t *testing.T, s OutboxStore, jobs ...hearth.OutboxJob) {
	t.Helper()
	if err := s.Record(t.Context(), hearth.SideEffects{Jobs: jobs}); err != nil {
		t.Fatal(err)
	}
}

func outboxRoundTrip(t *testing.T, s OutboxStore) {
	later := outboxJob(3)
	later.Unique, later.RunAt = "one:3", epoch.Add(time.Hour)
	recordJobs(t, s, outboxJob(2), later)
	hook := outboxJob(0)
	hook.Queue = hearth.WebhookQueue // not the relay's
	recordJobs(t, s, outboxJob(1), hook)
	want := []hearth.OutboxJob{outboxJob(1), outboxJob(2), later}
	if diff := cmp.Diff(want, pending(t, s, 10)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:2], pending(t, s, 2)); diff != "" {
		t.Errorf("limited (-want +got):\n%s", diff)
	}
}

func outboxRefused(t *testing.T, s OutboxStore) {
	if err := s.CreateUser(t.Context(), user(1), hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}); err != nil {
		t.Fatal(err)
	}
	again := user(2)
	again.Email = user(1).Email
	err := s.CreateUser(t.Context(), again, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(2)}})
	if hearth.ErrorCode(err) != hearth.CodeEmailTaken {
		t.Fatalf("got %v", err)
	}
	if jobs := pending(t, s, 10); len(jobs) != 1 || jobs[0].ID != outboxJob(1).ID {
		t.Errorf("the outbox holds %+v", jobs)
	}
}

func outboxDelete(t *testing.T, s OutboxStore) {
	recordJobs(t, s, outboxJob(1), outboxJob(2), outboxJob(3))
	for range 2 {
		if err := s.DeleteOutbox(t.Context(), []string{outboxJob(1).ID, outboxJob(3).ID, "unknown"}); err != nil {
			t.Fatal(err)
		}
	}
	ids := []string{}
	for _, job := range pending(t, s, 10) {
		ids = append(ids, job.ID)
	}
	if !slices.Equal(ids, []string{outboxJob(2).ID}) {
		t.Errorf("left are %v", ids)
	}
}

func outboxSignal(t *testing.T, s OutboxStore) {
	recordJobs(t, s)
	select {
	case <-s.OutboxSignal():
		t.Error("a write without jobs was signalled")
	default:
	}
	recordJobs(t, s, outboxJob(1))
	select {
	case <-s.OutboxSignal():
	default:
		t.Error("the write was answered before the signal")
	}
}
