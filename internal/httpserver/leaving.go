package httpserver

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// proxyPause is how long an instance goes on serving after it began to ask for every connection to be closed with its next
// answer. nginx does not use an instance that refused a connection for two seconds (fail_timeout): in three, the one that was
// restarted before this one is in use again.
const proxyPause = 3 * time.Second

// Leaving says whether this instance is about to stop. The zero value is not.
type Leaving struct{ begun atomic.Bool }

// Begin asks from now on for each connection to be closed with its answer: a proxy must not send a request that it cannot repeat
// into a connection that closes just then.
func (l *Leaving) Begin() { l.begun.Store(true) }

// Handler returns next with that request.
func (l *Leaving) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.begun.Load() && r.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// AwaitProxies waits until the connections that a proxy keeps have been used once more, and so closed.
func (l *Leaving) AwaitProxies(ctx context.Context) error {
	select {
	case <-time.After(proxyPause):
	case <-ctx.Done(): // no more time is left
	}
	return nil
}
