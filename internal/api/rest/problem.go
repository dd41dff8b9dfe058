package rest

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"hearth"
)

// Problem is the body of every failure: RFC 9457, with a stable code.
type Problem struct {
	Type      string         `json:"type" doc:"A URN of the code." example:"urn:hearth:error:not_found"`
	Title     string         `json:"title" doc:"The status in words." example:"Not Found"`
	Status    int            `json:"status" doc:"The HTTP status." example:"404"`
	Detail    string         `json:"detail" doc:"What went wrong here, for display." example:"there is no such device"`
	Code      hearth.Code    `json:"code" doc:"What went wrong, for programs; never changes its meaning." example:"not_found"`
	RequestID string         `json:"request_id" doc:"The request's X-Request-ID, as in the logs." example:"0192c3a4-7e1b-7c44-9f6e-1a2b3c4d5e6f"`
	Limit     string         `json:"limit,omitempty" doc:"On rate_limited and quota_exceeded: what was hit." example:"devices"`
	Errors    []ProblemField `json:"errors,omitempty" doc:"On validation_failed: each wrong part of the input."`

	err error
}

// ProblemField is one wrong part of an input. The value is never repeated.
type ProblemField struct {
	Location string `json:"location" doc:"A path such as body.items[3].name or query.limit." example:"body.name"`
	Message  string `json:"message" doc:"What is wrong with it." example:"must not be empty"`
}

// statuses returns each code its HTTP status.
var statuses = map[hearth.Code]int{
	hearth.CodeMalformedBody:        http.StatusBadRequest,
	hearth.CodeUnauthenticated:      http.StatusUnauthorized,
	hearth.CodeTokenExpired:         http.StatusUnauthorized,
	hearth.CodeTokenRevoked:         http.StatusUnauthorized,
	hearth.CodeRefreshReused:        http.StatusUnauthorized,
	hearth.CodeInvalidCredentials:   http.StatusUnauthorized,
	hearth.CodeForbidden:            http.StatusForbidden,
	hearth.CodeNotFound:             http.StatusNotFound,
	hearth.CodeMethodNotAllowed:     http.StatusMethodNotAllowed,
	hearth.CodeConflict:             http.StatusConflict,
	hearth.CodeEmailTaken:           http.StatusConflict,
	hearth.CodeIdempotencyMismatch:  http.StatusConflict,
	hearth.CodeVersionMismatch:      http.StatusPreconditionFailed,
	hearth.CodePayloadTooLarge:      http.StatusRequestEntityTooLarge,
	hearth.CodeURITooLong:           http.StatusRequestURITooLong,
	hearth.CodeUnsupportedMediaType: http.StatusUnsupportedMediaType,
	hearth.CodeRangeNotSatisfiable:  http.StatusRequestedRangeNotSatisfiable,
	hearth.CodeValidationFailed:     http.StatusUnprocessableEntity,
	hearth.CodeAccountLocked:        http.StatusTooManyRequests,
	hearth.CodeRateLimited:          http.StatusTooManyRequests,
	hearth.CodeInternal:             http.StatusInternalServerError,
	hearth.CodeUnavailable:          http.StatusServiceUnavailable,
	hearth.CodeStorageFull:          http.StatusInsufficientStorage,
	hearth.CodeQuotaExceeded:        http.StatusTooManyRequests,
}

// problemOf turns any error into what the client sees. What is not one of ours becomes internal, and says nothing.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	e, ok := errors.AsType[*hearth.Error](err)
	switch {
	case ok:
	case isTooLarge(err):
		e = hearth.Errorf(hearth.CodePayloadTooLarge, "the body is larger than is allowed here")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e = &hearth.Error{Code: hearth.CodeUnavailable, Message: "the request took too long", RetryAfter: 1e9}
	default:
		e = hearth.Errorf(hearth.CodeInternal, "something went wrong on our side")
	}
	status := statuses[e.Code]
	p := &Problem{
		Type: "urn:hearth:error:" + string(e.Code), Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code,
		Limit: e.Limit, err: err,
	}
	for _, f := range e.Fields[:min(len(e.Fields), mostFields)] {
		p.Errors = append(p.Errors, ProblemField{Location: cutPlace(f.Location), Message: f.Message})
	}
	return p
}

// maxPlace bounds the place of a wrong part, in bytes: it may hold names that the client chose.
const maxPlace = 512

func cutPlace(place string) string {
	if len(place) <= maxPlace {
		return place
	}
	return strings.ToValidUTF8(place[:maxPlace], "") + "…"
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*http.MaxBytesError](err)
	return ok
}

// Error returns the code and the detail.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// Unwrap returns the error behind the problem.
func (p *Problem) Unwrap() error { return p.err }

// GetStatus returns the HTTP status, for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma label a problem as one.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// writeError answers with the problem of err. It is the one place where an error becomes a response and a log entry.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	info := RequestOf(r.Context())
	p := *problemOf(err)
	p.RequestID = info.ID
	info.Code = p.Code
	if p.Status >= http.StatusInternalServerError {
		info.Err = err
		info.Gone = r.Context().Err() != nil
	}
	header := w.Header()
	if e, ok := errors.AsType[*hearth.Error](err); ok && e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(e.RetryAfter.Seconds())))))
	} else if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || p.Status == http.StatusInsufficientStorage {
		header.Set("Retry-After", "1")
	}
	if p.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="hearth"`)
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		// Otherwise the server waits for the rest of the body, which may never come, before it answers.
		header.Set("Connection", "close")
	}
	header.Del("ETag")
	header.Del("Content-Encoding")
	header.Del("Content-Length")
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	body, err := json.Marshal(&p)
	if err != nil {
		panic("rest: a problem always encodes: " + err.Error())
	}
	w.WriteHeader(p.Status)
	// A client that has gone needs no answer.
	_, _ = w.Write(append(body, '\n'))
}
