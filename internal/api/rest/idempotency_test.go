package rest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/resttest"
	"hearth/internal/newid"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// onceBench is an API with operations that create devices in a real store.
type onceBench struct {
	api   *Router
	store *sqlite.Store
	// ran counts the runs of the operations; refuse makes them refuse before they reach the store.
	ran    atomic.Int64
	refuse atomic.Bool
	// older, if set, turns a record into one that a program before this one wrote.
	older func(*keyedRequest, *hearth.IdempotencyRecord)
}

// copied is what the operations create.
type copied struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

func wireCopied(devices []hearth.Device) copied {
	return copied{devices[0].ID, devices[0].Name, "hd_once_shown_<&>"}
}

// openOnce opens the database in dir; secret and clock as in Options.
func openOnce(t testing.TB, dir string, secret []byte, clock hearth.Clock) *onceBench {
	t.Helper()
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: sqlitetest.File(t, dir), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &onceBench{store: store}
	b.api = newRouter(t, Options{
		Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "bob": {UserID: "2", Role: hearth.RoleUser}}, Secret: secret, Clock: clock, Idempotency: store,
	})
	create := func(ctx context.Context, name string, key *hearth.IdempotencyRequest) ([]hearth.Device, error) {
		b.ran.Add(1)
		if b.refuse.Load() {
			return nil, hearth.Errorf(hearth.CodeConflict, "not any more")
		}
		now := clock.Now()
		devices := []hearth.Device{{
			ID: newid.New(), Name: name, Type: "x", Status: hearth.StatusActive, Interval: 60, OwnerID: CallerOf(ctx).UserID,
			CreatedAt: now, UpdatedAt: now,
		}}
		record, err := key.Record(devices)
		if err != nil {
			return nil, err
		}
		if b.older != nil {
			b.older(RequestOf(ctx).keyed, record)
		}
		return store.CreateDevices(ctx, devices, hearth.SideEffects{Idempotency: record})
	}
	Register(b.api, Operation{ID: "test-create", Method: "POST", Path: "/things", Access: ForUsers, Key: ClosedToKeys, Tag: "Test", Status: 201,
		Creates: true, Location: true},
		func(ctx context.Context, in *struct {
			X    string `query:"x"`
			Body thing
		}) (*Created[copied], error) {
			devices, err := create(ctx, in.Body.Name, Idempotency(ctx, wireCopied))
			if err != nil {
				return nil, err
			}
			return NewCreated("/things/"+devices[0].ID, wireCopied(devices)), nil
		})
	Register(b.api, Operation{ID: "test-create-empty", Method: "POST", Path: "/things/{id}/copies", Access: ForAnyone, Tag: "Test", Status: 201, Creates: true, Location: true},
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*Created[copied], error) {
			devices, err := create(ctx, in.ID, Idempotency(ctx, wireCopied))
			if err != nil {
				return nil, err
			}
			return NewCreated("/things/"+in.ID+"/copies/"+devices[0].ID, wireCopied(devices)), nil
		})
	RegisterRaw(b.api, Operation{ID: "test-raw", Method: "POST", Path: "/raw", Access: ForUsers, Key: ClosedToKeys, Tag: "Test", Status: 201, Creates: true},
		func(*huma.Operation) {}, func(w http.ResponseWriter, r *http.Request) error {
			name, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			body := func(devices []hearth.Device) any {
				return map[string]any{"accepted": len(devices), "id": devices[0].ID}
			}
			devices, err := create(r.Context(), string(name), Idempotency(r.Context(), body))
			if err != nil {
				return err
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			return writeJSON(w, body(devices))
		})
	return b
}

func (b *onceBench) devices(t testing.TB) int {
	t.Helper()
	list, err := b.store.Devices(t.Context(), hearth.DeviceFilter{Reach: hearth.Reach{All: true}}, hearth.Page{Count: true})
	if err != nil {
		t.Fatal(err)
	}
	return int(list.Total)
}

func keyed(key string, c resttest.Call) resttest.Call {
	c.Header = map[string]string{idempotencyHeader: key}
	return c
}

var postThing = resttest.Call{Method: "POST", Path: "/api/v1/things", Token: "ann", Body: `{"name":"lamp"}`} // never written to

var testSecret = bytes.Repeat([]byte("s"), 32) // never written to

func TestARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]resttest.Call{
		"a typed operation": postThing,
		"without a body":    {Method: "POST", Path: "/api/v1/things/7/copies", Token: "ann"},
		"without a caller":  {Method: "POST", Path: "/api/v1/things/7/copies"},
		"a raw operation":   {Method: "POST", Path: "/api/v1/raw", Token: "ann", Body: "lamp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := openOnce(t, dir, testSecret, nil)
			c := keyed("key-1", c)
			first := c.Do(t, b.api)
			if first.Code != 201 || first.Header().Get("Idempotency-Replayed") != "" {
				t.Fatalf("first: %d %s", first.Code, first.Body)
			}
			again := func(b *onceBench) {
				t.Helper()
				w := c.Do(t, b.api)
				if w.Code != 201 || w.Body.String() != first.Body.String() || w.Header().Get("Idempotency-Replayed") != "true" ||
					w.Header().Get("Location") != first.Header().Get("Location") || w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("again: %d %v %s, want %s", w.Code, w.Header(), w.Body, first.Body)
				}
				if n := b.devices(t); n != 1 {
					t.Errorf("%d devices, want 1", n)
				}
			}
			again(b)
			if err := b.store.Close(); err != nil {
				t.Fatal(err)
			}
			again(openOnce(t, dir, testSecret, nil))
			file, err := os.ReadFile(filepath.Join(dir, "hearth.db"))
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"hd_once_shown", "key-1"} {
				if bytes.Contains(file, []byte(secret)) {
					t.Errorf("the database holds %q in plain text", secret)
				}
			}
		})
	}
}

func TestAKeyStandsForOneRequestOfOneCaller(t *testing.T) {
	t.Parallel()
	with := func(change func(*resttest.Call)) resttest.Call {
		c := postThing
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name   string
		second resttest.Call
		status int
		code   hearth.Code
		count  int
	}{
		{"the same, spaced otherwise", with(func(c *resttest.Call) { c.Body = " {\n\"name\" : \"lamp\" } " }), 201, "", 1},
		{"another body", with(func(c *resttest.Call) { c.Body = `{"name":"lamp2"}` }), 409, hearth.CodeIdempotencyMismatch, 1},
		{"another operation", with(func(c *resttest.Call) { c.Path = "/api/v1/raw" }), 409, hearth.CodeIdempotencyMismatch, 1},
		{"another object", with(func(c *resttest.Call) { c.Path, c.Body = "/api/v1/things/8/copies", "" }), 409, hearth.CodeIdempotencyMismatch, 1},
		{"another query", with(func(c *resttest.Call) { c.Path += "?x=1" }), 409, hearth.CodeIdempotencyMismatch, 1},
		{"another caller", with(func(c *resttest.Call) { c.Token = "bob" }), 201, "", 2},
		{"an invalid body", with(func(c *resttest.Call) { c.Body = `{"name":""}` }), 409, hearth.CodeIdempotencyMismatch, 1},
		{"a body that is no JSON", with(func(c *resttest.Call) { c.Body = `{` }), 400, hearth.CodeMalformedBody, 1},
		{"without a token", with(func(c *resttest.Call) { c.Token = "" }), 401, hearth.CodeUnauthenticated, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := openOnce(t, t.TempDir(), testSecret, nil)
			if w := keyed("k", postThing).Do(t, b.api); w.Code != 201 {
				t.Fatalf("first: %d %s", w.Code, w.Body)
			}
			w := keyed("k", tt.second).Do(t, b.api)
			if w.Code != tt.status {
				t.Fatalf("second: %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.code != "" {
				if p := resttest.ProblemIn(t, w); p.Code != tt.code {
					t.Errorf("second: %+v, want %s", p, tt.code)
				}
			}
			if n := b.devices(t); n != tt.count {
				t.Errorf("%d devices, want %d", n, tt.count)
			}
		})
	}
}

func TestKeysAreVisibleAndBounded(t *testing.T) {
	t.Parallel()
	b := openOnce(t, t.TempDir(), testSecret, nil)
	for key, status := range map[string]int{
		"k": 201, strings.Repeat("k", 255): 201, `!"#$%&'()*+,-./~`: 201,
		"": 422, strings.Repeat("k", 256): 422, "a b": 422, "a\tb": 422, "a\x00": 422, "schlüssel": 422, "\x7f": 422,
	} {
		w := keyed(key, postThing).Do(t, b.api)
		if w.Code != status {
			t.Errorf("%q: %d %s, want %d", key, w.Code, w.Body, status)
		}
	}
	r := httptest.NewRequest("POST", "/api/v1/things", strings.NewReader(`{"name":"x"}`))
	r.Header.Set("Authorization", "Bearer ann")
	r.Header[idempotencyHeader] = []string{"a", "b"}
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, r)
	if w.Code != 422 {
		t.Errorf("two keys: %d", w.Code)
	}
}

func TestAnAnswerIsGivenAgainEvenWhereTheOperationWouldRefuse(t *testing.T) {
	t.Parallel()
	b := openOnce(t, t.TempDir(), testSecret, nil)
	first := keyed("k", postThing).Do(t, b.api)
	b.refuse.Store(true)
	if w := keyed("k", postThing).Do(t, b.api); w.Code != 201 || w.Body.String() != first.Body.String() {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	if n := b.ran.Load(); n != 1 {
		t.Errorf("the operation ran %d times, want 1", n)
	}
}

func TestARefusalIsNotRemembered(t *testing.T) {
	t.Parallel()
	b := openOnce(t, t.TempDir(), testSecret, nil)
	b.refuse.Store(true)
	if w := keyed("k", postThing).Do(t, b.api); w.Code != 409 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	b.refuse.Store(false)
	if w := keyed("k", postThing).Do(t, b.api); w.Code != 201 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAHundredParallelPostsMakeOneObject(t *testing.T) {
	t.Parallel()
	for _, c := range []resttest.Call{postThing, {Method: "POST", Path: "/api/v1/raw", Token: "ann", Body: "lamp"}} {
		b := openOnce(t, t.TempDir(), testSecret, nil)
		answers := make([]string, 100)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				w := keyed("k", c).Do(t, b.api)
				answers[i] = fmt.Sprint(w.Code, w.Header().Get("Location"), w.Body)
			})
		}
		wg.Wait()
		for _, got := range answers {
			if got != answers[0] || !strings.HasPrefix(got, "201") {
				t.Errorf("%s: two answers: %s and %s", c.Path, got, answers[0])
			}
		}
		if n := b.devices(t); n != 1 {
			t.Errorf("%s: %d devices, want 1", c.Path, n)
		}
	}
}

func TestAKeyIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	clock := hearth.Clock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	b := openOnce(t, t.TempDir(), testSecret, clock)
	keyed("k", postThing).Do(t, b.api)
	keyed("k2", postThing).Do(t, b.api)
	ahead.Store(int64(hearth.IdempotencyTTL - time.Minute))
	if w := keyed("k", postThing).Do(t, b.api); w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("within a day: %d %s", w.Code, w.Body)
	}
	if n, err := b.store.DeleteExpiredIdempotencyRecords(t.Context(), clock.Now(), 10); n != 0 || err != nil {
		t.Errorf("%d records were removed within a day, %v", n, err)
	}
	ahead.Store(int64(hearth.IdempotencyTTL + time.Minute))
	if w := keyed("k", postThing).Do(t, b.api); w.Code != 201 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("after a day: %d %s", w.Code, w.Body)
	}
	for _, want := range []int{1, 0} {
		if n, err := b.store.DeleteExpiredIdempotencyRecords(t.Context(), clock.Now(), 10); n != want || err != nil {
			t.Errorf("%d records were removed after a day, %v, want %d", n, err, want)
		}
	}
}

// TestARecordOfAnAnswerIsStillAnswered: programs before this one stored the answer itself, the headers in one line and then the
// body, and no operation. After an upgrade their keys count until they expire.
func TestARecordOfAnAnswerIsStillAnswered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]resttest.Call{
		"a typed operation": postThing,
		"a raw operation":   {Method: "POST", Path: "/api/v1/raw", Token: "ann", Body: "lamp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := openOnce(t, t.TempDir(), testSecret, nil)
			c := keyed("k", c)
			const body = `{"id":"7","name":"of the program before"}` + "\n"
			// The record is made as that program made it, around this one's key and fingerprint.
			b.older = func(k *keyedRequest, record *hearth.IdempotencyRecord) {
				record.Operation, record.Created = "", k.seal([]byte(`{"Location":"/api/v1/things/7"}`+"\n"+body))
			}
			if w := c.Do(t, b.api); w.Code != 201 {
				t.Fatalf("first: %d %s", w.Code, w.Body)
			}
			w := c.Do(t, b.api)
			if w.Code != 201 || w.Body.String() != body || w.Header().Get("Idempotency-Replayed") != "true" {
				t.Errorf("again: %d %v %s, want %s", w.Code, w.Header(), w.Body, body)
			}
			if want := c.Path == postThing.Path; want != (w.Header().Get("Location") == "/api/v1/things/7") {
				t.Errorf("again: Location %q", w.Header().Get("Location"))
			}
			if n := b.devices(t); n != 1 {
				t.Errorf("%d devices, want 1", n)
			}
		})
	}
}

// TestALogIsNamedAgain: the store numbers a log after it was sealed.
func TestALogIsNamedAgain(t *testing.T) {
	t.Parallel()
	a := newRouter(t, Options{Secret: testSecret})
	r := httptest.NewRequest("POST", "/x", nil)
	r.Header.Set(idempotencyHeader, "k")
	k, err := a.keyed(r, Operation{ID: "create-log", Status: 201})
	if err != nil {
		t.Fatal(err)
	}
	requestCtx := &requestContext{Context: t.Context(), request: Request{keyed: k}}
	type numbered struct {
		ID    string `json:"id"`
		Event string `json:"event"`
	}
	log := numbered{Event: `"id":""`}
	record, err := Idempotency(requestCtx, func(log numbered) numbered { return log }).Record(log)
	if err != nil {
		t.Fatal(err)
	}
	record.FirstLog, log.ID = 77, hearth.LogID(77)
	want, err := EncodeBody(log)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if err := k.replay(w, r, *record); err != nil || w.Code != 201 || w.Body.String() != string(want) {
		t.Errorf("%v: %d %s, want %s", err, w.Code, w.Body, want)
	}
}

func TestAStoredAnswerOpensWithItsOwnKeyAlone(t *testing.T) {
	t.Parallel()
	a := newRouter(t, Options{Secret: testSecret})
	other := newRouter(t, Options{Secret: bytes.Repeat([]byte("o"), 32)})
	mark := func(a *Router, key string) *keyedRequest {
		r := httptest.NewRequest("POST", "/x", nil)
		r.Header.Set(idempotencyHeader, key)
		m, err := a.keyed(r, Operation{Status: 201})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := mark(a, "k")
	sealed := first.seal([]byte(`{"token":"hd_secret"}`))
	if bytes.Contains(sealed, []byte("secret")) {
		t.Fatalf("sealed: %q", sealed)
	}
	if got, err := mark(a, "k").open(sealed); err != nil || string(got) != `{"token":"hd_secret"}` {
		t.Errorf("the same key: %s, %v", got, err)
	}
	for name, m := range map[string]*keyedRequest{"another key": mark(a, "l"), "another server": mark(other, "k")} {
		if got, err := m.open(sealed); err == nil {
			t.Errorf("%s opened it: %s", name, got)
		}
		if m.key == first.key {
			t.Errorf("%s is stored under the same name", name)
		}
	}
	for n := range sealed {
		if _, err := first.open(sealed[:n]); err == nil {
			t.Errorf("%d bytes of it opened", n)
		}
	}
	if len(first.key) > 64 || len(first.record().Fingerprint) > 64 {
		t.Errorf("stored: key %q, fingerprint %q", first.key, first.record().Fingerprint)
	}
}
