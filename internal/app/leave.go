package app

import (
	"context"
	"net/http"
	"time"
)

// farewell is how long an instance goes on serving after it began to ask for every connection to be closed with its next
// answer. nginx rests an instance that refused a connection for two seconds (fail_timeout): in three, the one that was restarted
// before this one is back in turn.
const farewell = 3 * time.Second

// leaving asks for each connection to be closed with its answer, once the instance is about to stop: a proxy must not send a
// request that it cannot repeat into a connection that closes just then.
func (a *App) leaving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.leaves.Load() && r.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// leave waits until the connections that a proxy keeps have been used once more, and so closed, where other instances go on
// serving. One that is alone stops at once.
func (a *App) leave(ctx context.Context) {
	if a.redis != nil {
		select {
		case <-time.After(farewell):
		case <-ctx.Done(): // no more time is left
		}
	}
}
