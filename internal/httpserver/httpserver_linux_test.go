package httpserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// A connection that was pending before a stop is answered, however far it got; one that sends nothing delays the stop briefly.
func TestAStopAnswersPendingConnections(t *testing.T) {
	t.Parallel()
	listener, err := listen(t.Context(), "127.0.0.1:0", peerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	dial := func() (conns []net.Conn) {
		for range 20 {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			conns = append(conns, conn)
		}
		return conns
	}
	ask := func(conns []net.Conn) {
		for i, conn := range conns {
			if _, err := fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
				t.Errorf("connection %d that was there: %v", i, err)
			}
		}
	}
	// The kernel has taken all of these, and the program none.
	early, late, silent := dial(), dial(), dial()
	ask(early)
	handled := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.Copy(w, r.Body)
	})
	stop := Serve(listener, Options{
		Handler: handled, Logger: slog.Default(), Failed: func(err error) { t.Errorf("serving ended by itself: %v", err) },
	})
	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- stop(t.Context()) }()
	answer := func(conn net.Conn) error {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != 200 || string(body) != "{}") {
			err = fmt.Errorf("%d %q", resp.StatusCode, body)
		}
		return err
	}
	ask(late)
	for i, conn := range append(early, late...) {
		if err := answer(conn); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	for i, conn := range silent {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("silent connection %d: %v, want its end", i, err)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < patience {
		t.Errorf("the silent ones were given %s, want %s", took, patience)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("after the stop a connection is accepted")
	}
}

func TestAListenerThatEndsByItselfFailsOnce(t *testing.T) {
	t.Parallel()
	listener, err := listen(t.Context(), "127.0.0.1:0", peerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	stop := Serve(listener, Options{Handler: http.NotFoundHandler(), Logger: slog.Default(), Failed: func(err error) { failed <- err }})
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
	if err := stop(t.Context()); err != nil {
		t.Errorf("stopping it then says %v, too", err)
	}
}
