package observe_test

import (
	"encoding/json"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth/internal/observe"
)

func TestTheSummaryAddsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		metrics := observe.NewMetrics(observe.MetricsOptions{}).HTTP
		if got := observe.SumHTTP(metrics.Figures()); got.Total != 0 || got.PerSecond != 0 || got.Latency != (observe.Latency{}) || len(got.Routes) != 0 {
			t.Errorf("before any request: %+v", got)
		}
		// Ten seconds: 8 good ones, a refusal and a failure each second, 1 to 100 ms.
		took := time.Duration(0)
		for range 10 {
			for i := range 10 {
				took += time.Millisecond
				exchange := observe.Exchange{Route: "/busy", Method: "GET", Status: 200, Duration: took}
				switch i {
				case 0:
					exchange.Route, exchange.Status = "/quiet", 404
				case 1:
					exchange.Method, exchange.Status = "POST", 500
				}
				metrics.Begin()
				metrics.End(exchange)
			}
			time.Sleep(time.Second)
		}
		got := observe.SumHTTP(metrics.Figures())
		if got.Total != 100 || got.PerSecond != 10 || got.ErrorRate4xx != 0.1 || got.ErrorRate5xx != 0.1 {
			t.Errorf("got %+v; want 100 in all, 10 a second, a tenth refused, a tenth failed", got)
		}
		for name, pair := range map[string][2]time.Duration{
			"P50": {got.Latency.P50, 50 * time.Millisecond}, "P95": {got.Latency.P95, 95 * time.Millisecond}, "P99": {got.Latency.P99, 99 * time.Millisecond},
		} {
			if off := math.Abs(float64(pair[0]-pair[1])) / float64(pair[1]); off > 0.05 {
				t.Errorf("%s is %v; want %v within five percent", name, pair[0], pair[1])
			}
		}
		if len(got.Routes) != 2 || got.Routes[0].Route != "/busy" || got.Routes[0].Total != 90 || got.Routes[1].Total != 10 {
			t.Errorf("routes are %+v; want /busy with 90, then /quiet with 10", got.Routes)
		}
		time.Sleep(2 * time.Minute)
		if got := observe.SumHTTP(metrics.Figures()); got.PerSecond != 0 || got.Total != 100 {
			t.Errorf("after two minutes of silence: %v a second of %d", got.PerSecond, got.Total)
		}
	})
}

// Two processes, one slow and one fast, report together what one that did the work of both would report.
func TestTheSummaryOfSeveralProcessesIsThatOfOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fresh := func() *observe.HTTPMetrics { return observe.NewMetrics(observe.MetricsOptions{}).HTTP }
		one, fast, slow, idle := fresh(), fresh(), fresh(), fresh()
		for i := range 1000 {
			exchange, to := observe.Exchange{Route: "/both", Method: "GET", Status: 200, Duration: time.Duration(i+1) * 100 * time.Microsecond}, fast
			if i%10 == 0 {
				exchange.Duration, to = time.Duration(i+1)*3*time.Millisecond, slow
			}
			switch i % 7 {
			case 0:
				exchange.Route, exchange.Status = "/bad", 404
			case 1:
				exchange.Method, exchange.Status = "POST", 503
			}
			for _, m := range []*observe.HTTPMetrics{one, to} {
				m.Begin()
				m.End(exchange)
			}
		}
		time.Sleep(20 * time.Second)
		var told []observe.HTTPFigures
		for _, m := range []*observe.HTTPMetrics{fast, idle, slow} {
			text, err := json.Marshal(m.Figures())
			if err != nil {
				t.Fatal(err)
			}
			var figures observe.HTTPFigures
			if err := json.Unmarshal(text, &figures); err != nil {
				t.Fatal(err)
			}
			told = append(told, figures)
		}
		want, got := observe.SumHTTP(one.Figures()), observe.SumHTTP(told...)
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 0)); diff != "" || want.Total != 1000 {
			t.Errorf("%d requests: %s", want.Total, diff)
		}
		told[1].Routes = nil
		if err := json.Unmarshal([]byte(`{"/both":{"schema":-2000000000,"counts":{"1":7}}}`), &told[1].Routes); err != nil {
			t.Fatal(err)
		}
		if latency := observe.SumHTTP(told[1:]...).Latency; latency != observe.SumHTTP(told[2]).Latency {
			t.Errorf("what means nothing counts: %v", latency)
		}
	})
}
