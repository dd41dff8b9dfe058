package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	gocent "github.com/centrifugal/centrifuge-go"
	"go.uber.org/goleak"

	"hearth"
	"hearth/internal/testserver"
)

// soon is what the contract returns a connection to close in, once its right to be there has ended.
const soon = 5 * time.Second

// closeCode reads until the socket closes and returns the code.
func (s *rawSocket) closeCode(t testing.TB) int {
	t.Helper()
	for {
		if _, code := s.read(t); code != 0 {
			return code
		}
	}
}

func TestConnectionsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(w *fixture, ended, other hearth.Caller, tokens []string)
		all  bool
	}{
		{"session ended", func(w *fixture, ended, _ hearth.Caller, _ []string) {
			w.node.SessionsEnded(ended.UserID, []string{ended.SessionID})
		}, false},
		{"user ended", func(w *fixture, ended, _ hearth.Caller, _ []string) { w.node.UserEnded(ended.UserID) }, true},
		{"revoked by another process", func(w *fixture, _, _ hearth.Caller, tokens []string) {
			for _, token := range tokens {
				w.accounts.refuse(token, hearth.CodeTokenRevoked)
			}
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			ann, token := w.user(0)
			phone := ann
			phone.SessionID = newID()
			phones := w.login(phone, 0)
			bob, bobs := w.user(0)

			stream, stays, bobsStream := w.open(t, token, "", ""), w.open(t, phones, "", ""), w.open(t, bobs, "", "")
			for _, s := range []*eventStream{stream, stays, bobsStream} {
				s.head(t)
			}
			socket, staysSocket := w.dial(t, nil), w.dial(t, nil)
			socket.connect(t, token)
			staysSocket.connect(t, phones)

			test.end(w, ann, phone, []string{token})
			start := time.Now()
			stream.ended(t)
			if code := socket.closeCode(t); code != 3500 {
				t.Errorf("the socket closes with %d, want 3500", code)
			}
			if took := time.Since(start); took > soon {
				t.Errorf("the connections closed after %v", took)
			}
			w.node.Publish(note(bob.UserID, 1), note(ann.UserID, 2))
			bobsStream.expect(t, 1)
			if test.all {
				stays.ended(t)
				return
			}
			stays.expect(t, 2)
			if r, code := staysSocket.read(t); r.Push == nil || code != 0 {
				t.Errorf("the other session's socket got %+v, %d", r, code)
			}
		})
	}
}

func TestPeopleWhoseRightsChangedComeBackWithANewToken(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, token := w.user(0)
	socket, stream := w.dial(t, nil), w.open(t, token, "", "")
	socket.connect(t, token)
	stream.head(t)
	w.node.SessionsEnded(ann.UserID, nil)
	if code := socket.closeCode(t); code != 3014 {
		t.Errorf("the socket closes with %d, want 3014: forget the token and reconnect", code)
	}
	stream.ended(t)
}

// sessions are accounts that can check a session without its token.
type sessions struct {
	*accounts
	roles map[string]hearth.OrgRole
	ended error
}

func (s *sessions) Alive(context.Context, hearth.Caller) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func TestOpenConnectionsAreCheckedByTheirSession(t *testing.T) {
	t.Parallel()
	org := newID()
	s := &sessions{roles: map[string]hearth.OrgRole{org: hearth.OrgViewer}}
	w := newFixture(t, func(o *Options) {
		s.accounts = o.Users.(*accounts)
		o.Users, o.Recheck = s, 20*time.Millisecond
		o.Roles = func(context.Context, string) (map[string]hearth.OrgRole, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.roles, nil
		}
	})
	ann, token := w.user(0)
	own, shared := w.open(t, token, "", ""), w.open(t, token, channels("org:"+org), "")
	own.head(t)
	shared.head(t)
	s.mu.Lock()
	s.roles = nil
	s.mu.Unlock()
	shared.ended(t)
	w.node.Publish(note(ann.UserID, 1))
	own.expect(t, 1)
	s.mu.Lock()
	s.ended = hearth.Errorf(hearth.CodeTokenRevoked, "the session has ended")
	s.mu.Unlock()
	own.ended(t)
}

func TestAnAnswerThatCannotBeHadEndsNoStream(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.Recheck = 10 * time.Millisecond })
	ann, token := w.user(0)
	s := w.open(t, token, "", "")
	s.head(t)
	w.accounts.refuse(token, hearth.CodeUnavailable)
	asked := w.accounts.asked.Load()
	eventually(t, "the stream is checked a few times", func() bool { return w.accounts.asked.Load() > asked+5 })
	w.node.Publish(note(ann.UserID, 1))
	s.expect(t, 1)
}

func TestManyConnectionsOfASessionAreCheckedAtOnce(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.Recheck = time.Hour })
	_, token := w.user(0)
	for range 10 {
		w.open(t, token, "", "").head(t)
	}
	asked := w.accounts.asked.Load()
	w.node.recheckAll(t.Context())
	if got := w.accounts.asked.Load() - asked; got != 1 {
		t.Errorf("10 connections of a session ask %d times, want once", got)
	}
}

func TestAMembershipThatEndsTakesItsChannelsAway(t *testing.T) {
	t.Parallel()
	for name, elsewhere := range map[string]bool{"here": false, "by another process": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, func(o *Options) { o.Recheck = 50 * time.Millisecond })
			org := newID()
			ann, token := w.user(0, func(c *hearth.Caller) { c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer} })
			pump := w.device(inOrg(org))
			stream := w.open(t, token, channels(deviceChannel(pump)), "")
			untouched := w.open(t, token, "", "")
			stream.head(t)
			untouched.head(t)
			socket := w.dial(t, nil)
			socket.connect(t, token)
			for _, channel := range []string{"org:" + org, deviceChannel(pump)} {
				socket.command(t, "subscribe", map[string]any{"channel": channel})
				if r, _ := socket.read(t); r.Error != nil {
					t.Fatal(r.Error)
				}
			}
			w.accounts.change(token, func(c *hearth.Caller) { c.Orgs = nil })
			if !elsewhere {
				w.node.MembershipEnded(ann.UserID, org)
			}
			lost := map[string]int{}
			for range 2 {
				r, code := socket.read(t)
				if code != 0 || r.Push == nil || r.Push.Unsubscribe == nil {
					t.Fatalf("got %+v, %d; want to be unsubscribed", r, code)
				}
				lost[r.Push.Channel] = r.Push.Unsubscribe.Code
			}
			if lost["org:"+org] != 2103 || lost[deviceChannel(pump)] != 2103 {
				t.Errorf("unsubscribed from %v", lost)
			}
			stream.ended(t)
			if status, _ := w.status(t, token, channels(deviceChannel(pump))); status != 404 {
				t.Errorf("coming back answers %d, want 404", status)
			}
			w.node.Publish(heartbeat(pump, 1), note(ann.UserID, 2))
			untouched.expect(t, 2)
			if r, _ := socket.read(t); r.Push == nil || numberIn(t, r.Push.Pub.Data) != 2 {
				t.Errorf("after losing its channels the socket got %+v", r)
			}
		})
	}
}

func TestADeletedDeviceTakesItsChannelWithIt(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, token := w.user(0)
	lamp := w.device(ownedBy(ann.UserID))
	socket := w.dial(t, nil)
	socket.connect(t, token)
	socket.command(t, "subscribe", map[string]any{"channel": deviceChannel(lamp)})
	socket.read(t)
	stream := w.open(t, token, channels(deviceChannel(lamp)), "")
	stream.head(t)
	gone := heartbeat(lamp, 1)
	gone.Type = hearth.EventDeviceDeleted
	w.node.Publish(gone)
	if event, _ := stream.next(t); event.Type != "device-deleted" {
		t.Errorf("the stream got %+v", event)
	}
	var last reply
	for last.Push == nil || last.Push.Unsubscribe == nil {
		var code int
		if last, code = socket.read(t); code != 0 {
			t.Fatalf("the socket closed with %d", code)
		}
	}
	if last.Push.Channel != deviceChannel(lamp) || last.Push.Unsubscribe.Code != 2104 {
		t.Errorf("got %+v", last.Push)
	}
	w.node.Publish(note(ann.UserID, 2))
	stream.expect(t, 2)
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	_, token := w.user(2 * time.Second)
	s := w.open(t, token, "", "")
	s.head(t)
	if took := s.ended(t); took > soon {
		t.Errorf("the stream ended after %v", took)
	}
	if status, code := w.status(t, token, ""); status != 401 || code != "token_expired" {
		t.Errorf("coming back answers %d %s", status, code)
	}
}

// A reader that does not read fills its own queue only.
func TestAReaderThatNeverReadsIsDisconnected(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"sse", "ws"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			big := strings.Repeat("x", 50_000)
			w := newFixture(t, func(o *Options) {
				o.WriteTimeout, o.queueBytes = 500*time.Millisecond, 1<<20
				o.Encode = func(event hearth.Event) (json.RawMessage, error) {
					return fmt.Appendf(nil, `{"n":%d,"big":%q}`, event.Data, big), nil
				}
			})
			ann, token := w.user(0)
			conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
				t.Fatal(err)
			}
			if transport == "sse" {
				fmt.Fprintf(conn, "GET /sse HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
			} else {
				fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
				head := make([]byte, 1)
				if _, err := io.ReadFull(conn, head); err != nil {
					t.Fatal(err)
				}
				command := fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token)
				frame := []byte{0x81, 0x80 | 126, byte(len(command) >> 8), byte(len(command)), 0, 0, 0, 0}
				if _, err := conn.Write(append(frame, command...)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the reader is connected", func() bool { return w.node.node.Hub().NumClients() == 1 })
			good := w.open(t, token, "", "")
			good.head(t)
			worst := time.Duration(0)
			deadline := time.Now().Add(patience)
			for i := 0; w.node.node.Hub().NumClients() == 2; i++ {
				if time.Now().After(deadline) {
					t.Fatal("the reader that does not read stays connected")
				}
				start := time.Now()
				w.node.Publish(note(ann.UserID, i))
				good.expect(t, i)
				worst = max(worst, time.Since(start))
			}
			if worst > time.Second {
				t.Errorf("another reader waited %v", worst)
			}
		})
	}
}

func TestTheNodeSaysGoodbyeAndLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	w := newFixture(t)
	_, token := w.user(0)
	streams := make([]*eventStream, 20)
	for i := range streams {
		streams[i] = w.open(t, token, "", "")
		streams[i].head(t)
	}
	socket, silent := w.dial(t, nil), w.dial(t, nil)
	socket.connect(t, token)
	_ = silent // it never sends its connect command

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error)
	go func() { drained <- w.node.Drain(ctx) }()
	hints := map[string]bool{}
	for _, s := range streams {
		retry := ""
		for block := range s.blocks {
			if block.Retry != "" {
				retry = block.Retry
			}
		}
		if ms, err := strconv.Atoi(retry); err != nil || ms < 1000 || ms > 31_000 {
			t.Errorf("the stream says to come back after %q ms", retry)
		}
		hints[retry] = true
	}
	if len(hints) < 10 {
		t.Errorf("20 streams come back at %d different times", len(hints))
	}
	if code := socket.closeCode(t); code != 3001 {
		t.Errorf("the socket closes with %d, want 3001, after which clients reconnect", code)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if status, code := w.status(t, token, ""); status != 503 || code != "unavailable" {
		t.Errorf("a draining node answers %d %s", status, code)
	}
	if err := w.node.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := w.node.Close(ctx); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	w.node.Publish(note(newID(), 1))
	silent.closeCode(t)
	w.server.Close()
	http.DefaultClient.CloseIdleConnections()
	// Centrifuge waits a second before it lets go of a channel.
	eventually(t, "nothing is left behind", func() bool { return goleak.Find(before) == nil })
}

func TestTooManyConnectionsAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.MaxConnections = 2 })
	_, token := w.user(0)
	first := w.open(t, token, "", "")
	first.head(t)
	w.dial(t, nil).connect(t, token)
	if status, _ := w.status(t, token, ""); status != 503 {
		t.Errorf("a third connection answers %d, want 503", status)
	}
	first.close()
	eventually(t, "there is room again", func() bool {
		status, _ := w.status(t, token, "")
		return status == 200
	})
}

func TestTheFigures(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ann, token := w.user(0)
	_, other := w.user(0)
	s := w.open(t, token, "", "")
	s.head(t)
	w.open(t, other, "", "").head(t)
	w.dial(t, nil).connect(t, token)
	if n := w.node.ConnectionsOf(ann.UserID); n != 2 {
		t.Errorf("ann has %d connections, want 2", n)
	}
	got := w.node.Stats()
	if got.Connections.SSE != 2 || got.Connections.WebSocket != 1 || got.Users != 2 || got.Channels != 2 {
		t.Errorf("the figures are %+v", got)
	}
	w.node.Publish(note(ann.UserID, 1))
	s.expect(t, 1)
	eventually(t, "deliveries show", func() bool { return w.node.Stats().MessagesPerSecond > 0 })
	families, err := w.node.options.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, family := range families {
		series += len(family.Metric)
	}
	if series > 200 {
		t.Errorf("%d series for three connections", series)
	}
}

// A peer that is gone without a word answers no ping.
func TestASocketThatAnswersNoPingIsClosed(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *Options) { o.Heartbeat = 100 * time.Millisecond })
	_, token := w.user(0)
	s := w.dial(t, nil)
	s.connect(t, token)
	if code := s.closeCode(t); code != 3012 {
		t.Errorf("closes with %d, want 3012, no pong", code)
	}
}

// The network behind a reader goes silent: nothing comes from it any more, and nothing says that it is gone.
func TestASocketBehindADeadNetworkIsClosedAndNoOtherIs(t *testing.T) {
	t.Parallel()
	const heartbeat = 300 * time.Millisecond
	w := newFixture(t, func(o *Options) { o.Heartbeat = heartbeat })
	ann, token := w.user(0)
	near := w.open(t, token, "", "")
	near.head(t)
	wire := testserver.NewWire(t, w.server.Listener.Addr().String())
	client := gocent.NewJsonClient("ws://"+wire.Addr()+"/ws", gocent.Config{Token: token})
	t.Cleanup(client.Close)
	joined := make(chan struct{}, 1)
	client.OnConnected(func(gocent.ConnectedEvent) { joined <- struct{}{} })
	if err := client.Connect(); err != nil {
		t.Fatal(err)
	}
	receive(t, joined)
	clients := w.node.node.Hub().NumClients
	eventually(t, "both are connected", func() bool { return clients() == 2 })
	began := time.Now()
	wire.Hang()
	for i := 0; clients() == 2; i++ {
		if time.Since(began) > patience {
			t.Fatal("the socket stays")
		}
		w.node.Publish(note(ann.UserID, i))
		near.expect(t, i)
	}
	// One heartbeat until the ping, half of one for the answer; the rest is for a busy machine.
	if took := time.Since(began); took > 3*heartbeat+time.Second {
		t.Errorf("the socket was closed after %v", took)
	}
}
