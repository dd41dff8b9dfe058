package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"hearth"
)

// Request is what is known of a request: filled in on its way, logged and counted at its end.
type Request struct {
	// ID is the X-Request-ID; Method and Route are the operation, Route being the path's pattern, "" if none matched.
	ID     string
	Method string
	Route  string
	Caller hearth.Caller
	// Stream tells that the answer goes on for as long as the client stays.
	Stream bool
	// Status, Bytes and Duration are of the answer.
	Status   int
	Bytes    int64
	Duration time.Duration
	// Code is the problem's, if the answer is one; Err is what lies behind a 5xx.
	Code hearth.Code
	Err  error
}

type requestKey struct{}

// requestOf gives the request's record; outside a request, an empty one.
func requestOf(ctx context.Context) *Request {
	if info, ok := ctx.Value(requestKey{}).(*Request); ok {
		return info
	}
	return &Request{}
}

// callerOf gives who makes the request.
func callerOf(ctx context.Context) hearth.Caller { return requestOf(ctx).Caller }

const maxRequestID = 128

// requestID gives the caller's own id if it is 1 to 128 visible ASCII characters without quotes, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-ID")
	if len(id) == 0 || len(id) > maxRequestID {
		return newID()
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return newID()
		}
	}
	return id
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic("api: the system has no randomness: " + err.Error())
	}
	return id.String()
}
