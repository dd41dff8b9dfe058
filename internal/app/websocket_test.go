package app_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// webSocketConn is a WebSocket as a connection, each write a message.
type webSocketConn struct {
	net.Conn
	ws   *websocket.Conn
	rest io.Reader
}

func webSocket(t *testing.T, url string) net.Conn {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	ws, resp, err := dialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/api/v1/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if ws.Subprotocol() != "mqtt" {
		t.Errorf("the subprotocol is %q", ws.Subprotocol())
	}
	t.Cleanup(func() { _ = ws.Close() })
	return &webSocketConn{Conn: ws.NetConn(), ws: ws}
}

// Read implements net.Conn.
func (c *webSocketConn) Read(p []byte) (int, error) {
	for {
		if c.rest == nil {
			_, next, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			c.rest = next
		}
		n, err := c.rest.Read(p)
		if err == io.EOF {
			c.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c *webSocketConn) Write(p []byte) (int, error) {
	return len(p), c.ws.WriteMessage(websocket.BinaryMessage, p)
}
