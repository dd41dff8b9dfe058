package hearth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is a refusal by the server.
type Error struct {
	// Status is the HTTP status, Code what went wrong, for programs: one of the ErrorCode… constants; "" if a proxy answered.
	Status int
	Code   ErrorCode
	// Detail describes it, for display.
	Detail string
	// RequestID names the request in the server's log.
	RequestID string
	// Limit is the rate limit that was hit, on ErrorCodeRateLimited.
	Limit string
	// Fields names each wrong part of the request, on ErrorCodeValidationFailed.
	Fields []ProblemField
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration
}

// Error returns the status, the code, the detail and the fields.
func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "hearth: %d %s: %s", e.Status, e.Code, e.Detail)
	for _, field := range e.Fields {
		fmt.Fprintf(&text, "; %s: %s", field.Location, field.Message)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&text, " (request %s)", e.RequestID)
	}
	return text.String()
}

// CodeOf returns the code of the *Error in err, "" if there is none.
func CodeOf(err error) ErrorCode {
	var refused *Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// maxProblem bounds what is read of a failed answer, in bytes.
const maxProblem = 64 << 10

// errorOf reads a failed answer and closes it.
func errorOf(response *http.Response) *Error {
	defer func() { _ = response.Body.Close() }()
	refused := &Error{Status: response.StatusCode, RequestID: response.Header.Get("X-Request-ID"), Detail: http.StatusText(response.StatusCode)}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refused.RetryAfter = time.Duration(min(seconds, 1<<30)) * time.Second
	}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") {
		return refused
	}
	var problem struct {
		Code   ErrorCode      `json:"code"`
		Detail string         `json:"detail"`
		Limit  string         `json:"limit"`
		Errors []ProblemField `json:"errors"`
	}
	// An answer that is cut off says by its status what it can.
	if json.NewDecoder(io.LimitReader(response.Body, maxProblem)).Decode(&problem) == nil {
		refused.Code, refused.Detail, refused.Limit, refused.Fields = problem.Code, problem.Detail, problem.Limit, problem.Errors
	}
	return refused
}
