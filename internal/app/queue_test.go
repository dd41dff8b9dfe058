package app_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/queue"
)

// leave stores jobs in the outbox, as a write does.
func leave(t *testing.T, a *app.Program, kinds ...string) (ids []string) {
	t.Helper()
	var effects hearth.SideEffects
	for _, kind := range kinds {
		job := hearth.OutboxJob{ID: queue.NewID(time.Now()), Kind: kind, Queue: "cleanup", Payload: []byte(`{"a":1}`)}
		effects.Jobs = append(effects.Jobs, job)
		ids = append(ids, job.ID)
	}
	if err := a.Store().Record(t.Context(), effects); err != nil {
		t.Fatal(err)
	}
	return ids
}

// await waits until the job is as wanted.
func await(t *testing.T, a *app.Program, id string, want func(queue.Job) bool) queue.Job {
	t.Helper()
	changed, stop := a.Queue().Watch()
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		job, err := a.Queue().Job(ctx, id)
		if err == nil && want(job) {
			return job
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond): // an outcome is no news to the watchers of a queue
		case <-ctx.Done():
			t.Fatalf("the job is %+v, %v", job, err)
		}
	}
}

func inState(state queue.State) func(queue.Job) bool {
	return func(j queue.Job) bool { return j.State == state }
}

func TestAJobOfAWriteIsDoneAndOneOfAnUnknownKindIsKept(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	a := app.NewProgram(t, cfg)
	ids := leave(t, a, "cleanup.idempotency", "from.the.future")
	stop := apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error { return a.Run(ctx, func(string) { ready() }) })
	await(t, a, ids[0], inState(queue.Completed))
	kept := await(t, a, ids[1], inState(queue.Pending))
	if kept.Attempt != 0 || string(kept.Payload) != `{"a":1}` {
		t.Errorf("the unknown job is %+v", kept)
	}
	text := metricsOf(t, a)
	for n := 0; n < 1000 && !strings.Contains(text, "hearth_job_duration_seconds_count"); n++ { // a run is counted after its outcome is stored
		time.Sleep(5 * time.Millisecond)
		text = metricsOf(t, a)
	}
	for _, want := range []string{
		`hearth_jobs{queue="cleanup",state="pending"} 1`,
		`hearth_job_runs_total{kind="cleanup.idempotency",outcome="completed",queue="cleanup"} 1`,
		`hearth_job_wait_seconds_count{kind="cleanup.idempotency",queue="cleanup"} 1`,
		`hearth_job_duration_seconds_count{kind="cleanup.idempotency",queue="cleanup"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	stop()
	// It outlives the program.
	if got := await(t, app.NewProgram(t, cfg), ids[1], inState(queue.Pending)); got.Kind != "from.the.future" {
		t.Errorf("after a restart it is %+v", got)
	}
}

func metricsOf(t *testing.T, a *app.Program) string {
	t.Helper()
	answer := httptest.NewRecorder()
	a.Admin().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestAServerWithoutWorkerLeavesTheJobsToAWorkerBesideIt(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.Worker = false
	server := app.NewProgram(t, cfg)
	apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error { return server.Run(ctx, func(string) { ready() }) })
	id := leave(t, server, "cleanup.sessions")[0]
	await(t, server, id, inState(queue.Pending))
	worker := app.NewProgram(t, cfg)
	apitest.RunUntilEnd(t, worker.RunWorker)
	done := await(t, server, id, inState(queue.Completed))
	if done.Attempt != 1 {
		t.Errorf("it took %d attempts", done.Attempt)
	}
	// Its own writes' jobs are moved by the worker's process too.
	await(t, server, leave(t, worker, "cleanup.idempotency")[0], inState(queue.Completed))
}

// What is cleaned up, and what it leaves.
func TestChoresRemoveWhatNobodyNeeds(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.Retention = 24 * time.Hour
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	var device struct{ ID string }
	h.call(http.MethodPost, "/devices", token, `{"name":"Boiler","type":"sensor"}`, &device)
	now := time.Now().UTC()
	for _, at := range []time.Time{now, now.Add(-72 * time.Hour)} {
		body := `{"event":"heat","value":1,"timestamp":"` + at.Format(time.RFC3339) + `"}`
		if status := h.call(http.MethodPost, "/devices/"+device.ID+"/logs", token, body, nil); status != http.StatusCreated {
			t.Fatalf("a log is %d", status)
		}
	}
	user, err := h.app.Store().UserByEmail(t.Context(), annsMail)
	if err != nil {
		t.Fatal(err)
	}
	for i, read := range []time.Time{now.Add(-91 * 24 * time.Hour), now.Add(-89 * 24 * time.Hour), {}} {
		n := hearth.Notification{
			ID: queue.NewID(now.Add(time.Duration(i) * time.Millisecond)), UserID: user.ID, Type: hearth.NotifyExportReady, Title: "x",
			CreatedAt: now, ReadAt: read,
		}
		if _, err := h.app.Store().CreateNotification(t.Context(), hearth.NewNotification{Notification: n}); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range h.app.Cleanups() {
		await(t, h.app, leave(t, h.app, kind)[0], inState(queue.Completed))
	}
	var logs struct{ Items []struct{} }
	if h.call(http.MethodGet, "/devices/"+device.ID+"/logs", token, "", &logs); len(logs.Items) != 1 {
		t.Errorf("%d logs are left; want the one of today", len(logs.Items))
	}
	if got := h.awaitNotices(token, "", 2); len(got.Items) != 2 {
		t.Errorf("left are %+v", got.Items)
	}
	if h.call(http.MethodGet, "/users/me", token, "", nil) != http.StatusOK {
		t.Error("the session is gone")
	}
}
