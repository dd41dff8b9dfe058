package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/observe"
)

func TestHealthNamesEveryDependencyOfTheContract(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		health := observe.NewHealth(observe.HealthOptions{Version: "v9"})
		health.Register(observe.Check{Name: "database", Required: true, Probe: func(context.Context) error {
			time.Sleep(3 * time.Millisecond)
			return nil
		}})
		time.Sleep(90 * time.Second)
		status, body := get(t, health.ServeReport)
		if status != 200 || body["status"] != "ok" || body["version"] != "v9" || body["uptime_seconds"] != 90.0 {
			t.Errorf("got %d %v", status, body)
		}
		dependencies, _ := body["dependencies"].(map[string]any)
		for name, want := range map[string]string{"database": "ok", "redis": "disabled", "queue": "disabled", "storage": "disabled", "mail": "disabled"} {
			one, _ := dependencies[name].(map[string]any)
			if one["state"] != want {
				t.Errorf("%s is %v; want %s", name, one, want)
			}
		}
		if database, _ := dependencies["database"].(map[string]any); database["latency_ms"] != 3.0 {
			t.Errorf("database took %v; want 3 ms", database["latency_ms"])
		}
	})
}

func TestReadyFollowsWhatIsRequired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var database, redis atomic.Bool
		health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.DiscardHandler)})
		probe := func(down *atomic.Bool) func(context.Context) error {
			return func(context.Context) error {
				if down.Load() {
					return errors.New("refused")
				}
				return nil
			}
		}
		health.Register(observe.Check{Name: "database", Required: true, Probe: probe(&database)})
		health.Register(observe.Check{Name: "redis", Probe: probe(&redis)})

		expect := func(what string, ready int, status string) {
			t.Helper()
			time.Sleep(2 * time.Second) // the results are no longer fresh
			if got, body := get(t, health.ServeReady); got != ready {
				t.Errorf("%s: ready is %d %v; want %d", what, got, body, ready)
			}
			if got, body := get(t, health.ServeReport); got != ready || body["status"] != status {
				t.Errorf("%s: health is %d %v; want %d %s", what, got, body["status"], ready, status)
			}
		}
		expect("all up", 200, "ok")
		redis.Store(true)
		expect("without Redis", 200, "degraded")
		database.Store(true)
		expect("without both", 503, "unavailable")
		if _, body := get(t, health.ServeReady); !strings.Contains(toJSON(t, body), `"missing":["database"]`) {
			t.Errorf("ready says %v; want the database named as missing, and Redis not", body)
		}
		database.Store(false)
		redis.Store(false)
		expect("all back", 200, "ok")
		health.Drain()
		expect("draining", 503, "draining")
		if got, _ := get(t, health.ServeLive); got != 200 {
			t.Errorf("live is %d while draining", got)
		}
	})
}

func TestAStuckProbeIsDownAndNeverPilesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var started atomic.Int32
		health := observe.NewHealth(observe.HealthOptions{Timeout: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		health.Register(observe.Check{Name: "database", Required: true, Probe: func(context.Context) error { // deaf to its context
			started.Add(1)
			<-release
			return nil
		}})
		begin := time.Now()
		for range 5 {
			if status, _ := get(t, health.ServeReady); status != 503 {
				t.Errorf("ready is %d behind a stuck probe", status)
			}
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("five answers took %v; want the timeout each", took)
		}
		if started.Load() != 1 {
			t.Errorf("%d probes run at once; want 1", started.Load())
		}
		close(release)
		synctest.Wait()
		if status, body := get(t, health.ServeReady); status != 200 {
			t.Errorf("ready is %d %v after the probe came back", status, body)
		}
		health.Close()
	})
}

func TestManyCallersShareOneProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		health := observe.NewHealth(observe.HealthOptions{})
		health.Register(observe.Check{Name: "database", Probe: func(context.Context) error {
			probes.Add(1)
			time.Sleep(10 * time.Millisecond)
			return nil
		}})
		var group sync.WaitGroup
		for range 200 {
			group.Go(func() {
				if status, _ := get(t, health.ServeReady); status != 200 {
					t.Errorf("ready is %d", status)
				}
			})
		}
		group.Wait()
		get(t, health.ServeReady)
		if probes.Load() != 1 {
			t.Errorf("201 requests in 10 ms made %d probes; want 1", probes.Load())
		}
	})
}

func TestACallerThatLeavesDoesNotSpoilTheResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		health := observe.NewHealth(observe.HealthOptions{})
		health.Register(observe.Check{Name: "database", Required: true, Probe: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
				return nil
			}
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		health.Report(ctx)
		if got := health.Report(t.Context()); got.Status != observe.StatusOK {
			t.Errorf("the next caller gets %s; want ok", got.Status)
		}
	})
}

func TestAPanickingProbeIsDown(t *testing.T) {
	t.Parallel()
	health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.DiscardHandler)})
	health.Register(observe.Check{Name: "mail", Probe: func(context.Context) error { panic("boom") }})
	if got := health.Report(t.Context()); got.Dependencies["mail"].State != observe.StateDown || got.Status != observe.StatusDegraded {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyAChangeIsLoggedAndOnlyTheLogHasTheCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var down atomic.Bool
		down.Store(true)
		health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.NewJSONHandler(&out, nil))})
		health.Register(observe.Check{Name: "redis", Probe: func(context.Context) error {
			if down.Load() {
				return errors.New("dial 10.1.2.3: refused")
			}
			return nil
		}})
		for range 3 {
			if _, body := get(t, health.ServeReport); strings.Contains(toJSON(t, body), "10.1.2.3") {
				t.Errorf("the public answer has the cause: %v", body)
			}
			time.Sleep(2 * time.Second)
		}
		down.Store(false)
		get(t, health.ServeReport)
		health.Close()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "10.1.2.3") || !strings.Contains(lines[1], "is back") {
			t.Errorf("logged %q; want one line down with the cause, one line back", lines)
		}
	})
}

func get(t *testing.T, handler http.HandlerFunc) (int, map[string]any) {
	t.Helper()
	response := httptest.NewRecorder()
	handler(response, httptest.NewRequest(http.MethodGet, "/", nil))
	var body map[string]any
	if err := json.Unmarshal(response.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v in %q", err, response.Body.String())
	}
	if retry := response.Header().Get("Retry-After"); (response.Code == http.StatusServiceUnavailable) != (retry != "") {
		t.Errorf("%d has Retry-After %q", response.Code, retry)
	}
	return response.Code, body
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPrometheusSeesTheDependencies(t *testing.T) {
	t.Parallel()
	health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.DiscardHandler)})
	health.Register(observe.Check{Name: "database", Required: true, Probe: func(context.Context) error { return errors.New("gone") }})
	health.Register(observe.Check{Name: "mail", Probe: func(context.Context) error { return nil }})
	metrics := observe.NewMetrics(observe.MetricsOptions{})
	metrics.Registry.MustRegister(health)
	page := scrape(t, metrics)
	for _, want := range []string{
		"hearth_ready 0\n", `hearth_dependency_up{dependency="database"} 0` + "\n", `hearth_dependency_up{dependency="mail"} 1` + "\n",
		`hearth_dependency_latency_seconds{dependency="mail"} `,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the scrape", want)
		}
	}
	if strings.Contains(page, `dependency="redis"`) {
		t.Error("a dependency that is not part of the configuration has a figure")
	}
}
