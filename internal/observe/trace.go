package observe

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"hearth/internal/cause"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"hearth"
)

// TraceOptions say where traces go and how many.
type TraceOptions struct {
	// Endpoint is the receiver's URL, such as http://localhost:4318; without a path it is asked at /v1/traces. Its user and
	// password, if it has any, are sent as basic authentication.
	Endpoint string
	// Ratio is the share of the requests that are traced, 0 to 1.
	Ratio float64
	// Version is the program's.
	Version string
	// Logger records that traces cannot be sent; nil is slog.Default().
	Logger *slog.Logger
}

// Tracer records what requests, operations of the store and jobs do, and sends it by OTLP over HTTP in the background: at most 2,048
// spans wait, what is more is dropped. All methods may be called on a nil Tracer, which does nothing.
//
// Attributes hold routes, methods, statuses, codes, names of operations and kinds, ids of requests and jobs: never a path, a query, a
// body, a header, an address or the text of an error.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// tracerName is the scope of the spans.
const tracerName = "hearth"

// exportTimeout bounds the sending of a batch, and so how long Close may take.
const exportTimeout = 5 * time.Second

// NewTracer makes a Tracer. It does not connect: a missing receiver is reported in the log, at the first batch.
func NewTracer(o TraceOptions) (*Tracer, error) {
	o.Logger = cmp.Or(o.Logger, slog.Default())
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the address of traces: %w", err)
	}
	about := []attribute.KeyValue{attribute.String("service.name", "hearth"), attribute.String("service.version", o.Version)}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sampler{sdktrace.TraceIDRatioBased(o.Ratio)}),
		sdktrace.WithBatcher(loudExporter{newSpanExporter(endpoint, about), o.Logger}, sdktrace.WithBatchTimeout(time.Second), sdktrace.WithExportTimeout(exportTimeout)),
		sdktrace.WithResource(resource.Empty()), // the exporter says who sends
	)
	return &Tracer{provider: provider, tracer: provider.Tracer(tracerName)}, nil
}

// Close sends what waits, for as long as ctx lets it.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// loudExporter says in the log what the library would print on standard error.
type loudExporter struct {
	sdktrace.SpanExporter
	log *slog.Logger
}

// ExportSpans sends the spans; they are lost if that fails.
func (e loudExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.log.WarnContext(ctx, "traces could not be sent", "spans", len(spans), "error", err.Error())
	}
	return nil
}

// sampler takes a share of the requests, all that belongs to them, and the jobs that they caused. What a client claims in a
// traceparent decides nothing.
type sampler struct{ share sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if parent := trace.SpanContextFromContext(p.ParentContext); parent.IsValid() {
		if parent.IsSampled() {
			return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
		}
		return sdktrace.SamplingResult{Decision: sdktrace.Drop}
	}
	if p.Kind == trace.SpanKindConsumer && len(p.Links) > 0 && p.Links[0].SpanContext.IsSampled() {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return s.share.ShouldSample(p)
}

// Description implements sdktrace.Sampler.
func (s sampler) Description() string { return "hearth:" + s.share.Description() }

// links reads a W3C traceparent as what a span has to do with.
func links(traceparent string) []trace.Link {
	if traceparent == "" {
		return nil
	}
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	remote := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	if !remote.IsValid() {
		return nil
	}
	return []trace.Link{{SpanContext: remote}}
}

// Request begins the trace of a request. Its traceparent becomes a link, from any sender: a stranger can neither choose the ids nor
// have requests traced. end records the outcome. The context marks the jobs that the request causes.
func (t *Tracer) Request(ctx context.Context, requestID string, header http.Header) (traced context.Context, end func(Exchange)) {
	if t == nil {
		return ctx, nil
	}
	ctx, span := t.tracer.Start(ctx, "request", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithLinks(links(header.Get("Traceparent"))...))
	if !span.IsRecording() {
		return ctx, nil
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return cause.With(ctx, carrier.Get("traceparent")), func(e Exchange) {
		route := e.Route
		route = cmp.Or(route, otherLabel)
		method := methodLabel(e.Method)
		span.SetName(method + " " + route)
		span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route),
			attribute.Int("http.response.status_code", e.Status), attribute.String("hearth.request_id", requestID))
		if e.Code != "" {
			span.SetAttributes(attribute.String("error.type", string(e.Code)))
		}
		if e.Status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Job begins the trace of a run of a job, linked to the request that caused it; cause is the mark of the job's payload. end records
// how the run ended.
func (t *Tracer) Job(ctx context.Context, kind, id, cause string) (traced context.Context, end func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	//nolint:spancheck // the worker of the job ends it
	ctx, span := t.tracer.Start(ctx, "job "+kind, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(links(cause)...), trace.WithAttributes(attribute.String("hearth.job_kind", kind), attribute.String("hearth.job_id", id)))
	return ctx, func(err error) { //nolint:spancheck // see above
		if err != nil {
			span.SetStatus(codes.Error, "")
			span.SetAttributes(attribute.String("error.type", failure(err)))
		}
		span.End()
	}
}

// Observe returns an observer of a store that also records the operations of what is traced.
func (t *Tracer) Observe(next hearth.StoreObserver) hearth.StoreObserver {
	if t == nil {
		return next
	}
	return &tracedStore{next, t.tracer}
}

type tracedStore struct {
	hearth.StoreObserver
	tracer trace.Tracer
}

// Operation implements hearth.StoreObserver.
func (s *tracedStore) Operation(ctx context.Context, name string, took time.Duration, err error) {
	s.StoreObserver.Operation(ctx, name, took, err)
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	now := time.Now()
	_, span := s.tracer.Start(ctx, "store "+name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(now.Add(-took)),
		trace.WithAttributes(attribute.String("db.operation.name", name)))
	if err != nil {
		span.SetAttributes(attribute.String("error.type", failure(err)))
	}
	span.End(trace.WithTimestamp(now))
}

// traceIDs returns the ids of the span in ctx, for log lines; "" outside of a sampled trace.
func traceIDs(ctx context.Context) (traceID, spanID string) {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() {
		return "", ""
	}
	return span.TraceID().String(), span.SpanID().String()
}
