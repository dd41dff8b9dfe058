package account

import (
	"context"
	"crypto/sha256"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"hearth/internal/newid"

	"hearth"
)

const (
	// keyPrefix marks an API key. keyLength is that of a whole one, keyShown of the part by which its owner knows it, in characters.
	keyPrefix = "hk_"
	keyLength = len(keyPrefix) + (secretBytes*8+5)/6
	keyShown  = len(keyPrefix) + 8
	// useStep is how exact the last use of a key is; maxKeyUses bounds the uses that are remembered.
	useStep    = time.Minute
	maxKeyUses = 1 << 12
	// KeyUseInterval is how often the last uses of API keys are stored.
	KeyUseInterval = time.Second
)

// IssuedKey is a new API key with its secret, which is known this once.
type IssuedKey struct {
	hearth.APIKey
	Secret string
}

// NewAPIKey is what a user sets of an API key. A zero ExpiresAt is never.
type NewAPIKey struct {
	Name           string
	Scopes         []hearth.KeyScope
	OrganizationID string
	ExpiresAt      time.Time
}

// CreateAPIKey makes an API key of the caller's. Errors: CodeForbidden (a device or an API key), CodeValidationFailed, CodeNotFound
// (an organization that the caller may not read), CodeConflict (too many), CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) CreateAPIKey(ctx context.Context, caller hearth.Caller, n NewAPIKey, idempotency *hearth.IdempotencyRequest) (IssuedKey, error) {
	if err := mayHaveKeys(caller); err != nil {
		return IssuedKey{}, err
	}
	secret, err := newSecret()
	if err != nil {
		return IssuedKey{}, err
	}
	secret = keyPrefix + secret
	now := s.now()
	issued := IssuedKey{hearth.APIKey{
		ID: newid.New(), UserID: caller.UserID, Name: n.Name, Prefix: secret[:keyShown], Hash: hashToken(secret), Scopes: n.Scopes,
		OrganizationID: n.OrganizationID, CreatedAt: now, ExpiresAt: n.ExpiresAt,
	}, secret}
	if problems := issued.Validate("body.", now); len(problems) > 0 {
		return IssuedKey{}, hearth.Invalid(problems...)
	}
	if n.OrganizationID != "" {
		if err := caller.AllowOrg(n.OrganizationID, hearth.MayReadOrg); err != nil {
			return IssuedKey{}, err
		}
	}
	e := event{caller: caller, action: "api_key.create", keyID: issued.ID, changes: map[string]hearth.Change{
		"name": {After: n.Name}, "scopes": {After: n.Scopes},
	}}
	if n.OrganizationID != "" {
		e.changes["organization_id"] = hearth.Change{After: n.OrganizationID}
	}
	if !n.ExpiresAt.IsZero() {
		e.changes["expires_at"] = hearth.Change{After: n.ExpiresAt.UTC()}
	}
	effects := s.note(ctx, e)
	if effects.Idempotency, err = idempotency.Record(issued); err != nil {
		return IssuedKey{}, err
	}
	if err := s.logged(ctx, s.store.CreateAPIKey(ctx, issued.APIKey, effects), effects); err != nil {
		return IssuedKey{}, err
	}
	return issued, nil
}

// mayHaveKeys keeps a key from making others, which would outlive it.
func mayHaveKeys(caller hearth.Caller) error {
	if !caller.IsUser() || caller.KeyID != "" {
		return hearth.Errorf(hearth.CodeForbidden, "API keys are managed by a user who signed in")
	}
	return nil
}

// APIKeys lists the caller's API keys, newest first, without their secrets. CodeForbidden, CodeValidationFailed (the cursor).
func (s *Service) APIKeys(ctx context.Context, caller hearth.Caller, page hearth.Page) (hearth.List[hearth.APIKey], error) {
	if err := mayHaveKeys(caller); err != nil {
		return hearth.List[hearth.APIKey]{}, err
	}
	list, err := s.store.APIKeys(ctx, caller.UserID, page)
	for i, key := range list.Items {
		if at := s.uses.last(key.ID); at.After(key.LastUsedAt) {
			list.Items[i].LastUsedAt = at
		}
	}
	return list, err
}

// DeleteAPIKey deletes one of the caller's API keys: it is refused at once in this process and within a second in others, and what it
// opened ends. CodeForbidden, CodeNotFound.
func (s *Service) DeleteAPIKey(ctx context.Context, caller hearth.Caller, id string) error {
	if err := mayHaveKeys(caller); err != nil {
		return err
	}
	effects := s.note(ctx, event{caller: caller, action: "api_key.delete", keyID: id})
	if err := s.logged(ctx, s.store.DeleteAPIKey(ctx, caller.UserID, id, effects), effects); err != nil {
		return err
	}
	s.ended(caller.UserID, id)
	return nil
}

// authenticateKey returns the caller that an API key belongs to. Errors are those of Authenticate.
func (s *Service) authenticateKey(ctx context.Context, secret string) (hearth.Caller, error) {
	if len(secret) != keyLength {
		return hearth.Caller{}, errBadToken()
	}
	hash := sha256.Sum256([]byte(secret))
	id, known, version := s.keyIDs.Find(hash)
	if !known {
		key, err := s.store.APIKeyByHash(ctx, hash[:])
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return hearth.Caller{}, errBadToken()
		}
		if err != nil {
			return hearth.Caller{}, err
		}
		id = key.ID
		s.keyIDs.Keep(version, hash, id)
	}
	state, err := s.state(ctx, id, (*Service).readKeyState)
	now := s.now()
	switch {
	case err != nil:
		return hearth.Caller{}, err
	case state.key == nil:
		return hearth.Caller{}, errBadToken()
	case state.disabled:
		return hearth.Caller{}, errRevokedToken()
	case now.UnixMilli() >= state.expiresAt:
		return hearth.Caller{}, errExpiredToken()
	}
	s.uses.note(id, now, state.key.LastUsedAt)
	return hearth.Caller{
		UserID: state.userID, Role: state.role, Epoch: state.epoch, TimeZone: state.timeZone, KeyID: id, Scopes: state.key.Scopes,
		OnlyOrg: state.key.OrganizationID,
	}, nil
}

func (s *Service) readKeyState(ctx context.Context, id string) (sessionState, error) {
	key, user, err := s.store.APIKey(ctx, id)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return sessionState{ended: true}, nil
	}
	if err != nil {
		return sessionState{}, err
	}
	state := sessionState{
		userID: user.ID, role: user.Role, epoch: user.Epoch, timeZone: user.TimeZone, expiresAt: math.MaxInt64, disabled: user.Disabled, key: &key,
		asking: new(atomic.Bool),
	}
	if !key.ExpiresAt.IsZero() {
		state.expiresAt = key.ExpiresAt.UnixMilli()
	}
	return state, nil
}

// StoreKeyUses stores when API keys were last used. It is called every KeyUseInterval.
func (s *Service) StoreKeyUses(ctx context.Context) error {
	for id, at := range s.uses.unstored(s.now()) {
		if err := s.store.TouchAPIKey(ctx, id, at); err != nil {
			return err
		}
		s.uses.stored(id, at)
	}
	return nil
}

// keyUses are the uses of API keys of the last minute, one of each key: no request waits for the store.
type keyUses struct {
	mu   sync.Mutex
	uses map[string]keyUse
}

type keyUse struct {
	at     time.Time
	stored bool
}

// note notes a use, unless there is one of the last minute. earlier is the last one that is stored.
func (u *keyUses) note(id string, at, earlier time.Time) {
	if at.Sub(earlier) < useStep {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	use, known := u.uses[id]
	if known && at.Sub(use.at) < useStep || !known && len(u.uses) >= maxKeyUses {
		return
	}
	u.uses[id] = keyUse{at: at}
}

// last returns the noted use of a key; zero if there is none.
func (u *keyUses) last(id string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.uses[id].at
}

// unstored returns the uses that are to be stored, and forgets those of earlier that are.
func (u *keyUses) unstored(now time.Time) map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	due := map[string]time.Time{}
	for id, use := range u.uses {
		switch {
		case !use.stored:
			due[id] = use.at
		case now.Sub(use.at) >= useStep:
			delete(u.uses, id)
		}
	}
	return due
}

func (u *keyUses) stored(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.uses[id].at.Equal(at) {
		u.uses[id] = keyUse{at, true}
	}
}
