package api

import "net/http"

// registerHealth serves the state of the process and of what it depends on.
func (a *API) registerHealth() {
	h := a.options.Health
	if h == nil {
		return
	}
	serve := func(path string, handler http.HandlerFunc) {
		op := operation{Method: http.MethodGet, Path: path, Root: true, Access: forAnyone, Plain: true}
		a.route(op, func(w http.ResponseWriter, r *http.Request) error {
			handler(w, r)
			return nil
		})
	}
	serve("/health/live", h.ServeLive)
	serve("/health/ready", h.ServeReady)
	serve("/health", h.ServeReport)
}
