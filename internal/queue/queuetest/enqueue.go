package queuetest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/queue"
)

func testEnqueue(t *testing.T, setup Setup) {
	t.Run("a new job is pending and complete", func(t *testing.T) {
		b := start(t, setup)
		in := b.job(func(j *queue.Job) { j.Unique, j.MaxAttempts = "one", 3 })
		b.add(t, in)
		got := b.wantState(t, in.ID, queue.Pending)
		now := hearth.Millis(b.clock.Now())
		if got.Kind != "test" || got.Queue != queue.Notification || string(got.Payload) != `{"n":1}` || got.Unique != "one" ||
			got.MaxAttempts != 3 || got.Attempt != 0 || !got.CreatedAt.Equal(now) || !got.ScheduledAt.Equal(now) || !got.StartedAt.IsZero() {
			t.Fatalf("the job is %+v", got)
		}
	})

	t.Run("what the caller sets beyond its part is ignored", func(t *testing.T) {
		b := start(t, setup)
		in := b.job(func(j *queue.Job) {
			j.State, j.Attempt, j.LastError, j.Worker, j.Cancelled = queue.Dead, 9, "x", "w", true
		})
		b.add(t, in)
		got := b.wantState(t, in.ID, queue.Pending)
		if got.Attempt != 0 || got.LastError != "" || got.Worker != "" || got.Cancelled {
			t.Fatalf("the job is %+v", got)
		}
	})

	t.Run("a job for later is scheduled", func(t *testing.T) {
		b := start(t, setup)
		in := b.job(func(j *queue.Job) { j.ScheduledAt = b.clock.Now().Add(time.Hour) })
		b.add(t, in)
		b.wantState(t, in.ID, queue.Scheduled)
	})

	t.Run("the same ID again changes nothing, whatever became of the job", func(t *testing.T) {
		b := start(t, setup)
		in := b.job()
		b.add(t, in, in)
		again := in
		again.Payload = json.RawMessage(`{"n":2}`)
		b.add(t, again)
		run := b.claimOne(t, "w")
		if string(run.Payload) != `{"n":1}` {
			t.Fatalf("the payload is %s", run.Payload)
		}
		b.add(t, again)
		b.end(t, queue.Outcome{ID: run.ID, Lease: run.Lease, State: queue.Completed})
		if ids := b.add(t, again); ids[0] != in.ID {
			t.Fatalf("the job that stands for it is %s", ids[0])
		}
		b.wantState(t, in.ID, queue.Completed)
		if jobs := b.claimAll(t, "w"); len(jobs) != 0 {
			t.Fatalf("%d jobs run a second time", len(jobs))
		}
	})

	t.Run("a unique key is held until its job ends", func(t *testing.T) {
		b := start(t, setup)
		unique := func(j *queue.Job) { j.Unique = "device:1" }
		first, second, third := b.job(unique), b.job(unique), b.job(unique)
		b.add(t, first)
		if ids := b.add(t, second, b.job()); ids[0] != first.ID {
			t.Fatalf("%s stands for the second, want the first", ids[0])
		}
		var run queue.Job
		for _, j := range b.claimAll(t, "w") {
			if j.ID == first.ID {
				run = j
			}
		}
		if ids := b.add(t, second); ids[0] != first.ID {
			t.Fatal("a running job does not hold its key")
		}
		b.end(t, queue.Outcome{ID: first.ID, Lease: run.Lease, State: queue.Retrying, RunAt: b.clock.Now().Add(time.Hour), LastError: "x"})
		if ids := b.add(t, second); ids[0] != first.ID {
			t.Fatal("a retrying job does not hold its key")
		}
		if err := b.Cancel(t.Context(), first.ID); err != nil {
			t.Fatal(err)
		}
		if ids := b.add(t, third); ids[0] != third.ID {
			t.Fatal("an ended job still holds its key")
		}
	})

	t.Run("one bad job refuses the whole call", func(t *testing.T) {
		bad := map[string]func(*queue.Job){
			"an ID that is not a UUIDv7":   func(j *queue.Job) { j.ID = "0b0e0f10-0000-4000-8000-000000000000" },
			"an empty ID":                  func(j *queue.Job) { j.ID = "" },
			"no kind":                      func(j *queue.Job) { j.Kind = "" },
			"a kind with a line break":     func(j *queue.Job) { j.Kind = "a\nb" },
			"a long kind":                  func(j *queue.Job) { j.Kind = strings.Repeat("k", queue.MaxKind+1) },
			"an unknown queue":             func(j *queue.Job) { j.Queue = "other" },
			"a payload that is not JSON":   func(j *queue.Job) { j.Payload = json.RawMessage(`{`) },
			"a long unique key":            func(j *queue.Job) { j.Unique = strings.Repeat("u", queue.MaxUnique+1) },
			"more attempts than there are": func(j *queue.Job) { j.MaxAttempts = 101 },
		}
		b := start(t, setup)
		for name, spoil := range bad {
			good := b.job()
			_, err := b.Enqueue(t.Context(), good, b.job(spoil))
			if hearth.ErrorCode(err) != hearth.CodeValidationFailed {
				t.Errorf("%s: the error is %v", name, err)
			}
			if _, err := b.Job(t.Context(), good.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
				t.Errorf("%s: the good job beside it was added", name)
			}
		}
	})

	t.Run("a payload has a limit", func(t *testing.T) {
		b := start(t, setup)
		fits := b.job(func(j *queue.Job) { j.Payload = json.RawMessage(`"` + strings.Repeat("x", queue.MaxPayload-2) + `"`) })
		b.add(t, fits)
		if got := b.read(t, fits.ID); len(got.Payload) != queue.MaxPayload {
			t.Fatalf("the payload came back with %d bytes", len(got.Payload))
		}
		_, err := b.Enqueue(t.Context(), b.job(func(j *queue.Job) {
			j.Payload = json.RawMessage(`"` + strings.Repeat("x", queue.MaxPayload-1) + `"`)
		}))
		wantCode(t, err, hearth.CodePayloadTooLarge)
	})

	t.Run("no jobs are no error", func(t *testing.T) {
		b := start(t, setup)
		if ids := b.add(t); len(ids) != 0 {
			t.Fatalf("IDs of nothing: %v", ids)
		}
	})

	t.Run("another instance sees the job", func(t *testing.T) {
		b := start(t, setup)
		in := b.job()
		b.add(t, in)
		if _, err := b.open().Job(t.Context(), in.ID); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a closed queue is unavailable", func(t *testing.T) {
		b := start(t, setup)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := b.Enqueue(t.Context(), b.job())
		wantCode(t, err, hearth.CodeUnavailable)
		wantCode(t, b.Ping(t.Context()), hearth.CodeUnavailable)
		if err := b.Close(); err != nil {
			t.Fatalf("closing twice: %v", err)
		}
	})
}
