// Package account is user accounts: sign-up, login, access and refresh tokens, API keys, sessions, lockout, passwords.
package account

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"hearth/internal/boundedcache"
	"hearth/internal/keymutex"
	"hearth/internal/kv"
	"hearth/internal/newid"
	"hearth/internal/sealed"

	"golang.org/x/crypto/bcrypt"

	"hearth"
)

// Store is what the package needs kept.
type Store interface {
	hearth.UserStore
	hearth.SessionStore
	hearth.APIKeyStore
}

// SessionObserver hears of ended sessions and deleted API keys once their end is durable, and stops what they opened. It must be
// quick.
type SessionObserver interface {
	// SessionsEnded says that these sessions or API keys of the user ended; nil means that the rights of all of the user's
	// sessions and keys changed, so that streams must connect again.
	SessionsEnded(userID string, sessionIDs []string)
}

// SignUp says who may make an account.
type SignUp string

// The ways.
const (
	SignUpOpen   SignUp = "open"
	SignUpInvite SignUp = "invite"
	SignUpClosed SignUp = "closed"
)

// Options say how accounts work. Store and Keys are needed, the rest has defaults.
type Options struct {
	Store Store
	Keys  *KeyRing
	Clock hearth.Clock
	// Elapsed is a clock that only goes forward and never jumps; nil: the monotonic part of Clock.
	Elapsed func() time.Duration
	// Logger takes security lines (kind=security); nil discards them.
	Logger *slog.Logger
	// Issuer is the "iss" of access tokens: the server's public address; "" is "hearth".
	Issuer string
	// AccessTTL is the life of an access token (0: 15 minutes), RefreshTTL that of a login (0: 7 days).
	AccessTTL  time.Duration
	RefreshTTL time.Duration
	// RefreshLeeway is for how long after its use a refresh token returns its successor again; 0: not at all.
	RefreshLeeway time.Duration
	// SignUp says who may sign up; "" is SignUpOpen. Invited returns, for SignUpInvite, the e-mail that the token of an invitation
	// invites, not ok for a token that is not good; nil: none is.
	SignUp  SignUp
	Invited func(ctx context.Context, token string) (email string, ok bool, err error)
	// BcryptCost is that of new hashes, 4 to 31 (0: 10); HashSlots is how many are computed at once (0: 1).
	BcryptCost int
	HashSlots  int
	// Sealer encrypts ip and user agent of sessions, Notices those of security notices; nil leaves them as they are.
	Sealer  sealed.Sealer
	Notices sealed.Sealer
	// Mails bounds the e-mails that users cause to addresses.
	Mails kv.Mails
	// Observers hear of ended sessions.
	Observers []SessionObserver
	// ResetFloor is how long the answer to a request for a password reset takes at least, so that known and unknown
	// e-mails take as long (0: 250 ms).
	ResetFloor time.Duration
}

func (o Options) validate() (Options, error) {
	if o.Store == nil || o.Keys == nil {
		return o, errors.New("account: a store and keys are needed")
	}
	defaults := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	defaults(&o.AccessTTL, 15*time.Minute)
	defaults(&o.RefreshTTL, 7*24*time.Hour)
	defaults(&o.ResetFloor, 250*time.Millisecond)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Elapsed == nil {
		start := o.Clock.Reading()
		o.Elapsed = func() time.Duration { return o.Clock.Since(start) }
	}
	o.Issuer = cmp.Or(o.Issuer, "hearth")
	o.SignUp = cmp.Or(o.SignUp, SignUpOpen)
	o.BcryptCost = cmp.Or(o.BcryptCost, bcrypt.DefaultCost)
	o.HashSlots = cmp.Or(o.HashSlots, 1)
	o.Sealer, o.Notices = sealed.OrPlain(o.Sealer), sealed.OrPlain(o.Notices)
	switch {
	case o.AccessTTL < 0 || o.RefreshTTL < 0 || o.RefreshLeeway < 0 || o.ResetFloor < 0:
		return o, errors.New("account: a duration is negative")
	case o.BcryptCost < bcrypt.MinCost || o.BcryptCost > bcrypt.MaxCost:
		return o, errors.New("account: the bcrypt cost must be 4 to 31")
	case o.HashSlots < 1:
		return o, errors.New("account: at least one password hash must be allowed at once")
	case o.SignUp != SignUpOpen && o.SignUp != SignUpInvite && o.SignUp != SignUpClosed:
		return o, errors.New("account: sign-up must be open, invite or closed")
	}
	return o, nil
}

// Service is the accounts of users. Its methods may be called at once from many goroutines.
type Service struct {
	options Options
	store   Store
	keys    *KeyRing
	log     *slog.Logger
	tokens  *tokens
	hashes  *hasher
	// checking lets one password at a time be checked for an account, so that the attempts counted before their verdict are few
	// (one a process) and do not lock out a user who signs in several times at once.
	checking *keymutex.Mutex[string]
	locks    *boundedcache.Cache[string, lock]
	verified *boundedcache.Cache[[32]byte, verified]
	states   *boundedcache.Cache[string, sessionState]
	// keyIDs are the ids of API keys by the hash of the key; uses are when they were last used.
	keyIDs    *boundedcache.Cache[[32]byte, string]
	uses      keyUses
	observers []SessionObserver
	started   time.Time
}

// New makes the service.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	return &Service{
		options: options, store: options.Store, keys: options.Keys, log: options.Logger, observers: options.Observers,
		tokens: newTokens(options), hashes: newHasher(options.BcryptCost, options.HashSlots), checking: &keymutex.Mutex[string]{MaxUsers: maxChecking},
		locks:    boundedcache.New(boundedcache.Options[string, lock]{Entries: maxKnownLocks}),
		verified: boundedcache.New(boundedcache.Options[[32]byte, verified]{Entries: maxCachedTokens}),
		states:   boundedcache.New(boundedcache.Options[string, sessionState]{Entries: maxCachedSessions}),
		keyIDs:   boundedcache.New(boundedcache.Options[[32]byte, string]{Entries: maxCachedTokens}),
		uses:     keyUses{uses: map[string]keyUse{}},
		started:  time.Now(),
	}, nil
}

// Observe adds an observer of ended sessions. It is for what is built after the service, before anything is served.
func (s *Service) Observe(observer SessionObserver) { s.observers = append(s.observers, observer) }

func (s *Service) now() time.Time { return s.options.Clock.Now() }

// monotonic is a clock that only goes forward, for ages of what is cached.
func (s *Service) monotonic() time.Duration { return time.Since(s.started) }

// JWKS returns the public keys of access tokens.
func (s *Service) JWKS() []JWK { return s.keys.Public() }

// resultOK is the result of an event that is no refusal.
const resultOK = "ok"

// event is something that belongs into the audit log and the security log.
type event struct {
	caller hearth.Caller
	// actor is who did it, if that is not the caller.
	actor  string
	action string
	// userID is who it is about, sessionID which login, keyID which API key.
	userID    string
	sessionID string
	keyID     string
	result    hearth.Code // "" is ok
	changes   map[string]hearth.Change
	// notify is the notice that the user is sent, a value of package notify; "" sends none. notifyAt is the address, if not
	// the user's own.
	notify   string
	notifyAt string
}

// note returns the side effects of the write that the event is about; once it is done, logged has them logged.
func (s *Service) note(ctx context.Context, e event) hearth.SideEffects {
	now := s.now()
	entry := hearth.AuditEntry{
		At: now, ActorID: e.actor, Action: e.action, Result: resultOK, IP: e.caller.IP, UserAgent: clip(e.caller.UserAgent),
		RequestID: e.caller.RequestID, Changes: e.changes,
	}
	if entry.ActorID == "" {
		entry.ActorID = e.caller.Actor()
	}
	if e.result != "" {
		entry.Result = string(e.result)
	}
	switch {
	case e.keyID != "":
		entry.Target = "api_key:" + e.keyID
	case e.sessionID != "":
		entry.Target = "session:" + e.sessionID
	case e.userID != "":
		entry.Target = "user:" + e.userID
	}
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}
	if e.notify != "" && e.userID != "" {
		effects.Jobs = append(effects.Jobs, s.job(hearth.JobSecurity, hearth.SecurityNotice{
			UserID: e.userID, What: e.notify, Origin: s.noticeOrigin(ctx, e.caller), At: now, Email: e.notifyAt,
		}))
	}
	return effects
}

// logged writes the events of a write that is done into the security log; one that failed has none. It returns err.
func (s *Service) logged(ctx context.Context, err error, effects hearth.SideEffects) error {
	if err != nil {
		return err
	}
	for _, entry := range effects.Audit {
		level := slog.LevelInfo
		if entry.Result != resultOK {
			level = slog.LevelWarn
		}
		s.log.LogAttrs(ctx, level, entry.Action, slog.String("kind", "security"), slog.String("actor", entry.ActorID),
			slog.String("target", entry.Target), slog.String("result", entry.Result), slog.String("ip", entry.IP))
	}
	return nil
}

// noticeOrigin seals where a request came from. What cannot be sealed is left out: the notice is worth more.
func (s *Service) noticeOrigin(ctx context.Context, caller hearth.Caller) []byte {
	plain, err := json.Marshal(hearth.NoticeOrigin{IP: caller.IP, UserAgent: clip(caller.UserAgent)})
	var sealed []byte
	if err == nil {
		sealed, err = s.options.Notices.Seal(plain)
	}
	if err != nil {
		s.log.ErrorContext(ctx, "a notice goes without its origin", "err", err)
	}
	return sealed
}

func (s *Service) job(kind string, payload any) hearth.OutboxJob {
	data, err := json.Marshal(payload)
	if err != nil {
		panic("account: payloads are plain values: " + err.Error())
	}
	return hearth.OutboxJob{ID: newid.New(), Kind: kind, Queue: "notification", Payload: data}
}
