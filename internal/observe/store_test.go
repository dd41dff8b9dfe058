package observe_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/observe"
)

func TestOperationsOfTheStoreAreCounted(t *testing.T) {
	t.Parallel()
	metrics := observe.NewMetrics(observe.MetricsOptions{SlowOperation: 100 * time.Millisecond})
	store := metrics.Store
	for took, err := range map[time.Duration]error{
		time.Millisecond: nil, 99 * time.Millisecond: hearth.NotFound("user"), 100 * time.Millisecond: fmt.Errorf("read: %w", hearth.NotFound("user")),
		2 * time.Millisecond: errors.New("disk on fire: /secret/path"), 3 * time.Millisecond: context.Canceled, 4 * time.Millisecond: &hearth.Replayed{},
	} {
		store.Operation(t.Context(), "User", took, err)
	}
	store.Commit(40, 2*time.Millisecond, 3*time.Millisecond)
	store.Commit(2, 0, time.Millisecond)
	page := scrape(t, metrics)
	for _, want := range []string{
		`hearth_store_operation_seconds_count{operation="User"} 6`,
		`hearth_store_slow_operations_total{operation="User"} 1`,
		`hearth_store_failures_total{code="not_found",operation="User"} 2`,
		`hearth_store_failures_total{code="internal",operation="User"} 1`,
		`hearth_store_failures_total{code="cancelled",operation="User"} 1`,
		`hearth_store_failures_total{code="replayed",operation="User"} 1`,
		`hearth_store_commit_writes_sum 42`, `hearth_store_commit_wait_seconds_sum 0.002`, `hearth_store_commit_seconds_sum 0.004`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("%q is not in the scrape", want)
		}
	}
	if strings.Contains(page, "secret") {
		t.Error("the text of an error is in the scrape")
	}
}

func TestOperationsAreBounded(t *testing.T) {
	t.Parallel()
	metrics := observe.NewMetrics(observe.MetricsOptions{})
	for i := range 1000 {
		metrics.Store.Operation(t.Context(), fmt.Sprint("Operation", i), time.Millisecond, nil)
	}
	page := scrape(t, metrics)
	if n := strings.Count(page, "hearth_store_operation_seconds_count{"); n != 257 {
		t.Errorf("1000 operations made %d histograms; want 257", n)
	}
	if !strings.Contains(page, `hearth_store_operation_seconds_count{operation="other"} 744`) {
		t.Error("the operations past the bound are not counted as other")
	}
}

func TestWhatIsSwitchedOffIsNotCounted(t *testing.T) {
	t.Parallel()
	metrics := observe.NewMetrics(observe.MetricsOptions{Off: true})
	metrics.HTTP.Begin()
	metrics.HTTP.End(observe.Exchange{Route: "/a", Method: "GET", Status: 200, Duration: time.Second, Code: hearth.CodeInternal})
	metrics.Store.Operation(t.Context(), "User", time.Second, nil)
	metrics.Store.Commit(1, 0, time.Second)
	page := scrape(t, metrics)
	if strings.Contains(page, `route="/a"`) || strings.Contains(page, "User") || observe.SumHTTP(metrics.HTTP.Figures()).Total != 0 {
		t.Error("a request or an operation was counted")
	}
	if !strings.Contains(page, "go_goroutines") {
		t.Error("the figures of the process are missing")
	}
}

// The hardest case for a histogram: everything takes the same time, wherever in a bucket that lies.
func TestASummaryOfEqualLatenciesIsRightWithinFivePercent(t *testing.T) {
	t.Parallel()
	for took := 37 * time.Microsecond; took < 20*time.Second; took += took / 50 {
		metrics := observe.NewMetrics(observe.MetricsOptions{}).HTTP
		for _, route := range []string{"/a", "/b"} {
			for range 10 {
				metrics.Begin()
				metrics.End(observe.Exchange{Route: route, Method: "GET", Status: 200, Duration: took})
			}
		}
		got := observe.SumHTTP(metrics.Figures())
		for name, estimate := range map[string]time.Duration{
			"P50": got.Latency.P50, "P95": got.Latency.P95, "P99": got.Latency.P99, "P99 of /a": got.Routes[0].Latency.P99,
		} {
			if off := math.Abs(float64(estimate-took)) / float64(took); off > 0.05 {
				t.Fatalf("%s of %v is estimated as %v, %.1f %% off", name, took, estimate, 100*off)
			}
		}
	}
}

func BenchmarkObserving(b *testing.B) {
	metrics := observe.NewMetrics(observe.MetricsOptions{})
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			metrics.HTTP.Begin()
			metrics.HTTP.End(observe.Exchange{Route: "/r", Method: "POST", Status: 200, Duration: time.Millisecond, RequestBytes: 20, ResponseBytes: 90})
		}
	})
	b.Run("operation", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			metrics.Store.Operation(b.Context(), "RecordHeartbeats", time.Millisecond, nil)
		}
	})
}
