package mqtt

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"hearth"
	"hearth/internal/mqtt/packet"
)

// subprotocol is the one that MQTT over WebSocket asks for.
const subprotocol = "mqtt"

// ServeWebSocket accepts MQTT over a WebSocket. An error means that nothing was written. Pages of any origin may connect: a browser adds no
// credentials of its own.
func (s *Server) ServeWebSocket(w http.ResponseWriter, r *http.Request) error {
	var refused error
	offered := websocket.Subprotocols(r)
	upgrader := websocket.Upgrader{
		HandshakeTimeout: connectTimeout, ReadBufferSize: readBuffer, WriteBufferSize: readBuffer, WriteBufferPool: &s.writeBuffers,
		CheckOrigin: func(*http.Request) bool { return true },
		Error: func(w http.ResponseWriter, _ *http.Request, _ int, _ error) {
			w.Header().Set("Sec-WebSocket-Version", "13")
			refused = hearth.Errorf(hearth.CodeMalformedBody, "a WebSocket handshake of version 13 is expected")
		},
	}
	if len(offered) > 0 { // clients that ask for none are served, those that ask for another are not
		upgrader.Subprotocols = []string{subprotocol}
	}
	ws, err := upgrader.Upgrade(w, r, w.Header())
	if err != nil {
		return refused
	}
	if len(offered) > 0 && ws.Subprotocol() != subprotocol {
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseProtocolError, "the subprotocol is mqtt"), time.Now().Add(time.Second))
		return ws.Close()
	}
	_ = ws.NetConn().SetDeadline(time.Time{})
	nc := &socket{Conn: ws.NetConn(), ws: ws}
	if s.accept(nc) && !s.background(func() { s.serve(nc) }) {
		s.open.Add(-1)
		return nc.Close()
	}
	return nil
}

// socket is a WebSocket as a connection: packets lie in its binary messages in any way.
type socket struct {
	net.Conn
	ws      *websocket.Conn
	message io.Reader
}

// Read reads on in the message, or in the next one.
func (s *socket) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, message, err := s.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, &packet.Error{Reason: packet.Malformed, Text: "a message of a WebSocket is not binary"}
			}
			s.message = message
		}
		n, err := s.message.Read(p)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes one message.
func (s *socket) Write(p []byte) (int, error) {
	if err := s.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
