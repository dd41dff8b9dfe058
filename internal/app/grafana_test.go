package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
)

// grafanaQuery is what the dashboard asks by Grafana's plugin Infinity, as far as the answer matters.
type grafanaQuery struct {
	URL     string `json:"url"`
	Root    string `json:"root_selector"`
	Columns []struct {
		Selector string `json:"selector"`
		Type     string `json:"type"`
	} `json:"columns"`
}

type grafanaDashboard struct {
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		Title   string         `json:"title"`
		Targets []grafanaQuery `json:"targets"`
	} `json:"panels"`
}

// variableQueries returns the queries of the variables that ask hearth, by name.
func (d *grafanaDashboard) variableQueries(t *testing.T) map[string]grafanaQuery {
	t.Helper()
	queries := map[string]grafanaQuery{}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		text, err := json.Marshal(v.Query)
		if err != nil {
			t.Fatal(err)
		}
		var query struct {
			Infinity grafanaQuery `json:"infinityQuery"`
		}
		if err := json.Unmarshal(text, &query); err != nil {
			t.Fatal(err)
		}
		queries[v.Name] = query.Infinity
	}
	return queries
}

// rows asks as the plugin does, and checks each column of the rows.
func (q grafanaQuery) rows(t *testing.T, caller *apitest.Client, variables *strings.Replacer) []any {
	t.Helper()
	url := variables.Replace(q.URL)
	if strings.Contains(url, "$") {
		t.Fatalf("%s has a variable that the dashboard does not", url)
	}
	status, body := caller.Ask(t, "GET", strings.TrimPrefix(url, "/api/v1"), nil).Text()
	if status != http.StatusOK {
		t.Fatalf("GET %s is answered %d %s", url, status, body)
	}
	var answer any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if q.Root != "" {
		answer = answer.(map[string]any)[q.Root]
	}
	rows, list := answer.([]any)
	if !list {
		rows = []any{answer}
	}
	for _, row := range rows {
		for _, column := range q.Columns {
			value, there := row.(map[string]any)[column.Selector]
			switch {
			case !there:
				t.Errorf("%s: %v has no %s", url, row, column.Selector)
			case value == nil: // cleared_at of an alarm that is active
			case column.Type == "number":
				if _, ok := value.(float64); !ok {
					t.Errorf("%s: %s is %v, no number", url, column.Selector, value)
				}
			case column.Type == "timestamp":
				if _, err := time.Parse(time.RFC3339, value.(string)); err != nil {
					t.Errorf("%s: %s is %v, no time", url, column.Selector, value)
				}
			}
		}
	}
	return rows
}

// Grafana itself is not here: every query of the dashboard is asked as its plugin asks it, by a key with the scopes that the guide names.
func TestEveryQueryOfTheDashboardForGrafanaIsAnswered(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/grafana/devices.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard grafanaDashboard
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	url := apitest.Start(t, apitest.Unlimited(t))
	ann := apitest.SignUp(t, url, "ann@example.com")
	device := apitest.Text(ann.Call(t, "POST", "/devices", apitest.Object{"name": "freezer", "type": "sensor"}), "id")
	ann.Call(t, "POST", "/rules", apitest.Object{
		"name": "warm", "devices": apitest.Object{}, "severity": "major", "condition": apitest.Object{"event": "temperature", "operator": "gt", "value": -10},
	})
	for _, value := range []float64{-18, -5} {
		ann.Call(t, "POST", "/devices/"+device+"/logs", apitest.Object{"event": "temperature", "value": value})
	}
	waitForAlarm(t, ann)
	key := ann.Call(t, "POST", "/users/me/api-keys", apitest.Object{"name": "Grafana", "scopes": []string{"devices:read", "telemetry:read", "alarms:read"}})
	grafana := &apitest.Client{URL: url, Token: apitest.Text(key, "key")}

	// Grafana's own: the range, in the form that the dashboard asks for.
	variables := []string{
		"${__from:date:iso}", time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000Z"),
		"${__to:date:iso}", time.Now().Add(time.Minute).UTC().Format("2006-01-02T15:04:05.000Z"), "${interval}", "hour",
	}
	queries := dashboard.variableQueries(t)
	for _, name := range []string{"device", "event"} { // the second needs the first
		query := queries[name]
		rows := query.rows(t, grafana, strings.NewReplacer(variables...))
		if len(rows) != 1 {
			t.Fatalf("the variable %s has the values %v", name, rows)
		}
		value, _ := rows[0].(map[string]any)[query.Columns[1].Selector].(string)
		variables = append(variables, "${"+name+"}", value)
	}
	if len(dashboard.Panels) < 8 {
		t.Errorf("the dashboard has %d panels", len(dashboard.Panels))
	}
	for _, panel := range dashboard.Panels {
		for _, query := range panel.Targets {
			if rows := query.rows(t, grafana, strings.NewReplacer(variables...)); len(rows) == 0 {
				t.Errorf("the panel %q shows nothing", panel.Title)
			}
		}
	}
}

func waitForAlarm(t *testing.T, caller *apitest.Client) {
	t.Helper()
	eventually(t, "the alarm", func() bool { return len(caller.Call(t, "GET", "/alarms", nil)["items"].([]any)) > 0 })
}
