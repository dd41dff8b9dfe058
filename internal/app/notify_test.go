package app_test

import (
	"bufio"
	"encoding/json"
	"io"
	"mime/quotedprintable"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/core/notify"
	"hearth/internal/queue"
)

// notices is the wire form of a list of notifications.
type notices struct {
	Items []struct {
		ID, Type, Title, Body string
		Data                  map[string]string
		ReadAt                *string `json:"read_at"`
	}
	Total int
}

// awaitNotices waits until there are n notifications of the query.
func (h *server) awaitNotices(token, query string, n int) (got notices) {
	h.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if status := h.call(http.MethodGet, "/notifications?count=true"+query, token, "", &got); status != http.StatusOK {
			h.t.Fatalf("the list is %d", status)
		}
		if got.Total == n {
			return got
		}
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("there are %+v; want %d", got, n)
		}
	}
}

func TestASecurityEventIsToldInTheAppAndByMailAsSet(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	change := func(from, to string) {
		t.Helper()
		body := `{"current_password":"` + from + `","new_password":"` + to + `"}`
		if status := h.call(http.MethodPost, "/auth/password", token, body, nil); status != http.StatusNoContent {
			t.Fatalf("changing the password is %d", status)
		}
	}
	change(apitest.Password, "quite another secret")
	told := h.awaitNotices(token, "&unread=true", 1).Items[0]
	if told.Type != "password_changed" || told.Title == "" || told.ReadAt != nil {
		t.Errorf("told is %+v", told)
	}
	h.awaitLetters(server, 1)
	if letter := server.letters()[0]; letter.to != annsMail || !strings.Contains(letter.data, "Subject: Your password was changed") {
		t.Errorf("the letter is %+v", letter)
	}
	if status := h.call(http.MethodPost, "/notifications/"+told.ID+"/read", token, "", nil); status != http.StatusOK {
		t.Errorf("reading is %d", status)
	}
	h.awaitNotices(token, "&unread=true", 0)

	// Without e-mail, and then without either.
	settings := func(inApp, email string) {
		t.Helper()
		body := `{"types":{"password_changed":{"in_app":` + inApp + `,"email":` + email + `}},"devices":[]}`
		if status := h.call(http.MethodPut, "/users/me/notification-settings", token, body, nil); status != http.StatusOK {
			t.Fatalf("setting is %d", status)
		}
	}
	settings("true", "false")
	change("quite another secret", apitest.Password)
	h.awaitNotices(token, "", 2)
	settings("false", "true")
	change(apitest.Password, "quite another secret")
	h.awaitLetters(server, 2)
	h.awaitNotices(token, "", 2)
	var read struct{ Read int }
	if status := h.call(http.MethodPost, "/notifications/read-all", token, "", &read); status != http.StatusOK || read.Read != 1 {
		t.Errorf("reading all is %d, %+v", status, read)
	}
}

// awaitLetters waits until the server took n letters.
func (h *server) awaitLetters(server *mailServer, n int) {
	h.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(server.letters()) < n {
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("there are %d letters; want %d", len(server.letters()), n)
		}
	}
}

func TestANewEmailIsToldToTheOldOne(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	body := `{"email":"other@example.com","current_password":"` + apitest.Password + `"}`
	if status := h.call(http.MethodPatch, "/users/me", token, body, nil); status != http.StatusOK {
		t.Fatalf("asking for another e-mail is %d", status)
	}
	h.awaitLetters(server, 1)
	asked := server.letters()[0]
	if asked.to != "other@example.com" {
		t.Errorf("the link went to %s", asked.to)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(asked.data)))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`https://hearth\.example/confirm-email#([A-Za-z0-9_.-]+)`).FindSubmatch(text)
	if link == nil {
		t.Fatalf("there is no link in\n%s", text)
	}
	if status := h.call(http.MethodPost, "/auth/email/confirm", "", `{"token":"`+string(link[1])+`"}`, nil); status != http.StatusNoContent {
		t.Fatalf("confirming it is %d", status)
	}
	h.awaitLetters(server, 2)
	if letter := server.letters()[1]; letter.to != annsMail {
		t.Errorf("the notice went to %s", letter.to)
	}
}

func TestAnEndedExportIsToldOnceHoweverOftenItsJobRuns(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	h.call(http.MethodPut, "/users/me/notification-settings", token, `{"types":{"export_ready":{"in_app":true,"email":false}},"devices":[]}`, nil)
	user, err := h.app.Store().UserByEmail(t.Context(), annsMail)
	if err != nil {
		t.Fatal(err)
	}
	live := h.follow(token)
	var export struct{ ID string }
	if status := h.call(http.MethodPost, "/exports", token, `{"type":"device_report","format":"csv","range":"24h","notify":true}`, &export); status != http.StatusAccepted {
		t.Fatalf("ordering an export is %d", status)
	}
	if got := h.awaitNotices(token, "", 1).Items[0]; got.Type != "export_ready" || got.Data["export_id"] != export.ID {
		t.Errorf("told is %+v", got)
	}
	page, err := h.app.Queue().List(t.Context(), queue.Filter{Kind: notify.ExportKind})
	if err != nil || len(page.Jobs) != 1 {
		t.Fatalf("the jobs are %+v, %v", page.Jobs, err)
	}
	job := await(t, h.app, page.Jobs[0].ID, inState(queue.Completed))
	// It runs again, as after a crash before its end was written down.
	if err := h.app.Queue().Delete(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	job.Payload, err = json.Marshal(notify.ExportNotice{ExportID: export.ID, UserID: user.ID, Status: "completed", ForceMail: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.app.Queue().Enqueue(t.Context(), queue.Job{ID: job.ID, Kind: job.Kind, Queue: job.Queue, Payload: job.Payload}); err != nil {
		t.Fatal(err)
	}
	await(t, h.app, job.ID, inState(queue.Completed))
	h.awaitNotices(token, "", 1)
	h.awaitLetters(server, 1)
	if n := len(server.letters()); n != 1 {
		t.Errorf("%d letters were sent", n)
	}
	select {
	case line := <-live:
		if !strings.Contains(line, `"type":"export_ready"`) || !strings.Contains(line, `"data":{"export_id":"`+export.ID+`"}`) {
			t.Errorf("live it is %s", line)
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing came live")
	}
}

// follow returns the data of the notifications that come live.
func (h *server) follow(token string) <-chan string {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+"/api/v1/realtime/sse", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusOK {
		h.t.Fatalf("the stream is %+v, %v", answer, err)
	}
	data := make(chan string, 10)
	go func() {
		defer answer.Body.Close()
		lines := bufio.NewScanner(answer.Body)
		for event := ""; lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				event = value
			case name == "data" && event == string(hearth.EventNotification):
				data <- value
			}
		}
	}()
	return data
}

func TestAWatchedDeviceIsToldOfOnceItsConnectionHasSettled(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	h := newServer(t, cfg, func(s *app.Settings) { s.DeviceDebounce = time.Second })
	token := h.logIn(apitest.Password)
	var device struct{ ID string }
	if status := h.call(http.MethodPost, "/devices", token, `{"name":"Boiler","type":"sensor","heartbeat_interval":1}`, &device); status != http.StatusCreated {
		t.Fatalf("making a device is %d", status)
	}
	for body, want := range map[string]int{
		`{"types":{},"devices":["` + device.ID + `"]}`:                      http.StatusOK,
		`{"types":{},"devices":["0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"]}`:   http.StatusUnprocessableEntity,
		`{"types":{"doorbell":{"in_app":true,"email":false}},"devices":[]}`: http.StatusUnprocessableEntity,
		`{"types":{"export_ready":{"in_app":true}},"devices":[]}`:           http.StatusUnprocessableEntity,
		`{"types":{},"devices":["` + device.ID + `"],"more":1}`:             http.StatusUnprocessableEntity,
	} {
		if status := h.call(http.MethodPut, "/users/me/notification-settings", token, body, nil); status != want {
			t.Errorf("PUT %s is %d; want %d", body, status, want)
		}
	}
	if status := h.call(http.MethodPost, "/devices/"+device.ID+"/heartbeat", token, `{}`, nil); status != http.StatusOK {
		t.Fatalf("a heartbeat is %d", status)
	}
	got := h.awaitNotices(token, "", 2)
	if got.Items[0].Type != string(hearth.NotifyDeviceOffline) || got.Items[1].Type != string(hearth.NotifyDeviceOnline) ||
		got.Items[0].Title != "Boiler is offline" || got.Items[0].Data["device_id"] != device.ID {
		t.Errorf("told is %+v", got.Items)
	}
}
