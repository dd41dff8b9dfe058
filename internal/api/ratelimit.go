package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

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
	classAuth      = "auth"
	classGeneral   = "general"
	classDevices   = "devices"
	classAnalytics = "analytics"
	classExports   = "exports"
	classDevice    = "device"
	classStreams   = "streams"
	classRefresh   = "refresh"
	classProvision = "provision"
	// classClaims is always on; HEARTH_RATE_LIMITS does not name it.
	classClaims = "claims"
)

const loginPath = "/auth/login"

// classOf returns the class of an operation that names none. What lies outside of the contract's base path has no limit.
func classOf(op operation) string {
	path := op.Path
	switch {
	case op.Root:
		return ""
	case path == loginPath, path == "/auth/signup", strings.HasPrefix(path, "/auth/password"):
		return classAuth
	case path == "/auth/refresh":
		return classRefresh
	case under(path, "/devices"), under(path, "/heartbeats"), under(path, "/logs"):
		return classDevices
	case under(path, "/analytics"):
		return classAnalytics
	case path == "/exports" && op.Method == http.MethodPost:
		return classExports
	case path == "/realtime/ws", path == "/realtime/sse", path == "/mqtt":
		return classStreams
	}
	return classGeneral
}

func under(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// limit counts the call and refuses it with CodeRateLimited when it is one too many. A device's calls count by device,
// those of the class auth and provisioning by address (and by key), a user's by user, all others by address.
func (a *API) limit(ctx context.Context, op operation) error {
	info := requestOf(ctx)
	class, key := op.Class, info.Caller.Key()
	switch {
	case info.Caller.IsDevice():
		class = classDevice
	case class == classAuth, class == classProvision, key == "":
		key = addressKey(info.Caller)
	}
	return a.take(ctx, class, key)
}

// countsByBody reports whether calls of the operation count by what their body names.
func (op operation) countsByBody() bool { return op.Class == classRefresh || op.Path == loginPath }

// limitByBody returns what counts a call by what its body names; nil if nothing does.
func (a *API) limitByBody(op operation) func(context.Context, []byte) error {
	switch {
	case a.options.Limiter == nil:
		return nil
	case op.Class == classRefresh:
		return a.limitSession
	case op.Path == loginPath:
		return a.limitLogin
	case op.Class == classAuth && op.Access != forAnyone:
		return func(ctx context.Context, _ []byte) error { return a.take(ctx, classAuth, callerOf(ctx).Key()) }
	}
	return nil
}

// limitSession counts a call of the class refresh: by the session of the token that the body names, so that users behind one address do
// not spend each other's calls; by address where there is none.
func (a *API) limitSession(ctx context.Context, body []byte) error {
	var named struct {
		Token string `json:"refresh_token"`
	}
	// A body of another shape is refused by its operation, and names no session.
	if err := json.Unmarshal(body, &named); err == nil && named.Token != "" {
		if id, err := a.options.Accounts.RefreshSession(ctx, named.Token); err == nil {
			return a.take(ctx, classRefresh, "session:"+id)
		}
	}
	return a.take(ctx, classRefresh, addressKey(requestOf(ctx).Caller))
}

// limitLogin counts a login by address and account together, and refuses it where too many logins failed from the address or on the
// account. Users who signed in from there before are not kept out by the failures of others.
func (a *API) limitLogin(ctx context.Context, body []byte) error {
	var named struct {
		Email string `json:"email"`
	}
	info := requestOf(ctx)
	if err := json.Unmarshal(body, &named); err != nil || named.Email == "" { // refused by the operation, and of no account
		return a.take(ctx, classAuth, addressKey(info.Caller))
	}
	// The length of a key is bounded, and no address is kept in plain text.
	email, _ := hearth.NormalizeEmail(named.Email)
	sum := sha256.Sum256([]byte(email))
	account := "email:" + hex.EncodeToString(sum[:16])
	if err := a.take(ctx, classAuth, addressKey(info.Caller)+" "+account); err != nil {
		return err
	}
	info.failures = []string{"failed " + addressKey(info.Caller), "failed " + account}
	for _, key := range info.failures {
		refusal := a.count(ctx, classAuth, key, 0)
		if refusal == nil {
			continue
		}
		if a.options.Accounts == nil {
			return refusal
		}
		if familiar, err := a.options.Accounts.SignedInFrom(ctx, info.Caller, email); err != nil || !familiar {
			return refusal
		}
	}
	return nil
}

// countFailure counts a login that failed, before its answer is written.
func (a *API) countFailure(ctx context.Context, err error) {
	if code := hearth.ErrorCode(err); code != hearth.CodeInvalidCredentials && code != hearth.CodeAccountLocked {
		return
	}
	for _, key := range requestOf(ctx).failures {
		_ = a.take(ctx, classAuth, key) // it was one too many only for logins at once, which lockout stops
	}
}

// limitUnread counts by address what was refused before its body could be counted by what it names.
func (a *API) limitUnread(op operation, serve func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := serve(w, r)
		if info := requestOf(r.Context()); err != nil && !info.limited {
			if refusal := a.take(r.Context(), op.Class, addressKey(info.Caller)); refusal != nil {
				return refusal
			}
		}
		return err
	}
}

// take counts one call and shows the limit in the answer's headers: of several limits, the one that has the least left.
func (a *API) take(ctx context.Context, class, key string) error { return a.count(ctx, class, key, 1) }

// count counts n calls as take does; 0 only asks whether there is one left.
func (a *API) count(ctx context.Context, class, key string, n int) error {
	limiter := a.options.Limiter
	if class == classClaims {
		limiter = a.options.ClaimLimiter
	}
	if limiter == nil {
		return nil
	}
	d, err := limiter.Allow(ctx, class, key, n)
	if err != nil || d.Limit == 0 {
		return nil //nolint:nilerr // see Limiter
	}
	info := requestOf(ctx)
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

// addressKey names the caller's address for limits.
func addressKey(caller hearth.Caller) string { return "ip:" + caller.Network() }

// documentLimits adds the headers of a limited operation to all its answers.
func documentLimits(doc *huma.Operation) {
	headers := map[string]string{
		"RateLimit-Limit":     "The most requests at one moment.",
		"RateLimit-Remaining": "How many requests are left now.",
		"RateLimit-Reset":     "Seconds until all are there again.",
	}
	for _, response := range doc.Responses {
		if response.Ref != "" {
			continue
		}
		if response.Headers == nil {
			response.Headers = map[string]*huma.Param{}
		}
		for name, description := range headers {
			response.Headers[name] = &huma.Param{Description: description, Schema: &huma.Schema{Type: huma.TypeInteger}}
		}
	}
}
