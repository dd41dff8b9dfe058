package realtime

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"hearth"
)

// patience bounds every wait for something that must happen.
const patience = 10 * time.Second

// fixture is a node behind a real HTTP server, with users and devices.
type fixture struct {
	node     *Node
	server   *httptest.Server
	accounts *accounts
	// others are the nodes of further instances behind the same server.
	others []*Node
}

// nodes returns the nodes of all instances.
func (w *fixture) nodes() []*Node { return append([]*Node{w.node}, w.others...) }

// publish publishes an event on the instance that its device reports to.
func (w *fixture) publish(device int, event hearth.Event) {
	nodes := w.nodes()
	nodes[device%len(nodes)].Publish(event)
}

// accounts is an Authenticator and the devices, in memory.
type accounts struct {
	mu      sync.Mutex
	callers map[string]hearth.Caller
	refused map[string]error
	devices map[string]hearth.Device
	asked   atomic.Int64
}

func (p *accounts) Authenticate(_ context.Context, token string) (hearth.Caller, error) {
	p.asked.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refused[token]; err != nil {
		return hearth.Caller{}, err
	}
	if expiry := tokenExpiry(token); !expiry.IsZero() && time.Now().After(expiry) {
		return hearth.Caller{}, hearth.Errorf(hearth.CodeTokenExpired, "the token has expired")
	}
	caller, ok := p.callers[token]
	if !ok {
		return hearth.Caller{}, hearth.Errorf(hearth.CodeUnauthenticated, "the token is not valid")
	}
	return caller, nil
}

func (p *accounts) Device(_ context.Context, id string) (hearth.Device, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	device, ok := p.devices[id]
	if !ok {
		return device, hearth.NotFound("device")
	}
	return device, nil
}

func (p *accounts) refuse(token string, code hearth.Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[token] = hearth.Errorf(code, "refused")
}

func (p *accounts) change(token string, change func(*hearth.Caller)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	caller := p.callers[token]
	change(&caller)
	p.callers[token] = caller
}

// newID returns a new id as the domain has them.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// user makes a person and returns their caller and token. life 0: the token never runs out.
func (w *fixture) user(life time.Duration, change ...func(*hearth.Caller)) (hearth.Caller, string) {
	caller := hearth.Caller{UserID: newID(), Role: hearth.RoleUser, SessionID: newID()}
	for _, f := range change {
		f(&caller)
	}
	return caller, w.login(caller, life)
}

// login returns another token of the caller.
func (w *fixture) login(caller hearth.Caller, life time.Duration) string {
	claims := map[string]any{"jti": newID()}
	if life > 0 {
		claims["exp"] = time.Now().Add(life).Unix()
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	token := "h." + base64.RawURLEncoding.EncodeToString(payload) + ".s"
	w.accounts.mu.Lock()
	defer w.accounts.mu.Unlock()
	w.accounts.callers[token] = caller
	return token
}

func admin(c *hearth.Caller) { c.Role = hearth.RoleAdmin }

func (w *fixture) device(change ...func(*hearth.Device)) hearth.Device {
	device := hearth.Device{ID: newID()}
	for _, f := range change {
		f(&device)
	}
	w.accounts.mu.Lock()
	defer w.accounts.mu.Unlock()
	w.accounts.devices[device.ID] = device
	return device
}

func ownedBy(id string) func(*hearth.Device) { return func(d *hearth.Device) { d.OwnerID = id } }
func inOrg(id string) func(*hearth.Device)   { return func(d *hearth.Device) { d.OrganizationID = id } }

// heartbeat is an event of the device whose data holds its number.
func heartbeat(device hearth.Device, number int) hearth.Event {
	return hearth.Event{
		Type: hearth.EventDeviceHeartbeat, At: time.Now(), Data: number, Scope: device.Scope(), DeviceID: device.ID,
	}
}

func note(userID string, number int) hearth.Event {
	return hearth.Event{Type: hearth.EventNotification, At: time.Now(), Data: number, UserID: userID}
}

func encodeNumber(event hearth.Event) (json.RawMessage, error) {
	if err, ok := event.Data.(error); ok {
		return nil, err
	}
	return json.Marshal(map[string]any{"n": event.Data, "device": event.DeviceID})
}

func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	w := &fixture{accounts: &accounts{
		callers: map[string]hearth.Caller{}, refused: map[string]error{}, devices: map[string]hearth.Device{},
	}}
	options := Options{Users: w.accounts, Devices: w.accounts, Encode: encodeNumber, Drain: 200 * time.Millisecond}
	for _, f := range change {
		f(&options)
	}
	node, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	w.node = node
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	w.server = serveNodes(func() *Node { return node })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Errorf("close the node: %v", err)
		}
		w.server.Close()
	})
	return w
}

// serveNodes serves each request by the node that pick returns.
func serveNodes(pick func() *Node) *httptest.Server {
	mux := http.NewServeMux()
	serve := func(path string, handler func(*Node, http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			if err := handler(pick(), rw, r); err != nil {
				status := map[hearth.Code]int{
					hearth.CodeNotFound: 404, hearth.CodeForbidden: 403, hearth.CodeUnavailable: 503, hearth.CodeMalformedBody: 400,
					hearth.CodeValidationFailed: 422, hearth.CodeInternal: 500,
				}[hearth.ErrorCode(err)]
				if status == 0 {
					status = 401
				}
				http.Error(rw, string(hearth.ErrorCode(err)), status)
			}
		})
	}
	serve("/sse", (*Node).ServeSSE)
	serve("/ws", (*Node).ServeWebSocket)
	server := httptest.NewUnstartedServer(mux)
	server.Config.WriteTimeout = 2 * time.Second // streams must outlive it
	server.Start()
	return server
}

// sseEvent is what an EventSource dispatches; a block without data has only an ID.
type sseEvent struct {
	ID, Type, Data string
	Retry          string
	Comment        bool
}

// number returns the data's number.
func (e sseEvent) number(t testing.TB) int {
	t.Helper()
	var body struct {
		Type string
		At   time.Time
		Data struct{ N int }
	}
	if err := json.Unmarshal([]byte(e.Data), &body); err != nil {
		t.Fatalf("event %q: %v", e.Data, err)
	}
	if body.Type != e.Type || body.At.IsZero() {
		t.Fatalf("event %q of type %q", e.Data, e.Type)
	}
	return body.Data.N
}

// eventStream is an open SSE stream.
type eventStream struct {
	response *http.Response
	blocks   chan sseEvent
	lastID   string
	cancel   context.CancelFunc
}

// open opens a stream; query is added to the URL.
func (w *fixture) open(t testing.TB, token, query, lastID string) *eventStream {
	t.Helper()
	s, err := w.tryOpen(token, query, lastID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if s.response.StatusCode != http.StatusOK {
		t.Fatalf("the stream answers %d", s.response.StatusCode)
	}
	return s
}

func (w *fixture) tryOpen(token, query, lastID string) (*eventStream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/sse?"+query, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &eventStream{response: response, blocks: make(chan sseEvent, 4096), cancel: cancel, lastID: lastID}
	go s.read()
	return s, nil
}

func (s *eventStream) close() {
	s.cancel()
	_ = s.response.Body.Close()
}

// read parses as an EventSource does.
func (s *eventStream) read() {
	defer close(s.blocks)
	lines := bufio.NewReader(s.response.Body)
	var block sseEvent
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "":
			if line != "" {
				block.Comment = true
				continue
			}
			s.blocks <- block
			block = sseEvent{}
		case "id":
			block.ID = value
		case "event":
			block.Type = value
		case "data":
			block.Data = value
		case "retry":
			block.Retry = value
		}
	}
}

// next returns the next event, past blocks without data; ok is false when the stream has ended.
func (s *eventStream) next(t testing.TB) (sseEvent, bool) {
	t.Helper()
	for {
		select {
		case block, ok := <-s.blocks:
			if !ok {
				return sseEvent{}, false
			}
			if block.ID != "" {
				s.lastID = block.ID
			}
			if block.Data != "" {
				return block, true
			}
		case <-time.After(patience):
			t.Fatal("no event came")
		}
	}
}

// head reads the stream's first block, which is not an event unless it is a reset.
func (s *eventStream) head(t testing.TB) sseEvent {
	t.Helper()
	select {
	case block, ok := <-s.blocks:
		if !ok {
			t.Fatal("the stream ended before it began")
		}
		if block.ID != "" {
			s.lastID = block.ID
		}
		return block
	case <-time.After(patience):
		t.Fatal("the stream does not begin")
	}
	return sseEvent{}
}

// expect reads events and compares their numbers.
func (s *eventStream) expect(t testing.TB, numbers ...int) {
	t.Helper()
	for _, want := range numbers {
		event, ok := s.next(t)
		if !ok {
			t.Fatalf("the stream ended, want event %d", want)
		}
		if event.Type == "reset" {
			t.Fatalf("a reset came, want event %d", want)
		}
		if got := event.number(t); got != want {
			t.Fatalf("event %d came, want %d", got, want)
		}
	}
}

// ended waits for the end of the stream and returns how long it took.
func (s *eventStream) ended(t testing.TB) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		select {
		case _, ok := <-s.blocks:
			if !ok {
				return time.Since(start)
			}
		case <-time.After(patience):
			t.Fatal("the stream does not end")
		}
	}
}

// status returns the answer's status and body where no stream is opened.
func (w *fixture) status(t testing.TB, token, query string, header ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, w.server.URL+"/sse?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return http.StatusOK, ""
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

// eventually waits until something that another goroutine does is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not so in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func channels(names ...string) string { return "channels=" + strings.Join(names, ",") }

func deviceChannel(d hearth.Device) string { return fmt.Sprint("device:", d.ID) }

func decode[T any](t testing.TB, data []byte) T {
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		t.Errorf("%s: %v", data, err)
	}
	return value
}
