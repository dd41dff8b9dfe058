package rest

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth"
	"hearth/internal/newid"
	"hearth/internal/observe"
)

// Request is what is known of a request: filled in on its way, logged and counted at its end.
type Request struct {
	// ID is the X-Request-ID; Method and Route are the operation, Route being the path's pattern, "" if none matched.
	ID     string
	Method string
	Route  string
	Caller hearth.Caller
	// Stream is set where the answer lasts as long as the client stays.
	Stream bool
	// Status, Bytes and Duration are of the answer.
	Status   int
	Bytes    int64
	Duration time.Duration
	// Waited is how long it waited for something to happen, as it asked for; Duration is without it.
	Waited time.Duration
	// Code is the problem's, if the answer is one; Err is what lies behind a 5xx.
	Code hearth.Code
	Err  error
	// Gone is set where the request could not be answered because its client had gone: no failure of the server's.
	Gone bool

	// header is the answer's. limited is set once a rate limit was counted; remaining is what is left of the tightest one.
	header    http.Header
	limited   bool
	remaining int
	// traced ends the request's trace; nil where it is not traced.
	traced func(observe.Exchange)
	// ifMatch are the entity tags of the If-Match of a change, "" if it demands nothing.
	ifMatch string
	// keyed is set where the request came with an Idempotency-Key.
	keyed *keyedRequest
}

// requestContext is the context of a request, with all that is known of it: one value, as every request pays for it.
type requestContext struct {
	context.Context
	request Request
	answer  answerWriter
	// id is the request's, as a header of the answer.
	id [1]string
}

type requestKey struct{}

// Value implements context.Context.
func (c *requestContext) Value(key any) any {
	switch key.(type) {
	case requestKey:
		return &c.request
	case observe.RequestIDKey:
		return &c.request.ID
	}
	return c.Context.Value(key)
}

// RequestOf returns the request's record; outside a request, an empty one.
func RequestOf(ctx context.Context) *Request {
	if info, ok := ctx.Value(requestKey{}).(*Request); ok {
		return info
	}
	return &Request{}
}

// CallerOf returns who makes the request.
func CallerOf(ctx context.Context) hearth.Caller { return RequestOf(ctx).Caller }

// requestIDHeader is X-Request-ID as net/http spells it: in any other spelling each look for it costs an allocation.
const requestIDHeader = "X-Request-Id"

const (
	maxRequestID = 128
	// maxURI bounds path and query, in bytes, and maxUserAgent what is kept of a User-Agent.
	maxURI       = 8 << 10
	maxParams    = 200 // in the query
	maxUserAgent = 512
)

// userAgent returns the client's User-Agent as text, cut to what is kept.
func userAgent(r *http.Request) string {
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent]
	}
	if isText(agent) {
		return agent
	}
	return Printable(strings.ToValidUTF8(agent, "?"))
}

// isText reports whether s is UTF-8 without NUL.
func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// checkQuery refuses (CodeValidationFailed) a query that two readers could read in two ways, names or values that are no text, and more than
// maxParams of them.
func checkQuery(raw string) error {
	if strings.Count(raw, "&") >= maxParams {
		return hearth.Invalid(hearth.FieldError{Location: "query", Message: "has more than " + strconv.Itoa(maxParams) + " parameters"})
	}
	plain := true
	for i := 0; i < len(raw) && plain; i++ {
		plain = raw[i] != '%' && raw[i] != ';' && raw[i] < utf8.RuneSelf
	}
	if plain {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return hearth.Invalid(hearth.FieldError{Location: "query", Message: "is not a query string"})
	}
	for name, list := range values {
		for _, value := range list {
			if !isText(name) || !isText(value) {
				return hearth.Invalid(hearth.FieldError{
					Location: "query." + Printable(strings.ToValidUTF8(name, "?")), Message: "must be UTF-8 without the character U+0000",
				})
			}
		}
	}
	return nil
}

// requestID returns the caller's own id if it is 1 to 128 visible ASCII characters without quotes, else a new one.
func requestID(r *http.Request) string {
	id := ""
	if values := r.Header[requestIDHeader]; len(values) > 0 {
		id = values[0]
	}
	if len(id) == 0 || len(id) > maxRequestID {
		return newid.New()
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return newid.New()
		}
	}
	return id
}
