package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A HEAD, an OPTIONS or a TRACE of any operation is answered at once, and the next request on the same connection is none the worse: behind
// nginx it may be another client's.
func TestEveryOperationIsTriedWithOtherMethodsThroughNginx(t *testing.T) {
	t.Parallel()
	f, s, _ := behind(t)
	ann, _ := s.signup("ann@example.com")
	id := ann.device("kitchen")
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	get := s.anonymous().do("GET", "/openapi.json", nil, 200)
	get.Into(t, &document)
	secure := f.tls.Clone()
	secure.ServerName = "127.0.0.1"
	conn, err := tls.Dial("tcp", f.addr, secure)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	call := func(method, path string) *http.Response {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+f.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+ann.token)
		if err := request.Write(conn); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		response, err := http.ReadResponse(reader, request)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		if response.ContentLength > 0 && method != http.MethodHead {
			if _, err := reader.Discard(int(response.ContentLength)); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
		}
		return response
	}
	tried := 0
	for pattern, operations := range document.Paths {
		path := strings.NewReplacer("{id}", id, "{event}", "x", "{token_id}", id, "{user_id}", id, "{command_id}", id, "{delivery_id}", id).Replace(pattern)
		for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodTrace} {
			tried++
			response := call(method, path)
			_, hasGet := operations["get"]
			// The path of an operation without a GET may be read as an object of that name, which there is not.
			refused := response.StatusCode == http.StatusMethodNotAllowed || response.StatusCode == http.StatusNotFound && method == http.MethodHead && !hasGet
			if allowed := method == http.MethodHead && hasGet && !slices.Contains(unheaded, pattern); refused == allowed || response.StatusCode >= 500 {
				t.Errorf("%s %s: %d", method, path, response.StatusCode)
			}
			if response.Close { // nginx ends a connection with a TRACE
				_ = conn.Close()
				if conn, err = tls.Dial("tcp", f.addr, secure); err != nil {
					t.Fatal(err)
				}
				reader = bufio.NewReader(conn)
			}
			if next := call(http.MethodGet, "/health/live"); next.StatusCode != http.StatusOK {
				t.Fatalf("the request after %s %s is %d", method, path, next.StatusCode)
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d were tried", tried)
	}
}

// unheaded are the operations whose GET streams or claims something: their HEAD is refused.
var unheaded = []string{"/api/v1/realtime/sse", "/api/v1/realtime/ws", "/api/v1/mqtt", "/api/v1/devices/{id}/commands/next"}

// A device that only has a browser's ways speaks MQTT through nginx.
func TestMQTTOverWebSocketGoesThroughNginx(t *testing.T) {
	t.Parallel()
	f, _, _ := behind(t)
	secure := f.tls.Clone()
	secure.ServerName = "127.0.0.1"
	conn, err := tls.Dial("tcp", f.addr, secure)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET /api/v1/mqtt HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", f.addr)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
}
