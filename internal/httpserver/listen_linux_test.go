package httpserver

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// vanish makes the machine throw away whatever comes for the connection: the other side hears nothing any more, not even
// that its packets arrive, as if the cable were cut.
func vanish(t *testing.T, conn net.Conn) {
	t.Helper()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failure error
	nothing := []syscall.SockFilter{{Code: syscall.BPF_RET | syscall.BPF_K}}
	attach := func(fd uintptr) {
		failure = syscall.AttachLsf(int(fd), nothing) //nolint:staticcheck // frozen, not wrong; its successor is another module
	}
	if err := raw.Control(attach); err != nil || failure != nil {
		t.Fatal(err, failure)
	}
}

// A stream sends so little that its writes succeed into the kernel's buffer for minutes after the reader has gone.
func TestAStreamWhoseReaderVanishedEnds(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	listener, err := listen(t.Context(), "127.0.0.1:0", timeout)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 2)
	server := &http.Server{ReadHeaderTimeout: headerTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, ": \n\n"); err != nil || control.Flush() != nil {
				break
			}
			<-ticker.C
		}
		ended <- r.URL.Path
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	open := func(path string) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(conn)
		for {
			line, err := reader.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, ":") {
				return conn, reader
			}
		}
	}
	_, present := open("/present")
	gone, _ := open("/gone")
	vanish(t, gone)
	select {
	case path := <-ended:
		if path != "/gone" {
			t.Errorf("the stream %s ended", path)
		}
	case <-time.After(20 * timeout):
		t.Error("the stream of a reader that vanished goes on")
	}
	if _, err := present.ReadString('\n'); err != nil {
		t.Errorf("the other stream: %v", err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
