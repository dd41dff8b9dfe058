package hearth

import (
	"context"
	"time"
)

// MaxSessions is how many open sessions a user keeps; a login beyond it ends the oldest.
const MaxSessions = 500

// EndReason says why a session ended.
type EndReason string

// The reasons.
const (
	EndLogout   EndReason = "logout"
	EndRevoked  EndReason = "revoked"
	EndReused   EndReason = "reused"
	EndPassword EndReason = "password"
	EndDisabled EndReason = "disabled"
	EndReplaced EndReason = "replaced" // by a newer login, at MaxSessions
)

// Session is one login and every token that descends from it.
type Session struct {
	ID     string
	UserID string
	// Device is a keyed hash of what the login came from, to tell a new device from a known one.
	Device []byte
	// Network is a keyed hash of the address of the login (see Caller.Network).
	Network []byte
	// Origin is the ip and user agent, sealed by package account.
	Origin     []byte
	CreatedAt  time.Time
	LastUsedAt time.Time // login or last refresh
	// ExpiresAt is when the login ends for good; refreshing never moves it.
	ExpiresAt time.Time
	EndedAt   time.Time // zero while it is open
	EndReason EndReason
}

// Open reports whether the session's tokens still count at the time now.
func (s Session) Open(now time.Time) bool { return s.EndedAt.IsZero() && now.Before(s.ExpiresAt) }

// NewSession is a login about to be stored.
type NewSession struct {
	Session Session
	// RefreshHash is the SHA-256 of the session's first refresh token.
	RefreshHash []byte
	// Decide sees the user, whether the user ever had a session, and whether one was of the same Device. It returns the user
	// back as the login leaves it, or the error that refuses the login.
	Decide func(user User, earlier, known bool) (UserChange, error)
}

// RefreshToken is a refresh token that somebody presented, with what it belongs to.
type RefreshToken struct {
	Session Session
	User    User
	// Spent reports whether it was exchanged before.
	Spent bool
	// Unspent are the hashes of the session's tokens that were not exchanged.
	Unspent [][]byte
}

// RefreshVerdict is what becomes of a refresh token. The zero RefreshVerdict changes nothing.
type RefreshVerdict struct {
	// Next is the SHA-256 of the token that takes its place; nil leaves it as it is.
	Next []byte
	// UsedAt and Origin, if set, are the session's new LastUsedAt and Origin.
	UsedAt time.Time
	Origin []byte
	// End ends the session for that reason.
	End         EndReason
	SideEffects SideEffects
}

// SessionStore keeps sessions and the hashes of their refresh tokens. The rules of UserStore hold.
type SessionStore interface {
	// CreateSession stores a login of the user Session.UserID with what Decide makes of the user, in one atomic step, and
	// returns the user and the ids of sessions that ended to make room. CodeNotFound if the user is gone.
	CreateSession(ctx context.Context, login NewSession) (User, []string, error)
	// Session returns a session, open or not, and its user; CodeNotFound.
	Session(ctx context.Context, id string) (Session, User, error)
	// Sessions returns the user's open sessions at the time now, newest first; at most MaxSessions.
	Sessions(ctx context.Context, userID string, now time.Time) ([]Session, error)
	// UseRefreshToken finds a refresh token by its hash and does what decide says of it, in one atomic step, so that of
	// many uses at once one sees it unspent. CodeNotFound for an unknown token; an error of decide is returned and nothing
	// is written.
	UseRefreshToken(ctx context.Context, hash []byte, decide func(RefreshToken) (RefreshVerdict, error)) error
	// SignedInFrom reports whether the user has a session, open or not, of that network.
	SignedInFrom(ctx context.Context, userID string, network []byte) (bool, error)
	// RefreshSession returns the id of the session that a refresh token with that hash, spent or not, belongs to; CodeNotFound.
	RefreshSession(ctx context.Context, hash []byte) (sessionID string, err error)
	// EndSession ends one open session; CodeNotFound if it is not there, not open at the time at, or not the user's. An
	// empty userID matches every user.
	EndSession(ctx context.Context, end SessionEnd) (Session, error)
	// EndSessions ends all of the user's open sessions and returns their ids; SessionEnd.ID is kept if it is set. along is
	// written even if there are none.
	EndSessions(ctx context.Context, end SessionEnd) ([]string, error)
	// RemoveSessions removes up to limit sessions that expired before the time before, with their refresh tokens, and
	// failed logins and resets that are as old; it reports how many sessions.
	RemoveSessions(ctx context.Context, before time.Time, limit int) (int, error)
	// RewriteOrigins stores what change makes of the Origin of each of the first limit sessions, by id, after the one with
	// the id after ("" begins), open or not; nil leaves it. All in one atomic step. It returns the last id that it saw, "" if
	// there was none left.
	RewriteOrigins(ctx context.Context, after string, limit int, change func(id string, origin []byte) ([]byte, error)) (last string, err error)
}

// SessionEnd says which session ends, when and why.
type SessionEnd struct {
	ID          string
	UserID      string
	At          time.Time
	Reason      EndReason
	SideEffects SideEffects
}
