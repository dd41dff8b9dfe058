package e2e

import (
	"bufio"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/internal/testserver"
)

// series is one line of a scrape.
type series struct {
	name   string
	labels map[string]string
	value  string
}

// page is a scrape: its lines, and the type of each metric by name.
type page struct {
	series []series
	types  map[string]string
}

// watched is a server whose admin listener is known.
func watched(t *testing.T, env ...string) (s *server, admin string) {
	t.Helper()
	admin = testserver.FreeAddr(t)
	return serve(t, append(env, "HEARTH_ADMIN_ADDR="+admin)...), admin
}

var (
	seriesLine = regexp.MustCompile(`^([a-z_][a-z0-9_]*)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

// scrape reads what Prometheus would.
func scrape(t *testing.T, admin string) page {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the scrape is %d, %v", resp.StatusCode, err)
	}
	p := page{types: map[string]string{}}
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			p.types[name] = kind
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := seriesLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not a line of a scrape: %q", line)
		}
		one := series{name: m[1], labels: map[string]string{}, value: m[3]}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			one.labels[pair[1]] = pair[2]
		}
		p.series = append(p.series, one)
	}
	return p
}

// find returns the value of the series with that name and these labels; "" if there is none.
func (p page) find(name string, labels map[string]string) string {
	for _, s := range p.series {
		if s.name != name {
			continue
		}
		matches := true
		for k, v := range labels {
			matches = matches && s.labels[k] == v
		}
		if matches {
			return s.value
		}
	}
	return ""
}

// exercise makes an installation do a little of everything.
func exercise(t *testing.T, s *server) (ann *client) {
	t.Helper()
	ann, _ = s.signup("ann@example.com")
	id := ann.device("marker-name")
	ann.do("POST", "/devices/"+id+"/heartbeat", map[string]any{}, 200)
	ann.do("POST", "/devices/"+id+"/logs", map[string]any{"event": "marker-event", "value": 1}, 201)
	for range 2 {
		ann.do("GET", "/analytics/dashboard?range=24h", nil, 200)
	}
	ann.do("GET", "/devices?q=marker-query", nil, 200)
	ann.do("GET", "/marker-path", nil, 404)
	ann.do("GET", "/devices/marker-id", nil, 404)
	ann.do("GET", "/exports/marker-id", nil, 404)
	ann.do("POST", "/auth/password-reset", map[string]any{"email": "ann@example.com"}, 202)
	s.anonymous().do("GET", "/devices", nil, 401, "X-Request-ID", "marker-request", "User-Agent", "marker-agent", "Authorization", "Bearer marker-token")
	if a, err := ann.send(t.Context(), "MARKERMETHOD", "/devices", nil); err != nil || a.Status != http.StatusMethodNotAllowed {
		t.Errorf("an unknown method: %d, %v", a.Status, err)
	}
	var export struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv", "range": "24h"}, 202).Into(t, &export)
	deadline := time.Now().Add(30 * time.Second)
	for export.Status != "completed" {
		if time.Now().After(deadline) {
			t.Fatalf("the export is %s", export.Status)
		}
		time.Sleep(10 * time.Millisecond) // a job of another process is waited for
		ann.do("GET", "/exports/"+export.ID, nil, 200).Into(t, &export)
	}
	return ann
}

func TestAScrapeShowsWhatTheProgramDoes(t *testing.T) {
	t.Parallel()
	s, admin := watched(t)
	exercise(t, s)
	// The letter of the password reset is a job: it may be on its way, and so may the last word on the export's.
	deadline := time.Now().Add(30 * time.Second)
	p := scrape(t, admin)
	done := map[string]string{"kind": "export.run", "outcome": "completed"}
	for (p.find("hearth_mail_messages_total", map[string]string{"outcome": "sent"}) == "0" || p.find("hearth_job_runs_total", done) == "") &&
		time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
		p = scrape(t, admin)
	}
	for _, want := range []struct {
		name   string
		labels map[string]string
		value  string
	}{
		{"hearth_http_requests_total", map[string]string{"route": "/api/v1/devices/{id}/heartbeat", "method": "POST", "status": "2xx"}, "1"},
		{"hearth_http_requests_total", map[string]string{"route": "other", "method": "GET", "status": "4xx"}, "1"},
		{"hearth_http_problems_total", map[string]string{"code": "unauthenticated"}, "1"},
		{"hearth_http_problems_total", map[string]string{"code": "method_not_allowed"}, "1"},
		{"hearth_logs_stored_total", nil, "1"},
		{"hearth_heartbeats_total", nil, "1"},
		{"hearth_devices", map[string]string{"state": "all"}, "1"},
		{"hearth_store_operation_seconds_count", map[string]string{"operation": "RecordHeartbeats"}, "1"},
		{"hearth_store_operation_seconds_count", map[string]string{"operation": "AppendLogs"}, "1"},
		{"hearth_store_connections_max", map[string]string{"pool": "scan"}, "4"},
		{"hearth_dependency_up", map[string]string{"dependency": "database"}, "1"},
		{"hearth_dependency_up", map[string]string{"dependency": "redis"}, ""},
		{"hearth_ready", nil, "1"},
		{"hearth_jobs", map[string]string{"queue": "export", "state": "dead"}, "0"},
		{"hearth_job_runs_total", done, "1"},
		{"hearth_job_wait_seconds_count", map[string]string{"kind": "export.run"}, "1"},
	} {
		if got := p.find(want.name, want.labels); got != want.value {
			t.Errorf("%s%v is %q, want %q", want.name, want.labels, got, want.value)
		}
	}
	for _, above := range []string{
		"hearth_cache_hits_total", "hearth_cache_misses_total", "hearth_cache_bytes", "hearth_store_commit_writes_sum", "hearth_store_commit_wait_seconds_count",
		"hearth_database_bytes", "hearth_disk_free_bytes", "process_resident_memory_bytes", "go_goroutines", "hearth_mail_seconds_count",
	} {
		if got := p.find(above, nil); got == "" || got == "0" {
			t.Errorf("%s is %q, want more than 0", above, got)
		}
	}
}

// Whatever a client sends, no label takes a value from it: or a stranger could fill the memory of whoever watches.
func TestNoLabelIsMadeOfWhatAClientSent(t *testing.T) {
	t.Parallel()
	s, admin := watched(t)
	ann := exercise(t, s)
	names := map[string]bool{}
	for _, name := range []string{
		"le", "quantile", "version", "go", "cause", // of the libraries and the build
		"broker_name", "channel_namespace", "channel_type", "type", // of centrifuge: see its MetricsConfig
		"code", "dependency", "kind", "layer", "method", "operation", "outcome", "pool", "queue", "reason", "result", "route", "state", "status", "transport",
	} {
		names[name] = true
	}
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-|hd_|@`)
	p := scrape(t, admin)
	for _, one := range p.series {
		for name, value := range one.labels {
			if strings.Contains(strings.ToLower(value), "marker") || id.MatchString(value) {
				t.Errorf("%s has the label %s=%q", one.name, name, value)
			}
			if !names[name] {
				t.Errorf("%s has the label %s, whose values nobody bounds", one.name, name)
			}
		}
	}
	before := len(p.series)
	for range 50 {
		ann.do("GET", "/devices/"+strings.Repeat("x", 20), nil, 404)
		ann.do("GET", "/nothing/"+testserver.FreeAddr(t), nil, 404)
	}
	if after := len(scrape(t, admin).series); after > before+300 {
		t.Errorf("a hundred odd requests made %d series of %d", after, before)
	}
}
