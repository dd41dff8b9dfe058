package observe_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/observe"
)

func TestAScrapeHoldsTheFigures(t *testing.T) {
	t.Parallel()
	metrics := observe.NewMetrics(observe.MetricsOptions{Version: "v1.2.3", DataDir: t.TempDir()})
	metrics.HTTP.Begin()
	metrics.HTTP.Begin()
	metrics.HTTP.Begin()
	metrics.HTTP.Leave()
	metrics.HTTP.End(observe.Exchange{Route: "/a", Method: "GET", Status: 204, Duration: time.Millisecond, RequestBytes: -1, ResponseBytes: 100})
	metrics.HTTP.Begin()
	metrics.HTTP.End(observe.Exchange{Route: "/a", Method: "GET", Status: 429, Code: hearth.CodeRateLimited, Duration: time.Millisecond, RequestBytes: -1, ResponseBytes: -1})
	page := scrape(t, metrics)
	for _, want := range []string{
		"hearth_http_requests_in_flight 1\n",
		`hearth_http_requests_total{method="GET",route="/a",status="2xx"} 1`,
		`hearth_http_requests_total{method="GET",route="/a",status="5xx"} 0`,
		`hearth_http_request_duration_seconds_count{route="/a"} 2`,
		`hearth_http_problems_total{code="rate_limited"} 1`,
		"hearth_http_response_size_bytes_sum 100",
		"hearth_http_request_size_bytes_count 0",
		`version="v1.2.3"`, "go_goroutines", "process_resident_memory_bytes", "hearth_disk_free_bytes",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the scrape", want)
		}
	}
	for _, line := range []string{"hearth_disk_free_bytes", "hearth_disk_total_bytes"} {
		if value := figure(t, page, line); value < 1 {
			t.Errorf("%s is %v", line, value)
		}
	}
}

// The three quantiles that the dashboard shows, as Prometheus computes them from a scrape, for shapes that latencies have.
func TestQuantilesAreRightWithinFivePercent(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() float64{
		"log-normal around 300 µs": func() float64 { return 300e-6 * math.Exp(0.5*random.NormFloat64()) },
		"log-normal around 20 ms":  func() float64 { return 20e-3 * math.Exp(0.8*random.NormFloat64()) },
		"exponential, mean 5 ms":   func() float64 { return 5e-3 * random.ExpFloat64() },
		"hits and misses": func() float64 {
			if random.IntN(10) > 0 {
				return 400e-6 * math.Exp(0.2*random.NormFloat64())
			}
			return 30e-3 * math.Exp(0.3*random.NormFloat64())
		},
	}
	for name, draw := range shapes {
		metrics := observe.NewMetrics(observe.MetricsOptions{})
		values := make([]float64, 50_000)
		for i := range values {
			duration := time.Duration(draw() * float64(time.Second))
			values[i] = duration.Seconds()
			metrics.HTTP.Begin()
			metrics.HTTP.End(observe.Exchange{Route: "/r", Method: "GET", Status: 200, Duration: duration})
		}
		slices.Sort(values)
		buckets := latencyBuckets(t, scrape(t, metrics))
		for _, q := range []float64{0.5, 0.95, 0.99} {
			want := values[int(q*float64(len(values)))]
			got := quantile(buckets, q)
			if off := math.Abs(got-want) / want; off > 0.05 {
				t.Errorf("%s: P%g is %.6f, estimated %.6f: %.1f %% off", name, q*100, want, got, off*100)
			}
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	metrics := observe.NewMetrics(observe.MetricsOptions{})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 1000 {
				metrics.HTTP.Begin()
				metrics.HTTP.End(observe.Exchange{Route: fmt.Sprintf("/%d", i), Method: fmt.Sprintf("M%d-%d", worker, i), Status: i})
			}
		})
	}
	group.Wait()
	page := scrape(t, metrics)
	if n := strings.Count(page, "hearth_http_request_duration_seconds_count{"); n > 257 {
		t.Errorf("1000 routes made %d histograms; want 257 at most", n)
	}
	if strings.Contains(page, `method="M`) {
		t.Error("a method that nobody knows has a figure of its own")
	}
	var sum float64
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "hearth_http_requests_total{") {
			sum += value(t, line)
		}
	}
	if sum != 4000 {
		t.Errorf("the counters sum up to %v; want every one of the 4000 requests", sum)
	}
}

func TestTheAdminHandlerServesMetricsProfilesAndHealth(t *testing.T) {
	t.Parallel()
	health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.DiscardHandler)})
	handler := observe.AdminHandler(observe.NewMetrics(observe.MetricsOptions{}), health)
	for path, want := range map[string]int{
		"/metrics": 200, "/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 200, "/health/ready": 200, "/": 404,
	} {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
		if response.Code != want {
			t.Errorf("GET %s is %d; want %d", path, response.Code, want)
		}
	}
}

// A profile may take longer than the listener lets other answers take.
func TestAProfileOutlivesTheTimeoutsOfTheListener(t *testing.T) {
	t.Parallel()
	health := observe.NewHealth(observe.HealthOptions{Logger: slog.New(slog.DiscardHandler)})
	server := httptest.NewUnstartedServer(observe.AdminHandler(observe.NewMetrics(observe.MetricsOptions{}), health))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	server.Start()
	defer server.Close()
	began := time.Now()
	response, err := server.Client().Get(server.URL + "/debug/pprof/trace?seconds=1")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || len(body) == 0 {
		t.Fatalf("the trace is %d with %d bytes, %v", response.StatusCode, len(body), err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("a second was traced in %v", took)
	}
}

func scrape(t *testing.T, metrics *observe.Metrics) string {
	t.Helper()
	response := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(response.Result().Body)
	if err != nil || response.Code != http.StatusOK {
		t.Fatalf("the scrape is %d, %v", response.Code, err)
	}
	return string(body)
}

func figure(t *testing.T, page, name string) float64 {
	t.Helper()
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, name+" ") {
			return value(t, line)
		}
	}
	t.Fatalf("%s is not in the scrape", name)
	return 0
}

func value(t *testing.T, line string) float64 {
	t.Helper()
	line = strings.TrimSpace(line)
	v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type bucket struct{ bound, count float64 }

// latencyBuckets reads the cumulative buckets of the only route.
func latencyBuckets(t *testing.T, page string) []bucket {
	t.Helper()
	var buckets []bucket
	lines := bufio.NewScanner(strings.NewReader(page))
	for lines.Scan() {
		_, rest, ok := strings.Cut(lines.Text(), `hearth_http_request_duration_seconds_bucket{route="/r",le="`)
		if !ok {
			continue
		}
		bound, err := strconv.ParseFloat(rest[:strings.IndexByte(rest, '"')], 64)
		if err != nil {
			t.Fatal(err)
		}
		buckets = append(buckets, bucket{bound, value(t, rest)})
	}
	if len(buckets) < 100 {
		t.Fatalf("found %d buckets", len(buckets))
	}
	return buckets
}

// quantile is histogram_quantile of Prometheus: linear inside the bucket.
func quantile(buckets []bucket, q float64) float64 {
	rank := q * buckets[len(buckets)-1].count
	i := slices.IndexFunc(buckets, func(b bucket) bool { return b.count >= rank })
	var below bucket
	if i > 0 {
		below = buckets[i-1]
	}
	return below.bound + (buckets[i].bound-below.bound)*(rank-below.count)/(buckets[i].count-below.count)
}
