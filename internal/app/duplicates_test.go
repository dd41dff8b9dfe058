package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hearth/internal/apitest"
)

func TestLogsThatAreStoredAreSkipped(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		url := apitest.Start(t, m.Config(t))
		ann := apitest.SignUp(t, url, "ann@example.com")
		id := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "meter", "type": "t"}), "id")
		log := func(value string, second int) string {
			return fmt.Sprintf(`{"device_id":%q,"event":"e","value":%s,"timestamp":"2026-11-01T00:00:%02dZ"}`, id, value, second)
		}
		post := func(query, want string, logs ...string) {
			t.Helper()
			if status, body := ann.Ask(t, "POST", "/logs"+query, "["+strings.Join(logs, ",")+"]").Text(); status != 201 || strings.TrimSpace(body) != want {
				t.Errorf("POST /logs%s: %d %s, want 201 %s", query, status, body, want)
			}
		}
		skip := "?duplicates=skip"
		post("", `{"accepted":2}`, log("1", 0), log("1", 0))
		post(skip, `{"accepted":3,"skipped":3}`, log("1", 0), log("1.0", 0), log("true", 0), log(`"1"`, 0), log("1", 1), log("1e0", 1))
		post(skip, `{"accepted":0,"skipped":2}`, log("true", 0), log(`"1"`, 0))
		post(skip, `{"accepted":0,"skipped":0}`)
		post("?duplicates=keep", `{"accepted":1}`, log("1", 0))
		expects(t, ann)("/devices/"+id+"/usage?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z", 200, `"summary":{"count":6,`)
		for _, query := range []string{"?duplicates=drop", "?duplicates=", "?duplicates=skip&duplicates=skip"} {
			if status, body := ann.Ask(t, "POST", "/logs"+query, "[]").Text(); status != 422 || !strings.Contains(body, `"query.duplicates"`) {
				t.Errorf("POST /logs%s: %d %s, want 422 that names the parameter", query, status, body)
			}
		}

		// A repeated request gets the first answer, not what it would be now.
		for range 2 {
			answer := ann.Ask(t, "POST", "/logs"+skip, "["+log("7", 7)+","+log("7", 7)+"]", "Idempotency-Key", "once")
			if status, body := answer.Text(); status != 201 || strings.TrimSpace(body) != `{"accepted":1,"skipped":1}` {
				t.Errorf("with a key: %d %s", status, body)
			}
		}

		// Of many at once, one stores each log.
		token := apitest.Text(ann.Call(t, "POST", "/devices/"+id+"/tokens", nil), "token")
		device := &apitest.Client{URL: url, Token: token}
		var accepted atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				var lines []string
				for i := range 50 {
					lines = append(lines, log("9", i))
				}
				answer, err := device.Send(t.Context(), "POST", "/logs"+skip, strings.Join(lines, "\n"), "Content-Type", "application/x-ndjson")
				if err != nil || answer.Status != http.StatusCreated {
					t.Errorf("%v, %d %s", err, answer.Status, answer.Body)
					return
				}
				var got struct{ Accepted, Skipped int64 }
				if answer.Into(t, &got); got.Accepted+got.Skipped != 50 {
					t.Errorf("the answer is %s", answer.Body)
				}
				accepted.Add(got.Accepted)
			})
		}
		wg.Wait()
		if n := accepted.Load(); n != 50 {
			t.Errorf("%d logs of 50 were stored by eight at once", n)
		}
	})
}
