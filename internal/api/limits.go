package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"hearth"
	"hearth/internal/api/rest"
)

// classOf returns the class of an operation that names none. What lies outside of the contract's base path has no limit.
func classOf(op rest.Operation) string {
	path := op.Path
	switch {
	case op.Root:
		return ""
	case path == "/auth/login", path == "/auth/signup", strings.HasPrefix(path, "/auth/password"):
		return rest.ClassAuth
	case path == "/auth/refresh":
		return rest.ClassRefresh
	case under(path, "/devices"), under(path, "/heartbeats"), under(path, "/logs"):
		return rest.ClassDevices
	case under(path, "/analytics"):
		return rest.ClassAnalytics
	case path == "/exports" && op.Method == http.MethodPost:
		return rest.ClassExports
	case path == "/realtime/ws", path == "/realtime/sse", path == "/mqtt":
		return rest.ClassStreams
	}
	return rest.ClassGeneral
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
			return nil, a.Take(ctx, rest.ClassRefresh, "session:"+id)
		}
	}
	return nil, a.Take(ctx, rest.ClassRefresh, rest.AddressKey(rest.CallerOf(ctx)))
}

// limitLogin counts a login by address and account together, and refuses it where too many logins failed from the address or on the
// account. Users who signed in from there before are not kept out by the failures of others. A failure is counted before its answer is written.
func (a *API) limitLogin(ctx context.Context, body []byte) (func(error), error) {
	var named struct {
		Email string `json:"email"`
	}
	caller := rest.CallerOf(ctx)
	if err := json.Unmarshal(body, &named); err != nil || named.Email == "" { // refused by the operation, and of no account
		return nil, a.Take(ctx, rest.ClassAuth, rest.AddressKey(caller))
	}
	// The length of a key is bounded, and no address is kept in plain text.
	email, _ := hearth.NormalizeEmail(named.Email)
	sum := sha256.Sum256([]byte(email))
	account := "email:" + hex.EncodeToString(sum[:16])
	if err := a.Take(ctx, rest.ClassAuth, rest.AddressKey(caller)+" "+account); err != nil {
		return nil, err
	}
	failures := []string{"failed " + rest.AddressKey(caller), "failed " + account}
	for _, key := range failures {
		refusal := a.Count(ctx, rest.ClassAuth, key, 0)
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
			_ = a.Take(ctx, rest.ClassAuth, key) // it was one too many only for logins at once, which lockout stops
		}
	}, nil
}
