package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth"
)

// AccountStore is what the suite of accounts is about.
type AccountStore interface {
	hearth.UserStore
	hearth.SessionStore
}

// Accounts is the suite for hearth.UserStore and hearth.SessionStore. open returns an empty store whose clock stands at
// epoch, 2026-03-01 12:00 UTC; it is called once a test, in parallel.
func Accounts(t *testing.T, open func(t *testing.T, clock hearth.Clock) AccountStore) {
	for name, test := range map[string]func(*testing.T, AccountStore){
		"gives back the user that was created":              usersRoundTrip,
		"an e-mail belongs to one user":                     usersEmail,
		"one of many first users is created":                usersFirst,
		"lists newest first, page by page, filtered":        usersPages,
		"an update is one step, a refused one changes none": usersUpdate,
		"an enabled admin always remains":                   usersLastAdmin,
		"concurrent demotions leave an admin":               usersConcurrentDemotion,
		"concurrent tries are all counted":                  triesCount,
		"a password reset is used once":                     resetsOnce,
		"password resets stand next to one another":         resetsSideBySide,
		"gives back the session that was created":           sessionsRoundTrip,
		"a refused login stores nothing":                    sessionsRefused,
		"a login knows earlier devices":                     sessionsDevices,
		"a login beyond the bound ends the oldest session":  sessionsBound,
		"a session ends once":                               sessionsEnd,
		"ending all sessions keeps one if asked":            sessionsEndAll,
		"a change of the user ends sessions in one step":    sessionsEndByChange,
		"of many uses of a refresh token one sees it fresh": refreshOnce,
		"a spent refresh token ends the session":            refreshSpent,
		"old sessions are removed in steps":                 sessionsRemove,
		"origins are rewritten in steps":                    sessionsRewrite,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, func() time.Time { return epoch }))
		})
	}
}

// user returns a valid user; n makes ids and e-mails that ascend.
func user(n int) hearth.User {
	return hearth.User{
		ID: fmt.Sprintf("0195b000-0000-7000-8000-%012d", n), Name: fmt.Sprintf("Person %d", n), Email: fmt.Sprintf("person%d@example.com", n),
		Role: hearth.RoleUser, PasswordHash: []byte("hash"), CreatedAt: epoch, UpdatedAt: epoch,
	}
}

func createUser(t *testing.T, s AccountStore, u hearth.User) hearth.User {
	t.Helper()
	if err := s.CreateUser(t.Context(), u, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return u
}

func mustUser(t *testing.T, s AccountStore, id string) hearth.User {
	t.Helper()
	u, err := s.User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func usersRoundTrip(t *testing.T, s AccountStore) {
	want := user(1)
	want.Role, want.Disabled, want.Epoch, want.LastLoginAt = hearth.RoleAdmin, true, 7, epoch.Add(time.Second)
	if exists, err := s.AnyAdmin(t.Context()); err != nil || exists {
		t.Errorf("an empty store has an admin: %v, %v", exists, err)
	}
	createUser(t, s, user(2))
	if exists, err := s.AnyAdmin(t.Context()); err != nil || exists {
		t.Errorf("a store with a user has an admin: %v, %v", exists, err)
	}
	createUser(t, s, want)
	if exists, err := s.AnyAdmin(t.Context()); err != nil || !exists {
		t.Errorf("the store has no admin: %v, %v", exists, err)
	}
	same(t, mustUser(t, s, want.ID), want)
	got, err := s.UserByEmail(t.Context(), want.Email)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	_, err = s.User(t.Context(), "nobody")
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.UserByEmail(t.Context(), "nobody@example.com")
	wantCode(t, err, hearth.CodeNotFound)
}

func usersEmail(t *testing.T, s AccountStore) {
	first, second := createUser(t, s, user(1)), user(2)
	second.Email = first.Email
	wantCode(t, s.CreateUser(t.Context(), second, hearth.SideEffects{}), hearth.CodeEmailTaken)
	_, err := s.User(t.Context(), second.ID)
	wantCode(t, err, hearth.CodeNotFound)
	createUser(t, s, user(3))
	_, _, err = s.UpdateUser(t.Context(), user(3).ID, func(u hearth.User) (hearth.UserChange, error) {
		u.Email = first.Email
		return hearth.UserChange{User: u}, nil
	})
	wantCode(t, err, hearth.CodeEmailTaken)
	same(t, mustUser(t, s, user(3).ID), user(3))
}

func usersFirst(t *testing.T, s AccountStore) {
	createUser(t, s, user(99)) // who signed up first
	admin := func(n int) hearth.User {
		u := user(n)
		u.Role = hearth.RoleAdmin
		return u
	}
	var created atomic.Int32
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			switch err := s.CreateFirstAdmin(t.Context(), admin(n), hearth.SideEffects{}); hearth.ErrorCode(err) {
			case "":
				created.Add(1)
			case hearth.CodeConflict:
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if n := created.Load(); n != 1 {
		t.Errorf("%d first admins were created", n)
	}
}

func usersPages(t *testing.T, s AccountStore) {
	var want []hearth.User
	for n := range 25 {
		u := user(n)
		u.CreatedAt = epoch.Add(time.Duration(n/3) * time.Second) // ties
		if n%5 == 0 {
			u.Role, u.Name = hearth.RoleAdmin, "100% Ännä_"+u.Name
		}
		want = append(want, createUser(t, s, u))
	}
	slices.Reverse(want)
	collect := func(filter hearth.UserFilter) (all []hearth.User) {
		page := hearth.Page{Limit: 4, Count: true}
		for {
			list, err := s.Users(t.Context(), filter, page)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, list.Items...)
			if list.Next.IsZero() {
				if int(list.Total) != len(all) {
					t.Errorf("the total is %d of %d", list.Total, len(all))
				}
				return all
			}
			page.Cursor = list.Next
		}
	}
	same(t, collect(hearth.UserFilter{}), want)
	admins := slices.DeleteFunc(slices.Clone(want), func(u hearth.User) bool { return u.Role != hearth.RoleAdmin })
	same(t, collect(hearth.UserFilter{Role: hearth.RoleAdmin}), admins)
	same(t, collect(hearth.UserFilter{Query: "100% Ä"}), admins)
	same(t, collect(hearth.UserFilter{Query: "anna"}), admins)
	same(t, collect(hearth.UserFilter{Query: "PERSON7@"}), []hearth.User{want[17]})
	same(t, collect(hearth.UserFilter{Query: "' OR 1=1 --"}), []hearth.User{})
	_, err := s.Users(t.Context(), hearth.UserFilter{}, hearth.Page{Cursor: hearth.Cursor{Key: "x", ID: "y"}})
	wantCode(t, err, hearth.CodeValidationFailed)
}

func usersUpdate(t *testing.T, s AccountStore) {
	want := createUser(t, s, user(1))
	refusal := hearth.Errorf(hearth.CodeForbidden, "no")
	_, _, err := s.UpdateUser(t.Context(), want.ID, func(hearth.User) (hearth.UserChange, error) { return hearth.UserChange{}, refusal })
	if !errors.Is(err, refusal) {
		t.Errorf("the refusal came back as %v", err)
	}
	same(t, mustUser(t, s, want.ID), want)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, _, err := s.UpdateUser(t.Context(), want.ID, func(u hearth.User) (hearth.UserChange, error) {
				u.Epoch++
				return hearth.UserChange{User: u}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want.Epoch = 20
	same(t, mustUser(t, s, want.ID), want)
	want.Name, want.Email, want.Role, want.PasswordHash = "New", "new@example.com", hearth.RoleAdmin, []byte("other")
	want.Disabled, want.UpdatedAt, want.LastLoginAt = true, epoch.Add(time.Hour), epoch.Add(time.Minute)
	got, ended, err := s.UpdateUser(t.Context(), want.ID, func(hearth.User) (hearth.UserChange, error) {
		return hearth.UserChange{User: want, EndSessions: hearth.EndDisabled}, nil
	})
	if err != nil || len(ended) != 0 {
		t.Fatalf("ended %v, %v", ended, err)
	}
	same(t, got, want)
	same(t, mustUser(t, s, want.ID), want)
	_, _, err = s.UpdateUser(t.Context(), "nobody", func(u hearth.User) (hearth.UserChange, error) { return hearth.UserChange{User: u}, nil })
	wantCode(t, err, hearth.CodeNotFound)
}

func demote(u hearth.User) (hearth.UserChange, error) {
	u.Role = hearth.RoleUser
	return hearth.UserChange{User: u}, nil
}

func disable(u hearth.User) (hearth.UserChange, error) {
	u.Disabled = true
	return hearth.UserChange{User: u}, nil
}

func usersLastAdmin(t *testing.T, s AccountStore) {
	for n := range 2 {
		u := user(n)
		u.Role = hearth.RoleAdmin
		createUser(t, s, u)
	}
	if _, _, err := s.UpdateUser(t.Context(), user(0).ID, disable); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.UpdateUser(t.Context(), user(1).ID, demote)
	wantCode(t, err, hearth.CodeConflict)
	_, _, err = s.UpdateUser(t.Context(), user(1).ID, disable)
	wantCode(t, err, hearth.CodeConflict)
	if u := mustUser(t, s, user(1).ID); u.Role != hearth.RoleAdmin || u.Disabled {
		t.Errorf("a refused change was stored: %+v", u)
	}
	if _, _, err := s.UpdateUser(t.Context(), user(0).ID, demote); err != nil {
		t.Errorf("a disabled admin could not be demoted: %v", err)
	}
}

func usersConcurrentDemotion(t *testing.T, s AccountStore) {
	const admins = 10
	for n := range admins {
		u := user(n)
		u.Role = hearth.RoleAdmin
		createUser(t, s, u)
	}
	var refused atomic.Int32
	var wg sync.WaitGroup
	for n := range admins {
		wg.Go(func() {
			if _, _, err := s.UpdateUser(t.Context(), user(n).ID, demote); hearth.ErrorCode(err) == hearth.CodeConflict {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := refused.Load(); n != 1 {
		t.Errorf("%d demotions were refused, want 1", n)
	}
}

func triesCount(t *testing.T, s AccountStore) {
	key := []byte("key")
	got, err := s.Tries(t.Context(), key)
	if err != nil || got != (hearth.Tries{}) {
		t.Errorf("nothing was counted, but %+v, %v", got, err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := s.UpdateTries(t.Context(), key, func(tries hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
				tries.Failed++
				tries.UpdatedAt, tries.LockedUntil = epoch, epoch.Add(time.Minute)
				return tries, hearth.SideEffects{}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := hearth.Tries{Failed: 50, LockedUntil: epoch.Add(time.Minute), UpdatedAt: epoch}
	refusal := errors.New("no")
	_, err = s.UpdateTries(t.Context(), key, func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
		return hearth.Tries{}, hearth.SideEffects{}, refusal
	})
	if !errors.Is(err, refusal) {
		t.Errorf("the refusal came back as %v", err)
	}
	got, err = s.Tries(t.Context(), key)
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := s.UpdateTries(t.Context(), key, func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
		return hearth.Tries{}, hearth.SideEffects{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Tries(t.Context(), key); err != nil || got != (hearth.Tries{}) {
		t.Errorf("cleared tries are %+v, %v", got, err)
	}
}

func reset(n int, userID string) hearth.PasswordReset {
	return hearth.PasswordReset{ID: fmt.Sprintf("r%d", n), UserID: userID, Hash: []byte(fmt.Sprintf("hash%d", n)), ExpiresAt: epoch.Add(time.Hour)}
}

func resetsOnce(t *testing.T, s AccountStore) {
	u := createUser(t, s, user(1))
	want := reset(1, u.ID)
	if err := s.CreatePasswordReset(t.Context(), want, 0, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	got, err := s.PasswordReset(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	refusal := errors.New("no")
	_, _, err = s.UsePasswordReset(t.Context(), want.Hash, func(hearth.PasswordReset, hearth.User) (hearth.UserChange, error) {
		return hearth.UserChange{}, refusal
	})
	if !errors.Is(err, refusal) {
		t.Errorf("the refusal came back as %v", err)
	}
	if got, err = s.PasswordResetByHash(t.Context(), want.Hash); err != nil {
		t.Fatalf("a refused use spent the reset: %v", err)
	}
	same(t, got, want)
	var used atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, _, err := s.UsePasswordReset(t.Context(), want.Hash, func(_ hearth.PasswordReset, u hearth.User) (hearth.UserChange, error) {
				u.PasswordHash = []byte("new")
				return hearth.UserChange{User: u}, nil
			})
			switch hearth.ErrorCode(err) {
			case "":
				used.Add(1)
			case hearth.CodeNotFound:
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := used.Load(); n != 1 {
		t.Errorf("the reset was used %d times", n)
	}
	if got := mustUser(t, s, u.ID).PasswordHash; string(got) != "new" {
		t.Errorf("the password's hash is %q", got)
	}
}

func resetsSideBySide(t *testing.T, s AccountStore) {
	u := createUser(t, s, user(1))
	ask := func(n int, after time.Duration) error {
		r := reset(n, u.ID)
		r.ExpiresAt = r.ExpiresAt.Add(after)
		return s.CreatePasswordReset(t.Context(), r, 5*time.Minute, hearth.SideEffects{})
	}
	wantCode(t, ask(0, 0), "")
	wantCode(t, ask(1, 5*time.Minute-time.Millisecond), hearth.CodeConflict)
	var codes sync.Map
	var wg sync.WaitGroup
	for n := range 10 { // of many at once one is made
		wg.Go(func() {
			code := hearth.ErrorCode(ask(10+n, 5*time.Minute))
			count, _ := codes.LoadOrStore(code, new(atomic.Int32))
			count.(*atomic.Int32).Add(1)
		})
	}
	wg.Wait()
	for code, want := range map[hearth.Code]int32{"": 1, hearth.CodeConflict: 9} {
		if count, ok := codes.Load(code); !ok || count.(*atomic.Int32).Load() != want {
			t.Errorf("%q was not answered %d times", code, want)
		}
	}
	if _, err := s.PasswordResetByHash(t.Context(), reset(0, u.ID).Hash); err != nil {
		t.Errorf("the first one is gone: %v", err)
	}
	_, _, err := s.UpdateUser(t.Context(), u.ID, func(u hearth.User) (hearth.UserChange, error) {
		return hearth.UserChange{User: u, DropReset: true}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.PasswordReset(t.Context(), reset(0, u.ID).ID)
	wantCode(t, err, hearth.CodeNotFound)
	wantCode(t, s.CreatePasswordReset(t.Context(), reset(5, "nobody"), 0, hearth.SideEffects{}), hearth.CodeNotFound)
}
