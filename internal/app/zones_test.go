package app_test

import (
	"strings"
	"testing"

	"hearth/internal/apitest"
)

func TestDaysAreThoseOfTheCallersZone(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		url := apitest.Start(t, m.Config(t))
		ann := apitest.SignUp(t, url, "ann@example.com")
		id := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "meter", "type": "t"}), "id")
		for _, log := range []string{
			`{"event":"energy","value":10,"timestamp":"2026-03-28T22:30:00Z"}`,
			`{"event":"energy","value":12.5,"timestamp":"2026-03-28T23:30:00Z"}`, // the 29th in Berlin
			`{"event":"energy","value":2,"timestamp":"2026-03-29T21:59:00Z"}`,    // replaced; the 29th has 23 hours
			`{"event":"energy","value":3,"timestamp":"2026-03-29T22:00:00Z"}`,
			`{"event":"state","value":"on","timestamp":"2026-03-29T22:00:00Z"}`,
		} {
			ann.Call(t, "POST", "/devices/"+id+"/logs", log)
		}
		const span = "from=2026-03-27T00:00:00Z&to=2026-04-01T00:00:00Z"
		usage := "/devices/" + id + "/usage?" + span + "&interval=day&event=energy"
		const berlin = `"trend":[` +
			`{"at":"2026-03-27T23:00:00.000Z","count":1,"total":10,"average":10,"min":10,"max":10,"first":10,"last":10,"increase":0},` +
			`{"at":"2026-03-28T23:00:00.000Z","count":2,"total":14.5,"average":7.25,"min":2,"max":12.5,"first":12.5,"last":2,"increase":4.5},` +
			`{"at":"2026-03-29T22:00:00.000Z","count":1,"total":3,"average":3,"min":3,"max":3,"first":3,"last":3,"increase":1}]`
		expect := func(path, want string) {
			t.Helper()
			if status, body := ann.Ask(t, "GET", path, nil).Text(); status != 200 || !strings.Contains(body, want) {
				t.Errorf("GET %s: %d %s, want %s", path, status, body, want)
			}
		}
		expect(usage+"&tz=Europe/Berlin", berlin)
		expect(usage, `{"at":"2026-03-28T00:00:00.000Z","count":2`) // UTC
		if zone := apitest.Text(ann.Call(t, "GET", "/users/me", nil), "time_zone"); zone != "UTC" {
			t.Errorf("the zone of a new account is %s", zone)
		}
		if zone := apitest.Text(ann.Call(t, "PATCH", "/users/me", `{"time_zone":"Europe/Berlin"}`), "time_zone"); zone != "Europe/Berlin" {
			t.Errorf("the zone is %s", zone)
		}
		expect(usage, berlin)
		expect(usage+"&tz=UTC", `{"at":"2026-03-28T00:00:00.000Z","count":2`)
		expect("/analytics/trends?"+span+"&interval=week&event=energy",
			`{"at":"2026-03-22T23:00:00.000Z","count":3,"total":24.5,"average":8.166666666666666,"min":2,"max":12.5,"first":null,"last":null,"increase":4.5}`)
		expect("/analytics/trends?"+span+"&interval=month&tz=Asia/Kolkata", `{"at":"2026-02-28T18:30:00.000Z","count":5`)
		expect("/devices/"+id+"/usage?"+span+"&event=state",
			`"trend":[{"at":"2026-03-29T22:00:00.000Z","count":1,"total":0,"average":null,"min":null,"max":null,"first":"on","last":"on","increase":null}]`)
		expect("/analytics/dashboard?from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z", `{"at":"2026-03-27T23:00:00.000Z","log_count":1,"total_value":10}`)
		key := apitest.Text(ann.Call(t, "POST", "/users/me/api-keys", `{"name":"k","scopes":["telemetry:read"]}`), "key")
		if status, body := (&apitest.Client{URL: url, Token: key}).Ask(t, "GET", usage, nil).Text(); status != 200 || !strings.Contains(body, berlin) {
			t.Errorf("with an API key of ann's: %d %s", status, body)
		}
		for _, bad := range []string{usage + "&tz=Mars/Olympus", usage + "&tz=Local", usage + "&tz=../../etc/passwd", "/analytics/events?tz=UTC"} {
			if status, body := ann.Ask(t, "GET", bad, nil).Text(); status != 422 || !strings.Contains(body, `"query.tz"`) {
				t.Errorf("GET %s: %d %s", bad, status, body)
			}
		}
		for _, bad := range []string{`{"time_zone":"Local"}`, `{"time_zone":"nowhere"}`} {
			if status, body := ann.Ask(t, "PATCH", "/users/me", bad).Text(); status != 422 || !strings.Contains(body, `"body.time_zone"`) {
				t.Errorf("PATCH %s: %d %s", bad, status, body)
			}
		}
		if zone := apitest.Text(ann.Call(t, "PATCH", "/users/me", `{"time_zone":null}`), "time_zone"); zone != "UTC" {
			t.Errorf("the cleared zone is %s", zone)
		}
	})
}
