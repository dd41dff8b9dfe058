package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/jobadmin"
	"hearth/internal/queue"
)

// jobList is the wire form of a list of jobs.
type jobList struct {
	Items []struct {
		ID, Kind, Queue, State string
		Attempt                int
		LastError              *string `json:"last_error"`
	}
	NextCursor *string `json:"next_cursor"`
	Total      int
}

func TestAnAdminSeesADeadLetterAndHasItSentAgain(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	server.become(&smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "never"}, nil)
	id := h.askForReset()
	await(t, h.app, id, inState(queue.Dead))

	var list jobList
	if status := h.call(http.MethodGet, "/admin/jobs?queue=notification&state=dead&count=true", token, "", &list); status != http.StatusOK {
		t.Fatalf("the list is %d", status)
	}
	if list.Total != 1 || len(list.Items) != 1 || list.Items[0].ID != id || list.Items[0].Kind != "mail.password_reset" ||
		list.Items[0].LastError == nil || !strings.Contains(*list.Items[0].LastError, "554") {
		t.Errorf("the list is %+v", list)
	}
	var queues struct {
		Items []struct {
			Queue string
			Dead  int
		}
	}
	if status := h.call(http.MethodGet, "/admin/queues", token, "", &queues); status != http.StatusOK || len(queues.Items) != 4 ||
		queues.Items[1].Queue != "notification" || queues.Items[1].Dead != 1 {
		t.Errorf("the queues are %d, %+v", status, queues)
	}

	server.become(nil, nil)
	if status := h.call(http.MethodPost, "/admin/jobs/"+id+"/retry", token, "", nil); status != http.StatusOK {
		t.Fatalf("retrying is %d", status)
	}
	await(t, h.app, id, inState(queue.Completed))
	if n := len(server.letters()); n != 1 {
		t.Errorf("%d letters were sent", n)
	}
	for i, want := range []int{http.StatusConflict, http.StatusNoContent, http.StatusNotFound} {
		method, path := http.MethodDelete, "/admin/jobs/"+id
		if i == 0 {
			method, path = http.MethodPost, path+"/retry"
		}
		if status := h.call(method, path, token, "", nil); status != want {
			t.Errorf("%s %s is %d; want %d", method, path, status, want)
		}
	}
	var audit struct {
		Items []struct{ Action, Target string }
	}
	h.call(http.MethodGet, "/admin/audit?target=job:"+id, token, "", &audit)
	if len(audit.Items) != 3 || audit.Items[0].Action != "job.delete" || audit.Items[2].Action != "job.retry" {
		t.Errorf("the audit has %+v", audit.Items)
	}
}

func TestAnAdminOrdersABackup(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		h := newServer(t, m.Config(t))
		token := h.logIn(apitest.Password)
		var job struct{ ID, Kind string }
		if status := h.call(http.MethodPost, "/admin/backups", token, "", &job); status != http.StatusAccepted || job.Kind != "backup.create" {
			t.Fatalf("the order is %d, %+v", status, job)
		}
		await(t, h.app, job.ID, inState(queue.Completed))
		var list struct {
			Items []struct {
				Name                 string
				Bytes                int64
				Scheduled, Encrypted bool
			}
		}
		if status := h.call(http.MethodGet, "/admin/backups", token, "", &list); status != http.StatusOK || len(list.Items) != 1 {
			t.Fatalf("the list is %d, %+v", status, list)
		}
		if b := list.Items[0]; !strings.HasPrefix(b.Name, "hearth-2") || b.Bytes == 0 || b.Scheduled || b.Encrypted {
			t.Errorf("the backup is %+v", b)
		}
		var audit struct{ Items []struct{ Action string } }
		h.call(http.MethodGet, "/admin/audit?target=job:"+job.ID, token, "", &audit)
		if len(audit.Items) != 1 || audit.Items[0].Action != "backup.order" {
			t.Errorf("the audit has %+v", audit.Items)
		}
	})
}

func TestAnOrderedBackupIsMadeOnce(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.Worker = false
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	var first, second struct{ ID string }
	h.call(http.MethodPost, "/admin/backups", token, "", &first)
	if h.call(http.MethodPost, "/admin/backups", token, "", &second); first.ID == "" || first != second {
		t.Errorf("the jobs are %+v and %+v", first, second)
	}
}

func TestJobsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.Worker = false
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	ids := leave(t, h.app, "test.a", "test.b", "test.c")
	for _, id := range ids {
		await(t, h.app, id, inState(queue.Pending))
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		var list jobList
		if status := h.call(http.MethodGet, "/admin/jobs?queue=cleanup&limit=2&cursor="+cursor, token, "", &list); status != http.StatusOK {
			t.Fatalf("a page is %d", status)
		}
		for _, j := range list.Items {
			seen[j.ID] = true
		}
		if list.NextCursor == nil {
			break
		}
		cursor = *list.NextCursor
	}
	for _, id := range ids {
		if !seen[id] {
			t.Errorf("the pages lack %s", id)
		}
	}
	// Another process, as the command line is.
	beside := app.Settings{Config: cfg}
	if done, err := app.Jobs(t.Context(), beside, jobadmin.Order{Action: "delete", IDs: ids[:2]}); err != nil || len(done) != 2 {
		t.Errorf("deleted %+v, %v", done, err)
	}
	if _, err := app.Jobs(t.Context(), beside, jobadmin.Order{Action: "retry", IDs: ids}); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("retrying what is gone: %v", err)
	}
	if left, err := app.Jobs(t.Context(), beside, jobadmin.Order{Action: "list", Queue: "cleanup", State: "pending"}); err != nil || len(left) != 1 || left[0].ID != ids[2] {
		t.Errorf("left are %+v, %v", left, err)
	}
}

func TestTheMetricsShowTheServiceAtAGlance(t *testing.T) {
	t.Parallel()
	h := newServer(t, apitest.Config(t))
	token := h.logIn(apitest.Password)
	h.call(http.MethodGet, "/no-such-thing", "", "", nil)
	var m struct {
		Requests struct {
			Total        int
			ErrorRate4xx float64 `json:"error_rate_4xx"`
		}
		LatencyMS map[string]float64 `json:"latency_ms"`
		Routes    []struct{ Route string }
		Cache     struct{ Layers []struct{ Layer string } }
		Process   struct {
			Memory     int
			Goroutines int
		}
		Database struct {
			State string
			Bytes int
		}
	}
	if status := h.call(http.MethodGet, "/admin/metrics", token, "", &m); status != http.StatusOK {
		t.Fatalf("the metrics are %d", status)
	}
	if m.Requests.Total < 2 || m.Requests.ErrorRate4xx <= 0 || len(m.LatencyMS) != 3 || len(m.Routes) == 0 || len(m.Cache.Layers) != 1 ||
		m.Process.Memory < 1<<20 || m.Process.Goroutines == 0 || m.Database.State != "ok" || m.Database.Bytes == 0 {
		t.Errorf("the metrics are %+v", m)
	}
}
