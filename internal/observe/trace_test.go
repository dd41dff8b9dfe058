package observe_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"hearth"
	"hearth/internal/cause"
	"hearth/internal/observe"
)

func tracer(t *testing.T, ratio float64) *observe.Tracer {
	t.Helper()
	made, err := observe.NewTracer(observe.TraceOptions{
		Endpoint: "http://127.0.0.1:1", Ratio: ratio, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return made
}

const sampledElsewhere = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestAClientCannotHaveItsRequestsTraced(t *testing.T) {
	t.Parallel()
	ctx, end := tracer(t, 0).Request(t.Context(), "id", http.Header{"Traceparent": {sampledElsewhere}})
	if end != nil || trace.SpanContextFromContext(ctx).IsSampled() {
		t.Error("a request is traced although none should be")
	}
	if marked := cause.Mark(ctx, hearth.OutboxJob{Payload: []byte("{}")}); string(marked.Payload) != "{}" {
		t.Errorf("a job is marked with a request that is not traced: %s", marked.Payload)
	}
}

func TestAJobIsTracedAsItsRequestWas(t *testing.T) {
	t.Parallel()
	none := tracer(t, 0)
	for cause, want := range map[string]bool{
		sampledElsewhere: true, sampledElsewhere[:len(sampledElsewhere)-1] + "0": false, "": false, "nonsense": false,
	} {
		ctx, end := none.Job(t.Context(), "export.run", "id", cause)
		if got := trace.SpanContextFromContext(ctx).IsSampled(); got != want {
			t.Errorf("a job caused by %q is traced: %v, want %v", cause, got, want)
		}
		end(nil)
	}
}

func TestTracingThatIsOffCostsNothing(t *testing.T) {
	var off *observe.Tracer
	metrics := observe.NewMetrics(observe.MetricsOptions{})
	if off.Observe(metrics.Store) != metrics.Store {
		t.Error("the store is observed through a tracer that is off")
	}
	header := http.Header{"Traceparent": {sampledElsewhere}}
	if n := testing.AllocsPerRun(100, func() {
		ctx, end := off.Request(t.Context(), "id", header)
		if end != nil || ctx != t.Context() {
			t.Error("something was traced")
		}
	}); n > 0 {
		t.Errorf("a request allocates %v times", n)
	}
	if err := off.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func BenchmarkTracing(b *testing.B) {
	for name, ratio := range map[string]float64{"off": -1, "none sampled": 0, "all sampled": 1} {
		b.Run(name, func(b *testing.B) {
			var traces *observe.Tracer
			if ratio >= 0 {
				var err error
				if traces, err = observe.NewTracer(observe.TraceOptions{Endpoint: "http://127.0.0.1:1", Ratio: ratio, Logger: slog.New(slog.DiscardHandler)}); err != nil {
					b.Fatal(err)
				}
				defer func() { _ = traces.Close(context.Background()) }()
			}
			store := traces.Observe(hearth.NoObserver{})
			b.ReportAllocs()
			for b.Loop() {
				ctx, end := traces.Request(b.Context(), "id", nil)
				store.Operation(ctx, "Device", time.Millisecond, nil)
				if end != nil {
					end(observe.Exchange{Route: "/r", Method: http.MethodGet, Status: http.StatusOK})
				}
			}
		})
	}
}
