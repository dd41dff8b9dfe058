package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/app"
)

func TestAScheduledExportComesByMail(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	var ahead atomic.Int64
	h := newServer(t, cfg, func(s *app.Settings) {
		s.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	token := h.logIn(apitest.Password)
	var device, schedule map[string]any
	h.call(http.MethodPost, "/devices", token, `{"name":"meter","type":"t"}`, &device)
	id := apitest.Text(device, "id")
	if status := h.call(http.MethodPost, "/devices/"+id+"/logs", token, `{"event":"watts","value":7}`, nil); status != http.StatusCreated {
		t.Fatalf("a log is %d", status)
	}
	// Due on the minute after the next, at which the day of the log is over.
	zone := zoneNearMidnight(time.Now())
	body := fmt.Sprintf(`{"name":"mine","every":"daily","at":"00:00","time_zone":%q,"type":"logs","format":"csv","filters":{"device_ids":[%q]}}`, zone, id)
	if status := h.call(http.MethodPost, "/export-schedules", token, body, &schedule); status != http.StatusCreated {
		t.Fatalf("the schedule is %d %v", status, schedule)
	}
	next, err := time.Parse(time.RFC3339, apitest.Text(schedule, "next_run_at"))
	if err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(time.Until(next) + 2*time.Minute))
	h.awaitLetters(server, 1)
	letter := server.letters()[0]
	token = h.logIn(apitest.Password)
	h.call(http.MethodGet, "/export-schedules/"+apitest.Text(schedule, "id"), token, "", &schedule)
	made := apitest.Text(schedule, "last_export_id")
	if letter.to != annsMail || !strings.Contains(letter.data, "Subject: Your daily export of logs") ||
		!strings.Contains(strings.ReplaceAll(letter.data, "=\r\n", ""), "https://hearth.example/exports/"+made) {
		t.Errorf("the letter is %+v, the export %q", letter, made)
	}
	var export map[string]any
	if status := h.call(http.MethodGet, "/exports/"+made, token, "", &export); status != http.StatusOK || apitest.Text(export, "status") != "completed" ||
		apitest.Text(export, "to") != next.Format("2006-01-02T15:04:05.000Z") {
		t.Errorf("the export is %d %v", status, export)
	}
	if result, _ := export["result"].(map[string]any); result["record_count"] != 1.0 {
		t.Errorf("the export holds %v", result)
	}
	told := h.awaitNotices(token, "", 1).Items[0]
	if told.Type != "export_ready" || told.Data["export_id"] != made {
		t.Errorf("told is %+v", told)
	}
}

// zoneNearMidnight returns a time zone in which it is afternoon or evening, so that now is yesterday at the next midnight.
func zoneNearMidnight(now time.Time) string {
	offset := max(-11, min(12, 20-now.UTC().Hour()))
	return fmt.Sprintf("Etc/GMT%+d", -offset)
}

func TestAScheduleThatMakesNoSenseIsRefusedByItsPlace(t *testing.T) {
	t.Parallel()
	h := newServer(t, apitest.Config(t))
	token := h.logIn(apitest.Password)
	post := func(change string) (int, string) {
		t.Helper()
		var problem struct {
			ID     string
			Errors []struct{ Location string }
		}
		body := `{"every":"daily","type":"logs","format":"csv"` + change + `}`
		status := h.call(http.MethodPost, "/export-schedules", token, body, &problem)
		var places []string
		for _, e := range problem.Errors {
			places = append(places, e.Location)
		}
		return status, strings.Join(places, " ") + problem.ID
	}
	for change, want := range map[string]string{
		`,"at":"24:00"`:                    "body.at",
		`,"at":"6 am"`:                     "body.at",
		`,"weekday":"monday"`:              "body.weekday",
		`,"day":31`:                        "body.day",
		`,"time_zone":"Mars/Olympus"`:      "body.time_zone",
		`,"time_zone":"../zone"`:           "body.time_zone",
		`,"name":"two\nlines"`:             "body.name",
		`,"range":"24h"`:                   "body.range",
		`,"filters":{"device_ids":["no"]}`: "body.filters.device_ids[0]",
		`,"filters":{"events":["a b"]}`:    "body.filters.events[0]",
	} {
		if status, places := post(change); status != http.StatusUnprocessableEntity || places != want {
			t.Errorf("%s: %d at %q, want %q", change, status, places, want)
		}
	}
	_, id := post("")
	for _, tt := range []struct {
		body string
		want int
	}{
		{`{"every":null}`, 422},
		{`{"weekday":"friday"}`, 422},
		{`{"every":"weekly","day":3}`, 422},
		{`{"next_run_at":"2026-01-01T00:00Z"}`, 422},
		{`{"every":"monthly","day":31}`, 200},
		{`{"enabled":false,"name":null}`, 200},
	} {
		if status := h.call(http.MethodPatch, "/export-schedules/"+id, token, tt.body, nil); status != tt.want {
			t.Errorf("%s: %d", tt.body, status)
		}
	}
	var changed map[string]any
	h.call(http.MethodPatch, "/export-schedules/"+id, token, `{"every":"weekly","enabled":true}`, &changed)
	if apitest.Text(changed, "weekday") != "monday" || changed["day"] != nil || changed["next_run_at"] == nil {
		t.Errorf("it is %v", changed)
	}
}
