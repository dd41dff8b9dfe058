package admin

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
)

// registerHealth serves the state of the process and of what it depends on.
func (a *administration) registerHealth() {
	h := a.Health
	if h == nil {
		return
	}
	text := &huma.Schema{Type: huma.TypeString}
	status := map[string]*huma.Schema{"status": text}
	readiness := map[string]*huma.Schema{"status": text, "missing": {Type: huma.TypeArray, Items: text}}
	report := map[string]*huma.Schema{
		"status": text, "version": text, "uptime_seconds": {Type: huma.TypeInteger, Format: "int64"},
		"dependencies": {Type: huma.TypeObject, AdditionalProperties: objectSchema(map[string]*huma.Schema{
			"state": text, "latency_ms": {Type: huma.TypeNumber}, "required": {Type: huma.TypeBoolean},
		})},
	}
	notReady := maps.Clone(report)
	maps.Copy(notReady, readiness)
	a.Document().Components.Responses["NotReady"] = &huma.Response{
		Description: "Service Unavailable: what is required is missing, or the server stops.",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, Properties: notReady, Required: []string{"status"}}}},
	}
	a.serveHealth(rest.Operation{ID: "get-liveness", Path: "/health/live", Summary: "Ask whether the process is up", Description: "200 as long as it answers."},
		h.ServeLive, status, false)
	a.serveHealth(rest.Operation{
		ID: "get-readiness", Path: "/health/ready", Summary: "Ask whether requests are accepted",
		Description: "503 names what is missing; during a stop the status is `draining`.",
	}, h.ServeReady, readiness, true)
	a.serveHealth(rest.Operation{
		ID: "get-health", Path: "/health", Summary: "Get the state of what the process depends on", Description: "503 where something that is required is missing.",
	}, h.ServeReport, report, true)
}

// serveHealth adds an operation whose handler writes an answer of these properties with 200, and where it may not be ready with 503.
func (a *administration) serveHealth(op rest.Operation, handler http.HandlerFunc, properties map[string]*huma.Schema, mayBeUnready bool) {
	op.Method, op.Root, op.Access, op.Plain, op.Tag = http.MethodGet, true, rest.ForAnyone, true, tagAdministration
	op.Codes = []hearth.Code{hearth.CodeValidationFailed}
	rest.RegisterRaw(a.Router, op, func(doc *huma.Operation) {
		doc.Responses[strconv.Itoa(http.StatusOK)] = &huma.Response{
			Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{"application/json": {Schema: objectSchema(properties)}},
		}
		if mayBeUnready {
			doc.Responses[strconv.Itoa(http.StatusServiceUnavailable)] = &huma.Response{Ref: "#/components/responses/NotReady"}
		}
	}, func(w http.ResponseWriter, r *http.Request) error {
		handler(w, r)
		return nil
	})
}

// objectSchema returns the schema of an object that has all of these.
func objectSchema(properties map[string]*huma.Schema) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Properties: properties, Required: slices.Sorted(maps.Keys(properties))}
}
