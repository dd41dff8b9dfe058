package account_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/account"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// house is a service over a real store, with a clock that a test moves.
type house struct {
	*account.Service
	t     *testing.T
	store *sqlite.Store
	keys  *account.KeyRing
	clock *clock
	ended *endings
	asked *asked
	dir   string
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// endings is a SessionObserver that records its calls.
type endings struct {
	mu  sync.Mutex
	all []string
}

func (e *endings) SessionsEnded(userID string, sessionIDs []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf("%s:%d", userID, len(sessionIDs)))
}

func (e *endings) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

const (
	email    = "ann@example.com"
	password = "a long enough secret"
)

var here = hearth.Caller{IP: "192.0.2.1", UserAgent: "test/1", RequestID: "r1"}

// newHouse opens a service in a directory of its own; change may alter its options.
func newHouse(t testing.TB, change ...func(*account.Options)) *house {
	t.Helper()
	return openHouse(t, t.TempDir(), change...)
}

func openHouse(t testing.TB, dir string, change ...func(*account.Options)) *house {
	t.Helper()
	h := &house{dir: dir, clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, ended: &endings{}, asked: &asked{}}
	h.t, _ = t.(*testing.T)
	var err error
	h.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, dir), Clock: h.clock.Now, Observer: h.asked})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	h.keys, err = account.OpenKeyRing(account.KeyRingOptions{
		Path: filepath.Join(dir, "keys.json"), AccessTTL: 15 * time.Minute, Clock: h.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	options := account.Options{
		Store: h.store, Keys: h.keys, Clock: h.clock.Now, BcryptCost: 4, HashSlots: 2, ResetFloor: time.Millisecond,
		Observers: []account.SessionObserver{h.ended},
	}
	for _, f := range change {
		f(&options)
	}
	if h.Service, err = account.New(options); err != nil {
		t.Fatal(err)
	}
	return h
}

// user makes a user with the password of the tests.
func (h *house) user(email string, role hearth.Role) hearth.User {
	h.t.Helper()
	user, err := h.CreateUser(h.t.Context(), account.NewUser{Name: "Ann", Email: email, Password: password, Role: role})
	if err != nil {
		h.t.Fatal(err)
	}
	return user
}

// resetJobs returns the payloads of the jobs that mail a reset, oldest first.
func (h *house) resetJobs() [][]string {
	h.t.Helper()
	return query(h.t, h.dir, `SELECT payload FROM outbox WHERE kind = 'mail.password_reset' ORDER BY id`)
}

// resetJob returns the newest of them.
func (h *house) resetJob() []byte {
	h.t.Helper()
	jobs := h.resetJobs()
	return []byte(jobs[len(jobs)-1][0])
}

func (h *house) login() account.Grant {
	h.t.Helper()
	grant, err := h.Login(h.t.Context(), here, account.Credentials{Email: email, Password: password})
	if err != nil {
		h.t.Fatal(err)
	}
	return grant
}

func (h *house) caller(grant account.Grant) hearth.Caller {
	h.t.Helper()
	caller, err := h.Authenticate(h.t.Context(), grant.AccessToken)
	if err != nil {
		h.t.Fatal(err)
	}
	caller.IP, caller.UserAgent, caller.RequestID = here.IP, here.UserAgent, here.RequestID
	return caller
}

// access returns the code with which an access token is refused; "" if it is not.
func (h *house) access(grant account.Grant) hearth.Code {
	_, err := h.Authenticate(context.Background(), grant.AccessToken)
	return hearth.ErrorCode(err)
}

func wantCode(t *testing.T, err error, code hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != code {
		t.Errorf("got the code %q (%v), want %q", got, err, code)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
