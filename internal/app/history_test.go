package app_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"hearth/internal/apitest"
)

// expects returns a function that gets a path and compares the answer's body.
func expects(t *testing.T, c *apitest.Client) func(path string, status int, want string) {
	t.Helper()
	return func(path string, status int, want string) {
		t.Helper()
		if got, body := c.Ask(t, "GET", path, nil).Text(); got != status || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %s, want %d %s", path, got, body, status, want)
		}
	}
}

func TestLatestAndStatesFollowLateAndDeletedLogs(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		url := apitest.Start(t, m.Config(t))
		ann := apitest.SignUp(t, url, "ann@example.com")
		id := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "door", "type": "t"}), "id")
		log := func(event, value, at string) {
			t.Helper()
			ann.Call(t, "POST", "/devices/"+id+"/logs", fmt.Sprintf(`{"event":%q,"value":%s,"timestamp":"2026-11-01T%s:00Z"}`, event, value, at))
		}
		log("door", `"shut"`, "00:00")
		log("door", `"open"`, "08:00")
		log("door", `"open"`, "09:00") // equal successive values are one
		log("door", `true`, "20:00")
		log("heat", `21.5`, "10:00")
		expect := expects(t, ann)
		latest, states := "/devices/"+id+"/latest", "/devices/"+id+"/states?event=door&from=2026-11-01T06:00:00Z&to=2026-11-01T12:00:00Z"
		expect(latest, 200, `{"items":[{"event":"door","value":true,"timestamp":"2026-11-01T20:00:00.000Z"},{"event":"heat","value":21.5,"timestamp":"2026-11-01T10:00:00.000Z"}]}`)
		expect(latest+"?event=heat,none", 200, `{"items":[{"event":"heat","value":21.5,"timestamp":"2026-11-01T10:00:00.000Z"}]}`)
		expect("/devices?include=latest", 200, `"latest":{"door":{"value":true,"timestamp":"2026-11-01T20:00:00.000Z"},"heat":{"value":21.5,`)
		expect(states, 200, `"totals":[{"value":"open","seconds":14400,"count":1,"share":0.6666666666666666},{"value":"shut","seconds":7200,"count":0,"share":0.3333333333333333}],`+
			`"segments":[{"value":"shut","from":"2026-11-01T06:00:00.000Z","to":"2026-11-01T08:00:00.000Z"},{"value":"open","from":"2026-11-01T08:00:00.000Z","to":"2026-11-01T12:00:00.000Z"}]`)

		log("door", `"shut"`, "10:00") // late
		log("heat", `19`, "09:00")     // late
		expect(latest, 200, `{"event":"heat","value":21.5,`)
		expect(states, 200, `"totals":[{"value":"shut","seconds":14400,"count":1,"share":0.6666666666666666},{"value":"open","seconds":7200,"count":1,"share":0.3333333333333333}],`)

		deleted := ann.Call(t, "DELETE", "/devices/"+id+"/logs?from=2026-11-01T07:00:00Z&to=2026-11-01T12:00:00Z", nil)
		if deleted["deleted"] != float64(5) {
			t.Errorf("deleted: %v", deleted)
		}
		expect(states, 200, `"totals":[{"value":"shut","seconds":21600,"count":0,"share":1}],"segments":[{"value":"shut","from":"2026-11-01T06:00:00.000Z","to":"2026-11-01T12:00:00.000Z"}]`)
		expect(latest, 200, `{"items":[{"event":"door","value":true,"timestamp":"2026-11-01T20:00:00.000Z"}]}`)
		expect("/devices/"+id+"/usage?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z", 200, `"summary":{"count":2,`)
	})
}

func TestADeviceMovesWithItsHistory(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		url := apitest.Start(t, m.Config(t))
		ann, bob := apitest.SignUp(t, url, "ann@example.com"), apitest.SignUp(t, url, "bob@example.com")
		org := apitest.Text(ann.Call(t, "POST", "/organizations", map[string]any{"name": "the team"}), "id")
		id := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "lamp", "type": "t"}), "id")
		stays := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "stays", "type": "t"}), "id")
		token := apitest.Text(ann.Call(t, "POST", "/devices/"+id+"/tokens", nil), "token")
		device := &apitest.Client{URL: url, Token: token}
		var logs []string
		for i := range 50 {
			for _, to := range []string{id, stays} {
				logs = append(logs, fmt.Sprintf(`{"device_id":%q,"event":"e","value":%d,"timestamp":"2026-11-01T%02d:%02d:00Z"}`, to, i, i/4, i%4))
			}
		}
		ann.Call(t, "POST", "/logs", "["+strings.Join(logs, ",")+"]")
		const span = "from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z"
		expect, expectBob := expects(t, ann), expects(t, bob)
		list := ann.Ask(t, "GET", "/devices/"+id+"/logs?"+span+"&limit=200", nil).Body
		unchanged := func() {
			t.Helper()
			if got := ann.Ask(t, "GET", "/devices/"+id+"/logs?"+span+"&limit=200", nil).Body; !bytes.Equal(got, list) {
				t.Errorf("the logs are %.300s, want %.300s", got, list)
			}
			expect("/devices/"+id+"/usage?"+span, 200, `"summary":{"count":50,"total":1225,`)
			expect("/analytics/dashboard?"+span, 200, `"total_logs":100,"logs":100,"total_value":2450`)
			expectBob("/devices/"+id, 404, "")
			expectBob("/analytics/dashboard?"+span, 200, `"logs":0`)
		}
		unchanged()
		moved := ann.Call(t, "POST", "/devices/"+id+"/transfer", map[string]any{"organization_id": org})
		if apitest.Text(moved, "organization_id") != org {
			t.Errorf("the device that moved is %v", moved)
		}
		unchanged()
		expect("/analytics/dashboard?organization_id="+org+"&"+span, 200, `"logs":50,"total_value":1225`)
		device.Call(t, "POST", "/devices/"+id+"/logs", `{"event":"e","value":7,"timestamp":"2026-11-02T00:00:00Z"}`) // its token lives on
		expect("/analytics/dashboard?organization_id="+org+"&from=2026-11-02T00:00:00Z&to=2026-11-03T00:00:00Z", 200, `"logs":1,"total_value":7`)
		if status, body := bob.Ask(t, "POST", "/devices/"+id+"/transfer", `{"organization_id":"`+org+`"}`).Text(); status != 404 {
			t.Errorf("bob transfers it: %d %s", status, body)
		}
		me, other := apitest.Text(ann.Call(t, "GET", "/users/me", nil), "id"), apitest.Text(bob.Call(t, "GET", "/users/me", nil), "id")
		if status, body := ann.Ask(t, "POST", "/devices/"+id+"/transfer", `{"owner_id":"`+other+`"}`).Text(); status != 403 {
			t.Errorf("to bob, who is not asked: %d %s", status, body)
		}
		ann.Call(t, "POST", "/devices/"+id+"/transfer", map[string]any{"owner_id": me})
		expect("/analytics/dashboard?organization_id="+org+"&"+span, 200, `"logs":0`)
		expect("/devices/"+id+"/usage?from=2026-11-01T00:00:00Z&to=2026-11-03T00:00:00Z", 200, `"summary":{"count":51,"total":1232,`)
	})
}
