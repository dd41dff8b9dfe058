package realtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	gocent "github.com/centrifugal/centrifuge-go"
	"github.com/gorilla/websocket"

	"hearth"
)

func (w *fixture) socketURL() string { return "ws" + strings.TrimPrefix(w.server.URL, "http") + "/ws" }

// rawSocket is a WebSocket that speaks the JSON protocol by hand.
type rawSocket struct {
	*websocket.Conn
	id int
	// lines are replies that came in one frame with one that was read.
	lines []string
}

func (w *fixture) dial(t testing.TB, header http.Header) *rawSocket {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(w.socketURL(), header)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rawSocket{Conn: conn}
}

func (s *rawSocket) command(t testing.TB, name string, params any) {
	t.Helper()
	s.id++
	if err := s.WriteJSON(map[string]any{"id": s.id, name: params}); err != nil {
		t.Fatal(err)
	}
}

// reply is what the server sends: an answer or a push.
type reply struct {
	ID    int
	Error *struct {
		Code    int
		Message string
	}
	Connect *struct {
		Subs map[string]struct {
			Recoverable, Recovered bool
			Epoch                  string
			Offset                 uint64
			Publications           []struct{ Data json.RawMessage }
		}
		Expires bool
		TTL     int
	}
	Push *struct {
		Channel string
		Pub     *struct {
			Data   json.RawMessage
			Offset uint64
		}
		Unsubscribe *struct{ Code int }
	}
}

// read returns the next reply that is not a ping; a close returns its code.
func (s *rawSocket) read(t testing.TB) (reply, int) {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		for len(s.lines) > 0 {
			line := s.lines[0]
			s.lines = s.lines[1:]
			if strings.TrimSpace(line) == "{}" {
				continue
			}
			var r reply
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return r, 0
		}
		_, data, err := s.ReadMessage()
		if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) {
			return reply{}, closed.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		s.lines = slices.Collect(strings.Lines(string(data)))
	}
}

// connect sends the connect command and expects success.
func (s *rawSocket) connect(t testing.TB, token string) reply {
	t.Helper()
	s.command(t, "connect", map[string]any{"token": token})
	r, code := s.read(t)
	if code != 0 || r.Error != nil || r.Connect == nil {
		t.Fatalf("connect: %+v, close code %d", r, code)
	}
	return r
}

func TestASocketIsJoinedToItsPersonAndMaySubscribe(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	org := newID()
	ann, token := w.user(time.Hour, func(c *hearth.Caller) { c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer} })
	bob, _ := w.user(0)
	lamp, pump, other := w.device(ownedBy(ann.UserID)), w.device(inOrg(org)), w.device(ownedBy(bob.UserID))
	for name, header := range map[string]http.Header{
		"token in the command": nil, "token in the header": {"Authorization": {"Bearer " + token}},
	} {
		s := w.dial(t, header)
		inCommand := token
		if header != nil {
			inCommand = ""
		}
		connected := s.connect(t, inCommand)
		own, ok := connected.Connect.Subs["user:"+ann.UserID]
		if !ok || !own.Recoverable || len(connected.Connect.Subs) != 1 {
			t.Fatalf("%s: joined %+v, want the person's channel, recoverable", name, connected.Connect.Subs)
		}
		if !connected.Connect.Expires || connected.Connect.TTL < 3500 {
			t.Errorf("%s: the token's hour shows as %+v", name, connected.Connect)
		}
		w.node.Publish(heartbeat(lamp, 1))
		if r, _ := s.read(t); r.Push == nil || r.Push.Channel != "user:"+ann.UserID ||
			!strings.HasPrefix(string(r.Push.Pub.Data), `{"type":"device-heartbeat","at":"`) {
			t.Fatalf("%s: got %+v", name, r)
		}
		for channel, want := range map[string]int{
			deviceChannel(lamp): 0, "org:" + org: 0, deviceChannel(pump): 0,
			deviceChannel(other): 103, "user:" + bob.UserID: 103, "org:" + newID(): 103, "device:" + newID(): 103,
			"inbox:" + ann.UserID: 103, "nonsense": 103, "device:\xff\xfe": 103, "$other": 103,
		} {
			s.command(t, "subscribe", map[string]any{"channel": channel})
			r, code := s.read(t)
			got := 0
			if r.Error != nil {
				got = r.Error.Code
			}
			if got != want || code != 0 {
				t.Errorf("%s: subscribing to %q gives %d (close %d), want %d", name, channel, got, code, want)
			}
		}
	}
}

func TestASocketMayOnlyRead(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, token := w.user(0)
	lamp := w.device(ownedBy(ann.UserID))
	s := w.dial(t, nil)
	s.connect(t, token)
	s.command(t, "subscribe", map[string]any{"channel": deviceChannel(lamp)})
	s.read(t)
	for name, params := range map[string]any{
		"publish":  map[string]any{"channel": deviceChannel(lamp), "data": 1},
		"history":  map[string]any{"channel": deviceChannel(lamp), "limit": 10},
		"rpc":      map[string]any{"method": "x"},
		"presence": map[string]any{"channel": "user:" + newID()},
	} {
		s.command(t, name, params)
		if r, code := s.read(t); r.Error == nil || (r.Error.Code != 108 && r.Error.Code != 103) || code != 0 {
			t.Errorf("%s: %+v, close code %d; want not available or permission denied", name, r, code)
		}
	}
	s.command(t, "presence_stats", map[string]any{"channel": deviceChannel(lamp)})
	if r, code := s.read(t); r.Error != nil || code != 0 {
		t.Errorf("viewers of a channel that is read: %+v, close code %d", r.Error, code)
	}
}

func TestWhoMayNotConnect(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, _ := w.user(0)
	lamp := w.device(ownedBy(ann.UserID))
	expired, revoked, unavailable := w.login(ann, 0), w.login(ann, 0), w.login(ann, 0)
	w.accounts.refuse(expired, hearth.CodeTokenExpired)
	w.accounts.refuse(revoked, hearth.CodeTokenRevoked)
	w.accounts.refuse(unavailable, hearth.CodeUnavailable)
	tests := []struct {
		name, token string
		reply, code int
	}{
		{"no token", "", 0, 3500},
		{"unknown token", "h.e30.s", 0, 3500},
		{"revoked token", revoked, 0, 3500},
		{"expired token", expired, 109, 0}, // the client asks its program for another
		{"database gone", unavailable, 100, 0},
		{"device", w.login(hearth.Caller{DeviceID: lamp.ID}, 0), 0, 3507},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := w.dial(t, nil)
			s.command(t, "connect", map[string]any{"token": test.token})
			r, code := s.read(t)
			got := 0
			if r.Error != nil {
				got = r.Error.Code
			}
			if got != test.reply || code != test.code {
				t.Errorf("answers error %d, close code %d; want %d, %d", got, code, test.reply, test.code)
			}
		})
	}
}

func TestOnlyKnownOriginsMayConnect(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.AllowedOrigins = []string{"https://app.example"} })
	for origin, allowed := range map[string]bool{
		"": true, "https://app.example": true, w.server.URL: true, "https://evil.example": false, "null": false,
		"https://app.example.evil.example": false, "http://app.example": false, "://": false,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		conn, response, err := websocket.DefaultDialer.Dial(w.socketURL(), header)
		switch {
		case allowed && err != nil:
			t.Errorf("origin %q is refused: %v", origin, err)
		case !allowed && (response == nil || response.StatusCode != http.StatusForbidden):
			t.Errorf("origin %q is not refused with 403: %v", origin, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
}

func TestBadFramesCloseTheirConnectionOnly(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.messageRate, o.messageBurst = 1, 20 })
	ann, token := w.user(0)
	good := w.dial(t, nil)
	good.connect(t, token)
	tests := []struct {
		name   string
		frames func() []string
		code   int
	}{
		{"not JSON", func() []string { return []string{"{"} }, 3501},
		{"empty", func() []string { return []string{""} }, 3501},
		{"invalid UTF-8", func() []string { return []string{"\xff\xfe{\"id\":2}"} }, 3501},
		{"deep", func() []string { return []string{strings.Repeat("[", 30_000)} }, 3501},
		{"1 MiB", func() []string {
			return []string{`{"id":9,"subscribe":{"channel":"` + strings.Repeat("x", 1<<20) + `"}}`}
		}, 1009},
		{"too many", func() []string {
			frames := make([]string, 100)
			for i := range frames {
				frames[i] = fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"device:%d"}}`, i+2, i)
			}
			return frames
		}, 3013},
		{"connect twice", func() []string { return []string{`{"id":2,"connect":{}}`} }, 3501},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := w.dial(t, nil)
			s.connect(t, token)
			for _, frame := range test.frames() {
				if err := s.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
					break // the server has closed already
				}
			}
			for {
				if _, code := s.read(t); code != 0 {
					if code != test.code {
						t.Errorf("closes with %d, want %d", code, test.code)
					}
					return
				}
			}
		})
	}
	w.node.Publish(note(ann.UserID, 1))
	if r, code := good.read(t); r.Push == nil || code != 0 {
		t.Errorf("the good connection got %+v, %d", r, code)
	}
}

func TestAThousandSubscriptionsAreTooMany(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.maxChannels = 30 })
	_, token := w.user(0, admin)
	s := w.dial(t, nil)
	s.connect(t, token)
	counts := map[int]int{}
	for range 1000 {
		s.command(t, "subscribe", map[string]any{"channel": "org:" + newID()})
		r, code := s.read(t)
		if code != 0 {
			t.Fatalf("closed with %d", code)
		}
		if r.Error != nil {
			counts[r.Error.Code]++
		} else {
			counts[0]++
		}
	}
	if counts[0] != 30 || counts[106] != 970 {
		t.Errorf("answers %v, want 30 subscriptions and 970 times limit exceeded (106)", counts)
	}
}

// goClient is a centrifuge-go client whose events are numbers.
func (w *fixture) goClient(t testing.TB, token func() string) (*gocent.Client, chan int, chan bool) {
	t.Helper()
	client := gocent.NewJsonClient(w.socketURL(), gocent.Config{
		Token: token(), MinReconnectDelay: 10 * time.Millisecond, MaxReconnectDelay: 50 * time.Millisecond,
		GetToken: func(gocent.ConnectionTokenEvent) (string, error) { return token(), nil },
	})
	t.Cleanup(client.Close)
	numbers, recovered := make(chan int, 4096), make(chan bool, 64)
	client.OnPublication(func(e gocent.ServerPublicationEvent) { numbers <- numberIn(t, e.Data) })
	client.OnSubscribed(func(e gocent.ServerSubscribedEvent) { recovered <- !e.WasRecovering || e.Recovered })
	if err := client.Connect(); err != nil {
		t.Fatal(err)
	}
	return client, numbers, recovered
}

func numberIn(t testing.TB, data []byte) int {
	var body struct{ Data struct{ N int } }
	if err := json.Unmarshal(data, &body); err != nil {
		t.Errorf("%s: %v", data, err)
	}
	return body.Data.N
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

func TestTheGoClientMissesNothingWhileItIsAway(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, token := w.user(0)
	_, numbers, recovered := w.goClient(t, func() string { return token })
	receive(t, recovered)
	for round := range 10 {
		for i := range 10 {
			w.node.Publish(note(ann.UserID, round*10+i))
			if i == 4 {
				for _, client := range w.node.node.Hub().Connections() {
					client.Disconnect(centrifuge.DisconnectForceReconnect)
				}
			}
		}
		for i := range 10 {
			if got := receive(t, numbers); got != round*10+i {
				t.Fatalf("event %d came, want %d", got, round*10+i)
			}
		}
		if !receive(t, recovered) {
			t.Fatal("the client was told that it missed something")
		}
	}
}

func TestATokenIsRefreshedOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, _ := w.user(0)
	asked := make(chan struct{}, 16)
	client, numbers, recovered := w.goClient(t, func() string {
		asked <- struct{}{}
		return w.login(ann, 2*time.Second)
	})
	gone := make(chan uint32, 16)
	client.OnDisconnected(func(e gocent.DisconnectedEvent) { gone <- e.Code })
	client.OnConnecting(func(e gocent.ConnectingEvent) { gone <- e.Code })
	receive(t, recovered)
	for range 3 { // the first one, and two more while the connection stays
		receive(t, asked)
	}
	select {
	case code := <-gone:
		t.Errorf("the connection was lost with %d", code)
	default:
	}
	w.node.Publish(note(ann.UserID, 1))
	receive(t, numbers)
}

func TestATokenOfSomebodyElseDoesNotRefresh(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	_, token := w.user(time.Hour)
	_, other := w.user(time.Hour)
	s := w.dial(t, nil)
	s.connect(t, token)
	s.command(t, "refresh", map[string]any{"token": other})
	if _, code := s.read(t); code != 3500 {
		t.Errorf("closes with %d, want 3500", code)
	}
}

func TestTheHandshakeHasTheHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Request-ID", "one")
		rw.Header().Set("X-Frame-Options", "DENY")
		if err := w.node.ServeWebSocket(rw, r); err != nil {
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = rw.Write([]byte(hearth.ErrorCode(err)))
		}
	}))
	t.Cleanup(front.Close)
	conn, response, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(front.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, token := w.user(0)
	s := &rawSocket{Conn: conn}
	s.command(t, "connect", map[string]any{"token": token})
	if answer, code := s.read(t); answer.Connect == nil {
		t.Errorf("connecting is answered %+v, %d", answer, code)
	}
	if got := response.Header; got.Get("X-Request-ID") != "one" || got.Get("X-Frame-Options") != "DENY" {
		t.Errorf("the handshake is answered with %v", got)
	}
	_ = conn.Close()
	handshake := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	for name, value := range map[string]string{"Connection": "close", "Upgrade": "h2c", "Sec-Websocket-Version": "12", "Sec-Websocket-Key": "AAAA"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = handshake.Clone()
		r.Header.Set(name, value)
		refused, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(refused.Body)
		_ = refused.Body.Close()
		if refused.StatusCode != http.StatusBadRequest || string(body) != string(hearth.CodeMalformedBody) || refused.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: %s is answered %d %s", name, value, refused.StatusCode, body)
		}
	}
}
