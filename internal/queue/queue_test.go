package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hearth/internal/queue"
)

func TestBackoffDoublesUpToItsLimitAndSpreads(t *testing.T) {
	t.Parallel()
	b := queue.Backoff{Base: time.Second, Max: 10 * time.Second}
	for attempt, full := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 100: 10 * time.Second} {
		if low, high := b.Pause(attempt, 0), b.Pause(attempt, 0.999999); low != full/2 || high > full || high < full*99/100 {
			t.Errorf("after attempt %d the pause is %v to %v; want %v to %v", attempt, low, high, full/2, full)
		}
	}
}

func TestPermanentIsKnownThroughWraps(t *testing.T) {
	t.Parallel()
	cause := errors.New("x")
	if err := errors.Join(queue.Permanent(cause)); !queue.IsPermanent(err) || !errors.Is(err, cause) {
		t.Error("a permanent error is not known")
	}
	if queue.Permanent(nil) != nil || queue.IsPermanent(cause) || queue.IsPermanent(nil) {
		t.Error("an error is permanent that was not marked")
	}
}

func TestNewIDIsAUUIDv7InOrderOfTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	job := queue.Job{Kind: "k", Queue: queue.Export}
	last := ""
	for i := range 100 {
		job.ID = queue.NewID(now.Add(time.Duration(i) * time.Millisecond))
		if _, err := queue.Prepare(now, job); err != nil || job.ID <= last {
			t.Fatalf("%s after %s: %v", job.ID, last, err)
		}
		last = job.ID
	}
}

func TestWorkerRefusesOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	h := func(context.Context, *queue.Task) error { return nil }
	good := func() queue.WorkerOptions {
		return queue.WorkerOptions{Backend: struct{ queue.Backend }{}, Kinds: []queue.Kind{{Name: "k", Handler: h}},
			Periodic: []queue.Periodic{{Name: "p", Every: time.Hour, Kind: "k", Queue: queue.Cleanup}}}
	}
	if _, err := queue.NewWorker(good()); err != nil {
		t.Fatalf("good options: %v", err)
	}
	bad := map[string]func(*queue.WorkerOptions){
		"no backend":                      func(o *queue.WorkerOptions) { o.Backend = nil },
		"a kind twice":                    func(o *queue.WorkerOptions) { o.Kinds = append(o.Kinds, o.Kinds[0]) },
		"no handler":                      func(o *queue.WorkerOptions) { o.Kinds[0].Handler = nil },
		"an unknown queue":                func(o *queue.WorkerOptions) { o.Concurrency = map[queue.Name]int{"x": 1} },
		"a negative limit":                func(o *queue.WorkerOptions) { o.Concurrency = map[queue.Name]int{queue.Export: -1} },
		"a lease too short to renew":      func(o *queue.WorkerOptions) { o.Lease = time.Millisecond },
		"a periodic job of unknown kind":  func(o *queue.WorkerOptions) { o.Periodic[0].Kind = "x" },
		"a periodic job twice":            func(o *queue.WorkerOptions) { o.Periodic = append(o.Periodic, o.Periodic[0]) },
		"an offset longer than the pause": func(o *queue.WorkerOptions) { o.Periodic[0].Offset = 2 * time.Hour },
	}
	for name, spoil := range bad {
		o := good()
		spoil(&o)
		if _, err := queue.NewWorker(o); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
