package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"hearth/internal/testserver"
)

// receiver takes traces as a collector does.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*spans.Span
	raw   []byte
	auth  string
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body := io.Reader(req.Body)
		if req.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		data, err := io.ReadAll(body)
		var batch collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(data, &batch)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.auth = req.Header.Get("Authorization")
		r.raw = append(r.raw, data...)
		for _, of := range batch.GetResourceSpans() {
			for _, scope := range of.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// await returns the first span that fits; the program sends its spans once a second.
func (r *receiver) await(t *testing.T, what string, fits func(*spans.Span) bool) *spans.Span {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		r.mu.Lock()
		var names []string
		for _, span := range r.spans {
			names = append(names, span.GetName())
			if fits(span) {
				r.mu.Unlock()
				return span
			}
		}
		r.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("no %s among %q", what, names)
		}
		time.Sleep(20 * time.Millisecond) // another process sends them
	}
}

func attributeOf(span *spans.Span, key string) string {
	for _, a := range span.GetAttributes() {
		if a.GetKey() == key {
			if text := a.GetValue().GetStringValue(); text != "" {
				return text
			}
			return strconv.FormatInt(a.GetValue().GetIntValue(), 10)
		}
	}
	return ""
}

// From a request to its operations of the store and to the job that it caused, in the log too, and nothing secret on the way.
func TestATraceLeadsFromTheRequestToTheDatabaseAndTheJob(t *testing.T) {
	t.Parallel()
	r := startReceiver(t)
	s := serve(t, "HEARTH_OTLP_ENDPOINT="+strings.Replace(r.URL, "://", "://watcher:otlp-secret@", 1), "HEARTH_OTLP_RATIO=1")
	ann, tokens := s.signup("ann@example.com")
	const claimed = "0af7651916cd43dd8448eb211c80319c"
	ann.device("marker-name")
	ann.do("GET", "/devices?q=marker-query", nil, 200, "Traceparent", "00-"+claimed+"-b7ad6b7169203331-01", "X-Request-ID", "request-1")
	var export struct {
		ID string `json:"id"`
	}
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv", "range": "24h"}, 202).Into(t, &export)
	ann.do("GET", "/devices/marker-id", nil, 404)

	list := r.await(t, "list of devices", func(span *spans.Span) bool { return attributeOf(span, "hearth.request_id") == "request-1" })
	if list.GetName() != "GET /api/v1/devices" || list.GetKind() != spans.Span_SPAN_KIND_SERVER || len(list.GetParentSpanId()) != 0 ||
		attributeOf(list, "http.response.status_code") != "200" {
		t.Errorf("the span of the list is %v", list)
	}
	if hex.EncodeToString(list.GetTraceId()) == claimed {
		t.Error("a client chose the id of a trace")
	}
	if len(list.GetLinks()) != 1 || hex.EncodeToString(list.GetLinks()[0].GetTraceId()) != claimed {
		t.Errorf("the span links to %v, want what the client sent", list.GetLinks())
	}
	order := r.await(t, "order of an export", func(span *spans.Span) bool { return span.GetName() == "POST /api/v1/exports" })
	store := r.await(t, "operation of the store", func(span *spans.Span) bool { return span.GetName() == "store CreateExport" })
	if !bytes.Equal(store.GetParentSpanId(), order.GetSpanId()) || !bytes.Equal(store.GetTraceId(), order.GetTraceId()) {
		t.Errorf("the operation is not below its request: %v", store)
	}
	if store.GetStartTimeUnixNano() < order.GetStartTimeUnixNano() || store.GetEndTimeUnixNano() > order.GetEndTimeUnixNano() {
		t.Error("the operation is not within the time of its request")
	}
	job := r.await(t, "run of the job", func(span *spans.Span) bool { return span.GetName() == "job export.run" })
	if len(job.GetLinks()) != 1 || !bytes.Equal(job.GetLinks()[0].GetTraceId(), order.GetTraceId()) ||
		!bytes.Equal(job.GetLinks()[0].GetSpanId(), order.GetSpanId()) || bytes.Equal(job.GetTraceId(), order.GetTraceId()) {
		t.Errorf("the job links to %v, want the request %x", job.GetLinks(), order.GetSpanId())
	}
	r.await(t, "operation of the job", func(span *spans.Span) bool {
		return strings.HasPrefix(span.GetName(), "store ") && bytes.Equal(span.GetParentSpanId(), job.GetSpanId())
	})
	missing := r.await(t, "refusal", func(span *spans.Span) bool { return span.GetName() == "GET /api/v1/devices/{id}" })
	if attributeOf(missing, "error.type") != "not_found" {
		t.Errorf("the refusal is %v", missing)
	}

	var line struct {
		TraceID string `json:"trace_id"`
		SpanID  string `json:"span_id"`
	}
	for text := range strings.Lines(s.log.String()) {
		if strings.Contains(text, `"request-1"`) && strings.Contains(text, `"msg":"request"`) {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if line.TraceID != hex.EncodeToString(list.GetTraceId()) || line.SpanID != hex.EncodeToString(list.GetSpanId()) {
		t.Errorf("the log says %+v", line)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.auth != "Basic d2F0Y2hlcjpvdGxwLXNlY3JldA==" {
		t.Errorf("the receiver was told %q", r.auth)
	}
	for _, secret := range []string{password, "ann@example.com", "marker", tokens.AccessToken, tokens.RefreshToken, "otlp-secret", "127.0.0.1"} {
		if bytes.Contains(r.raw, []byte(secret)) {
			t.Errorf("the traces hold %q", secret)
		}
	}
}

// A receiver that is not there costs a line in the log and nothing else.
func TestNobodyWaitsForTraces(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_OTLP_ENDPOINT=http://"+testserver.FreeAddr(t), "HEARTH_OTLP_RATIO=1")
	ann, _ := s.signup("ann@example.com")
	ann.device("kitchen")
	s.stop()
	if !strings.Contains(s.log.String(), "traces could not be sent") {
		t.Error("nobody is told that traces are lost")
	}
}
