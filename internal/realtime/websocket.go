package realtime

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

// maxFrame bounds a frame from a client.
const maxFrame = 64 << 10

type headerToken struct{}

func (n *Node) newWebsocketHandler() *centrifuge.WebsocketHandler {
	return centrifuge.NewWebsocketHandler(n.node, centrifuge.WebsocketConfig{
		CheckOrigin:      func(*http.Request) bool { return true }, // ServeWebSocket has checked it
		MessageSizeLimit: maxFrame,
		WriteTimeout:     n.options.WriteTimeout,
		// Thousands of connections are idle most of the time: they keep small stacks. The buffer for writing is the one that
		// the handshake had; shared ones would cost two allocations a write.
		ReadBufferSize:             1024,
		ProcessCommandsOffReadLoop: true,
		PingPongConfig:             centrifuge.PingPongConfig{PingInterval: n.options.Heartbeat, PongTimeout: n.options.Heartbeat / 2},
	})
}

// ServeWebSocket accepts a WebSocket of the centrifuge protocol. It returns once centrifuge serves the connection; an error
// means that nothing was written.
func (n *Node) ServeWebSocket(w http.ResponseWriter, r *http.Request) error {
	if !n.originAllowed(r) {
		return hearth.Errorf(hearth.CodeForbidden, "a page of this origin may not connect")
	}
	if !isHandshake(r.Header) {
		w.Header().Set("Sec-WebSocket-Version", "13")
		return hearth.Errorf(hearth.CodeMalformedBody, "a WebSocket handshake of version 13 is expected")
	}
	if err := n.admit(); err != nil {
		return err
	}
	hijacker := &countingHijacker{ResponseWriter: w, node: n}
	// The access token in the header stands in for the one of the connect command.
	if token := bearer(r.Header.Get("Authorization")); token != "" {
		r = r.WithContext(context.WithValue(r.Context(), headerToken{}, token))
	}
	n.websocket.ServeHTTP(hijacker, r)
	if !hijacker.hijacked {
		n.leave() // the handshake was refused and answered
	}
	return nil
}

// isHandshake reports whether a request is one that becomes a WebSocket. Others would be refused in plain text.
func isHandshake(header http.Header) bool {
	key, err := base64.StdEncoding.DecodeString(header.Get("Sec-WebSocket-Key"))
	return err == nil && len(key) == 16 && header.Get("Sec-WebSocket-Version") == "13" && strings.EqualFold(header.Get("Upgrade"), "websocket") &&
		strings.Contains(strings.ToLower(strings.Join(header.Values("Connection"), ",")), "upgrade")
}

// originAllowed reports whether a browser may connect from where it says it is. Other programs send no Origin.
func (n *Node) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if slices.Contains(n.options.AllowedOrigins, origin) || slices.Contains(n.options.AllowedOrigins, "*") {
		return true
	}
	parsed, err := url.Parse(origin)
	return err == nil && parsed.Host != "" && strings.EqualFold(parsed.Host, r.Host)
}

// countingHijacker notes when the connection is hijacked and when it is closed.
type countingHijacker struct {
	http.ResponseWriter
	node     *Node
	hijacked bool
}

// Hijack implements http.Hijacker.
func (h *countingHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.hijacked = true
	s := &socket{Conn: raw, node: h.node, header: h.Header()}
	h.node.sockets.add(s)
	return s, rw, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (h *countingHijacker) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// socket is a WebSocket's connection, which is counted until it is closed.
type socket struct {
	net.Conn
	node *Node
	once sync.Once
	// deadline is the one that is set for writes, in nanoseconds since 1970.
	deadline atomic.Int64
	// header is what the answer to the handshake still lacks: the headers that every answer has.
	header http.Header
}

// Write writes data. The first is the answer to the handshake, which gets the headers.
func (s *socket) Write(data []byte) (int, error) {
	if s.header == nil {
		return s.Conn.Write(data)
	}
	var answer bytes.Buffer
	answer.Write(bytes.TrimSuffix(data, []byte("\r\n")))
	_ = s.header.Write(&answer) // into memory
	answer.WriteString("\r\n")
	s.header = nil
	if _, err := s.Conn.Write(answer.Bytes()); err != nil {
		return 0, err
	}
	return len(data), nil
}

// SetWriteDeadline moves the deadline of writes on. One that would move by less than a quarter of the time that a write has is
// left as it is: many events a second need no timer each.
func (s *socket) SetWriteDeadline(at time.Time) error {
	if moved := at.UnixNano() - s.deadline.Load(); moved >= 0 && moved < int64(s.node.options.WriteTimeout/4) {
		return nil
	}
	s.deadline.Store(at.UnixNano())
	return s.Conn.SetWriteDeadline(at)
}

// SetDeadline sets both deadlines.
func (s *socket) SetDeadline(at time.Time) error {
	s.deadline.Store(at.UnixNano())
	return s.Conn.SetDeadline(at)
}

// Close closes the connection.
func (s *socket) Close() error {
	s.once.Do(func() {
		s.node.sockets.remove(s)
		s.node.leave()
	})
	return s.Conn.Close()
}

// sockets are the open WebSockets, so that none outlives the node.
type sockets struct {
	mu   sync.Mutex
	open map[*socket]struct{}
}

func (s *sockets) add(one *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*socket]struct{}{}
	}
	s.open[one] = struct{}{}
}

func (s *sockets) remove(one *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, one)
}

func (s *sockets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// closeAll closes those that are left: the ones that never sent a connect command.
func (s *sockets) closeAll() {
	s.mu.Lock()
	left := make([]*socket, 0, len(s.open))
	for one := range s.open {
		left = append(left, one)
	}
	s.mu.Unlock()
	for _, one := range left {
		_ = one.Close() // the other side may have closed it first
	}
}
