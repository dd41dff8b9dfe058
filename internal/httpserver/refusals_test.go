package httpserver

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// served starts a server on the loopback and returns its address.
func served(t *testing.T, options Options) string {
	t.Helper()
	listener, err := listen(t.Context(), "127.0.0.1:0", peerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	options.Logger, options.Failed = slog.New(slog.DiscardHandler), func(err error) { t.Errorf("serving ended by itself: %v", err) }
	stop := Serve(listener, options)
	t.Cleanup(func() {
		if err := stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// ask sends a text and returns all that comes back.
func ask(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // the server may reset what it did not read
	return string(answer)
}

// What net/http answers by itself is answered in the server's words; what a handler writes is not, however alike.
func TestWhatIsNoRequestIsRefusedInTheServersWords(t *testing.T) {
	t.Parallel()
	const alike = "HTTP/1.1 400 Bad Request" + ownHeaders + "400 Bad Request"
	addr := served(t, Options{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			if r.Method == http.MethodOptions {
				return
			}
			_, _ = io.WriteString(w, alike)
		}),
		Refused: func(remote string, status int) []byte {
			if _, err := netip.ParseAddrPort(remote); err != nil {
				t.Errorf("the peer is %q", remote)
			}
			return fmt.Appendf(nil, "HTTP/1.1 %d Ours\r\nConnection: close\r\n\r\n", status)
		},
	})
	for name, test := range map[string]struct {
		text   string
		status int
	}{
		"no request at all":        {"hello\r\n\r\n", 400},
		"no host":                  {"GET / HTTP/1.1\r\n\r\n", 400},
		"a NUL in a header":        {"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400},
		"a space before the colon": {"GET / HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n", 400},
		"a negative length":        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
		"headers that are large":   {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", maxHeader+8<<10) + "\r\n\r\n", 431},
		"an unknown encoding":      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
		"another version":          {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 400},
		"another expectation":      {"POST / HTTP/1.1\r\nHost: x\r\nExpect: more\r\nContent-Length: 2\r\n\r\n{}", 417},
	} {
		if got, want := ask(t, addr, test.text), fmt.Sprintf("HTTP/1.1 %d Ours\r\nConnection: close\r\n\r\n", test.status); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	got := ask(t, addr, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || strings.Contains(got, "Ours") || !strings.Contains(got, alike) {
		t.Errorf("an answer of the handler: %q", got)
	}
	if got := ask(t, addr, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("OPTIONS *: %q", got)
	}
}

// Over TLS the same holds, and the time for the head of a request is that for the handshake too.
func TestOverTLSTheSameHolds(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	defer certified.Close()
	addr := served(t, Options{
		TLS:     &tls.Config{Certificates: certified.TLS.Certificates},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answered") }),
		Refused: func(_ string, status int) []byte {
			return fmt.Appendf(nil, "HTTP/1.1 %d Ours\r\nConnection: close\r\n\r\n", status)
		},
	})
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n":                                 "HTTP/1.1 400 Ours\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": "HTTP/1.1 200 OK\r\n",
	} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, text)
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if !strings.HasPrefix(string(answer), want) {
			t.Errorf("%q: %q", text, answer)
		}
	}
	if got := ask(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); strings.Contains(got, "answered") {
		t.Errorf("without TLS: %q", got)
	}
}

func TestAnAddressHasSoManyConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	peers := NewPeers(2, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")})
	enter := func(address string) func() {
		t.Helper()
		leave, ok := peers.Enter(address)
		if !ok {
			return nil
		}
		return leave
	}
	first, second := enter("192.0.2.1"), enter("192.0.2.1")
	if first == nil || second == nil || enter("192.0.2.1") != nil {
		t.Error("an address has other than two")
	}
	if enter("192.0.2.2") == nil {
		t.Error("another address is refused")
	}
	first()
	first() // once is enough
	third := enter("192.0.2.1")
	if third == nil || enter("192.0.2.1") != nil {
		t.Error("a place that is free again is not one place")
	}
	if enter("2001:db8::1") == nil || enter("2001:db8::2") == nil || enter("2001:db8::3") != nil {
		t.Error("the addresses of one IPv6 network count each by itself")
	}
	for range 5 {
		if enter("127.0.0.1") == nil || enter("::1") == nil || enter("198.51.100.7") == nil {
			t.Error("the loopback or a proxy is refused")
		}
	}
	if got := peers.Refused(); got != 3 {
		t.Errorf("%d refusals, want 3", got)
	}
	second()
	third()
	if _, counted := peers.open["192.0.2.1"]; counted {
		t.Error("an address that has nothing open is remembered")
	}
	if leave, ok := NewPeers(0, nil).Enter("192.0.2.1"); !ok || leave == nil {
		t.Error("without a limit an address is refused")
	}
}

// Connections count from their acceptance to their end. The machine's own address stands for a client's: the loopback has no limit.
func TestConnectionsAreCountedWhileTheyAreOpen(t *testing.T) {
	t.Parallel()
	own := ownAddress(t)
	listener, err := listen(t.Context(), net.JoinHostPort(own, "0"), peerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	peers := NewPeers(2, nil)
	stop := Serve(listener, Options{
		Handler: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler), Failed: func(err error) { t.Error(err) }, Peers: peers,
	})
	defer func() { _ = stop(t.Context()) }()
	open := func() (net.Conn, bool) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		n, _ := conn.Read(make([]byte, 4096))
		return conn, n > 0
	}
	first, ok1 := open()
	second, ok2 := open()
	third, ok3 := open()
	defer second.Close()
	defer third.Close()
	if !ok1 || !ok2 || ok3 || peers.Refused() != 1 {
		t.Fatalf("answered: %v %v %v, refused: %d", ok1, ok2, ok3, peers.Refused())
	}
	_ = first.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		fourth, ok := open()
		_ = fourth.Close()
		if ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the end of a connection makes no room for another")
		}
	}
}

// ownAddress returns an IPv4 address of this machine that is not its loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			return prefix.Addr().String()
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this machine has no address but the loopback")
	}
	t.Skip("this machine has no address but the loopback")
	return ""
}

// A client that reads slower than the time that an answer has is cut off, whoever it is.
func TestAReaderThatIsTooSlowEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	addr := served(t, Options{timeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, 64<<20)) // more than the kernel's buffers hold
		ended <- err
	})})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a byte every now and then keeps the connection alive, and must not keep the answer
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("64 MiB were sent to a client that hardly reads")
		}
	case <-time.After(20 * time.Second):
		t.Error("the answer goes on")
	}
}
