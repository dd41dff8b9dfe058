package hearth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	hearth "hearth/client/go"
)

// server answers with a handler and returns a client of it.
func server(t *testing.T, handler http.HandlerFunc, options ...hearth.Option) *hearth.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	client, err := hearth.New(s.URL, options...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const aDevice = `{"id":"d","name":"Kitchen","status":"active","tags":[],"created_at":"2026-03-01T12:00:00.000Z"}`

func TestACreationIsRepeatedUnderOneKey(t *testing.T) {
	t.Parallel()
	var keys, bodies []string
	client := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		keys, bodies = append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(body))
		switch len(keys) {
		case 1:
			problem(503, "unavailable")(w, r)
		case 2:
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close() // the answer is lost
		default:
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, aDevice)
		}
	}, hearth.WithToken("hk_test"))
	device, err := client.CreateDevice(t.Context(), hearth.NewDevice{Name: "Kitchen", Type: "thermostat"})
	if err != nil || device.ID != "d" || device.Status != hearth.DeviceStatusActive {
		t.Fatalf("%+v, %v", device, err)
	}
	if len(keys) != 3 || keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] || bodies[2] != `{"name":"Kitchen","type":"thermostat"}` {
		t.Errorf("keys %q, bodies %q", keys, bodies)
	}
}

func TestWhatIsNotSafeIsNotRepeated(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	client := server(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		problem(503, "unavailable")(w, r)
	}, hearth.WithToken("hk_test"))
	if err := client.DeleteDevice(t.Context(), "a/b"); hearth.CodeOf(err) != hearth.ErrorCodeUnavailable {
		t.Errorf("%v", err)
	}
	if requests.Load() != 1 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestRetryAfterIsHonouredWithinTheBound(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	after := "1"
	client := server(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			problem(429, "rate_limited", "Retry-After", after)(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}, hearth.WithToken("hk_test"), hearth.WithRetries(2, 5*time.Second))
	begin := time.Now()
	if err := client.DeleteDevice(t.Context(), "d"); err != nil || time.Since(begin) < time.Second || requests.Load() != 2 {
		t.Errorf("after %v and %d requests: %v", time.Since(begin), requests.Load(), err)
	}
	requests.Store(0)
	after = "900"
	var refused *hearth.Error
	err := client.DeleteDevice(t.Context(), "d")
	if !errors.As(err, &refused) || refused.RetryAfter != 15*time.Minute || requests.Load() != 1 {
		t.Errorf("%d requests: %v", requests.Load(), err)
	}
}

func TestErrorsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	client := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("X-Request-ID", "r-1")
		w.WriteHeader(422)
		fmt.Fprint(w, `{"code":"validation_failed","detail":"no","errors":[{"location":"body.name","message":"is required"}]}`)
	}, hearth.WithToken("hk_test"))
	_, err := client.CreateDevice(t.Context(), hearth.NewDevice{})
	want := `hearth: 422 validation_failed: no; body.name: is required (request r-1)`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// login answers the calls of sessions: access tokens are "a1", "a2", …, of which only the newest is valid.
type login struct {
	mu                 sync.Mutex
	logins, refreshes  int
	life               int
	refreshIsForgotten bool
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.logins + l.refreshes
	switch r.URL.Path {
	case "/api/v1/auth/login":
		l.logins++
	case "/api/v1/auth/refresh":
		if l.refreshIsForgotten {
			problem(401, "token_revoked")(w, r)
			return
		}
		l.refreshes++
	default:
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer a%d", n) {
			problem(401, "token_expired")(w, r)
			return
		}
		fmt.Fprint(w, `{"id":"ann"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("a%d", n+1), "refresh_token": fmt.Sprintf("r%d", n+1), "expires_in": l.life})
}

// end makes the access token invalid.
func (l *login) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refreshes += 100
}

func TestManyCallsRenewASessionOnce(t *testing.T) {
	t.Parallel()
	l := &login{life: 900}
	client := server(t, l.ServeHTTP, hearth.WithPassword("ann@example.com", "a long enough secret"))
	many := func() {
		var calls sync.WaitGroup
		for range 50 {
			calls.Add(1)
			go func() {
				defer calls.Done()
				if _, err := client.GetMe(t.Context(), hearth.GetMeParams{}); err != nil {
					t.Error(err)
				}
			}()
		}
		calls.Wait()
	}
	many()
	if l.logins != 1 || l.refreshes != 0 {
		t.Errorf("%d logins, %d refreshes", l.logins, l.refreshes)
	}
	l.end()
	many()
	if l.logins != 1 || l.refreshes != 101 {
		t.Errorf("%d logins, %d refreshes", l.logins, l.refreshes-100)
	}
	l.refreshIsForgotten = true
	l.end()
	many()
	if l.logins != 2 {
		t.Errorf("%d logins", l.logins)
	}
}

// Repeated, the call would count twice as a failed login.
func TestAWrongPasswordInABodyRenewsNothing(t *testing.T) {
	t.Parallel()
	var paths []string
	client := server(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		if r.URL.Path == "/api/v1/auth/login" {
			fmt.Fprint(w, `{"access_token": "a", "refresh_token": "r", "expires_in": 900}`)
			return
		}
		problem(http.StatusUnauthorized, "invalid_credentials")(w, r)
	}, hearth.WithPassword("ann@example.com", "a long enough secret"))
	err := client.ChangePassword(t.Context(), hearth.PasswordChange{CurrentPassword: "wrong", NewPassword: "another long secret"})
	var refused *hearth.Error
	if !errors.As(err, &refused) || refused.Code != hearth.ErrorCodeInvalidCredentials || len(paths) != 2 {
		t.Errorf("%v after %v", err, paths)
	}
}

func TestASavedSessionContinues(t *testing.T) {
	t.Parallel()
	l := &login{life: 900}
	var saved []string
	client := server(t, l.ServeHTTP, hearth.WithSession(hearth.Tokens{RefreshToken: "r0"}, func(tokens hearth.Tokens) {
		saved = append(saved, tokens.RefreshToken)
	}))
	if _, err := client.GetMe(t.Context(), hearth.GetMeParams{}); err != nil || !slices.Equal(saved, []string{"r1"}) {
		t.Errorf("saved %q: %v", saved, err)
	}
	l.refreshIsForgotten = true
	l.end()
	if _, err := client.GetMe(t.Context(), hearth.GetMeParams{}); hearth.CodeOf(err) != hearth.ErrorCodeTokenRevoked {
		t.Errorf("without a password: %v", err)
	}
}

func TestAListIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	client := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "limit=2&status=active":
			fmt.Fprint(w, `{"items":[{"id":"1"},{"id":"2"}],"next_cursor":"c&d"}`)
		case "cursor=c%26d&limit=2&status=active":
			fmt.Fprint(w, `{"items":[{"id":"3"}],"next_cursor":null}`)
		default:
			problem(422, "validation_failed")(w, r)
		}
	}, hearth.WithToken("hk_test"))
	var ids []string
	for device, err := range client.AllDevices(t.Context(), hearth.ListDevicesParams{Status: hearth.DeviceStatusActive, Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, device.ID)
	}
	if !slices.Equal(ids, []string{"1", "2", "3"}) {
		t.Errorf("%q", ids)
	}
}

func TestAChangeSaysWhatIsSetAndWhatIsCleared(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(hearth.DeviceChange{Name: hearth.Set("Hall"), Serial: hearth.Null[string]()})
	if err != nil || string(data) != `{"name":"Hall","serial":null}` {
		t.Errorf("%s, %v", data, err)
	}
}

// store is a server of logs: it refuses those whose event is "bad", and is away while away is set.
type store struct {
	mu    sync.Mutex
	away  int
	keys  map[string]bool
	logs  []string
	calls int
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []struct {
		Event     string    `json:"event"`
		Timestamp time.Time `json:"timestamp"`
	}
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		panic(err)
	}
	s.calls++
	for i, log := range batch {
		if log.Event == "bad" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(422)
			fmt.Fprintf(w, `{"code":"validation_failed","detail":"no","errors":[{"location":"body[%d].value","message":"is wrong"}]}`, i)
			return
		}
	}
	key := r.Header.Get("Idempotency-Key")
	if !s.keys[key] {
		s.keys[key] = true
		for _, log := range batch {
			s.logs = append(s.logs, log.Event)
		}
	}
	if s.away > 0 { // stored, but the answer is lost
		s.away--
		problem(503, "unavailable")(w, r)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"accepted":%d}`, len(batch))
}

func TestAWriterStoresEveryLogOnce(t *testing.T) {
	t.Parallel()
	s := &store{away: 1, keys: map[string]bool{}}
	client := server(t, s.ServeHTTP, hearth.WithToken("hd_test"), hearth.WithRetries(1, 0))
	var refused []string
	writer := client.NewWriter(hearth.WriterOptions{Size: 10, Delay: time.Hour, Refused: func(log hearth.NewDeviceLog, err error) {
		refused = append(refused, log.Event+" "+err.Error())
	}})
	var want []string
	for i := range 25 {
		event := fmt.Sprint("e", i)
		if i == 13 {
			event = "bad"
		} else {
			want = append(want, event)
		}
		if err := writer.Write(t.Context(), hearth.NewDeviceLog{Event: event, Value: i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.logs, want) {
		t.Errorf("stored %q", s.logs)
	}
	var all *hearth.RefusedError
	if err := writer.Close(t.Context()); !errors.As(err, &all) || all.Count != 1 || hearth.CodeOf(err) != hearth.ErrorCodeValidationFailed {
		t.Errorf("close: %v", err)
	}
	if len(refused) != 1 || refused[0] != "bad hearth: 422 validation_failed: no; body[3].value: is wrong" {
		t.Errorf("refused %q", refused)
	}
	if err := writer.Write(t.Context(), hearth.NewDeviceLog{Event: "late"}); !errors.Is(err, hearth.ErrWriterClosed) {
		t.Errorf("after close: %v", err)
	}
	if s.calls != 5 { // 10 twice, 10 refused, 9 of them, 5
		t.Errorf("%d calls", s.calls)
	}
}

func TestAFullWriterWaits(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	client := server(t, func(http.ResponseWriter, *http.Request) { <-held }, hearth.WithToken("hd_test"), hearth.WithRetries(1, 0))
	writer := client.NewWriter(hearth.WriterOptions{Size: 1, Pending: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	written := 0
	for {
		if err := writer.Write(ctx, hearth.NewDeviceLog{Event: "e", Value: 1}); err != nil {
			break
		}
		written++
	}
	if written < 2 || written > 3 { // two wait, one may be on its way
		t.Errorf("%d logs found room for 2", written)
	}
	var refused *hearth.RefusedError
	if err := writer.Close(ctx); !errors.As(err, &refused) || refused.Count != written {
		t.Errorf("close: %v", err)
	}
	close(held)
}

func TestTheQueryHasWhatIsSet(t *testing.T) {
	t.Parallel()
	var query string
	client := server(t, func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		fmt.Fprint(w, `{"items":[],"next_cursor":null}`)
	}, hearth.WithToken("hk_test"))
	from := time.Date(2026, 3, 1, 12, 0, 0, 500_000_000, time.FixedZone("", 3600))
	if _, err := client.ListAudit(t.Context(), hearth.ListAuditParams{From: from, Count: true, Limit: 5, Action: "a b"}); err != nil {
		t.Fatal(err)
	}
	if want := "action=a+b&count=true&from=2026-03-01T12%3A00%3A00.5%2B01%3A00&limit=5"; query != want {
		t.Errorf("%s, want %s", query, want)
	}
}
