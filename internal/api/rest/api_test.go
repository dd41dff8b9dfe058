package rest

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/api/resttest"
)

type thing struct {
	Name string           `json:"name" minLength:"1"`
	Note Optional[string] `json:"note,omitempty"`
}

func newTestAPI(t *testing.T) *Router {
	t.Helper()
	a := newRouter(t, Options{
		Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "root": {UserID: "2", Role: hearth.RoleAdmin}}, Devices: resttest.Tokens{"hd_x": {DeviceID: "9"}}, AllowedOrigins: []string{"https://app.example"}, BodyLimit: 1000,
	})
	type input struct {
		ID   string `path:"id"`
		Body thing
	}
	type output struct {
		ETag string `header:"ETag"`
		Body thing
	}
	echo := func(_ context.Context, in *input) (*output, error) {
		if in.ID == "gone" {
			return nil, hearth.NotFound("thing")
		}
		if in.ID == "broken" {
			panic("a bug with a secret")
		}
		return &output{Body: in.Body}, nil
	}
	Register(a, Operation{ID: "put-thing", Method: "PUT", Path: "/things/{id}", Tag: "Things", Access: ForUsers, Key: ClosedToKeys}, echo)
	Register(a, Operation{ID: "get-thing", Method: "GET", Path: "/things/{id}", Tag: "Things", Access: ForDevices, Key: ClosedToKeys, ETag: true},
		func(_ context.Context, in *struct {
			ID string `path:"id"`
		}) (*output, error) {
			return &output{ETag: "7", Body: thing{Name: in.ID}}, nil
		})
	Register(a, Operation{ID: "admin-thing", Method: "DELETE", Path: "/things/{id}", Tag: "Things", Access: ForAdmins, Key: ClosedToKeys, Status: 204},
		func(context.Context, *struct {
			ID string `path:"id"`
		}) (*struct{}, error) {
			return nil, nil
		})
	return a
}

func TestRequestsAreAnsweredByTheContract(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	tests := []struct {
		name, method, path, token, body string
		header                          map[string]string
		status                          int
		code                            hearth.Code
		contains                        string
	}{
		{name: "a valid body", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `{"name":"x"}`, status: 200},
		{name: "null for an optional field", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `{"name":"x","note":null}`, status: 200},
		{name: "no token", method: "PUT", path: "/api/v1/things/1", body: `{"name":"x"}`, status: 401, code: hearth.CodeUnauthenticated},
		{name: "a bad token", method: "PUT", path: "/api/v1/things/1", token: "bob", body: `{"name":"x"}`, status: 401, code: hearth.CodeUnauthenticated},
		{name: "a device where users act", method: "PUT", path: "/api/v1/things/1", token: "hd_x", body: `{"name":"x"}`, status: 403, code: hearth.CodeForbidden},
		{name: "a user where admins act", method: "DELETE", path: "/api/v1/things/1", token: "ann", status: 403, code: hearth.CodeForbidden},
		{name: "an admin", method: "DELETE", path: "/api/v1/things/1", token: "root", status: 204},
		{name: "an unknown field", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `{"name":"x","hue":1}`, status: 422, code: hearth.CodeValidationFailed, contains: "body.hue"},
		{name: "a wrong value is not repeated", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `{"name":123456}`, status: 422, code: hearth.CodeValidationFailed, contains: "body.name"},
		{name: "broken JSON", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `{"name":`, status: 400, code: hearth.CodeMalformedBody},
		{name: "no body", method: "PUT", path: "/api/v1/things/1", token: "ann", status: 400, code: hearth.CodeMalformedBody},
		{name: "another content type", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `<x/>`, header: map[string]string{"Content-Type": "text/xml"}, status: 415, code: hearth.CodeUnsupportedMediaType},
		{name: "a body over the limit", method: "PUT", path: "/api/v1/things/1", token: "ann", body: `{"name":"` + strings.Repeat("x", 1000) + `"}`, status: 413, code: hearth.CodePayloadTooLarge},
		{name: "an error of the handler", method: "PUT", path: "/api/v1/things/gone", token: "ann", body: `{"name":"x"}`, status: 404, code: hearth.CodeNotFound},
		{name: "a panic", method: "PUT", path: "/api/v1/things/broken", token: "ann", body: `{"name":"x"}`, status: 500, code: hearth.CodeInternal},
		{name: "an unknown path", method: "GET", path: "/api/v1/nothing", status: 404, code: hearth.CodeNotFound},
		{name: "a path with dots", method: "GET", path: "/api/v1/x/../things/1", token: "ann", status: 404, code: hearth.CodeNotFound},
		{name: "an undocumented method", method: "POST", path: "/api/v1/things/1", token: "ann", status: 405, code: hearth.CodeMethodNotAllowed},
		{name: "a known tag", method: "GET", path: "/api/v1/things/1", token: "hd_x", header: map[string]string{"If-None-Match": "*"}, status: 304},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			if tt.body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			if tt.token != "" {
				r.Header.Set("Authorization", "Bearer "+tt.token)
			}
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if w.Header().Get("X-Request-ID") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers are missing: %v", w.Header())
			}
			if tt.code == "" {
				return
			}
			var p Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if p.Code != tt.code || p.Status != tt.status || p.RequestID != w.Header().Get("X-Request-ID") {
				t.Errorf("problem %+v", p)
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("content type %q", ct)
			}
			if !strings.Contains(w.Body.String(), tt.contains) || strings.Contains(w.Body.String(), "123456") || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("body %s", w.Body)
			}
		})
	}
}

func TestAnOperationDeclaresWhoMayCallIt(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]Operation{
		"no access":              {Key: hearth.KeyDevicesRead},
		"no scope for users":     {Access: ForUsers},
		"no scope for devices":   {Access: ForDevices},
		"no scope for admins":    {Access: ForAdmins},
		"an unknown scope":       {Access: ForUsers, Key: "devices"},
		"an unknown one for all": {Access: ForAnyone, Key: "devices"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newTestAPI(t)
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, "GET /api/v1/undeclared must declare") {
					t.Errorf("the registration panics with %q", p)
				}
			}()
			op.ID, op.Method, op.Path, op.Tag = "undeclared", "GET", "/undeclared", "Test"
			Register(a, op, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		})
	}
}

func TestAnEntityTagKeepsTheVersionInFront(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	r := httptest.NewRequest("GET", "/api/v1/things/1", nil)
	r.Header.Set("Authorization", "Bearer ann")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if tag := w.Header().Get("ETag"); !hasVersion(tag, "7") {
		t.Errorf("tag %s", tag)
	}
}

func TestIfMatchIsReadStrictly(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"": true, "*": true, `"3"`: true, `"3-00ff"`: true, `W/"3-00ff"`: true, `"2-00ff", "3-00ff"`: true, `"2-0" ,W/"3-0"`: true,
		`"x"`: false, `3`: false, `"`: false, `"0"`: false, `"3x"`: false, `"99999999999999999999"`: false, `"2-3"`: false, `"2","4"`: false,
	} {
		if err := CheckVersion(header, 3); (err == nil) != want {
			t.Errorf("%s: %v, want a match: %t", header, err, want)
		}
	}
}

func TestOriginsOfTheListMayCall(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": ""} {
		r := httptest.NewRequest("OPTIONS", "/api/v1/things/1", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "GET")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: %q, want %q", origin, got, want)
		}
	}
}

func TestTheDocumentNamesEveryCode(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	doc, err := a.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"validation_failed"`, `"payload_too_large"`, `"token_revoked"`, `"Problem"`, `/api/v1/things/{id}`} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("%s is missing", want)
		}
	}
}
