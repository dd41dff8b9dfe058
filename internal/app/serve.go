package app

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The time that a client has for the parts of a request. Streams lift the ones they cannot keep.
const (
	headerTimeout = 8 * time.Second
	bodyTimeout   = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
)

const (
	// handshake is what a connection that has begun to open may take to arrive, once nobody new is let in.
	handshake = 20 * time.Millisecond
	// patience is the longest that a stop waits for connections to be accepted, and for the first request of each.
	patience = time.Second
)

// serve answers on the listener until its step is taken down; an earlier end goes to failed.
func (a *App) serve(name string, listener net.Listener, handler http.Handler, failed chan<- error) {
	logger := slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)
	stop := serveHTTP(listener, handler, logger, func(err error) { failed <- fmt.Errorf("%s: %w", name, err) })
	a.steps.add(name, stop)
}

// serveHTTP answers on the listener until stop is called; an earlier end is told to failed. stop answers every connection that came
// before it once more, as long as its context lasts. http.Server.Shutdown alone does not: the kernel resets connections that
// nobody accepted yet, and the package closes one whose request it has just read; a proxy can repeat no POST of those.
func serveHTTP(listener net.Listener, handler http.Handler, logger *log.Logger, failed func(error)) (stop func(context.Context) error) {
	var stopping atomic.Bool
	fresh := arrivals{conns: map[net.Conn]http.ConnState{}}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: bodyTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: logger, ConnState: fresh.note,
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		if err := server.Serve(listener); !stopping.Load() {
			failed(err)
		}
	})
	return func(ctx context.Context) error {
		stopping.Store(true)
		emptyBacklog(ctx, listener)
		err := listener.Close()
		if errors.Is(err, net.ErrClosed) {
			err = nil // it ended before, and failed was told why
		}
		accepting.Wait()
		fresh.await(ctx)
		if failure := server.Shutdown(ctx); failure != nil {
			err = errors.Join(err, failure, server.Close())
		}
		return err
	}
}

// emptyBacklog lets nobody new to the listener and waits until everybody who is there has been accepted, where the system
// can do that. Whoever comes now is neither let in nor refused: it asks again after a second.
func emptyBacklog(ctx context.Context, listener net.Listener) {
	if admitNobody(listener) != nil || wait(ctx, handshake) != nil {
		return
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && backlog(listener) > 0; {
		if wait(ctx, time.Millisecond) != nil {
			return
		}
	}
}

// arrivals are the connections whose first request was not answered yet, and what the server says of each.
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

// await waits until each is answered, and closes those that say nothing for too long.
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
