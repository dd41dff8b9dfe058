package sqlite

import (
	"context"
	"errors"
	"time"

	"hearth"
)

const sessionColumns = `s.id, s.user_id, s.device, s.origin, s.created_at, s.last_used_at, s.expires_at, s.ended_at, s.end_reason`

// sessionScan holds what a session's columns are read into.
type sessionScan struct {
	session                       hearth.Session
	created, used, expires, ended int64
}

func (c *sessionScan) dest() []any {
	s := &c.session
	return []any{&s.ID, &s.UserID, &s.Device, &s.Origin, &c.created, &c.used, &c.expires, &c.ended, &s.EndReason}
}

func (c *sessionScan) result() hearth.Session {
	s := c.session
	s.CreatedAt, s.LastUsedAt = fromMillis(c.created), fromMillis(c.used)
	s.ExpiresAt, s.EndedAt = fromMillis(c.expires), fromMillis(c.ended)
	return s
}

// CreateSession implements hearth.SessionStore.
func (s *Store) CreateSession(ctx context.Context, login hearth.NewSession) (user hearth.User, ended []string, err error) {
	err = s.write(ctx, "CreateSession", func(t *tx) error {
		session := login.Session
		before, err := scanUser(t.row(`SELECT `+userColumns+` FROM users u WHERE u.id=?`, session.UserID))
		if err != nil {
			return found(err, "user")
		}
		var earlier, known bool
		// Served by sessions_user and sessions_device.
		err = t.row(`SELECT EXISTS(SELECT 1 FROM sessions WHERE user_id=?1), EXISTS(SELECT 1 FROM sessions WHERE user_id=?1 AND device=?2)`,
			session.UserID, session.Device).Scan(&earlier, &known)
		if err != nil {
			return err
		}
		to, err := login.Decide(before, earlier, known)
		if err != nil {
			return err
		}
		user = to.User
		if ended, err = s.applyUserChange(t, before, to); err != nil {
			return err
		}
		more, err := makeRoom(t, session)
		if err != nil {
			return err
		}
		ended = append(ended, more...)
		_, err = t.exec(`INSERT INTO sessions(id, user_id, device, origin, created_at, last_used_at, expires_at) VALUES(?,?,?,?,?,?,?)`,
			session.ID, session.UserID, session.Device, session.Origin,
			millis(session.CreatedAt), millis(session.LastUsedAt), millis(session.ExpiresAt))
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO refresh_tokens(hash, session) VALUES(?,?)`, login.RefreshHash, session.ID)
		return err
	})
	return user, ended, err
}

// makeRoom ends the oldest open sessions of the user, so that with the new one at most MaxSessions are open.
func makeRoom(t *tx, session hearth.Session) ([]string, error) {
	// Served by sessions_user (user_id, ended_at, created_at), backwards.
	ids, err := queryIDs(t, `SELECT id FROM sessions WHERE user_id=? AND ended_at=0 AND expires_at>?
		ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?`, session.UserID, millis(session.CreatedAt), hearth.MaxSessions-1)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		_, err := t.exec(`UPDATE sessions SET ended_at=?, end_reason=? WHERE id=?`, millis(session.CreatedAt), hearth.EndReplaced, id)
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func queryIDs(t *tx, query string, args ...any) (ids []string, err error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Session implements hearth.SessionStore.
func (s *Store) Session(ctx context.Context, id string) (session hearth.Session, user hearth.User, err error) {
	err = s.read(ctx, "Session", func(r *reader) error {
		var scan sessionScan
		// Both by primary key.
		user, err = scanUser(r.row(`SELECT `+userColumns+`, `+sessionColumns+` FROM sessions s JOIN users u ON u.id=s.user_id WHERE s.id=?`, id),
			scan.dest()...)
		session = scan.result()
		return found(err, "session")
	})
	return session, user, err
}

// Sessions implements hearth.SessionStore.
func (s *Store) Sessions(ctx context.Context, userID string, now time.Time) (sessions []hearth.Session, err error) {
	err = s.read(ctx, "Sessions", func(r *reader) (err error) {
		// Served by sessions_user (user_id, ended_at, created_at), backwards.
		rows, err := r.query(`SELECT `+sessionColumns+` FROM sessions s WHERE s.user_id=? AND s.ended_at=0 AND s.expires_at>?
			ORDER BY s.created_at DESC, s.id DESC LIMIT ?`, userID, millis(now), hearth.MaxSessions)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var scan sessionScan
			if err := rows.Scan(scan.dest()...); err != nil {
				return err
			}
			sessions = append(sessions, scan.result())
		}
		return rows.Err()
	})
	return sessions, err
}

// UseRefreshToken implements hearth.SessionStore.
func (s *Store) UseRefreshToken(
	ctx context.Context, hash []byte, decide func(hearth.RefreshToken) (hearth.RefreshVerdict, error),
) error {
	return s.write(ctx, "UseRefreshToken", func(t *tx) error {
		var token hearth.RefreshToken
		var scan sessionScan
		// All three by primary key.
		user, err := scanUser(t.row(`SELECT `+userColumns+`, `+sessionColumns+`, r.spent FROM refresh_tokens r
			JOIN sessions s ON s.id=r.session JOIN users u ON u.id=s.user_id WHERE r.hash=?`, hash),
			append(scan.dest(), &token.Spent)...)
		if err != nil {
			return found(err, "refresh token")
		}
		token.User, token.Session = user, scan.result()
		verdict, err := decide(token)
		if err != nil {
			return err
		}
		if err := s.writeEffects(t, verdict.SideEffects); err != nil {
			return err
		}
		if verdict.Next != nil {
			if _, err := t.exec(`UPDATE refresh_tokens SET spent=1 WHERE hash=?`, hash); err != nil {
				return err
			}
			if _, err := t.exec(`INSERT INTO refresh_tokens(hash, session) VALUES(?,?)`, verdict.Next, token.Session.ID); err != nil {
				return err
			}
		}
		if !verdict.UsedAt.IsZero() {
			origin := verdict.Origin
			if origin == nil {
				origin = token.Session.Origin
			}
			if _, err := t.exec(`UPDATE sessions SET last_used_at=?, origin=? WHERE id=?`, millis(verdict.UsedAt), origin, token.Session.ID); err != nil {
				return err
			}
		}
		if verdict.End != "" {
			_, err = t.exec(`UPDATE sessions SET ended_at=?, end_reason=? WHERE id=? AND ended_at=0`, millis(s.now()), verdict.End, token.Session.ID)
		}
		return err
	})
}

// EndSession implements hearth.SessionStore.
func (s *Store) EndSession(ctx context.Context, end hearth.SessionEnd) (session hearth.Session, err error) {
	err = s.write(ctx, "EndSession", func(t *tx) error {
		if err := s.writeEffects(t, end.SideEffects); err != nil {
			return err
		}
		var scan sessionScan
		err := t.row(`SELECT `+sessionColumns+` FROM sessions s WHERE s.id=?1 AND (s.user_id=?2 OR ?2='') AND s.ended_at=0 AND s.expires_at>?3`,
			end.ID, end.UserID, millis(end.At)).Scan(scan.dest()...)
		if err != nil {
			return found(err, "session")
		}
		session = scan.result()
		session.EndedAt, session.EndReason = end.At, end.Reason
		_, err = t.exec(`UPDATE sessions SET ended_at=?, end_reason=? WHERE id=?`, millis(end.At), end.Reason, end.ID)
		return err
	})
	return session, err
}

// EndSessions implements hearth.SessionStore.
func (s *Store) EndSessions(ctx context.Context, end hearth.SessionEnd) (ended []string, err error) {
	err = s.write(ctx, "EndSessions", func(t *tx) error {
		if err := s.writeEffects(t, end.SideEffects); err != nil {
			return err
		}
		ended, err = endSessions(t, end)
		return err
	})
	return ended, err
}

// endSessions ends the user's open sessions but the one with end.ID.
func endSessions(t *tx, end hearth.SessionEnd) ([]string, error) {
	// Served by sessions_user.
	ids, err := queryIDs(t, `SELECT id FROM sessions WHERE user_id=? AND ended_at=0 AND expires_at>? AND id<>?`, end.UserID, millis(end.At), end.ID)
	if err != nil || len(ids) == 0 {
		return ids, err
	}
	_, err = t.exec(`UPDATE sessions SET ended_at=?1, end_reason=?2 WHERE user_id=?3 AND ended_at=0 AND expires_at>?1 AND id<>?4`,
		millis(end.At), end.Reason, end.UserID, end.ID)
	return ids, err
}

// RemoveSessions implements hearth.SessionStore.
func (s *Store) RemoveSessions(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	err = s.write(ctx, "RemoveSessions", func(t *tx) error {
		if err := removeTries(t, before); err != nil {
			return err
		}
		// Served by sessions_expires; refresh tokens go with their session.
		result, err := t.exec(`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? LIMIT ?)`, millis(before), limit)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		removed = int(n)
		return err
	})
	return removed, err
}

// RewriteOrigins implements hearth.SessionStore.
func (s *Store) RewriteOrigins(
	ctx context.Context, after string, limit int, change func(id string, origin []byte) ([]byte, error),
) (last string, err error) {
	err = s.write(ctx, "RewriteOrigins", func(t *tx) error {
		last = ""
		// By primary key.
		sessions, err := queryOrigins(t, `SELECT id, origin FROM sessions WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		for _, session := range sessions {
			last = session.ID
			changed, err := change(session.ID, session.Origin)
			if err != nil {
				return err
			}
			if changed == nil {
				continue
			}
			if _, err := t.exec(`UPDATE sessions SET origin=? WHERE id=?`, changed, session.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return last, err
}

func queryOrigins(t *tx, query string, args ...any) (sessions []hearth.Session, err error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var session hearth.Session
		if err := rows.Scan(&session.ID, &session.Origin); err != nil {
			return nil, err
		}
		sessions = append(sessions, session)
	}
	return sessions, rows.Err()
}
