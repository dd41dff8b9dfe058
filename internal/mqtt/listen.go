package mqtt

import (
	"container/list"
	"errors"
	"net"
	"sync"
	"time"
)

// Serve accepts connections of the listener in the background, until stop is called; failed is called if that ends earlier. Connections outlive
// stop: Drain ends them.
func (s *Server) Serve(listener net.Listener, failed func(error)) (stop func() error) {
	stopping := make(chan struct{})
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			nc, err := listener.Accept()
			switch {
			case err == nil:
				if s.accept(nc) {
					s.running.Go(func() { s.serve(nc) })
				}
			case errors.Is(err, net.ErrClosed):
				select {
				case <-stopping:
				default:
					failed(err)
				}
				return
			default: // such as too many open files: it passes
				s.log.Warn("a connection of a device could not be accepted", "kind", "system", "err", err)
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
	return func() error {
		close(stopping)
		err := listener.Close()
		accepting.Wait()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
		return err
	}
}

// logins are the connections that did not log in yet, the oldest first.
type logins struct {
	mu    sync.Mutex
	conns list.List // of *conn
}

// add begins a login; done ends it. Where there are too many, the oldest connection is closed.
func (l *logins) add(c *conn) (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns.Len() >= maxLogins {
		oldest := l.conns.Remove(l.conns.Front())
		oldest.(*conn).close() //nolint:forcetypeassert // nothing else is in it
	}
	at := l.conns.PushBack(c)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns.Remove(at)
	}
}

// closeAll closes the connections that did not log in yet.
func (l *logins) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := l.conns.Front(); at != nil; at = at.Next() {
		at.Value.(*conn).close() //nolint:forcetypeassert // nothing else is in it
	}
}
