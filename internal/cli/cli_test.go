package cli_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hearth/internal/cli"
	"hearth/internal/observe"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hearth": func() { os.Exit(cli.Main()) }})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true})
}

func TestHealthcheckFollowsReadiness(t *testing.T) {
	t.Parallel()
	health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	health.Mount(mux)
	server := httptest.NewServer(mux)
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	for _, args := range [][]string{
		{"--url", server.URL}, {"--url", server.URL + "/"}, {"--addr", "127.0.0.1:" + port}, {"--addr", ":" + port}, {"--addr", "0.0.0.0:" + port},
	} {
		if code, stdout, stderr := run(t, append([]string{"healthcheck"}, args...)...); code != 0 || stdout != "ready\n" || stderr != "" {
			t.Errorf("%v: exit %d, %q, %q; want 0 and ready", args, code, stdout, stderr)
		}
	}

	health.Register(observe.Check{Name: "database", Required: true, Probe: func(context.Context) error { return context.DeadlineExceeded }})
	if code, stdout, stderr := run(t, "healthcheck", "--url", server.URL); code != 1 || stdout != "" || stderr != "hearth: not ready: unavailable: database\n" {
		t.Errorf("without the database: exit %d, %q, %q", code, stdout, stderr)
	}
	health.Drain()
	if code, _, stderr := run(t, "healthcheck", "--url", server.URL); code != 1 || stderr != "hearth: not ready: draining\n" {
		t.Errorf("draining: exit %d, %q", code, stderr)
	}
}

func TestHealthcheckTakesNothingElseForAHearth(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"a page":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<h1>It works</h1>")) },
		"a 404":         http.NotFound,
		"a redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a proxy's 502": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"silence":       func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer)
			defer server.Close()
			if code, stdout, stderr := run(t, "healthcheck", "--timeout", "200ms", "--url", server.URL); code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit %d, %q, %q; want 1 and one line", code, stdout, stderr)
			}
		})
	}
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), &cli.Process{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for want, lines := range map[int][]string{
		0: {"version", "config check", "config check --addr :1", "--help", "config print --help", ""},
		1: {"healthcheck --addr 127.0.0.1:1"},
		2: {"verzion", "version extra", "config", "config check --nonsense", "config check --addr nowhere", "config check --config /absent.toml", "healthcheck --timeout soon", "healthcheck --url http://%zz"},
	} {
		for _, line := range lines {
			if code, stdout, stderr := run(t, strings.Fields(line)...); code != want || (code == 0) != (stderr == "") {
				t.Errorf("hearth %s: exit %d, %q, %q; want %d", line, code, stdout, stderr, want)
			}
		}
	}
}
