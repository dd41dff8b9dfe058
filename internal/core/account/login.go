package account

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/internal/keymutex"
	"hearth/internal/newid"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/idna"

	"hearth"
)

const (
	// maxTries wrong passwords in a row lock an account for lockTime.
	maxTries = 5
	lockTime = 15 * time.Minute
	// maxUserAgent bounds what is kept of a user agent, in bytes.
	maxUserAgent = 512
)

// Grant is what a login or a refresh returns.
type Grant struct {
	AccessToken string
	// ExpiresIn is the access token's life.
	ExpiresIn    time.Duration
	RefreshToken string
	User         hearth.User
}

// Login checks e-mail and password and opens a session. CodeInvalidCredentials, the same for an unknown e-mail;
// CodeAccountLocked after five wrong passwords in a row, also for the right one; CodeForbidden for a disabled user.
func (s *Service) Login(ctx context.Context, caller hearth.Caller, credentials Credentials) (Grant, error) {
	var grant Grant
	err := s.prove(ctx, caller, credentials, func(ctx context.Context, p proof) (err error) {
		grant, err = s.open(ctx, caller, opening{user: p.user, clear: p.tries, rehash: credentials.Password})
		return err
	})
	return grant, err
}

// Credentials are an e-mail and a password to check.
type Credentials struct {
	Email    string
	Password string
	// action names the attempt in the audit log; "" is "auth.login".
	action string
}

// proof is what a right password returns: the user, and the keys of the counts that it clears.
type proof struct {
	user  hearth.User
	tries [][]byte
}

// prove checks a password and calls proven if it is right. Each attempt is counted before its verdict, in the store, so that
// parallel ones cannot pass the limit; proven's write must clear the count. No other attempt on the account runs meanwhile.
//
// Where the user signed in before, attempts have a count of their own: guesses from other networks lock the account everywhere but
// there. Wrong passwords from there count for the account too.
func (s *Service) prove(
	ctx context.Context, caller hearth.Caller, c Credentials, proven func(context.Context, proof) error,
) error {
	email, valid := hearth.NormalizeEmail(c.Email)
	if !valid {
		email = strings.ToValidUTF8(email[:min(len(email), 2*hearth.MaxEmail)], "") // no user's, but counted alike
	}
	c.action = cmp.Or(c.action, "auth.login")
	tries := s.triesKey(email)
	unlock, err := s.checking.Lock(ctx, string(tries))
	if errors.Is(err, keymutex.ErrBusy) {
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many logins at once", RetryAfter: time.Second}
	}
	if err != nil {
		return err
	}
	defer unlock()
	// Checked first without a hash and without a write: a locked account costs next to nothing.
	now := s.now()
	anywhere, err := s.store.Tries(ctx, tries)
	if err != nil {
		return err
	}
	user, err := s.userByEmail(ctx, email)
	known := err == nil
	if err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
		return err
	}
	network := s.network(caller)
	familiar, err := s.store.SignedInFrom(ctx, user.ID, network)
	if err != nil {
		return err
	}
	before, counts := anywhere, tries
	if familiar {
		counts = s.familiarKey(user, network)
		if before, err = s.store.Tries(ctx, counts); err != nil {
			return err
		}
	}
	if err := s.locked(counts, before, now); err != nil {
		s.logRefusal(ctx, event{caller: caller, action: c.action, userID: user.ID, result: hearth.CodeAccountLocked})
		return err
	}
	right, counted, err := s.attempt(ctx, counts, user.PasswordHash, c.Password)
	if err != nil {
		return err
	}
	// The verdict stands: a client that goes away now changes nothing.
	ctx = context.WithoutCancel(ctx)
	failure := event{caller: caller, action: c.action, userID: user.ID, result: hearth.CodeInvalidCredentials}
	switch {
	case right && user.Disabled:
		failure.result = hearth.CodeForbidden
		effects := s.note(ctx, failure)
		_, err := s.store.UpdateTries(ctx, counts, func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
			return hearth.Tries{}, effects, nil
		})
		if err := s.logged(ctx, err, effects); err != nil {
			return err
		}
		return hearth.Errorf(hearth.CodeForbidden, "this account is disabled")
	case right && familiar && s.locked(tries, anywhere, now) != nil: // the lock stays for all others
		return proven(ctx, proof{user: user, tries: [][]byte{counts}})
	case right && familiar:
		return proven(ctx, proof{user: user, tries: [][]byte{counts, tries}})
	case right && known:
		return proven(ctx, proof{user: user, tries: [][]byte{tries}})
	}
	if familiar {
		if _, err := s.count(ctx, tries); err != nil && hearth.ErrorCode(err) != hearth.CodeAccountLocked {
			return err
		}
	}
	effects := s.note(ctx, failure)
	if counted.Failed >= maxTries {
		lock := event{caller: caller, actor: "system", action: "auth.lock", userID: user.ID, notify: hearth.NoticeLocked}
		more := s.note(ctx, lock)
		effects.Audit, effects.Jobs = append(effects.Audit, more.Audit...), more.Jobs
	}
	if err := s.record(ctx, effects); err != nil {
		return err
	}
	return errWrongCredentials()
}

// attempt counts an attempt and reports whether the password is right. It waits for a free hash slot.
func (s *Service) attempt(ctx context.Context, key, hash []byte, password string) (right bool, counted hearth.Tries, err error) {
	if err := s.hashes.acquire(ctx); err != nil {
		return false, counted, err
	}
	defer s.hashes.release()
	if counted, err = s.count(ctx, key); err != nil {
		return false, counted, err
	}
	return s.hashes.matches(hash, password), counted, nil
}

// triesKey returns the key under which the failed logins of an e-mail are counted.
func (s *Service) triesKey(email string) []byte { return s.keys.derive("tries", email) }

// familiarKey returns the key under which those from a network are counted where the user signed in before. A new password begins anew.
func (s *Service) familiarKey(user hearth.User, network []byte) []byte {
	return s.keys.derive("tries", user.Email+"\x00"+string(network)+string(user.PasswordHash))
}

// network returns a keyed hash of where the caller is.
func (s *Service) network(caller hearth.Caller) []byte {
	return s.keys.derive("network", caller.Network())[:16]
}

// SignedInFrom reports whether the user of an e-mail signed in before where the caller is now.
func (s *Service) SignedInFrom(ctx context.Context, caller hearth.Caller, email string) (bool, error) {
	email, _ = hearth.NormalizeEmail(email)
	user, err := s.userByEmail(ctx, email)
	if err != nil {
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			err = nil
		}
		return false, err
	}
	return s.store.SignedInFrom(ctx, user.ID, s.network(caller))
}

// userByEmail returns the user of a normalized e-mail, also where the account is older than the rule that domains are kept in ASCII.
func (s *Service) userByEmail(ctx context.Context, email string) (hearth.User, error) {
	user, err := s.store.UserByEmail(ctx, email)
	if earlier := earlierEmail(email); hearth.ErrorCode(err) == hearth.CodeNotFound && earlier != "" {
		return s.store.UserByEmail(ctx, earlier)
	}
	return user, err
}

// earlierEmail returns the form in which a normalized e-mail was kept before its domain was kept in ASCII; "" if it was the same.
func earlierEmail(email string) string {
	name, domain, _ := strings.Cut(email, "@")
	readable, err := idna.Lookup.ToUnicode(domain)
	if err != nil || readable == domain {
		return ""
	}
	return name + "@" + readable
}

// count counts an attempt under a key; CodeAccountLocked while it is locked.
func (s *Service) count(ctx context.Context, key []byte) (hearth.Tries, error) {
	now := s.now()
	counted, err := s.store.UpdateTries(ctx, key, func(t hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
		if err := s.locked(key, t, now); err != nil {
			return t, hearth.SideEffects{}, err
		}
		if !t.LockedUntil.IsZero() { // the lock has run out: count anew
			t = hearth.Tries{}
		}
		t.Failed++
		t.UpdatedAt = now
		if t.Failed >= maxTries {
			t.LockedUntil = now.Add(lockTime)
		}
		return t, hearth.SideEffects{}, nil
	})
	if err == nil {
		_ = s.locked(key, counted, now) // notes a lock that begins
	}
	return counted, err
}

// lock is a lock as this process has seen it: when it ends by the clock of the store, and by one that does not jump.
type lock struct {
	until time.Time
	ends  time.Duration
}

// maxKnownLocks bounds the locks that are remembered.
const maxKnownLocks = 10_000

// locked returns the refusal while an account is locked. A clock that jumps makes a lock that this process has seen neither shorter nor
// longer.
func (s *Service) locked(key []byte, t hearth.Tries, now time.Time) error {
	if t.LockedUntil.IsZero() {
		return nil
	}
	elapsed := s.options.Elapsed()
	known, ok, _ := s.locks.Find(string(key))
	if !ok || !known.until.Equal(t.LockedUntil) {
		known = lock{until: t.LockedUntil, ends: elapsed + min(t.LockedUntil.Sub(now), lockTime)}
		s.locks.Set(string(key), known)
	}
	left := known.ends - elapsed
	if left <= 0 {
		return nil
	}
	return &hearth.Error{
		Code: hearth.CodeAccountLocked, Message: "too many wrong passwords: the account is locked for a while", RetryAfter: min(left, lockTime),
	}
}

func errWrongCredentials() error {
	return hearth.Errorf(hearth.CodeInvalidCredentials, "the e-mail or the password is wrong")
}

// logRefusal logs what is too cheap to be worth an audit entry: the lock itself has one.
func (s *Service) logRefusal(ctx context.Context, e event) { _ = s.logged(ctx, nil, s.note(ctx, e)) }

// record stores the audit entries of what changes nothing else.
func (s *Service) record(ctx context.Context, effects hearth.SideEffects) error {
	return s.logged(ctx, s.store.Record(ctx, effects), effects)
}

// opening is a login about to be stored.
type opening struct {
	user hearth.User
	// clear are the keys of the attempts that the login clears.
	clear [][]byte
	// rehash is the right password, for a hash of another cost than today's.
	rehash string
	// action is "auth.login" if "".
	action string
}

// open stores a session of a user who proved to be one.
func (s *Service) open(ctx context.Context, caller hearth.Caller, o opening) (Grant, error) {
	now := s.now()
	device, origin, err := s.origin(caller)
	if err != nil {
		return Grant{}, err
	}
	refresh, hash, err := newRefreshToken()
	if err != nil {
		return Grant{}, err
	}
	newHash := []byte(nil)
	if cost, err := bcrypt.Cost(o.user.PasswordHash); err == nil && cost != s.options.BcryptCost && o.rehash != "" {
		if newHash, err = s.hashes.hash(ctx, o.rehash); err != nil {
			return Grant{}, err
		}
	}
	o.action = cmp.Or(o.action, "auth.login")
	session := hearth.Session{
		ID: newid.New(), UserID: o.user.ID, Device: device, Network: s.network(caller), Origin: origin, CreatedAt: now, LastUsedAt: now,
		ExpiresAt: now.Add(s.options.RefreshTTL),
	}
	var effects hearth.SideEffects
	decide := func(user hearth.User, earlier, known bool) (hearth.UserChange, error) {
		switch {
		case user.Disabled:
			return hearth.UserChange{}, hearth.Errorf(hearth.CodeForbidden, "this account is disabled")
		case !bytes.Equal(user.PasswordHash, o.user.PasswordHash):
			return hearth.UserChange{}, errWrongCredentials() // changed since it was checked
		}
		login := event{caller: caller, actor: "user:" + user.ID, action: o.action, userID: user.ID}
		if earlier && !known {
			login.notify = hearth.NoticeNewDevice
		}
		user.LastLoginAt = now
		if newHash != nil {
			user.PasswordHash = newHash
		}
		effects = s.note(ctx, login)
		return hearth.UserChange{User: user, ClearTries: o.clear, SideEffects: effects}, nil
	}
	user, ended, err := s.store.CreateSession(ctx, hearth.NewSession{Session: session, RefreshHash: hash, Decide: decide})
	if err := s.logged(ctx, err, effects); err != nil {
		return Grant{}, err
	}
	s.ended(user.ID, ended...)
	return s.grant(user, session, refresh)
}

func (s *Service) grant(user hearth.User, session hearth.Session, refresh string) (Grant, error) {
	access, life, err := s.tokens.sign(user, session, s.now())
	return Grant{AccessToken: access, ExpiresIn: life, RefreshToken: refresh, User: user}, err
}

// sessionOrigin is the sealed part of a session.
type sessionOrigin struct {
	IP        string `json:"ip"`
	UserAgent string `json:"user_agent"`
}

// origin returns what a session keeps of where the caller comes from. The device is the user agent alone: addresses change.
func (s *Service) origin(caller hearth.Caller) (device, sealed []byte, err error) {
	userAgent := clip(caller.UserAgent)
	plain, err := json.Marshal(sessionOrigin{IP: caller.IP, UserAgent: userAgent})
	if err == nil {
		sealed, err = s.options.Sealer.Seal(plain)
	}
	return s.keys.derive("device", userAgent)[:16], sealed, err
}

// clip bounds a user agent.
func clip(userAgent string) string {
	if len(userAgent) <= maxUserAgent {
		return strings.ToValidUTF8(userAgent, "\uFFFD")
	}
	cut := maxUserAgent
	for cut > 0 && !utf8.RuneStart(userAgent[cut]) {
		cut--
	}
	return strings.ToValidUTF8(userAgent[:cut], "\uFFFD")
}

// Refresh exchanges a refresh token for a new pair. CodeUnauthenticated for an unknown token, CodeTokenExpired,
// CodeTokenRevoked, and CodeRefreshReused for a spent one, which ends the whole session. Within the leeway after its use a spent token
// returns the same new refresh token again while that one is unspent: of many uses at once one exchanges it.
func (s *Service) Refresh(ctx context.Context, caller hearth.Caller, refresh string) (Grant, error) {
	next := s.successor(refresh)
	nextHash := hashToken(next)
	_, origin, err := s.origin(caller)
	if err != nil {
		return Grant{}, err
	}
	var token hearth.RefreshToken
	var refusal error
	var ended bool
	var effects hearth.SideEffects
	err = s.store.UseRefreshToken(ctx, hashToken(refresh), func(t hearth.RefreshToken) (hearth.RefreshVerdict, error) {
		now := s.now()
		token, refusal, ended, effects = t, nil, false, hearth.SideEffects{}
		switch {
		case t.Spent && s.mayRepeat(t, nextHash, now):
			return hearth.RefreshVerdict{}, nil
		case t.Spent:
			refusal = hearth.Errorf(hearth.CodeRefreshReused, "this refresh token was used before: sign in again")
			if !t.Session.Open(now) {
				return hearth.RefreshVerdict{}, refusal
			}
			ended = true
			effects = s.note(ctx, event{
				caller: caller, actor: "system", action: "auth.refresh", userID: t.User.ID, result: hearth.CodeRefreshReused,
				notify: hearth.NoticeReused,
			})
			return hearth.RefreshVerdict{End: hearth.EndReused, SideEffects: effects}, nil
		case !t.Session.EndedAt.IsZero() || t.User.Disabled:
			return hearth.RefreshVerdict{}, errRevokedToken()
		case !t.Session.Open(now):
			return hearth.RefreshVerdict{}, errExpiredToken()
		}
		return hearth.RefreshVerdict{Next: nextHash, UsedAt: now, Origin: origin}, nil
	})
	switch err := s.logged(ctx, err, effects); {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return Grant{}, errBadToken()
	case err != nil:
		return Grant{}, err
	case ended:
		s.ended(token.User.ID, token.Session.ID)
	}
	if refusal != nil {
		return Grant{}, refusal
	}
	return s.grant(token.User, token.Session, next)
}

// successor derives the token that a refresh token is exchanged for, so that it can be returned again and is stored nowhere. Without the
// key file it cannot be computed.
func (s *Service) successor(refresh string) string {
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(s.keys.derive("refresh", refresh))
}

// mayRepeat reports whether a spent token was exchanged within the leeway for the token with that hash, which is unspent. The exchange was
// the last use of the session then. A clock that went back must not make the leeway longer.
func (s *Service) mayRepeat(t hearth.RefreshToken, next []byte, now time.Time) bool {
	if !t.Session.Open(now) || t.User.Disabled || s.options.RefreshLeeway == 0 || now.Sub(t.Session.LastUsedAt).Abs() > s.options.RefreshLeeway {
		return false
	}
	return slices.ContainsFunc(t.Unspent, func(hash []byte) bool { return bytes.Equal(hash, next) })
}
