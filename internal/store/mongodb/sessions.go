package mongodb

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.SessionStore = (*Store)(nil)

// sessionDoc is the stored form of a session.
type sessionDoc struct {
	ID       string `bson:"_id"`
	Meta     `bson:",inline"`
	User     string           `bson:"user"`
	Device   []byte           `bson:"device"`
	Origin   []byte           `bson:"origin"`
	Created  int64            `bson:"created"`
	LastUsed int64            `bson:"last_used"`
	Expires  int64            `bson:"expires"`
	Ended    int64            `bson:"ended"` // 0 while it is open
	Reason   hearth.EndReason `bson:"end_reason"`
	// Good are the hashes of its refresh tokens that are not spent: one, unless a spent one was exchanged once more.
	Good    [][]byte   `bson:"good"`
	PurgeAt *time.Time `bson:"purge_at"`
}

// refreshDoc tells which session a refresh token belongs to; its _id is the token's hash. It never changes: a token is spent
// when it is not among the good ones of its session.
type refreshDoc struct {
	Hash    []byte     `bson:"_id"`
	Session string     `bson:"session"`
	PurgeAt *time.Time `bson:"purge_at"`
}

func (d sessionDoc) session() hearth.Session {
	return hearth.Session{
		ID: d.ID, UserID: d.User, Device: d.Device, Origin: d.Origin, CreatedAt: fromMillis(d.Created), LastUsedAt: fromMillis(d.LastUsed),
		ExpiresAt: fromMillis(d.Expires), EndedAt: fromMillis(d.Ended), EndReason: d.Reason,
	}
}

// sessionDoc returns the stored form of a session whose good refresh tokens have those hashes.
func (s *Store) sessionDoc(session hearth.Session, good ...[]byte) sessionDoc {
	if good == nil {
		good = [][]byte{}
	}
	return sessionDoc{
		ID: session.ID, Meta: Meta{V: 1}, User: session.UserID, Device: session.Device, Origin: session.Origin,
		Created: millis(session.CreatedAt), LastUsed: millis(session.LastUsedAt), Expires: millis(session.ExpiresAt),
		Ended: millis(session.EndedAt), Reason: session.EndReason, Good: good, PurgeAt: s.purgeAt(session.ExpiresAt),
	}
}

func (d sessionDoc) isGood(hash []byte) bool {
	return slices.ContainsFunc(d.Good, func(h []byte) bool { return bytes.Equal(h, hash) })
}

// openSessions is the filter of a user's sessions that are open at a time; served by (user, ended, created, _id).
func openSessions(userID string, at time.Time) bson.D {
	return live(bson.E{Key: "user", Value: userID}, bson.E{Key: "ended", Value: 0},
		bson.E{Key: "expires", Value: bson.D{{Key: "$gt", Value: millis(at)}}})
}

// newestFirst sorts sessions, off the same index backwards.
var newestFirst = bson.D{{Key: "created", Value: -1}, {Key: "_id", Value: -1}} // never written to

// CreateSession implements hearth.SessionStore. All logins of a user change the user, so that they follow one another.
func (s *Store) CreateSession(ctx context.Context, login hearth.NewSession) (user hearth.User, ended []string, err error) {
	session := login.Session
	w := writing{name: "CreateSession", line: collUsers + "/" + session.UserID}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		before, err := loadUser(ctx, st, session.UserID)
		if err != nil {
			return err
		}
		earlier, err := s.exists(ctx, collSessions, live(bson.E{Key: "user", Value: session.UserID}))
		if err != nil {
			return err
		}
		known := false
		if earlier { // by (user, device)
			known, err = s.exists(ctx, collSessions, live(bson.E{Key: "user", Value: session.UserID}, bson.E{Key: "device", Value: session.Device}))
			if err != nil {
				return err
			}
		}
		to, err := login.Decide(before.user(), earlier, known)
		if err != nil {
			return err
		}
		user = to.User
		if ended, err = s.changeUser(ctx, st, before, to); err != nil {
			return err
		}
		replaced, err := s.makeRoom(ctx, st, session)
		if err != nil {
			return err
		}
		ended = append(ended, replaced...)
		st.insert(collSessions, session.ID, s.sessionDoc(session, login.RefreshHash), nil)
		st.note(collRefresh, login.RefreshHash, refreshDoc{Hash: login.RefreshHash, Session: session.ID, PurgeAt: s.purgeAt(session.ExpiresAt)})
		return nil
	})
	if err != nil {
		return hearth.User{}, nil, err
	}
	return user, ended, nil
}

// makeRoom ends the oldest open sessions of the user, so that with the new one at most MaxSessions are open.
func (s *Store) makeRoom(ctx context.Context, st *step, session hearth.Session) ([]string, error) {
	ids, err := s.sessionIDs(ctx, openSessions(session.UserID, session.CreatedAt),
		options.Find().SetSort(newestFirst).SetSkip(hearth.MaxSessions-1))
	if err == nil {
		st.sweepSessions(ids, session.CreatedAt, hearth.EndReplaced)
	}
	return ids, err
}

func (s *Store) sessionIDs(ctx context.Context, filter bson.D, find *options.FindOptionsBuilder) (ids []string, err error) {
	docs, err := findAll[sessionDoc](ctx, s.db.Collection(collSessions), filter, find.SetProjection(bson.D{{Key: "_id", Value: 1}}))
	for _, d := range docs {
		ids = append(ids, d.ID)
	}
	return ids, err
}

// sweepSessions ends those of the sessions that are open.
func (st *step) sweepSessions(ids []string, at time.Time, reason hearth.EndReason) {
	if len(ids) == 0 {
		return
	}
	st.sweep(collSessions, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "ended", Value: 0}}, ending(at, reason))
}

func ending(at time.Time, reason hearth.EndReason) bson.D {
	return set(bson.D{{Key: "ended", Value: millis(at)}, {Key: "end_reason", Value: reason}})
}

// Session implements hearth.SessionStore.
func (s *Store) Session(ctx context.Context, id string) (session hearth.Session, user hearth.User, err error) {
	err = s.do(ctx, "Session", func(ctx context.Context) error {
		var d sessionDoc
		if err := s.db.Collection(collSessions).FindOne(ctx, live(bson.E{Key: "_id", Value: id})).Decode(&d); err != nil {
			return found(err, "session")
		}
		u, err := s.findUser(ctx, byID(d.User), "session")
		session, user = d.session(), u.user()
		return err
	})
	if err != nil {
		return hearth.Session{}, hearth.User{}, err
	}
	return session, user, nil
}

// Sessions implements hearth.SessionStore.
func (s *Store) Sessions(ctx context.Context, userID string, now time.Time) (sessions []hearth.Session, err error) {
	err = s.do(ctx, "Sessions", func(ctx context.Context) error {
		docs, err := findAll[sessionDoc](ctx, s.db.Collection(collSessions), openSessions(userID, now),
			options.Find().SetSort(newestFirst).SetLimit(hearth.MaxSessions))
		for _, d := range docs {
			sessions = append(sessions, d.session())
		}
		return err
	})
	return sessions, err
}

// UseRefreshToken implements hearth.SessionStore.
func (s *Store) UseRefreshToken(
	ctx context.Context, hash []byte, decide func(hearth.RefreshToken) (hearth.RefreshVerdict, error),
) error {
	w := writing{name: "UseRefreshToken", line: "refresh/" + string(hash)}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		var token refreshDoc
		if err := s.db.Collection(collRefresh).FindOne(ctx, byID(hash)).Decode(&token); err != nil {
			return found(err, "refresh token")
		}
		d, err := load[sessionDoc](ctx, st, collSessions, byID(token.Session))
		if errors.Is(err, errGone) {
			return hearth.NotFound("refresh token")
		}
		if err != nil {
			return err
		}
		u, err := s.findUser(ctx, byID(d.User), "refresh token")
		if err != nil {
			return err
		}
		verdict, err := decide(hearth.RefreshToken{Session: d.session(), User: u.user(), Spent: !d.isGood(hash)})
		if err != nil {
			return err
		}
		st.effects = verdict.SideEffects
		st.judge(d, hash, verdict)
		return nil
	})
}

// judge notes what becomes of a session whose refresh token with that hash was used.
func (st *step) judge(d sessionDoc, hash []byte, verdict hearth.RefreshVerdict) {
	fields := bson.D{}
	if verdict.Next != nil {
		good := slices.DeleteFunc(slices.Clone(d.Good), func(h []byte) bool { return bytes.Equal(h, hash) })
		fields = append(fields, bson.E{Key: "good", Value: append(good, verdict.Next)})
		st.note(collRefresh, verdict.Next, refreshDoc{Hash: verdict.Next, Session: d.ID, PurgeAt: d.PurgeAt})
	}
	if !verdict.UsedAt.IsZero() {
		fields = append(fields, bson.E{Key: "last_used", Value: millis(verdict.UsedAt)})
		if verdict.Origin != nil {
			fields = append(fields, bson.E{Key: "origin", Value: verdict.Origin})
		}
	}
	if verdict.End != "" && d.Ended == 0 {
		fields = append(fields, bson.E{Key: "ended", Value: millis(st.s.now())}, bson.E{Key: "end_reason", Value: verdict.End})
	}
	if len(fields) > 0 {
		st.update(collSessions, d.ID, d.V, set(fields))
	}
}

// EndSession implements hearth.SessionStore.
func (s *Store) EndSession(ctx context.Context, end hearth.SessionEnd) (session hearth.Session, err error) {
	w := writing{name: "EndSession", line: collSessions + "/" + end.ID, effects: end.SideEffects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := load[sessionDoc](ctx, st, collSessions, byID(end.ID))
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
		if err != nil || !d.session().Open(end.At) || end.UserID != "" && end.UserID != d.User {
			return hearth.NotFound("session")
		}
		session = d.session()
		session.EndedAt, session.EndReason = end.At, end.Reason
		st.update(collSessions, d.ID, d.V, ending(end.At, end.Reason))
		return nil
	})
	if err != nil {
		return hearth.Session{}, err
	}
	return session, nil
}

// EndSessions implements hearth.SessionStore.
func (s *Store) EndSessions(ctx context.Context, end hearth.SessionEnd) (ended []string, err error) {
	w := writing{name: "EndSessions", line: collUsers + "/" + end.UserID, effects: end.SideEffects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		ended, err = s.endSessions(ctx, st, end)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// endSessions notes the end of the user's open sessions but the one with end.ID.
func (s *Store) endSessions(ctx context.Context, st *step, end hearth.SessionEnd) ([]string, error) {
	ids, err := s.sessionIDs(ctx, append(openSessions(end.UserID, end.At), bson.E{Key: "_id", Value: bson.D{{Key: "$ne", Value: end.ID}}}),
		options.Find())
	if err == nil {
		st.sweepSessions(ids, end.At, end.Reason)
	}
	return ids, err
}

// RemoveSessions implements hearth.SessionStore.
func (s *Store) RemoveSessions(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	err = s.do(ctx, "RemoveSessions", func(ctx context.Context) error {
		if err := errors.Join(s.removeTries(ctx, before), s.removeResets(ctx, before)); err != nil {
			return err
		}
		expired := bson.D{{Key: "expires", Value: bson.D{{Key: "$lt", Value: millis(before)}}}, {Key: "lock", Value: nil}}
		ids, err := s.firstIDs(ctx, collSessions, expired, "expires", limit)
		if err != nil || len(ids) == 0 {
			return err
		}
		// The tokens first: without a session nobody would find them.
		err = again(ctx, func() error {
			_, err := s.db.Collection(collRefresh).DeleteMany(ctx, bson.D{{Key: "session", Value: bson.D{{Key: "$in", Value: ids}}}})
			return err
		})
		if err != nil {
			return err
		}
		removed, err = s.deleteFirst(ctx, collSessions, append(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, expired...), "expires", limit)
		return err
	})
	return removed, err
}

// RewriteOrigins implements hearth.SessionStore.
func (s *Store) RewriteOrigins(
	ctx context.Context, after string, limit int, change func(id string, origin []byte) ([]byte, error),
) (last string, err error) {
	err = s.commit(ctx, writing{name: "RewriteOrigins", line: "origins"}, func(ctx context.Context, st *step) error {
		last = ""
		docs, err := findAll[sessionDoc](ctx, s.db.Collection(collSessions), live(bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}),
			options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
		if err != nil {
			return err
		}
		for _, d := range docs {
			last = d.ID
			changed, err := change(d.ID, d.Origin)
			if err != nil {
				return err
			}
			if changed != nil && d.Lock != "" {
				return errors.Join(s.await(ctx, collSessions, d.ID, d.Lock), errStale)
			}
			if changed != nil {
				st.update(collSessions, d.ID, d.V, set(bson.D{{Key: "origin", Value: changed}}))
			}
		}
		return nil
	})
	return last, err
}
