// Package resttest asks an HTTP handler what tests ask.
package resttest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hearth"
)

// Tokens is an Authenticator of fixed callers.
type Tokens map[string]hearth.Caller

// Authenticate implements rest.Authenticator.
func (t Tokens) Authenticate(_ context.Context, token string) (hearth.Caller, error) {
	if caller, ok := t[token]; ok {
		return caller, nil
	}
	return hearth.Caller{}, hearth.Errorf(hearth.CodeUnauthenticated, "the token is not valid")
}

// Call is one request of a test; ip is the peer, with its port.
type Call struct {
	Method, Path, Token, Body, IP string
	Header                        map[string]string
}

// Do asks the handler.
func (c Call) Do(t testing.TB, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), c.Method, c.Path, strings.NewReader(c.Body))
	if c.Body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if c.IP != "" {
		r.RemoteAddr = c.IP
	}
	for name, value := range c.Header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Field is a wrong part of a request.
type Field struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// Problem is the failure that an answer tells of.
type Problem struct {
	Status    int         `json:"status"`
	Code      hearth.Code `json:"code"`
	Limit     string      `json:"limit"`
	RequestID string      `json:"request_id"`
	Errors    []Field     `json:"errors"`
}

// ProblemIn returns the problem in an answer.
func ProblemIn(t testing.TB, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return p
}
