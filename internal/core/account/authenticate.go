package account

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"hearth"
)

const (
	// stateFresh is how long what is known of a session is used unasked; stateLimit how long at all. It bounds how late
	// another process's logout shows.
	stateFresh = 400 * time.Millisecond
	stateLimit = 800 * time.Millisecond
	// The caches are bounded: about 10 MB when full.
	maxCachedTokens   = 1 << 15
	maxCachedSessions = 1 << 15
	// maxChecking bounds the requests that check a password of one account or wait for their turn.
	maxChecking = 256
)

// sessionState is what is known of a session, or of an API key, and of its user.
type sessionState struct {
	userID    string
	role      hearth.Role
	epoch     int64
	timeZone  string
	expiresAt int64 // Unix milliseconds
	// ended is final; it needs no asking again.
	ended bool
	// disabled is set for an API key whose user is kept out for now.
	disabled bool
	// key is set for an API key.
	key *hearth.APIKey
	// readAt is on the service's monotonic clock: a jump of the wall clock must not keep a state alive.
	readAt time.Duration
	// asking lets one request renew the state while the others go on using it.
	asking *atomic.Bool
}

// Authenticate returns the caller that an access token or an API key belongs to. Errors: CodeUnauthenticated, CodeTokenExpired, CodeTokenRevoked, and
// CodeUnavailable when that cannot be found out. A logout in this process counts at once, one in another within a second.
func (s *Service) Authenticate(ctx context.Context, bearer string) (hearth.Caller, error) {
	if strings.HasPrefix(bearer, keyPrefix) {
		return s.authenticateKey(ctx, bearer)
	}
	if len(bearer) > maxAccessToken {
		return hearth.Caller{}, errBadToken()
	}
	var buf [maxAccessToken]byte
	key := sha256.Sum256(buf[:copy(buf[:], bearer)])
	now := s.now()
	token, known, version := s.verified.Find(key)
	if !known {
		var err error
		if token, err = s.tokens.verify(bearer, now); err != nil {
			return hearth.Caller{}, err
		}
		s.verified.Keep(version, key, token)
	}
	if now.Unix() >= token.expiresAt {
		return hearth.Caller{}, errExpiredToken()
	}
	state, err := s.state(ctx, token.sessionID, (*Service).readState)
	if err != nil {
		return hearth.Caller{}, err
	}
	if state.ended || state.userID != token.userID || state.role != token.role || state.epoch != token.epoch {
		return hearth.Caller{}, errRevokedToken()
	}
	if now.UnixMilli() >= state.expiresAt {
		return hearth.Caller{}, errExpiredToken()
	}
	return hearth.Caller{UserID: token.userID, Role: token.role, SessionID: token.sessionID, Epoch: token.epoch, TimeZone: state.timeZone}, nil
}

// Alive reports whether a caller that Authenticate returned earlier would still be accepted, its token's own expiry aside:
// CodeTokenRevoked, CodeTokenExpired for the end of the session, or CodeUnavailable. Streams ask it now and then.
func (s *Service) Alive(ctx context.Context, caller hearth.Caller) error {
	id, read := caller.SessionID, (*Service).readState
	if caller.KeyID != "" {
		id, read = caller.KeyID, (*Service).readKeyState
	}
	state, err := s.state(ctx, id, read)
	switch {
	case err != nil:
		return err
	case state.ended, state.disabled, state.userID != caller.UserID, state.role != caller.Role, state.epoch != caller.Epoch:
		return errRevokedToken()
	case s.now().UnixMilli() >= state.expiresAt:
		return errExpiredToken()
	}
	return nil
}

// state returns what is known of a session or an API key, at most stateLimit old.
func (s *Service) state(
	ctx context.Context, id string, read func(s *Service, ctx context.Context, id string) (sessionState, error),
) (sessionState, error) {
	state, known, version := s.states.Find(id)
	var age time.Duration
	if known {
		if state.ended {
			return state, nil
		}
		age = s.monotonic() - state.readAt
		if age < stateFresh || age < stateLimit && !state.asking.CompareAndSwap(false, true) {
			return state, nil
		}
	}
	// What is read is at least as new as the moment before the question.
	readAt := s.monotonic()
	fresh, err := read(s, ctx, id)
	if err != nil {
		if known && age < stateLimit {
			state.asking.Store(false)
			return state, nil
		}
		return sessionState{}, err
	}
	fresh.readAt = readAt
	if s.states.Keep(version, id, fresh) || fresh.ended {
		return fresh, nil
	}
	// Something ended meanwhile, perhaps this session: the cache knows, or the store does by now.
	if known {
		state.asking.Store(false)
	}
	if now, ok, _ := s.states.Find(id); ok && now.ended {
		return now, nil
	}
	return read(s, ctx, id)
}

func (s *Service) readState(ctx context.Context, sessionID string) (sessionState, error) {
	session, user, err := s.store.Session(ctx, sessionID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return sessionState{ended: true}, nil
	}
	if err != nil {
		return sessionState{}, err
	}
	return sessionState{
		userID: user.ID, role: user.Role, epoch: user.Epoch, timeZone: user.TimeZone, expiresAt: session.ExpiresAt.UnixMilli(),
		ended: !session.EndedAt.IsZero() || user.Disabled, asking: new(atomic.Bool),
	}, nil
}

// ended makes the end of sessions and API keys count in this process at once and notifies the observers.
func (s *Service) ended(userID string, sessionIDs ...string) {
	if len(sessionIDs) == 0 {
		return
	}
	for _, id := range sessionIDs {
		s.states.Set(id, sessionState{ended: true, userID: userID})
	}
	for _, observer := range s.observers {
		observer.SessionsEnded(userID, sessionIDs)
	}
}

// Forget has a user's sessions and API keys read anew, for something in another process ended or changed them. Without it they are within a
// second.
func (s *Service) Forget(userID string) {
	s.states.DeleteFunc(func(_ string, state sessionState) bool { return state.userID == userID && !state.ended })
}

// changed makes a change of the user count in this process at once.
func (s *Service) changed(userID string) {
	s.Forget(userID)
	for _, observer := range s.observers {
		observer.SessionsEnded(userID, nil)
	}
}
