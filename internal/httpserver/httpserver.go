// Package httpserver serves HTTP with limits for slow clients, and stops without losing a request that it accepted.
package httpserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The time that a client has for the parts of a request. Streams lift the ones they cannot keep.
const (
	headerTimeout = 8 * time.Second
	bodyTimeout   = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
	// peerTimeout is how long a client may leave what was sent to it unconfirmed, or accept nothing at all, before its
	// connection is closed. A client whose network is gone would otherwise hold a stream for as long as the kernel repeats
	// itself: a quarter of an hour.
	peerTimeout = 60 * time.Second
)

const (
	// handshake is how long a connection that has begun to open may need, once no new one is accepted.
	handshake = 20 * time.Millisecond
	// patience is the longest that a stop waits for connections to be accepted, and for the first request of each.
	patience = time.Second
)

// Listen opens a TCP listener whose connections end when their peer is silent for PeerTimeout.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	return listen(ctx, addr, peerTimeout)
}

func listen(ctx context.Context, addr string, timeout time.Duration) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failure error
		// Connections inherit the setting of their listener.
		if err := raw.Control(func(fd uintptr) { failure = setPeerTimeout(fd, timeout) }); err != nil {
			return err
		}
		return failure
	}}
	return config.Listen(ctx, "tcp", addr)
}

// BaseURL returns the URL of a listener for clients on the same machine.
func BaseURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Options are what a server answers and how.
type Options struct {
	Handler http.Handler
	Logger  *slog.Logger
	// Failed is called if serving ends before it is stopped.
	Failed func(error)
	// Refused returns the whole answer, head and body, to what cannot be read as a request, with the status that net/http has for it; nil:
	// net/http answers in its own words.
	Refused func(remote string, status int) []byte
	// Peers bounds the connections of an address; nil: nothing does.
	Peers *Peers
	// TLS is the certificate with which connections are encrypted; nil: none is.
	TLS *tls.Config

	// timeout bounds the reading of a request and the writing of its answer; 0 is bodyTimeout.
	timeout time.Duration
}

// Serve answers on the listener until stop is called. stop answers every connection that
// came before it once more, until its context ends. http.Server.Shutdown alone does not: the kernel resets pending connections
// that were not accepted yet, and the package closes one whose request it has just read; a proxy can repeat no POST of those.
func Serve(listener net.Listener, o Options) (stop func(context.Context) error) {
	var stopping atomic.Bool
	fresh := arrivals{conns: map[net.Conn]http.ConnState{}}
	timeout := cmp.Or(o.timeout, bodyTimeout)
	server := &http.Server{
		Handler: o.Handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug), ConnState: fresh.note,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is answered like any other request
		Protocols:                    new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(accepting{Listener: listener, options: o}); !stopping.Load() {
			o.Failed(err)
		}
	})
	return func(ctx context.Context) error {
		stopping.Store(true)
		emptyBacklog(ctx, listener)
		err := listener.Close()
		if errors.Is(err, net.ErrClosed) {
			err = nil // it ended before, and Failed was called
		}
		serving.Wait()
		fresh.await(ctx)
		if failure := server.Shutdown(ctx); failure != nil {
			err = errors.Join(err, failure, server.Close())
		}
		return err
	}
}

// emptyBacklog accepts no new connections and waits until those that are pending have been accepted, where the system can do
// that. A client that connects now is neither accepted nor refused: its kernel repeats the request after a second.
func emptyBacklog(ctx context.Context, listener net.Listener) {
	if refuseNew(listener) != nil || wait(ctx, handshake) != nil {
		return
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && backlog(listener) > 0; {
		if wait(ctx, time.Millisecond) != nil {
			return
		}
	}
}

// arrivals are the connections whose first request was not answered yet, with the state of each.
type arrivals struct {
	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
}

func (a *arrivals) note(conn net.Conn, state http.ConnState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch state {
	case http.StateNew:
		a.conns[conn] = state
	case http.StateActive:
		if _, first := a.conns[conn]; first {
			a.conns[conn] = state
		}
	default:
		delete(a.conns, conn)
	}
}

// await waits until each is answered, and closes those that send nothing for patience.
func (a *arrivals) await(ctx context.Context) {
	for deadline := time.Now().Add(patience); a.remain(time.Now().After(deadline)); {
		if wait(ctx, time.Millisecond) != nil {
			return
		}
	}
}

// remain reports whether there are any, without those that sent no request yet if they are to be closed.
func (a *arrivals) remain(closeSilent bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for conn, state := range a.conns {
		if closeSilent && state == http.StateNew {
			_ = conn.Close()
			delete(a.conns, conn)
		}
	}
	return len(a.conns) > 0
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
