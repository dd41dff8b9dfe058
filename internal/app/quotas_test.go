package app_test

import (
	"fmt"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/apitest"
)

func TestQuotas(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		cfg := m.Config(t)
		cfg.Quotas = map[string]int64{hearth.QuotaDevices: 4, hearth.QuotaLogs: 100, hearth.QuotaEvents: 12, hearth.QuotaDeviceEvents: 8}
		url := apitest.Start(t, cfg)
		ann := apitest.SignUp(t, url, "ann@example.com")
		ask := func(c *apitest.Client, path string, body any) apitest.Answer { return c.Ask(t, "POST", path, body) }
		accepted := func(answer apitest.Answer) {
			t.Helper()
			if status, body := answer.Text(); status != 201 {
				t.Errorf("the answer is %d %s, want 201", status, body)
			}
		}
		refused := func(answer apitest.Answer, quota string) {
			t.Helper()
			status, body := answer.Text()
			for _, want := range []string{`"code":"quota_exceeded"`, `"limit":"` + quota + `"`} {
				if status != 429 || !strings.Contains(body, want) {
					t.Errorf("the answer is %d %s, want 429 with %s", status, body, want)
				}
			}
			if answer.Header.Get("Retry-After") == "" {
				t.Error("the answer has no Retry-After")
			}
		}
		device := func(c *apitest.Client) string {
			return apitest.Text(c.Call(t, "POST", "/devices", map[string]any{"name": "d", "type": "t"}), "id")
		}
		logs := func(id string, from, to int) string {
			var lines []string
			for i := from; i < to; i++ {
				lines = append(lines, fmt.Sprintf(`{"device_id":%q,"event":"e.%d","value":1}`, id, i))
			}
			return "[" + strings.Join(lines, ",") + "]"
		}
		id := device(ann)
		refused(ask(ann, "/logs", logs(id, 0, 9)), hearth.QuotaDeviceEvents)
		expects(t, ann)("/devices/"+id+"/logs", 200, `"items":[]`) // all or nothing
		accepted(ask(ann, "/logs", logs(id, 0, 8)))
		accepted(ask(ann, "/logs", logs(id, 0, 8)))
		refused(ask(ann, "/devices/"+id+"/logs", map[string]any{"event": "another", "value": 1}), hearth.QuotaDeviceEvents)
		refused(ask(ann, "/logs?duplicates=skip", logs(id, 7, 9)), hearth.QuotaDeviceEvents)
		second := device(ann)
		refused(ask(ann, "/logs", logs(second, 7, 14)), hearth.QuotaEvents)
		accepted(ask(ann, "/logs", logs(second, 8, 12)))
		three := `{"items":[{"name":"a","type":"t"},{"name":"b","type":"t"},{"name":"c","type":"t"}]}`
		refused(ask(ann, "/devices/batch", three), hearth.QuotaDevices)
		expects(t, ann)("/users/me?include=quotas", 200, `"quotas":[{"name":"devices","limit":4,"used":2},{"name":"logs","limit":100,"used":`)
		device(ann)
		device(ann)
		refused(ask(ann, "/devices", map[string]any{"name": "d", "type": "t"}), hearth.QuotaDevices)
		many := "[" + strings.Repeat(fmt.Sprintf(`{"device_id":%q,"event":"e.1","value":1},`, id), 99) + fmt.Sprintf(`{"device_id":%q,"event":"e.1","value":1}]`, id)
		refused(ask(ann, "/logs", many), hearth.QuotaLogs)
		bob := apitest.SignUp(t, url, "bob@example.com")
		accepted(ask(bob, "/logs", logs(device(bob), 20, 28))) // another account has its own

		// What is not bob's does not exist for bob, however many devices bob has.
		for range 3 {
			device(bob)
		}
		me := apitest.Text(bob.Call(t, "GET", "/users/me", nil), "id")
		if status, body := ask(bob, "/devices/"+id+"/transfer", map[string]any{"owner_id": me}).Text(); status != 404 {
			t.Errorf("the transfer of ann's device answers %d %s", status, body)
		}
	})
}

func TestTheQuotaOfBytes(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		cfg := m.Config(t)
		cfg.Quotas, cfg.RateLimits = map[string]int64{hearth.QuotaBytes: 20_000}, nil
		url := apitest.Start(t, cfg)
		texts := func(c *apitest.Client, device string, n int) (status int, body string) {
			var lines []string
			for i := range n {
				lines = append(lines, fmt.Sprintf(`{"device_id":%q,"event":"e","value":"%0200d"}`, device, i))
			}
			return c.Ask(t, "POST", "/logs", "["+strings.Join(lines, ",")+"]").Text()
		}
		device := func(c *apitest.Client) string {
			return apitest.Text(c.Call(t, "POST", "/devices", map[string]any{"name": "d", "type": "t"}), "id")
		}
		ann, bob := apitest.SignUp(t, url, "ann@example.com"), apitest.SignUp(t, url, "bob@example.com")
		id := device(ann)
		if status, body := texts(ann, id, 60); status != 201 {
			t.Fatalf("the answer is %d %s, want 201", status, body)
		}
		for _, want := range []string{`"code":"quota_exceeded"`, `"limit":"bytes"`} {
			if status, body := texts(ann, id, 60); status != 429 || !strings.Contains(body, want) {
				t.Errorf("the answer is %d %s, want 429 with %s", status, body, want)
			}
		}
		if status, body := texts(bob, device(bob), 60); status != 201 {
			t.Errorf("another account's answer is %d %s, want 201", status, body)
		}
		used := func() float64 {
			all := ann.Call(t, "GET", "/users/me?include=quotas", nil)["quotas"].([]any)
			of := all[0].(map[string]any)
			if len(all) != 1 || of["name"] != "bytes" || of["limit"] != 20_000.0 {
				t.Fatalf("the quotas are %v", all)
			}
			return of["used"].(float64)
		}
		if used() == 0 {
			t.Error("logs that are not folded take no space")
		}
		eventually(t, "folded logs are measured", func() bool { return used() > 600 })
	})
}
