package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
)

// session returns a valid session of user(1); n makes ids that ascend.
func session(n int) hearth.Session {
	at := epoch.Add(time.Duration(n) * time.Millisecond)
	return hearth.Session{
		ID: fmt.Sprintf("0195c000-0000-7000-8000-%012d", n), UserID: user(1).ID, Device: []byte("device"), Origin: []byte("origin"),
		CreatedAt: at, LastUsedAt: at, ExpiresAt: epoch.Add(24 * time.Hour),
	}
}

func refreshHash(n int) []byte { return []byte(fmt.Sprintf("refresh%d", n)) }

// logIn stores a session with refreshHash(n).
func logIn(t *testing.T, s AccountStore, n int) hearth.Session {
	t.Helper()
	login := hearth.NewSession{Session: session(n), RefreshHash: refreshHash(n), Decide: accept}
	if _, _, err := s.CreateSession(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	return login.Session
}

func accept(u hearth.User, _, _ bool) (hearth.UserChange, error) {
	return hearth.UserChange{User: u}, nil
}

func openIDs(t *testing.T, s AccountStore) (ids []string) {
	t.Helper()
	sessions, err := s.Sessions(t.Context(), user(1).ID, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func sessionsRoundTrip(t *testing.T, s AccountStore) {
	u := createUser(t, s, user(1))
	key := []byte("key")
	if _, err := s.UpdateTries(t.Context(), key, func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
		return hearth.Tries{Failed: 3, UpdatedAt: epoch}, hearth.SideEffects{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	login := hearth.NewSession{Session: session(1), RefreshHash: refreshHash(1), Decide: func(u hearth.User, _, _ bool) (hearth.UserChange, error) {
		u.LastLoginAt = epoch.Add(time.Second)
		return hearth.UserChange{User: u, ClearTries: [][]byte{key}}, nil
	}}
	got, ended, err := s.CreateSession(t.Context(), login)
	if err != nil || len(ended) != 0 {
		t.Fatalf("ended %v, %v", ended, err)
	}
	u.LastLoginAt = epoch.Add(time.Second)
	same(t, got, u)
	stored, owner, err := s.Session(t.Context(), login.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, stored, login.Session)
	same(t, owner, u)
	if tries, err := s.Tries(t.Context(), key); err != nil || tries != (hearth.Tries{}) {
		t.Errorf("the tries are still %+v, %v", tries, err)
	}
	second := logIn(t, s, 2)
	sessions, err := s.Sessions(t.Context(), u.ID, epoch)
	if err != nil {
		t.Fatal(err)
	}
	same(t, sessions, []hearth.Session{second, login.Session})
	if sessions, err = s.Sessions(t.Context(), u.ID, login.Session.ExpiresAt); err != nil || len(sessions) != 0 {
		t.Errorf("expired sessions are listed: %v, %v", sessions, err)
	}
	_, _, err = s.Session(t.Context(), "none")
	wantCode(t, err, hearth.CodeNotFound)
	login.Session.UserID = "nobody"
	_, _, err = s.CreateSession(t.Context(), login)
	wantCode(t, err, hearth.CodeNotFound)
}

func sessionsRefused(t *testing.T, s AccountStore) {
	u := createUser(t, s, user(1))
	refusal := errors.New("no")
	_, _, err := s.CreateSession(t.Context(), hearth.NewSession{
		Session: session(1), RefreshHash: refreshHash(1),
		Decide: func(hearth.User, bool, bool) (hearth.UserChange, error) { return hearth.UserChange{}, refusal },
	})
	if !errors.Is(err, refusal) {
		t.Errorf("the refusal came back as %v", err)
	}
	_, _, err = s.Session(t.Context(), session(1).ID)
	wantCode(t, err, hearth.CodeNotFound)
	same(t, mustUser(t, s, u.ID), u)
}

func sessionsDevices(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	for n, test := range []struct {
		device         string
		earlier, known bool
	}{{"phone", false, false}, {"phone", true, true}, {"laptop", true, false}, {"laptop", true, true}, {"phone", true, true}} {
		login := hearth.NewSession{Session: session(n), RefreshHash: refreshHash(n), Decide: func(u hearth.User, earlier, known bool) (hearth.UserChange, error) {
			if earlier != test.earlier || known != test.known {
				t.Errorf("login %d by %s: earlier %v, known %v", n, test.device, earlier, known)
			}
			return hearth.UserChange{User: u}, nil
		}}
		login.Session.Device = []byte(test.device)
		if _, _, err := s.CreateSession(t.Context(), login); err != nil {
			t.Fatal(err)
		}
	}
}

func sessionsBound(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	for n := range hearth.MaxSessions {
		logIn(t, s, n)
	}
	_, ended, err := s.CreateSession(t.Context(), hearth.NewSession{
		Session: session(hearth.MaxSessions), RefreshHash: refreshHash(hearth.MaxSessions), Decide: accept,
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, ended, []string{session(0).ID})
	oldest, _, err := s.Session(t.Context(), session(0).ID)
	if err != nil || oldest.EndReason != hearth.EndReplaced || oldest.EndedAt.IsZero() {
		t.Errorf("the oldest session is %+v, %v", oldest, err)
	}
	if n := len(openIDs(t, s)); n != hearth.MaxSessions {
		t.Errorf("%d sessions are open", n)
	}
}

func sessionsEnd(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	want := logIn(t, s, 1)
	end := hearth.SessionEnd{ID: want.ID, UserID: "another", At: epoch.Add(time.Second), Reason: hearth.EndLogout}
	_, err := s.EndSession(t.Context(), end)
	wantCode(t, err, hearth.CodeNotFound)
	end.UserID = want.UserID
	want.EndedAt, want.EndReason = end.At, end.Reason
	var ended atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			got, err := s.EndSession(t.Context(), end)
			if err == nil {
				ended.Add(1)
				same(t, got, want)
			} else {
				wantCode(t, err, hearth.CodeNotFound)
			}
		})
	}
	wg.Wait()
	if n := ended.Load(); n != 1 {
		t.Errorf("the session ended %d times", n)
	}
	stored, _, err := s.Session(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, stored, want)
	expired := logIn(t, s, 2)
	_, err = s.EndSession(t.Context(), hearth.SessionEnd{ID: expired.ID, At: expired.ExpiresAt, Reason: hearth.EndLogout})
	wantCode(t, err, hearth.CodeNotFound)
	if _, err = s.EndSession(t.Context(), hearth.SessionEnd{ID: expired.ID, At: epoch, Reason: hearth.EndLogout}); err != nil {
		t.Errorf("an empty user did not match: %v", err)
	}
}

func sessionsEndAll(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	createUser(t, s, user(2))
	for n := range 4 {
		logIn(t, s, n)
	}
	others := hearth.NewSession{Session: session(9), RefreshHash: refreshHash(9), Decide: accept}
	others.Session.UserID = user(2).ID
	if _, _, err := s.CreateSession(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	end := hearth.SessionEnd{ID: session(2).ID, UserID: user(1).ID, At: epoch, Reason: hearth.EndPassword}
	ended, err := s.EndSessions(t.Context(), end)
	if err != nil || len(ended) != 3 {
		t.Fatalf("ended %v, %v", ended, err)
	}
	same(t, openIDs(t, s), []string{session(2).ID})
	end.ID = ""
	if ended, err = s.EndSessions(t.Context(), end); err != nil || len(ended) != 1 {
		t.Errorf("ended %v, %v", ended, err)
	}
	if ended, err = s.EndSessions(t.Context(), end); err != nil || len(ended) != 0 {
		t.Errorf("ended %v, %v", ended, err)
	}
	if stored, _, err := s.Session(t.Context(), session(9).ID); err != nil || !stored.EndedAt.IsZero() {
		t.Errorf("another user's session is %+v, %v", stored, err)
	}
}

func sessionsEndByChange(t *testing.T, s AccountStore) {
	u := user(1)
	u.Role = hearth.RoleAdmin
	createUser(t, s, u)
	for n := range 3 {
		logIn(t, s, n)
	}
	_, _, err := s.UpdateUser(t.Context(), u.ID, func(u hearth.User) (hearth.UserChange, error) {
		u.Disabled = true
		return hearth.UserChange{User: u, EndSessions: hearth.EndDisabled}, nil
	})
	wantCode(t, err, hearth.CodeConflict)
	if n := len(openIDs(t, s)); n != 3 {
		t.Errorf("a refused change left %d sessions of 3", n)
	}
	_, ended, err := s.UpdateUser(t.Context(), u.ID, func(u hearth.User) (hearth.UserChange, error) {
		return hearth.UserChange{User: u, EndSessions: hearth.EndPassword, KeepSession: session(1).ID}, nil
	})
	if err != nil || len(ended) != 2 {
		t.Fatalf("ended %v, %v", ended, err)
	}
	same(t, openIDs(t, s), []string{session(1).ID})
}

func refreshOnce(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	want := logIn(t, s, 1)
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			var saw hearth.RefreshToken
			err := s.UseRefreshToken(t.Context(), refreshHash(1), func(token hearth.RefreshToken) (hearth.RefreshVerdict, error) {
				saw = token
				if token.Spent {
					return hearth.RefreshVerdict{}, nil
				}
				return hearth.RefreshVerdict{Next: refreshHash(100 + n), UsedAt: epoch.Add(time.Minute), Origin: []byte("moved")}, nil
			})
			if err != nil {
				t.Error(err)
			}
			if len(saw.Unspent) != 1 || bytes.Equal(saw.Unspent[0], refreshHash(1)) == saw.Spent {
				t.Errorf("unspent are %x, and the token is spent: %t", saw.Unspent, saw.Spent)
			}
			if !saw.Spent {
				fresh.Add(1)
				same(t, saw.User, user(1))
				same(t, saw.Session, want)
			}
		})
	}
	wg.Wait()
	if n := fresh.Load(); n != 1 {
		t.Errorf("%d uses saw the token unspent", n)
	}
	want.LastUsedAt, want.Origin = epoch.Add(time.Minute), []byte("moved")
	stored, _, err := s.Session(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, stored, want)
	for hash, want := range map[string]string{string(refreshHash(1)): want.ID, "unknown": ""} {
		if id, err := s.RefreshSession(t.Context(), []byte(hash)); id != want || (err == nil) != (want != "") {
			t.Errorf("a token belongs to the session %q, %v, want %q", id, err, want)
		}
	}
	err = s.UseRefreshToken(t.Context(), []byte("unknown"), func(hearth.RefreshToken) (hearth.RefreshVerdict, error) {
		t.Error("an unknown token was decided about")
		return hearth.RefreshVerdict{}, nil
	})
	wantCode(t, err, hearth.CodeNotFound)
}

func refreshSpent(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	logIn(t, s, 1)
	refusal := errors.New("no")
	use := func(hash []byte, verdict hearth.RefreshVerdict, refusal error) (saw hearth.RefreshToken) {
		t.Helper()
		err := s.UseRefreshToken(t.Context(), hash, func(token hearth.RefreshToken) (hearth.RefreshVerdict, error) {
			saw = token
			return verdict, refusal
		})
		if !errors.Is(err, refusal) {
			t.Errorf("got %v, want %v", err, refusal)
		}
		return saw
	}
	use(refreshHash(1), hearth.RefreshVerdict{Next: refreshHash(2)}, refusal)
	if use(refreshHash(1), hearth.RefreshVerdict{Next: refreshHash(2)}, nil).Spent {
		t.Error("a refused use spent the token")
	}
	if !use(refreshHash(1), hearth.RefreshVerdict{End: hearth.EndReused}, nil).Spent {
		t.Error("a used token is not spent")
	}
	if saw := use(refreshHash(2), hearth.RefreshVerdict{}, nil); saw.Spent || saw.Session.EndReason != hearth.EndReused || !saw.Session.EndedAt.Equal(epoch) {
		t.Errorf("the next token belongs to %+v", saw)
	}
}

func sessionsRemove(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	for n := range 7 {
		logIn(t, s, n)
	}
	if err := s.CreatePasswordReset(t.Context(), reset(1, user(1).ID), 0, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	after := epoch.Add(25 * time.Hour)
	for _, test := range []struct {
		before time.Time
		want   int
	}{{epoch, 0}, {after, 5}, {after, 2}, {after, 0}} {
		if removed, err := s.RemoveSessions(t.Context(), test.before, 5); err != nil || removed != test.want {
			t.Errorf("removed %d, %v, want %d", removed, err, test.want)
		}
	}
	_, _, err := s.Session(t.Context(), session(1).ID)
	wantCode(t, err, hearth.CodeNotFound)
	err = s.UseRefreshToken(t.Context(), refreshHash(1), func(hearth.RefreshToken) (hearth.RefreshVerdict, error) {
		return hearth.RefreshVerdict{}, nil
	})
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.PasswordReset(t.Context(), reset(1, user(1).ID).ID)
	wantCode(t, err, hearth.CodeNotFound)
}

func sessionsRewrite(t *testing.T, s AccountStore) {
	createUser(t, s, user(1))
	for n := range 7 {
		logIn(t, s, n)
	}
	var seen []string
	steps, after := 0, ""
	for ; ; steps++ {
		last, err := s.RewriteOrigins(t.Context(), after, 3, func(id string, origin []byte) ([]byte, error) {
			seen = append(seen, id)
			if id == session(2).ID {
				return nil, nil
			}
			return append([]byte("new "), origin...), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if last == "" {
			break
		}
		after = last
	}
	if len(seen) != 7 || steps != 3 || !slices.IsSorted(seen) {
		t.Errorf("saw %v in %d steps", seen, steps)
	}
	for n := range 7 {
		want := "new " + string(session(n).Origin)
		if n == 2 {
			want = string(session(n).Origin)
		}
		if got, _, err := s.Session(t.Context(), session(n).ID); err != nil || string(got.Origin) != want {
			t.Errorf("the origin of session %d is %q, %v", n, got.Origin, err)
		}
	}
	broken := errors.New("broken")
	_, err := s.RewriteOrigins(t.Context(), "", 7, func(id string, _ []byte) ([]byte, error) {
		if id == session(6).ID {
			return nil, broken
		}
		return []byte("lost"), nil
	})
	if got, _, sessionErr := s.Session(t.Context(), session(1).ID); !errors.Is(err, broken) || sessionErr != nil || string(got.Origin) == "lost" {
		t.Errorf("after an error %v the origin is %q, %v", err, got.Origin, sessionErr)
	}
}
