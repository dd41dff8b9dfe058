//go:build clients

// Package clienttest runs the official JavaScript clients, under Node and in Chromium, against a real node. The tag keeps
// it out of plain "go test ./...": scripts/services.sh clients installs what it needs, "make test-clients" runs it.
package clienttest

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth"
	"hearth/internal/realtime"
)

const (
	patience = 60 * time.Second
	token    = "ann"
	base     = "/api/v1/realtime"
	annID    = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a51"
	lampID   = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a52"
)

type accounts struct{}

func (accounts) Authenticate(_ context.Context, got string) (hearth.Caller, error) {
	if got != token {
		return hearth.Caller{}, hearth.Errorf(hearth.CodeUnauthenticated, "the token is not valid")
	}
	return hearth.Caller{UserID: annID, Role: hearth.RoleUser, SessionID: "s"}, nil
}

func (accounts) Device(_ context.Context, id string) (hearth.Device, error) {
	if id != lampID {
		return hearth.Device{}, hearth.NotFound("device")
	}
	return hearth.Device{ID: lampID, OwnerID: annID}, nil
}

// cuttable is a listener whose connections a test can cut, as a network does.
type cuttable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cuttable) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // some have gone by themselves
	}
	c.conns = nil
}

type server struct {
	url      string
	node     *realtime.Node
	listener *cuttable
}

func newServer(t *testing.T) *server {
	t.Helper()
	node, err := realtime.New(realtime.Options{
		Users: accounts{}, Devices: accounts{}, Drain: time.Millisecond,
		Encode: func(event hearth.Event) (json.RawMessage, error) {
			return json.Marshal(map[string]any{"n": event.Data, "device_id": event.DeviceID, "status": "active", "last_active_at": event.At.UTC()})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	serve := func(handler func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := handler(w, r); err != nil {
				http.Error(w, string(hearth.ErrorCode(err)), http.StatusUnauthorized)
			}
		}
	}
	mux.Handle(base+"/sse", serve(node.ServeSSE))
	mux.Handle(base+"/ws", serve(node.ServeWebSocket))
	mux.HandleFunc("POST "+base+"/ticket", func(w http.ResponseWriter, r *http.Request) {
		ticket, err := node.IssueTicket(r.Context(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"ticket": ticket})
	})
	mux.HandleFunc("GET /documented", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(documentedPage(t)) })
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "page.html") })
	mux.HandleFunc("GET /centrifuge.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "node_modules/centrifuge/dist/centrifuge.js")
	})
	web := httptest.NewUnstartedServer(mux)
	c := &server{node: node, listener: &cuttable{Listener: web.Listener}}
	web.Listener = c.listener
	web.Start()
	c.url = web.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	return c
}

func (c *server) heartbeat(number int) {
	c.node.Publish(hearth.Event{
		Type: hearth.EventDeviceHeartbeat, At: time.Now(), Data: number, Scope: hearth.UserScope(annID), DeviceID: lampID,
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

func numbers(to int) []int {
	all := make([]int, to)
	for i := range all {
		all[i] = i
	}
	return all
}

// said is what node.mjs writes.
type said struct {
	Joined       string
	Missed       bool
	Channel      string
	Event        *struct{ Data struct{ N int } }
	Refused      int
	Disconnected int
}

func TestTheNodePackageMissesNothingWhileItsConnectionIsCut(t *testing.T) {
	t.Parallel()
	c := newServer(t)
	command := exec.CommandContext(t.Context(), "node", "node.mjs",
		"ws"+strings.TrimPrefix(c.url, "http")+base+"/ws", token, "device:"+lampID)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen, joined, refused := map[string][]int{}, map[string]int{}, 0
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var s said
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
				continue
			}
			mu.Lock()
			switch {
			case s.Event != nil:
				seen[s.Channel] = append(seen[s.Channel], s.Event.Data.N)
			case s.Joined != "":
				joined[s.Joined]++
			case s.Refused != 0:
				refused = s.Refused
			}
			if s.Missed {
				t.Errorf("the client was told that it missed something on %s", s.Joined)
			}
			mu.Unlock()
		}
	}()
	channels := []string{"user:" + annID, "device:" + lampID}
	is := func(check func(channel string) bool) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return !slices.ContainsFunc(channels, func(channel string) bool { return !check(channel) })
		}
	}
	const rounds, each = 5, 20
	for round := range rounds {
		eventually(t, "both channels are joined", is(func(channel string) bool { return joined[channel] > round }))
		for i := range each {
			if i == each/2 {
				c.listener.cut()
			}
			c.heartbeat(round*each + i)
		}
		eventually(t, "all events have come", is(func(channel string) bool { return len(seen[channel]) >= (round+1)*each }))
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	<-read
	if err := command.Wait(); err != nil {
		t.Errorf("node: %v\n%s", err, stderr.String())
	}
	for _, channel := range channels {
		if !slices.Equal(seen[channel], numbers(rounds*each)) {
			t.Errorf("%s: came %v", channel, seen[channel])
		}
	}
	if refused != 103 {
		t.Errorf("another's channel is refused with %d, want 103", refused)
	}
}

// page is what the page has seen.
type page struct {
	SSE    []int
	WS     []int
	Resets int
	Opened int
	Joined int
	Failed int
}

// browse shows a page in Chromium.
func browse(t *testing.T, url string) context.Context {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(patience))...)
	t.Cleanup(stop)
	browser, quit := chromedp.NewContext(allocator)
	t.Cleanup(quit)
	if err := chromedp.Do(browser, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return browser
}

func TestABrowserMissesNothingOverEitherTransport(t *testing.T) {
	t.Parallel()
	c := newServer(t)
	browser := browse(t, c.url+"/page?token="+token+"&channel=device:"+lampID)
	look := func() page {
		text, err := chromedp.Run(browser, chromedp.Evaluate[string]("JSON.stringify(seen)"))
		if err != nil {
			t.Fatal(err)
		}
		var p page
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const rounds, each = 4, 20
	for round := range rounds {
		eventually(t, "both are open", func() bool { p := look(); return p.Opened > round && p.Joined > round })
		for i := range each {
			if i == each/2 {
				// A page that has seen no event has no id to come back with: it must read everything anew instead.
				eventually(t, "the first half has come", func() bool { return len(look().SSE) >= round*each+i })
				c.listener.cut()
			}
			c.heartbeat(round*each + i)
		}
		eventually(t, "all events have come", func() bool {
			p := look()
			return len(p.SSE) >= (round+1)*each && len(p.WS) >= (round+1)*each
		})
	}
	p := look()
	if !slices.Equal(p.SSE, numbers(rounds*each)) {
		t.Errorf("by SSE came %v", p.SSE)
	}
	if !slices.Equal(p.WS, numbers(rounds*each)) {
		t.Errorf("by WebSocket came %v", p.WS)
	}
	if p.Resets != 0 {
		t.Errorf("%d resets came", p.Resets)
	}
}
