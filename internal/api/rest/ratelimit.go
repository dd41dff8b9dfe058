package rest

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// CountByBody counts a call by what its body names, and refuses it with CodeRateLimited. failed, if it is not nil, is called with the error of a
// call that was let through and failed, before its answer is written. text returns the member of the body with that name, which may break its
// schema; "" if there is none or it is no string.
type CountByBody func(ctx context.Context, text func(name string) string) (failed func(error), err error)

// Limiter bounds how often a key may call, by class. An error means that the count is unknown: the call is allowed, so
// that a failing Redis never refuses a request.
type Limiter interface {
	Allow(ctx context.Context, class, key string, n int) (Decision, error)
}

// Decision is a limiter's answer.
type Decision struct {
	Allowed bool
	// Limit is the most calls at one moment; 0: the class has no limit.
	Limit int
	// Remaining is how many calls are left now; ResetAfter is when all are there again.
	Remaining  int
	ResetAfter time.Duration
	// RetryAfter is when a refused call is allowed.
	RetryAfter time.Duration
}

// The classes of limits, as HEARTH_RATE_LIMITS names them.
const (
	ClassAuth      = "auth"
	ClassGeneral   = "general"
	ClassDevices   = "devices"
	ClassAnalytics = "analytics"
	ClassExports   = "exports"
	classDevice    = "device"
	ClassStreams   = "streams"
	ClassRefresh   = "refresh"
	ClassProvision = "provision"
	// ClassClaims is always on; HEARTH_RATE_LIMITS does not name it.
	ClassClaims = "claims"
)

// limit counts the call and refuses it with CodeRateLimited when it is one too many. A device's calls count by device,
// those of the class auth and provisioning by address (and by key), a user's by user, all others by address.
func (rt *Router) limit(ctx context.Context, op Operation) error {
	info := RequestOf(ctx)
	class, key := op.Class, info.Caller.Key()
	switch {
	case info.Caller.IsDevice():
		class = classDevice
	case class == ClassAuth, class == ClassProvision, key == "":
		key = AddressKey(info.Caller)
	}
	return rt.Take(ctx, class, key)
}

// limitByBody returns what counts a call by what its body names; nil if nothing does.
func (rt *Router) limitByBody(op Operation) CountByBody {
	switch {
	case rt.options.Limiter == nil:
		return nil
	case op.CountByBody != nil:
		return op.CountByBody
	case op.Class == ClassAuth && op.Access != ForAnyone:
		return func(ctx context.Context, _ func(string) string) (func(error), error) {
			return nil, rt.Take(ctx, ClassAuth, CallerOf(ctx).Key())
		}
	}
	return nil
}

// limitUnread counts by address what was refused before its body could be counted by what it names.
func (rt *Router) limitUnread(op Operation, serve func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := serve(w, r)
		if info := RequestOf(r.Context()); err != nil && !info.limited {
			if refusal := rt.Take(r.Context(), op.Class, AddressKey(info.Caller)); refusal != nil {
				return refusal
			}
		}
		return err
	}
}

// Take counts one call and shows the limit in the answer's headers: of several limits, the one that has the least left.
func (rt *Router) Take(ctx context.Context, class, key string) error {
	return rt.Count(ctx, class, key, 1)
}

// Count counts n calls as take does; 0 only asks whether there is one left.
func (rt *Router) Count(ctx context.Context, class, key string, n int) error {
	limiter := rt.options.Limiter
	if class == ClassClaims {
		limiter = rt.options.ClaimLimiter
	}
	if limiter == nil {
		return nil
	}
	d, err := limiter.Allow(ctx, class, key, n)
	if err != nil || d.Limit == 0 {
		return nil //nolint:nilerr // see Limiter
	}
	info := RequestOf(ctx)
	if !info.limited || d.Remaining < info.remaining || !d.Allowed {
		info.limited, info.remaining = true, d.Remaining
		// One allocation for the three, on the way of every request; the names are in net/http's spelling.
		values := []string{strconv.Itoa(d.Limit), strconv.Itoa(d.Remaining), strconv.FormatInt(seconds(d.ResetAfter), 10)}
		info.header["Ratelimit-Limit"] = values[0:1:1]
		info.header["Ratelimit-Remaining"] = values[1:2:2]
		info.header["Ratelimit-Reset"] = values[2:3:3]
	}
	if d.Allowed {
		return nil
	}
	return &hearth.Error{
		Code: hearth.CodeRateLimited, Message: "too many requests: the limit " + class + " is " + strconv.Itoa(d.Limit),
		RetryAfter: time.Duration(max(1, seconds(d.RetryAfter))) * time.Second, Limit: class,
	}
}

// seconds returns whole seconds, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// AddressKey names the caller's address for limits.
func AddressKey(caller hearth.Caller) string { return "ip:" + caller.Network() }

// limitHeaders are the headers of the answers of limited operations.
func limitHeaders() map[string]*huma.Param {
	headers := map[string]*huma.Param{}
	for name, description := range map[string]string{
		"RateLimit-Limit":     "The most requests at one moment.",
		"RateLimit-Remaining": "How many requests are left now.",
		"RateLimit-Reset":     "Seconds until all are there again.",
	} {
		headers[name] = &huma.Param{Description: description, Schema: &huma.Schema{Type: huma.TypeInteger}}
	}
	return headers
}

// documentLimits adds the headers of a limited operation to all its answers.
func (rt *Router) documentLimits(doc *huma.Operation) {
	for _, response := range doc.Responses {
		if response.Ref != "" {
			continue
		}
		if response.Headers == nil {
			response.Headers = map[string]*huma.Param{}
		}
		maps.Copy(response.Headers, rt.limitHeaders)
	}
}
