package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"hearth/internal/filelock"
	"hearth/internal/httpserver"
	"hearth/internal/observe"
)

// Run serves until ctx ends, then stops: it takes no new connections, lets the requests under way finish, stops the
// background work and closes everything, within the shutdown timeout. ready, if not nil, is told the API's URL once it
// answers. The App is used up afterwards.
func (a *App) Run(ctx context.Context, ready func(url string)) error {
	return a.until(ctx, func(failed chan<- error) error {
		unlock, err := filelock.DataDir(a.config.DataDir)
		if err != nil {
			return err
		}
		a.steps.add("data directory", func(context.Context) error { return unlock() })
		if err := a.rememberLimits(); err != nil {
			return err
		}
		if err := a.realtime.Start(); err != nil {
			return err
		}
		a.startBus(ctx)
		a.startHearingWorkers(ctx)
		a.startBackground(ctx)
		if err := a.startLeading(ctx); err != nil {
			return err
		}
		if err := a.startJobs(ctx, a.config.Worker); err != nil {
			return err
		}
		if err := a.startAdmin(failed); err != nil {
			return err
		}
		listener, err := httpserver.Listen(ctx, a.config.Addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", a.config.Addr, err)
		}
		a.serve("api listener", listener, a.leaving(a.api), failed)
		a.steps.add("farewell", func(ctx context.Context) error { a.leave(ctx); return nil })
		// Streams are requests that never finish: they are told to go elsewhere before the listener waits for the others.
		a.steps.add("streams", a.realtime.Drain)
		a.steps.add("readiness", func(context.Context) error {
			a.health.Drain()
			a.leaves.Store(true)
			return nil
		})
		url := httpserver.BaseURL(listener.Addr())
		a.log.InfoContext(ctx, "serving", "url", url, "version", a.options.Version)
		if ready != nil {
			ready(url)
		}
		return nil
	})
}

// until starts something and waits until ctx ends or a part fails; then it takes everything down, within the shutdown
// timeout.
func (a *App) until(ctx context.Context, start func(failed chan<- error) error) (err error) {
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.config.ShutdownTimeout)
		defer cancel()
		err = errors.Join(err, a.Close(stopping))
	}()
	failed := make(chan error, 2)
	if err := start(failed); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		a.log.InfoContext(ctx, "stopping")
		return nil
	case err := <-failed:
		return err
	}
}

// startAdmin serves metrics and profiles, unless they are off.
func (a *App) startAdmin(failed chan<- error) error {
	admin, err := a.listenAdmin()
	if err == nil && admin != nil {
		a.serve("admin listener", admin, observe.AdminHandler(a.metrics, a.health), failed)
	}
	return err
}

// listenAdmin opens the listener of metrics and profiles; nil if it is off. The default address is a convenience: where
// another hearth has it already, any free port of the loopback does, and the log names it.
func (a *App) listenAdmin() (net.Listener, error) {
	addr := a.config.AdminAddr
	if addr == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil && a.config.IsDefault("admin_addr") {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			a.log.Warn("the default admin address is taken", "wanted", addr, "admin_addr", listener.Addr().String())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s for metrics: %w", addr, err)
	}
	return listener, nil
}

// serve answers on the listener until its step is taken down; an earlier end goes to failed.
func (a *App) serve(name string, listener net.Listener, handler http.Handler, failed chan<- error) {
	a.steps.add(name, httpserver.Serve(listener, handler, a.log, func(err error) { failed <- fmt.Errorf("%s: %w", name, err) }))
}
