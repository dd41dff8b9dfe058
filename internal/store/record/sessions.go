package record

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"
	"time"

	"hearth"
)

// session is a login with its refresh tokens that are not spent.
type session struct {
	sessionPart `db:",inline"`
	// Good are the hashes of those tokens: one, unless a spent one was exchanged once more.
	Good hashes `json:"-" db:"good"`
}

// sessionPart is the stored form of hearth.Session.
type sessionPart struct {
	ID         string           `json:"id"`
	UserID     string           `json:"user_id" bson:"user"`
	Device     []byte           `json:"device,omitempty"`
	Network    []byte           `json:"network,omitempty"`
	Origin     []byte           `json:"origin,omitempty"`
	CreatedAt  time.Time        `json:"created_at,omitzero" bson:"created"`
	LastUsedAt time.Time        `json:"last_used_at,omitzero" bson:"last_used"`
	ExpiresAt  time.Time        `json:"expires_at,omitzero" bson:"expires"`
	EndedAt    time.Time        `json:"ended_at,omitzero" bson:"ended"`
	EndReason  hearth.EndReason `json:"end_reason,omitempty"`
}

// hashes are texts of hexadecimal digits in JSON.
type hashes [][]byte

// MarshalJSON implements json.Marshaler.
func (h hashes) MarshalJSON() ([]byte, error) {
	text := []byte(`[`)
	for i, hash := range h {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(hex.AppendEncode(append(text, '"'), hash), '"')
	}
	return append(text, ']'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *hashes) UnmarshalJSON(data []byte) error {
	*h = nil
	for text := range bytes.SplitSeq(bytes.Trim(data, "[]"), []byte(",")) {
		hash, err := hex.AppendDecode(nil, bytes.Trim(text, `" `))
		if err != nil {
			return err
		}
		if len(hash) > 0 {
			*h = append(*h, hash)
		}
	}
	return nil
}

// without returns the hashes but for one.
func (h hashes) without(hash []byte) hashes {
	return slices.DeleteFunc(slices.Clone(h), func(one []byte) bool { return bytes.Equal(one, hash) })
}

func (h hashes) has(hash []byte) bool { return len(h.without(hash)) < len(h) }

var sessions = describe(&Kind[session]{
	Schema: Schema{
		Name: "sessions", Noun: "session", Of: map[string]string{"user_id": "users"},
		Indexes: []Index{
			{Fields: []string{"user_id", "ended_at", "created_at", "id"}},
			{Fields: []string{"user_id", "device"}},
			{Fields: []string{"user_id", "network"}},
			{Fields: []string{"expires_at"}},
		},
	},
	ExpiresAt: func(s *session) time.Time { return s.ExpiresAt },
})

// refreshToken tells which session a refresh token belongs to. It never changes: a token is spent when it is not among the good
// ones of its session.
type refreshToken struct {
	Hash      []byte    `json:"hash,omitempty"`
	SessionID string    `json:"session_id" db:"session"`
	ExpiresAt time.Time `json:"-" db:"expires_at" bson:"expires"`
	// Spent is for archives, whose sessions do not name their good tokens.
	Spent bool `json:"spent,omitempty" db:"-"`
}

var refreshTokens = describe(&Kind[refreshToken]{
	Schema: Schema{
		Name: "refresh_tokens", Noun: "refresh token", ID: []string{"hash"}, Loose: true, Of: map[string]string{"session": "sessions"},
		Indexes: []Index{{Fields: []string{"session"}}},
	},
	ExpiresAt: func(t *refreshToken) time.Time { return t.ExpiresAt },
	Archived:  markSpent,
	Restored:  unspend,
})

// sessionsOf returns the sessions of refresh tokens by id.
func sessionsOf(ctx context.Context, r Reader, tokens []*refreshToken) (map[string]session, error) {
	ids := make([]string, len(tokens))
	for i, t := range tokens {
		ids[i] = t.SessionID
	}
	all, err := sessions.Find(ctx, r, Query{Where: Filter{In("id", ids...)}})
	byID := make(map[string]session, len(all))
	for _, s := range all {
		byID[s.ID] = s
	}
	return byID, err
}

// markSpent finds out which tokens are spent. One without a session means nothing to anybody.
func markSpent(ctx context.Context, r Reader, tokens []*refreshToken) (kept []*refreshToken, err error) {
	of, err := sessionsOf(ctx, r, tokens)
	for _, t := range tokens {
		if s, ok := of[t.SessionID]; ok {
			t.Spent = !s.Good.has(t.Hash)
			kept = append(kept, t)
		}
	}
	return kept, err
}

// unspend makes those tokens good that are not spent.
func unspend(ctx context.Context, tx Tx, tokens []*refreshToken) error {
	of, err := sessionsOf(ctx, tx, tokens)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, t := range tokens {
		s := of[t.SessionID]
		if t.ExpiresAt = s.ExpiresAt; !t.Spent && s.ID != "" && !s.Good.has(t.Hash) {
			s.Good = append(s.Good, t.Hash)
			of[s.ID], changed[s.ID] = s, true
		}
	}
	for id := range changed {
		if err := sessions.Replace(ctx, tx, of[id]); err != nil {
			return err
		}
	}
	return nil
}

// sessionParts are sessions that are read for what the root knows of them: their tokens are not decoded.
var sessionParts = describe(&Kind[sessionPart]{Schema: Schema{Name: "sessions", Noun: "session", View: "sessions"}})

func asSession(s session) hearth.Session { return hearth.Session(s.sessionPart) }

func asSessionPart(s sessionPart) hearth.Session { return hearth.Session(s) }

// openSessions picks a user's sessions that are open at a time.
func openSessions(userID string, at time.Time) Filter {
	return Filter{Eq("user_id", userID), Eq("ended_at", 0), Gt("expires_at", at)}
}

// CreateSession implements hearth.SessionStore. All logins of a user change the user, so that they follow one another.
func (a *Aggregates) CreateSession(ctx context.Context, login hearth.NewSession) (hearth.User, []string, error) {
	userID := login.Session.UserID
	done, err := update(ctx, a.b, Write{Name: "CreateSession", Key: "users/" + userID}, func(ctx context.Context, tx Tx) (changed, error) {
		before, err := users.Get(ctx, tx, userID)
		if err != nil {
			return changed{}, err
		}
		known, err := sessions.Exists(ctx, tx, Eq("user_id", userID), Eq("device", login.Session.Device))
		earlier := known
		if err == nil && !known {
			earlier, err = sessions.Exists(ctx, tx, Eq("user_id", userID))
		}
		if err != nil {
			return changed{}, err
		}
		to, err := login.Decide(hearth.User(before), earlier, known)
		if err != nil {
			return changed{}, err
		}
		done, err := a.changeUser(ctx, tx, before, to)
		if err != nil {
			return changed{}, err
		}
		replaced, err := makeRoom(ctx, tx, login.Session)
		if err != nil {
			return changed{}, err
		}
		done.ended = append(done.ended, replaced...)
		if err := sessions.Insert(ctx, tx, session{sessionPart(login.Session), hashes{login.RefreshHash}}); err != nil {
			return changed{}, err
		}
		return done, noteToken(ctx, tx, login.RefreshHash, login.Session.ID, login.Session.ExpiresAt)
	})
	return done.user, done.ended, err
}

func noteToken(ctx context.Context, tx Tx, hash []byte, sessionID string, expires time.Time) error {
	return tx.Note(ctx, &refreshTokens.Schema, &refreshToken{Hash: hash, SessionID: sessionID, ExpiresAt: expires})
}

// makeRoom ends the oldest open sessions of the user, so that with the new one at most MaxSessions are open.
func makeRoom(ctx context.Context, tx Tx, s hearth.Session) ([]string, error) {
	return endThese(ctx, tx, Query{
		Where: openSessions(s.UserID, s.CreatedAt), Order: newestFirst, Skip: hearth.MaxSessions - 1,
	}, s.CreatedAt, hearth.EndReplaced)
}

// endSessions ends the user's open sessions but the one with end.ID.
func endSessions(ctx context.Context, tx Tx, end hearth.SessionEnd) ([]string, error) {
	return endThese(ctx, tx, Query{Where: append(openSessions(end.UserID, end.At), Ne("id", end.ID))}, end.At, end.Reason)
}

func endThese(ctx context.Context, tx Tx, q Query, at time.Time, reason hearth.EndReason) (ids []string, err error) {
	open, err := sessions.Find(ctx, tx, q)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	for _, s := range open {
		ids = append(ids, s.ID)
	}
	return ids, tx.UpdateWhere(ctx, &sessions.Schema, Filter{In("id", ids...), Eq("ended_at", 0)}, Changes{Set("ended_at", at), Set("end_reason", reason)})
}

// Session implements hearth.SessionStore.
func (a *Aggregates) Session(ctx context.Context, id string) (hearth.Session, hearth.User, error) {
	return withUser(ctx, a.b, "Session", sessionParts, asSessionPart, func(s sessionPart) string { return s.UserID }, id)
}

// Sessions implements hearth.SessionStore.
func (a *Aggregates) Sessions(ctx context.Context, userID string, now time.Time) ([]hearth.Session, error) {
	all := Query{Where: openSessions(userID, now), Order: newestFirst, Limit: hearth.MaxSessions}
	return find(ctx, a.b, "Sessions", sessionParts, asSessionPart, all)
}

// UseRefreshToken implements hearth.SessionStore.
func (a *Aggregates) UseRefreshToken(
	ctx context.Context, hash []byte, decide func(hearth.RefreshToken) (hearth.RefreshVerdict, error),
) error {
	return a.b.Update(ctx, Write{Name: "UseRefreshToken", Key: "refresh_tokens/" + string(hash)}, func(ctx context.Context, tx Tx) error {
		token, err := refreshTokens.Get(ctx, tx, hash)
		if err != nil {
			return err
		}
		s, err := sessions.Get(ctx, tx, token.SessionID)
		var u user
		if err == nil {
			u, err = users.Get(ctx, tx, s.UserID)
		}
		if gone, err := absent(err); err != nil || gone {
			return orError(err, hearth.NotFound("refresh token"))
		}
		verdict, err := decide(hearth.RefreshToken{Session: asSession(s), User: hearth.User(u), Spent: !s.Good.has(hash), Unspent: s.Good})
		if err != nil {
			return err
		}
		tx.With(verdict.SideEffects)
		return a.judge(ctx, tx, s, hash, verdict)
	})
}

// SignedInFrom implements hearth.SessionStore.
func (a *Aggregates) SignedInFrom(ctx context.Context, userID string, network []byte) (bool, error) {
	return view(ctx, a.b, "SignedInFrom", func(ctx context.Context, r Reader) (bool, error) {
		return sessions.Exists(ctx, r, Eq("user_id", userID), Eq("network", network))
	})
}

// RefreshSession implements hearth.SessionStore.
func (a *Aggregates) RefreshSession(ctx context.Context, hash []byte) (string, error) {
	return view(ctx, a.b, "RefreshSession", func(ctx context.Context, r Reader) (string, error) {
		token, err := refreshTokens.Get(ctx, r, hash)
		return token.SessionID, err
	})
}

// judge writes what becomes of a session whose refresh token with that hash was used.
func (a *Aggregates) judge(ctx context.Context, tx Tx, s session, hash []byte, verdict hearth.RefreshVerdict) error {
	if verdict.Next != nil {
		s.Good = append(s.Good.without(hash), verdict.Next)
		if err := noteToken(ctx, tx, verdict.Next, s.ID, s.ExpiresAt); err != nil {
			return err
		}
	}
	if !verdict.UsedAt.IsZero() {
		s.LastUsedAt = verdict.UsedAt
		if verdict.Origin != nil {
			s.Origin = verdict.Origin
		}
	}
	if verdict.End != "" && s.EndedAt.IsZero() {
		s.EndedAt, s.EndReason = a.b.Now(), verdict.End
	}
	if verdict.Next == nil && verdict.UsedAt.IsZero() && verdict.End == "" {
		return nil
	}
	return sessions.Replace(ctx, tx, s)
}

// EndSession implements hearth.SessionStore.
func (a *Aggregates) EndSession(ctx context.Context, end hearth.SessionEnd) (hearth.Session, error) {
	w := Write{Name: "EndSession", Key: "sessions/" + end.ID, Effects: end.SideEffects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Session, error) {
		s, err := sessions.Get(ctx, tx, end.ID)
		if err == nil {
			err = sessions.FoundIf(asSession(s).Open(end.At) && (end.UserID == "" || end.UserID == s.UserID))
		}
		if err != nil {
			return hearth.Session{}, err
		}
		s.EndedAt, s.EndReason = end.At, end.Reason
		return asSession(s), sessions.Replace(ctx, tx, s)
	})
}

// EndSessions implements hearth.SessionStore.
func (a *Aggregates) EndSessions(ctx context.Context, end hearth.SessionEnd) ([]string, error) {
	w := Write{Name: "EndSessions", Key: "users/" + end.UserID, Effects: end.SideEffects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) ([]string, error) { return endSessions(ctx, tx, end) })
}

// RemoveSessions implements hearth.SessionStore. Refresh tokens go before their session: without one nobody would find them.
func (a *Aggregates) RemoveSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	const name = "RemoveSessions"
	old := Filter{Lt("updated_at", before), Lt("locked_until", before)}
	if _, err := a.b.Remove(ctx, name, &loginTries.Schema, old, "updated_at", 0); err != nil {
		return 0, err
	}
	expired := Filter{Lt("expires_at", before)}
	if _, err := a.b.Remove(ctx, name, &passwordResets.Schema, expired, "expires_at", 0); err != nil {
		return 0, err
	}
	ids, err := find(ctx, a.b, name, sessions, func(s session) string { return s.ID }, Query{Where: expired, Order: Order{By: "expires_at"}, Limit: limit})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	if _, err := a.b.Remove(ctx, name, &refreshTokens.Schema, Filter{In("session", ids...)}, "session", 0); err != nil {
		return 0, err
	}
	return a.b.Remove(ctx, name, &sessions.Schema, append(Filter{In("id", ids...)}, expired...), "expires_at", limit)
}

// RewriteOrigins implements hearth.SessionStore.
func (a *Aggregates) RewriteOrigins(
	ctx context.Context, after string, limit int, change func(id string, origin []byte) ([]byte, error),
) (string, error) {
	return update(ctx, a.b, Write{Name: "RewriteOrigins", Key: "origins", Long: true}, func(ctx context.Context, tx Tx) (last string, _ error) {
		some, err := sessions.Find(ctx, tx, Query{Where: Filter{Gt("id", after)}, Order: Order{By: "id"}, Limit: limit})
		if err != nil {
			return "", err
		}
		for _, s := range some {
			last = s.ID
			origin, err := change(s.ID, s.Origin)
			if err != nil {
				return "", err
			}
			if origin == nil {
				continue
			}
			s.Origin = origin
			if err := sessions.Replace(ctx, tx, s); err != nil {
				return "", err
			}
		}
		return last, nil
	})
}
