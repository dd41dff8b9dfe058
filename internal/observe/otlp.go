package observe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// spanExporter sends spans by OTLP over HTTP, in protobuf. It is written by hand, since the library's exporter is linked with all
// of gRPC. The numbers of fields are those of opentelemetry/proto/trace/v1/trace.proto.
type spanExporter struct {
	endpoint           string
	user, password     string
	client             *http.Client
	resource, ownScope []byte // encoded once
}

func newSpanExporter(endpoint *url.URL, resource []attribute.KeyValue) *spanExporter {
	at := *endpoint
	e := &spanExporter{client: &http.Client{Timeout: exportTimeout}, ownScope: appendText(nil, 1, tracerName)}
	if at.User != nil {
		e.user = at.User.Username()
		e.password, _ = at.User.Password()
		at.User = nil
	}
	if at.Path == "" || at.Path == "/" {
		at.Path = "/v1/traces"
	}
	e.endpoint, e.resource = at.String(), appendAttributes(nil, 1, resource)
	return e
}

// ExportSpans implements sdktrace.SpanExporter: it sends the spans in one request.
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.endpoint, bytes.NewReader(e.encode(spans)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if e.user != "" || e.password != "" {
		request.SetBasicAuth(e.user, e.password)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the receiver answered %s", response.Status)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter: it closes the idle connections.
func (e *spanExporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

// encode returns an ExportTraceServiceRequest with one resource and one scope.
func (e *spanExporter) encode(spans []sdktrace.ReadOnlySpan) []byte {
	scope := appendMessage(nil, 1, e.ownScope)
	for _, s := range spans {
		scope = appendMessage(scope, 2, encodeSpan(s))
	}
	resourceSpans := appendMessage(appendMessage(nil, 1, e.resource), 2, scope)
	return appendMessage(nil, 1, resourceSpans)
}

func encodeSpan(s sdktrace.ReadOnlySpan) []byte {
	out := appendIDs(nil, s.SpanContext())
	if parent := s.Parent().SpanID(); parent.IsValid() {
		out = appendMessage(out, 4, parent[:])
	}
	out = appendText(out, 5, s.Name())
	out = appendVarint(out, 6, uint64(s.SpanKind())) // the kinds have the same numbers
	out = appendFixed64(out, 7, uint64(s.StartTime().UnixNano()))
	out = appendFixed64(out, 8, uint64(s.EndTime().UnixNano()))
	out = appendAttributes(out, 9, s.Attributes())
	for _, link := range s.Links() {
		out = appendMessage(out, 13, appendAttributes(appendIDs(nil, link.SpanContext), 4, link.Attributes))
	}
	if s.Status().Code == codes.Error {
		out = appendMessage(out, 15, appendVarint(appendText(nil, 2, s.Status().Description), 3, 2))
	}
	return out
}

// appendIDs appends the two ids that a span and a link begin with.
func appendIDs(out []byte, c trace.SpanContext) []byte {
	traceID, spanID := c.TraceID(), c.SpanID()
	return appendMessage(appendMessage(out, 1, traceID[:]), 2, spanID[:])
}

// appendAttributes appends KeyValues of strings and integers, the only types that hearth's attributes have.
func appendAttributes(out []byte, field protowire.Number, attributes []attribute.KeyValue) []byte {
	for _, a := range attributes {
		var value []byte
		if a.Value.Type() == attribute.INT64 {
			value = appendVarint(nil, 3, uint64(a.Value.AsInt64()))
		} else {
			value = appendText(nil, 1, a.Value.String())
		}
		out = appendMessage(out, field, appendMessage(appendText(nil, 1, string(a.Key)), 2, value))
	}
	return out
}

func appendMessage(out []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(out, field, protowire.BytesType), message)
}

func appendText(out []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(out, field, protowire.BytesType), text)
}

func appendVarint(out []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(out, field, protowire.VarintType), n)
}

func appendFixed64(out []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(out, field, protowire.Fixed64Type), n)
}
