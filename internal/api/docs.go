package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"

	"hearth"
	"hearth/internal/api/docspage"
)

// beStrict sets, once for the process, that {"Name": …} is not {"name": …}: otherwise one body could hold both, and two readers take
// different ones.
var beStrict = sync.OnceFunc(func() { huma.ValidateStrictCasing = true })

// newDocument returns the OpenAPI document without its operations.
func (a *API) newDocument() *huma.OpenAPI {
	beStrict()
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "hearth",
			Version: a.options.Version,
			Description: "A self-hosted backend for smart devices. Times are RFC 3339, UTC, milliseconds; ids are UUIDv7; failures are " +
				"RFC 9457 problems with a stable `code`; every answer carries `X-Request-ID`, every answer of a limited operation " +
				"`RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.",
			Contact: &huma.Contact{Name: "hearth"},
		},
		Servers: []*huma.Server{{URL: "/"}},
		Tags: []*huma.Tag{
			{Name: "Accounts", Description: "Sign-up and login, tokens, sessions, passwords, users."},
			{Name: "Organizations", Description: "Users who share devices, their roles, invitations."},
			{Name: "Devices", Description: "Devices, their tokens and their heartbeats."},
			{Name: "Provisioning", Description: "How devices make themselves, and change hands."},
			{Name: "Twins", Description: "What devices should be, and what they say they are."},
			{Name: "Commands", Description: "What devices are told to do, and what became of it."},
			{Name: "Alarms", Description: "Rules about what devices report, and the alarms that they raise."},
			{Name: "Logs", Description: "What devices report."},
			{Name: "Analytics", Description: "Figures computed from logs."},
			{Name: "Realtime", Description: "Events as they happen."},
			{Name: "Exports", Description: "Logs and reports as files."},
			{Name: "Notifications", Description: "Notifications of a user, and their settings."},
			{Name: "Webhooks", Description: "URLs that are sent events, and what became of it."},
			{Name: "Integrations", Description: "Connections to brokers that run already. For admins of the installation."},
			{Name: "Administration", Description: "For admins of the installation."},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Headers: map[string]*huma.Param{
				"ETag": {Description: "The entity tag, for If-None-Match and If-Match.", Schema: &huma.Schema{Type: huma.TypeString}},
			},
			Responses: map[string]*huma.Response{
				"NotModified": {Description: "The client has the answer: If-None-Match or If-Modified-Since hold."},
			},
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"user":   {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "An access token of POST /auth/login."},
				"device": {Type: "http", Scheme: "bearer", Description: "A device token (hd_…) of POST /devices/{id}/tokens."},
				"key":    {Type: "http", Scheme: "bearer", Description: "An API key (hk_…) of POST /users/me/api-keys with the scope that the operation names."},
			},
		},
	}
}

func writeJSON(w io.Writer, v any) error {
	if appender, ok := v.(jsonAppender); ok {
		buffer := takeBuffer()
		defer buffer.release()
		body, err := appender.appendJSON(buffer.AvailableBuffer())
		if err == nil {
			buffer.Write(append(body, '\n'))
			_, err = w.Write(buffer.Bytes())
		}
		return err
	}
	return newEncoder(w).Encode(v)
}

func newEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}

// readJSON reads a body that checkJSON and the schema have passed. What still does not fit is named without its value,
// which the library's texts would repeat.
func readJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	fault := &huma.ErrorDetail{Location: "body", Message: "is not of the documented form"}
	if ours, ok := errors.AsType[*hearth.Error](err); ok {
		fault.Message = ours.Message
	} else if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && mismatch.Field != "" {
		fault.Location += "." + printable(mismatch.Field)
		fault.Message = "is of another type, or out of range"
	}
	return fault
}

// registerDocs serves the OpenAPI document and the page made of it. They are made on the first request: most starts of the
// program do not need them.
func (a *API) registerDocs() {
	serve := func(path, contentType, policy string, write func() ([]byte, error)) {
		document := sync.OnceValues(write)
		a.route(operation{Method: http.MethodGet, Path: path, Root: true, Access: forAnyone, Static: true}, func(w http.ResponseWriter, _ *http.Request) error {
			body, err := document()
			if err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
			w.Header().Set("Content-Type", contentType)
			if policy != "" {
				w.Header().Set("Content-Security-Policy", policy)
			}
			_, _ = w.Write(body) // the client may have gone
			return nil
		})
	}
	serve("/openapi.json", "application/json", "", a.compactOpenAPI)
	serve("/openapi.yaml", "application/yaml", "", func() ([]byte, error) {
		document, err := a.compactOpenAPI()
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		err = yaml.Convert(&out, bytes.NewReader(document))
		return out.Bytes(), err
	})
	serve("/docs", "text/html; charset=utf-8", docspage.Policy(), func() ([]byte, error) { return docspage.Render(a.openAPI), nil })
}

// compactOpenAPI returns the document without spaces.
func (a *API) compactOpenAPI() ([]byte, error) {
	document, err := a.document()
	if err != nil {
		return nil, err
	}
	return json.Marshal(document)
}

// registerPages serves Options.Pages.
func (a *API) registerPages() {
	for path, page := range a.options.Pages {
		a.route(operation{Method: http.MethodGet, Path: path, Root: true, Access: forAnyone, Static: true}, func(w http.ResponseWriter, r *http.Request) error {
			page.ServeHTTP(w, r)
			return nil
		})
	}
}
