package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/kv"
	"hearth/internal/realtime"
)

const (
	annID  = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a51"
	lampID = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a52"
)

// lamps knows one device.
type lamps struct{}

func (lamps) Device(_ context.Context, id string) (hearth.Device, error) {
	if id != lampID {
		return hearth.Device{}, hearth.NotFound("device")
	}
	return hearth.Device{ID: lampID, OwnerID: annID}, nil
}

// newLive serves the whole API with a real node behind it.
func newLive(t *testing.T) (*realtime.Node, *httptest.Server) {
	t.Helper()
	node, api := newLiveAPI(t, nil)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return node, server
}

func newLiveAPI(t *testing.T, limiter rest.Limiter) (*realtime.Node, *API) {
	t.Helper()
	users := resttest.Tokens{"ann": {UserID: annID, Role: hearth.RoleUser}, "root": {UserID: lampID, Role: hearth.RoleAdmin}}
	node, err := realtime.New(realtime.Options{
		Users: users, Devices: lamps{}, Drain: time.Millisecond,
		Encode: EncodeEvent,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{
		Serving: rest.Options{
			Users: users, Devices: resttest.Tokens{"hd_x": {DeviceID: lampID}}, Limiter: limiter,
		}, Live: node,
		StreamStats: func(context.Context) StreamStats { return StreamStats{Users: node.Stats().Users} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return node, a
}

func callLive(t *testing.T, method, url, token string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestATicketOpensAStreamThroughTheWholeAPI(t *testing.T) {
	t.Parallel()
	node, server := newLive(t)
	answer := callLive(t, http.MethodPost, server.URL+"/api/v1/realtime/ticket", "ann")
	var ticket Ticket
	if err := json.NewDecoder(answer.Body).Decode(&ticket); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusCreated || ticket.ExpiresIn != 30 || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the ticket is answered %d, %+v, %v", answer.StatusCode, ticket, answer.Header)
	}
	stream := callLive(t, http.MethodGet, server.URL+"/api/v1/realtime/sse?channels=device:"+lampID+"&ticket="+ticket.Ticket, "")
	if stream.StatusCode != http.StatusOK || stream.Header.Get("Content-Encoding") != "" ||
		stream.Header.Get("Content-Type") != "text/event-stream" || stream.Header.Get("X-Request-ID") == "" {
		t.Fatalf("the stream answers %d, %v", stream.StatusCode, stream.Header)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	node.Publish(hearth.Event{
		Type: hearth.EventDeviceHeartbeat, At: at, DeviceID: lampID, Scope: hearth.UserScope(annID),
		Data: hearth.Heartbeat{DeviceID: lampID, At: at, Status: hearth.StatusActive, Connection: hearth.Online},
	})
	const want = `data: {"type":"device-heartbeat","at":"2026-03-01T12:00:00.000Z","data":{"device_id":"` + lampID +
		`","status":"active","connection":"online","last_active_at":"2026-03-01T12:00:00.000Z","pending":{"commands":0,"desired_version":0}}}`
	lines := bufio.NewScanner(stream.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data:") {
			if lines.Text() != want {
				t.Errorf("got %s\nwant %s", lines.Text(), want)
			}
			return
		}
	}
	t.Errorf("the stream ended: %v", lines.Err())
}

func TestRealtimeCallsAreRefusedByTheContract(t *testing.T) {
	t.Parallel()
	_, server := newLive(t)
	tests := []struct {
		name, method, path, token string
		status                    int
		code                      string
	}{
		{"stream of nobody", "GET", "/sse", "", 401, "unauthenticated"},
		{"stream with a bad token", "GET", "/sse", "eve", 401, "unauthenticated"},
		{"stream with a used ticket", "GET", "/sse?ticket=x", "", 401, "unauthenticated"},
		{"stream of a device", "GET", "/sse", "hd_x", 403, "forbidden"},
		{"stream of another's channel", "GET", "/sse?channels=org:" + lampID, "ann", 404, "not_found"},
		{"socket of a device", "GET", "/ws", "hd_x", 403, "forbidden"},
		{"socket without a handshake", "GET", "/ws", "", 400, "malformed_body"},
		{"ticket for nobody", "POST", "/ticket", "", 401, "unauthenticated"},
		{"ticket for a device", "POST", "/ticket", "hd_x", 403, "forbidden"},
		{"stats for a user", "GET", "/stats", "ann", 403, "forbidden"},
		{"stats for an admin", "GET", "/stats", "root", 200, ""},
		{"other method", "DELETE", "/sse", "ann", 405, "method_not_allowed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			answer := callLive(t, test.method, server.URL+"/api/v1/realtime"+test.path, test.token)
			var problem struct{ Code string }
			if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != test.status || problem.Code != test.code {
				t.Errorf("answers %d %s, want %d %s", answer.StatusCode, problem.Code, test.status, test.code)
			}
		})
	}
}

func TestASocketPassesTheWholeAPI(t *testing.T) {
	t.Parallel()
	_, server := newLive(t)
	socket, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/api/v1/realtime/ws",
		http.Header{"Authorization": {"Bearer ann"}})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.WriteMessage(websocket.TextMessage, []byte(`{"id":1,"connect":{}}`)); err != nil {
		t.Fatal(err)
	}
	if _, reply, err := socket.ReadMessage(); err != nil || !strings.Contains(string(reply), `"user:`+annID+`"`) {
		t.Errorf("connecting answers %s, %v", reply, err)
	}
}

// Who opens a socket or shows a ticket is known only later: until then their address stands for them.
func TestStreamsAreLimitedByAddressUntilTheirPersonIsKnown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		call   resttest.Call
		status int
	}{
		{"socket", resttest.Call{Path: "/ws"}, http.StatusBadRequest},
		{"ticketed stream", resttest.Call{Path: "/sse?ticket=x"}, http.StatusUnauthorized},
		{"person's stream", resttest.Call{Path: "/sse?channels=org:" + lampID, Token: "ann"}, http.StatusNotFound},
	}
	const limit = 3
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, api := newLiveAPI(t, newMemLimiter(t, kv.Limits{"streams": {Limit: limit, Per: time.Hour}}))
			try := func(ip string) *httptest.ResponseRecorder {
				c := test.call
				c.Method, c.Path, c.IP = http.MethodGet, "/api/v1/realtime"+c.Path, ip
				return c.Do(t, api)
			}
			for range limit {
				answer := try("198.51.100.1:1000")
				if answer.Code != test.status || answer.Header().Get("RateLimit-Limit") == "" {
					t.Fatalf("answers %d, %v, want %d", answer.Code, answer.Header(), test.status)
				}
			}
			answer := try("198.51.100.1:2000")
			var problem struct{ Code, Limit string }
			if err := json.Unmarshal(answer.Body.Bytes(), &problem); err != nil {
				t.Fatal(err)
			}
			if answer.Code != http.StatusTooManyRequests || problem.Code != "rate_limited" || problem.Limit != "streams" ||
				answer.Header().Get("Retry-After") == "" {
				t.Errorf("one too many answers %d, %+v, %v", answer.Code, problem, answer.Header())
			}
			want := test.status
			if test.call.Token != "" { // a person is the same anywhere
				want = http.StatusTooManyRequests
			}
			if answer := try("198.51.100.2:1000"); answer.Code != want {
				t.Errorf("another address is answered %d, want %d", answer.Code, want)
			}
		})
	}
}
