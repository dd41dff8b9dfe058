package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hearth"
)

// SessionInfo is a session as its user sees it.
type SessionInfo struct {
	ID         string
	IP         string
	UserAgent  string
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	// Current is set for the session of the caller's token.
	Current bool
}

// Sessions returns the caller's open sessions, newest first.
func (s *Service) Sessions(ctx context.Context, caller hearth.Caller) ([]SessionInfo, error) {
	sessions, err := s.store.Sessions(ctx, caller.UserID, s.now())
	if err != nil {
		return nil, err
	}
	infos := make([]SessionInfo, len(sessions))
	for i, session := range sessions {
		origin, err := s.readOrigin(session.Origin)
		if err != nil { // users must be able to end a session whatever became of the key
			s.log.ErrorContext(ctx, "a session's origin cannot be read", "session", session.ID, "err", err)
		}
		infos[i] = SessionInfo{
			ID: session.ID, IP: origin.IP, UserAgent: origin.UserAgent, CreatedAt: session.CreatedAt,
			LastUsedAt: session.LastUsedAt, ExpiresAt: session.ExpiresAt, Current: session.ID == caller.SessionID,
		}
	}
	return infos, nil
}

func (s *Service) readOrigin(sealed []byte) (origin sessionOrigin, err error) {
	plain, err := s.options.Sealer.Open(sealed)
	if err != nil {
		return origin, fmt.Errorf("open a session's origin: %w", err)
	}
	if err := json.Unmarshal(plain, &origin); err != nil {
		return origin, errors.New("a session's origin is damaged") // what the decoder says would repeat it
	}
	return origin, nil
}

// EndSession ends one of the caller's sessions; CodeNotFound.
func (s *Service) EndSession(ctx context.Context, caller hearth.Caller, id string) error {
	effects := s.note(ctx, event{caller: caller, action: "session.revoke", userID: caller.UserID, sessionID: id})
	_, err := s.store.EndSession(ctx, hearth.SessionEnd{
		ID: id, UserID: caller.UserID, At: s.now(), Reason: hearth.EndRevoked, SideEffects: effects,
	})
	if err := s.logged(ctx, err, effects); err != nil {
		return err
	}
	s.ended(caller.UserID, id)
	return nil
}

// Logout ends the caller's session: its access tokens and its refresh token are refused from then on.
func (s *Service) Logout(ctx context.Context, caller hearth.Caller) error {
	effects := s.note(ctx, event{caller: caller, action: "auth.logout", userID: caller.UserID, sessionID: caller.SessionID})
	_, err := s.store.EndSession(ctx, hearth.SessionEnd{
		ID: caller.SessionID, UserID: caller.UserID, At: s.now(), Reason: hearth.EndLogout, SideEffects: effects,
	})
	if err = s.logged(ctx, err, effects); err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound { // another logout was faster
		return err
	}
	s.ended(caller.UserID, caller.SessionID)
	return nil
}

// LogoutAll ends all of the caller's sessions and reports how many.
func (s *Service) LogoutAll(ctx context.Context, caller hearth.Caller) (int, error) {
	effects := s.note(ctx, event{caller: caller, action: "auth.logout_all", userID: caller.UserID})
	ended, err := s.store.EndSessions(ctx, hearth.SessionEnd{UserID: caller.UserID, At: s.now(), Reason: hearth.EndLogout, SideEffects: effects})
	if err := s.logged(ctx, err, effects); err != nil {
		return 0, err
	}
	s.ended(caller.UserID, ended...)
	return len(ended), nil
}

// Revoke ends the session that a refresh token, spent or not, or a valid access token belongs to. A token that is neither
// is no error, so that nothing is learned from the answer.
func (s *Service) Revoke(ctx context.Context, caller hearth.Caller, token string) error {
	if !strings.HasPrefix(token, refreshPrefix) {
		return s.revokeAccess(ctx, caller, token)
	}
	var session hearth.Session
	var open bool
	var effects hearth.SideEffects
	err := s.store.UseRefreshToken(ctx, hashToken(token), func(t hearth.RefreshToken) (hearth.RefreshVerdict, error) {
		session, open, effects = t.Session, t.Session.Open(s.now()), hearth.SideEffects{}
		if !open {
			return hearth.RefreshVerdict{}, nil
		}
		effects = s.note(ctx, event{
			caller: caller, actor: "user:" + t.User.ID, action: "session.revoke", userID: t.User.ID, sessionID: t.Session.ID,
		})
		return hearth.RefreshVerdict{End: hearth.EndRevoked, SideEffects: effects}, nil
	})
	err = s.logged(ctx, err, effects)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err == nil && open {
		s.ended(session.UserID, session.ID)
	}
	return err
}

// RefreshSession returns the id of the session that a refresh token, spent or not, belongs to; CodeNotFound.
func (s *Service) RefreshSession(ctx context.Context, token string) (string, error) {
	return s.store.RefreshSession(ctx, hashToken(token))
}

func (s *Service) revokeAccess(ctx context.Context, caller hearth.Caller, token string) error {
	found, err := s.tokens.verify(token, s.now())
	if err != nil {
		return nil //nolint:nilerr // no token of ours, or one that ended by itself
	}
	effects := s.note(ctx, event{
		caller: caller, actor: "user:" + found.userID, action: "session.revoke", userID: found.userID, sessionID: found.sessionID,
	})
	_, err = s.store.EndSession(ctx, hearth.SessionEnd{
		ID: found.sessionID, UserID: found.userID, At: s.now(), Reason: hearth.EndRevoked, SideEffects: effects,
	})
	err = s.logged(ctx, err, effects)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err == nil {
		s.ended(found.userID, found.sessionID)
	}
	return err
}

// Reseal seals every stored field anew that is not sealed with today's key, in small steps while the server runs. It returns how many
// it changed, and how many it could not open.
func (s *Service) Reseal(ctx context.Context) (changed, lost int, err error) {
	for after := ""; ; {
		did, could := map[string]bool{}, map[string]bool{} // by id: the function may run more than once
		last, err := s.store.RewriteOrigins(ctx, after, resealStep, func(id string, origin []byte) ([]byte, error) {
			if s.options.Sealer.Current(origin) {
				return nil, nil
			}
			plain, err := s.options.Sealer.Open(origin)
			if err != nil {
				could[id] = true
				return nil, nil //nolint:nilerr // what cannot be opened is counted and stays
			}
			did[id] = true
			return s.options.Sealer.Seal(plain)
		})
		if err != nil {
			return changed, lost, fmt.Errorf("seal the sessions anew: %w", err)
		}
		changed, lost = changed+len(did), lost+len(could)
		if last == "" {
			return changed, lost, nil
		}
		after = last
	}
}

const (
	// resealStep is how many sessions one write looks through.
	resealStep = 200
	// keepSessions is how long an ended or expired session is remembered, to know its device again.
	keepSessions = 30 * 24 * time.Hour
	removeStep   = 500
)

// CleanUp removes sessions that expired 30 days ago, with their refresh tokens, and old failed logins and resets, in small
// steps; it reports how many sessions. The cleanup job calls it.
func (s *Service) CleanUp(ctx context.Context) (int, error) {
	for total := 0; ; {
		removed, err := s.store.RemoveSessions(ctx, s.now().Add(-keepSessions), removeStep)
		total += removed
		if err != nil || removed < removeStep {
			return total, err
		}
	}
}
