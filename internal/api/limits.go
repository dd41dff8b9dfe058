package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"hearth"
)

// classOf returns the class of an operation that names none. What lies outside of the contract's base path has no limit.
func classOf(op operation) string {
	path := op.Path
	switch {
	case op.Root:
		return ""
	case path == "/auth/login", path == "/auth/signup", strings.HasPrefix(path, "/auth/password"):
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

// limitSession counts a call of the class refresh: by the session of the token that the body names, so that users behind one address do
// not spend each other's calls; by address where there is none.
func (a *API) limitSession(ctx context.Context, body []byte) (func(error), error) {
	var named struct {
		Token string `json:"refresh_token"`
	}
	// A body of another shape is refused by its operation, and names no session.
	if err := json.Unmarshal(body, &named); err == nil && named.Token != "" {
		if id, err := a.options.Accounts.RefreshSession(ctx, named.Token); err == nil {
			return nil, a.take(ctx, classRefresh, "session:"+id)
		}
	}
	return nil, a.take(ctx, classRefresh, addressKey(callerOf(ctx)))
}

// limitLogin counts a login by address and account together, and refuses it where too many logins failed from the address or on the
// account. Users who signed in from there before are not kept out by the failures of others. A failure is counted before its answer is written.
func (a *API) limitLogin(ctx context.Context, body []byte) (func(error), error) {
	var named struct {
		Email string `json:"email"`
	}
	caller := callerOf(ctx)
	if err := json.Unmarshal(body, &named); err != nil || named.Email == "" { // refused by the operation, and of no account
		return nil, a.take(ctx, classAuth, addressKey(caller))
	}
	// The length of a key is bounded, and no address is kept in plain text.
	email, _ := hearth.NormalizeEmail(named.Email)
	sum := sha256.Sum256([]byte(email))
	account := "email:" + hex.EncodeToString(sum[:16])
	if err := a.take(ctx, classAuth, addressKey(caller)+" "+account); err != nil {
		return nil, err
	}
	failures := []string{"failed " + addressKey(caller), "failed " + account}
	for _, key := range failures {
		refusal := a.count(ctx, classAuth, key, 0)
		if refusal == nil {
			continue
		}
		if a.options.Accounts == nil {
			return nil, refusal
		}
		if familiar, err := a.options.Accounts.SignedInFrom(ctx, caller, email); err != nil || !familiar {
			return nil, refusal
		}
	}
	return func(err error) {
		if code := hearth.ErrorCode(err); code != hearth.CodeInvalidCredentials && code != hearth.CodeAccountLocked {
			return
		}
		for _, key := range failures {
			_ = a.take(ctx, classAuth, key) // it was one too many only for logins at once, which lockout stops
		}
	}, nil
}
