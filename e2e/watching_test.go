package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rule is one of Prometheus': it records a series, or alerts.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readRules(t *testing.T, name string) (rules []rule) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "deploy", "prometheus", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) < 5 {
		t.Fatalf("%s has %d rules", name, len(rules))
	}
	return rules
}

// readDashboard returns the queries of the dashboard by the titles of their panels.
func readDashboard(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../deploy/grafana/hearth.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Type    string `json:"type"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string][]string{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries[p.Title] = append(queries[p.Title], target.Expr)
		}
		if p.Type != "row" && len(queries[p.Title]) == 0 {
			t.Errorf("the panel %q asks nothing", p.Title)
		}
	}
	if len(queries) < 20 {
		t.Fatalf("the dashboard has %d panels", len(queries))
	}
	return queries
}

var (
	text     = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	grouping = regexp.MustCompile(`\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}`)
	label    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	word     = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*\b\s*\(?`)
)

// uses returns the metrics that a query asks for, each with the labels that it picks by.
func uses(query string) map[string][]string {
	query = text.ReplaceAllString(query, `""`)
	found := map[string][]string{}
	for _, m := range selector.FindAllStringSubmatch(query, -1) {
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			found[m[1]] = append(found[m[1]], l[1])
		}
	}
	query = grouping.ReplaceAllString(selector.ReplaceAllString(query, "$1 "), "")
	for _, w := range word.FindAllString(query, -1) {
		switch {
		case strings.HasSuffix(w, "("), slices.Contains([]string{"and", "or", "unless", "offset", "bool"}, strings.TrimSpace(w)):
		default:
			w = strings.TrimSpace(w)
			found[w] = append(found[w], []string{}...)
		}
	}
	return found
}

func TestAQueryIsTakenApart(t *testing.T) {
	t.Parallel()
	got := uses(`histogram_quantile(0.9, sum by (le) (rate(a_bucket{x="b{c}", y=~"d"}[5m]))) / on (q) max(e) unless f offset 1h > 2 * 3`)
	if len(got) != 3 || !slices.Equal(got["a_bucket"], []string{"x", "y"}) || got["e"] == nil && len(got["e"]) != 0 {
		t.Errorf("got %v", got)
	}
	for _, name := range []string{"a_bucket", "e", "f"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing in %v", name, got)
		}
	}
}

// foreign are series that others export: Prometheus itself and the blackbox exporter, which looks at nginx's certificate.
var foreign = []string{"up", "probe_ssl_earliest_cert_expiry"}

// A rule that asks for what nobody exports never fires, and nobody notices.
func TestEveryQueryAsksForWhatTheProgramExports(t *testing.T) {
	t.Parallel()
	s, admin := watched(t, "HEARTH_BACKUP_SCHEDULE=24h@03:30")
	exercise(t, s)
	p := scrape(t, admin)
	labels := map[string]map[string]bool{}
	for _, one := range p.series {
		if labels[one.name] == nil {
			labels[one.name] = map[string]bool{}
		}
		for name := range one.labels {
			labels[one.name][name] = true
		}
	}
	recorded := map[string]bool{}
	check := func(who, query string) {
		for metric, picked := range uses(query) {
			if recorded[metric] || slices.Contains(foreign, metric) {
				continue
			}
			if labels[metric] == nil {
				t.Errorf("%s asks for %s, which the program does not export", who, metric)
				continue
			}
			for _, name := range picked {
				if !labels[metric][name] && name != "job" && name != "instance" {
					t.Errorf("%s picks %s by %s, which it does not have", who, metric, name)
				}
			}
		}
	}
	for _, r := range readRules(t, "hearth.recording.yml") {
		check(r.Record, r.Expr)
		recorded[r.Record] = true
	}
	for _, r := range readRules(t, "hearth.alerts.yml") {
		check(r.Alert, r.Expr)
	}
	for title, queries := range readDashboard(t) {
		for _, query := range queries {
			check("the panel "+title, query)
		}
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/reference/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../deploy/prometheus/hearth.alerts.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readRules(t, "hearth.alerts.yml") {
		_, section, found := strings.Cut(string(guide), "\n### "+r.Alert+"\n")
		section, _, _ = strings.Cut(section, "\n##")
		if !found || len(section) < 100 {
			t.Errorf("docs/reference/alerts.md has no section on %s that says what to do", r.Alert)
		}
		if want := "docs/reference/alerts.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want || r.Annotations["summary"] == "" {
			t.Errorf("%s has the runbook %q; want %q, and a summary", r.Alert, r.Annotations["runbook"], want)
		}
		if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" || !strings.HasPrefix(section, "\n*"+severity+".* ") {
			t.Errorf("%s has the severity %q; its section begins with %.10q", r.Alert, severity, section)
		}
		if !strings.Contains(string(tests), `alertname="`+r.Alert+`"`) {
			t.Errorf("no test shows that %s fires", r.Alert)
		}
	}
}
