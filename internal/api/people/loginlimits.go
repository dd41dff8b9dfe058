package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/account"
)

// limitSession counts a call of the class refresh: by the session of the token that the body names, so that users behind one address do
// not spend each other's calls; by address where there is none.
func (a *people) limitSession(ctx context.Context, text func(string) string) (func(error), error) {
	if token := text("refresh_token"); token != "" {
		if id, err := a.Accounts.RefreshSession(ctx, token); err == nil {
			return nil, a.Take(ctx, rest.ClassRefresh, "session:"+id)
		}
	}
	return nil, a.Take(ctx, rest.ClassRefresh, rest.AddressKey(rest.CallerOf(ctx)))
}

// CountLogins returns what counts a login by address and account together, and refuses it where too many logins failed from the address or on the
// account. Users who signed in from there before are not kept out by the failures of others. A failure is counted before its answer is written.
func CountLogins(rt *rest.Router, accounts *account.Service) rest.CountByBody {
	return func(ctx context.Context, text func(string) string) (func(error), error) {
		caller, named := rest.CallerOf(ctx), text("email")
		if named == "" { // refused by the operation, and of no account
			return nil, rt.Take(ctx, rest.ClassAuth, rest.AddressKey(caller))
		}
		// The length of a key is bounded, and no address is kept in plain text.
		email, _ := hearth.NormalizeEmail(named)
		sum := sha256.Sum256([]byte(email))
		account := "email:" + hex.EncodeToString(sum[:16])
		if err := rt.Take(ctx, rest.ClassAuth, rest.AddressKey(caller)+" "+account); err != nil {
			return nil, err
		}
		failures := []string{"failed " + rest.AddressKey(caller), "failed " + account}
		for _, key := range failures {
			refusal := rt.Count(ctx, rest.ClassAuth, key, 0)
			if refusal == nil {
				continue
			}
			if accounts == nil {
				return nil, refusal
			}
			if familiar, err := accounts.SignedInFrom(ctx, caller, email); err != nil || !familiar {
				return nil, refusal
			}
		}
		return func(err error) {
			if code := hearth.ErrorCode(err); code != hearth.CodeInvalidCredentials && code != hearth.CodeAccountLocked {
				return
			}
			for _, key := range failures {
				_ = rt.Take(ctx, rest.ClassAuth, key) // it was one too many only for logins at once, which lockout stops
			}
		}, nil
	}
}
