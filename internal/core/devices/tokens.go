package devices

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"hearth/internal/newid"

	"hearth"
)

const (
	tokenPrefix = "hd_"
	tokenBytes  = 32
	// tokenLength is that of a whole token, in characters.
	tokenLength = len(tokenPrefix) + (tokenBytes*8+5)/6
)

// knownToken is what is kept of a token that is good: its device, the user who made it, and whether it is a gateway's.
type knownToken struct {
	device, maker string
	gateway       bool
}

// IssuedToken is a new token with its secret, which is known this once.
type IssuedToken struct {
	hearth.DeviceToken
	Secret string
}

// CreateToken returns a device a token, with gateway one that speaks for the devices of its scope too. Errors: CodeNotFound, CodeForbidden,
// CodeConflict (too many), CodeIdempotencyMismatch, *hearth.Replayed.
func (f *Service) CreateToken(
	ctx context.Context, caller hearth.Caller, deviceID string, gateway bool, key *hearth.IdempotencyRequest,
) (IssuedToken, error) {
	if err := f.allowTokens(ctx, caller, deviceID); err != nil {
		return IssuedToken{}, err
	}
	token, secret := f.NewToken(deviceID)
	token.CreatedBy = caller.UserID
	token.Gateway = gateway
	issued := IssuedToken{token, secret}
	record, err := key.Record(issued)
	if err != nil {
		return IssuedToken{}, err
	}
	entry := tokenEntry(caller, token.CreatedAt, "device_token.create", issued.ID, deviceID)
	if gateway {
		entry.Changes["gateway"] = hearth.Change{After: true}
	}
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}}
	check := func(d hearth.Device) error { return caller.Allow(d, hearth.MayEdit) }
	if err := f.store.CreateDeviceToken(ctx, token, check, effects); err != nil {
		return IssuedToken{}, err
	}
	return issued, nil
}

// NewToken returns a token of a device, with its secret. It stores nothing.
func (f *Service) NewToken(deviceID string) (token hearth.DeviceToken, secret string) {
	var random [tokenBytes]byte
	_, _ = rand.Read(random[:]) // it never fails: see its documentation
	secret = tokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(secret))
	return hearth.DeviceToken{ID: newid.New(), DeviceID: deviceID, Hash: sum[:], CreatedAt: f.now()}, secret
}

func tokenEntry(caller hearth.Caller, at time.Time, action, tokenID, deviceID string) hearth.AuditEntry {
	entry := caller.Entry(at, action, "device:"+deviceID)
	change := hearth.Change{After: tokenID}
	if strings.HasSuffix(action, "delete") {
		change = hearth.Change{Before: tokenID}
	}
	entry.Changes = map[string]hearth.Change{"token_id": change}
	return entry
}

// allowTokens lets those who may edit the device go on.
func (f *Service) allowTokens(ctx context.Context, caller hearth.Caller, deviceID string) error {
	device, err := f.one(ctx, deviceID)
	if err != nil {
		return err
	}
	return caller.Allow(*device, hearth.MayEdit)
}

// Tokens lists a device's tokens, oldest first, without secrets. Page.Sort is not looked at. Errors: CodeNotFound,
// CodeForbidden, CodeValidationFailed (the cursor).
func (f *Service) Tokens(ctx context.Context, caller hearth.Caller, deviceID string, page hearth.Page) (hearth.List[hearth.DeviceToken], error) {
	list := hearth.List[hearth.DeviceToken]{Total: -1}
	if err := f.allowTokens(ctx, caller, deviceID); err != nil {
		return list, err
	}
	tokens, err := f.store.DeviceTokens(ctx, deviceID)
	if err != nil {
		return list, err
	}
	if page.Count {
		list.Total = int64(len(tokens))
	}
	if after := page.Cursor; !after.IsZero() {
		at, err := time.Parse(time.RFC3339Nano, after.Key)
		if err != nil {
			return list, hearth.BadCursor()
		}
		start := slices.IndexFunc(tokens, func(t hearth.DeviceToken) bool {
			return cmp.Or(t.CreatedAt.Compare(at), cmp.Compare(t.ID, after.ID)) > 0
		})
		if start < 0 {
			start = len(tokens)
		}
		tokens = tokens[start:]
	}
	list.Items = tokens
	if size := page.Size(); len(tokens) > size {
		list.Items = tokens[:size]
		last := tokens[size-1]
		list.Next = hearth.Cursor{Sort: page.Sort, Key: last.CreatedAt.Format(time.RFC3339Nano), ID: last.ID}
	}
	return list, nil
}

// DeleteToken revokes a token: it is refused at once in this process and within a second in others.
// Errors: CodeNotFound, CodeForbidden.
func (f *Service) DeleteToken(ctx context.Context, caller hearth.Caller, deviceID, tokenID string) error {
	if err := f.allowTokens(ctx, caller, deviceID); err != nil {
		return err
	}
	entry := tokenEntry(caller, f.now(), "device_token.delete", tokenID, deviceID)
	if err := f.store.DeleteDeviceToken(ctx, deviceID, tokenID, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}); err != nil {
		return err
	}
	f.TokensEnded(deviceID)
	return nil
}

// Authenticate returns the device that a token speaks for; CodeUnauthenticated, also where the user who made it may not edit the device any
// more; CodeUnavailable.
func (f *Service) Authenticate(ctx context.Context, token string) (hearth.Caller, error) {
	caller, _, err := f.AuthenticateConnection(ctx, token)
	return caller, err
}

// AuthenticateConnection is Authenticate, and reports whether the token is a gateway's.
func (f *Service) AuthenticateConnection(ctx context.Context, token string) (caller hearth.Caller, gateway bool, err error) {
	if len(token) != tokenLength || !strings.HasPrefix(token, tokenPrefix) {
		return hearth.Caller{}, false, errToken()
	}
	hash := sha256.Sum256([]byte(token))
	known, ok, version := f.tokens.Find(hash)
	if ok {
		return hearth.Caller{DeviceID: known.device}, known.gateway, nil
	}
	stored, err := f.store.DeviceTokenByHash(ctx, hash[:])
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return hearth.Caller{}, false, errToken()
	}
	if err != nil {
		return hearth.Caller{}, false, err
	}
	if err := f.allowMaker(ctx, stored); err != nil {
		return hearth.Caller{}, false, err
	}
	f.tokens.Keep(version, hash, knownToken{device: stored.DeviceID, maker: stored.CreatedBy, gateway: stored.Gateway})
	const day = 24 * time.Hour
	now := f.now()
	if stored.LastUsedAt.Truncate(day).Before(now.Truncate(day)) {
		f.pending.touch(stored.ID, now)
	}
	return hearth.Caller{DeviceID: stored.DeviceID}, stored.Gateway, nil
}

// allowMaker returns CodeUnauthenticated for a token whose maker may not edit its device any more.
func (f *Service) allowMaker(ctx context.Context, token hearth.DeviceToken) error {
	if token.CreatedBy == "" || f.options.Maker == nil {
		return nil
	}
	maker, err := f.options.Maker(ctx, token.CreatedBy)
	if err == nil {
		err = f.allowTokens(ctx, maker, token.DeviceID)
	}
	switch hearth.ErrorCode(err) {
	case hearth.CodeNotFound, hearth.CodeForbidden, hearth.CodeTokenRevoked:
		return errToken()
	}
	return err
}

// SessionsEnded hears of the ends of a user's sessions: where all end (nil), the user may have fewer rights now.
func (f *Service) SessionsEnded(userID string, sessionIDs []string) {
	if sessionIDs == nil {
		f.RightsChanged(userID)
	}
}

// RightsChanged has the tokens that a user made be judged anew: the user may have fewer rights now. Connections that were made with those
// that are worth nothing any more are closed.
func (f *Service) RightsChanged(userID string) {
	f.tokens.DeleteFunc(func(_ [sha256.Size]byte, known knownToken) bool { return known.maker == userID })
	f.pending.rights(userID)
}

// checkConnections closes the connections that were made with tokens of the user which are worth nothing any more.
func (f *Service) checkConnections(ctx context.Context, userID string) {
	ids, err := f.store.DevicesOfTokens(ctx, userID)
	if err != nil && ctx.Err() == nil {
		f.options.Logger.ErrorContext(ctx, "the connections of devices whose tokens a user made, and whose rights changed, stay open", "user", userID, "err", err)
	}
	for _, id := range ids {
		f.TokensEnded(id)
	}
}

func errToken() error { return hearth.Errorf(hearth.CodeUnauthenticated, "the token is not valid") }

// TokensEnded drops what is kept of a device's tokens, some of which this process has ended, and has its connections be closed that were made
// with them.
func (f *Service) TokensEnded(deviceID string) {
	f.TokensChanged(deviceID)
	f.options.OnRevoked(deviceID)
}

// TokensChanged drops what is kept of a device's tokens, some of which another process has ended.
func (f *Service) TokensChanged(deviceID string) {
	f.tokens.DeleteFunc(func(_ [sha256.Size]byte, known knownToken) bool { return known.device == deviceID })
}
