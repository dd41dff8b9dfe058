// Package app is the composition root: it builds the program from its settings, runs it and stops it in order. It is the only
// package that knows the adapters.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/brokerauth"
	"hearth/internal/config"
	"hearth/internal/demo"
	"hearth/internal/filelock"
	"hearth/internal/httpserver"
	"hearth/internal/lifecycle"
	"hearth/internal/observe"
)

// Settings are what the program is built from.
type Settings struct {
	Config *config.Config
	// Logger receives the program's log; nil discards it.
	Logger *slog.Logger
	// Version is the program's.
	Version string
	// Clock is the time of everything; nil is the system's.
	Clock hearth.Clock
	// MailTimeout bounds one attempt to send an e-mail; 0 is 30 s.
	MailTimeout time.Duration
	// DeviceDebounce is how long a device's new connection must last before users are notified; 0 is 30 s.
	DeviceDebounce time.Duration
}

// Serving describes a program that answers.
type Serving struct {
	// URL is the API's, for clients on the same machine; MQTT the address for devices, "" where that is off.
	URL, MQTT string
	// SetupToken returns the token with which the first admin is made; "" if there is one.
	SetupToken func(ctx context.Context) (string, error)
}

// Run serves until ctx ends, then stops: it accepts no new connections, lets the requests under way finish, stops the background
// work and closes everything, within the shutdown timeout. ready, if not nil, is called once the API answers.
func Run(ctx context.Context, s Settings, ready func(Serving)) error {
	return use(ctx, s, func(p *parts) error { return p.serve(ctx, ready) })
}

// RunDemo is Run with the demo's account and data, and with its devices reporting.
func RunDemo(ctx context.Context, s Settings, ready func(Serving, *demo.Demo)) error {
	return use(ctx, s, func(p *parts) error {
		d, err := demo.New(ctx, demo.Options{
			DataDir: p.Config.DataDir, Store: p.store, Accounts: p.accounts, Devices: p.devices, Telemetry: p.telemetry,
			Importer: p.importer(), Clock: p.Clock, Logger: p.Logger,
		})
		if err != nil {
			return err
		}
		return p.serve(ctx, func(serving Serving) {
			p.stack.Go(ctx, "demo devices", d.Run, func(ctx context.Context) { d.Simulate(ctx, serving.URL, serving.MQTT) })
			ready(serving, d)
		})
	})
}

// RunWorker runs jobs, and serves metrics, until ctx ends, next to servers and other workers of the same data. Jobs that do not end
// within the shutdown timeout are handed back. ready, if not nil, is called once jobs run.
func RunWorker(ctx context.Context, s Settings, ready func()) error {
	return use(ctx, s, func(p *parts) error { return p.work(ctx, ready) })
}

// use builds the program, does something with it, and stops what was built and started within the shutdown timeout.
func use(ctx context.Context, s Settings, do func(*parts) error) (err error) {
	if s.Config == nil {
		return errors.New("app: no configuration was given")
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	stack := lifecycle.NewStack(s.Logger)
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Config.ShutdownTimeout)
		defer cancel()
		err = errors.Join(err, stack.Stop(stopping))
	}()
	p, err := build(ctx, s, stack)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return do(p)
}

// serve starts everything that answers and works, the first to stop last, and waits.
func (p *parts) serve(ctx context.Context, ready func(Serving)) error {
	unlock, err := filelock.DataDir(p.Config.DataDir)
	if err != nil {
		return err
	}
	p.stack.Add("data directory", func(context.Context) error { return unlock() })
	if err := p.rememberLimits(); err != nil {
		return err
	}
	api, err := p.openAPI(ctx)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := p.realtime.Start(); err != nil {
		return err
	}
	p.followBus(ctx)
	p.receiveEventsOfWorkers()
	p.devices.Start()
	p.commands.Start()
	p.alarms.Start()
	p.stack.Go(ctx, "background work", p.backgroundWork()...)
	p.lead(ctx)
	p.stack.Go(ctx, "integrations", p.bridge.Run)
	if err := p.startJobs(ctx, p.Config.Worker); err != nil {
		return err
	}
	failed := make(chan error, 5) // one for each listener
	if err := p.serveAdmin(failed); err != nil {
		return err
	}
	listener, err := httpserver.Listen(ctx, p.Config.Addr)
	if err != nil {
		return fmt.Errorf("listen on %s (another address: --addr): %w", p.Config.Addr, err)
	}
	certificate, err := p.certificate()
	if err != nil {
		return err
	}
	if err := p.serveMQTT(ctx, certificate, failed); err != nil {
		return err
	}
	var leaving httpserver.Leaving
	options := httpserver.Options{Handler: leaving.Handler(api), Refused: api.Refused, Peers: p.peers}
	if err := p.serveTLS(ctx, certificate, options, failed); err != nil {
		return err
	}
	p.listen("api listener", listener, options, failed)
	if p.redis != nil { // others go on serving; one that is alone stops at once
		p.stack.Add("connections of proxies", leaving.AwaitProxies)
	}
	// Streams are requests that never finish: they are sent elsewhere before the listener waits for the others.
	p.stack.Add("streams", p.realtime.Drain)
	p.stack.Add("requests that wait for commands", func(context.Context) error { p.commands.Drain(); return nil })
	p.stack.Add("readiness", func(context.Context) error {
		p.health.Drain()
		leaving.Begin()
		return nil
	})
	url := httpserver.BaseURL(listener.Addr())
	p.Logger.InfoContext(ctx, "serving", "url", url, "version", p.Version)
	if ready != nil {
		ready(Serving{URL: url, MQTT: p.Config.MQTTAddr, SetupToken: p.accounts.SetupToken})
	}
	return p.wait(ctx, failed)
}

// work starts what runs jobs, and waits.
func (p *parts) work(ctx context.Context, ready func()) error {
	failed := make(chan error, 1)
	if err := p.serveAdmin(failed); err != nil {
		return err
	}
	if p.redis != nil { // events of jobs reach the streams of other instances
		if err := p.realtime.Start(); err != nil {
			return err
		}
		p.followBus(ctx)
	} else {
		p.sendEventsToServer(ctx)
	}
	if err := p.startJobs(ctx, true); err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	return p.wait(ctx, failed)
}

// wait returns when ctx ends, or with the error of a part that fails.
func (p *parts) wait(ctx context.Context, failed <-chan error) error {
	select {
	case <-ctx.Done():
		p.Logger.InfoContext(ctx, "stopping")
		return nil
	case err := <-failed:
		return err
	}
}

// certificate returns the settings of TLS; nil where there is no certificate.
func (p *parts) certificate() (*tls.Config, error) {
	if p.Config.TLSCert == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	return httpserver.Certificate(p.Config.TLSCert, p.Config.TLSKey, p.Logger)
}

// serveTLS serves the API over TLS where the settings say so.
func (p *parts) serveTLS(ctx context.Context, certificate *tls.Config, options httpserver.Options, failed chan<- error) error {
	if p.Config.TLSAddr == "" {
		return nil
	}
	listener, err := httpserver.Listen(ctx, p.Config.TLSAddr)
	if err != nil {
		return fmt.Errorf("listen on %s for HTTPS (another address: --tls-addr): %w", p.Config.TLSAddr, err)
	}
	p.Logger.InfoContext(ctx, "serving HTTPS", "addr", listener.Addr().String())
	options.TLS = certificate
	p.listen("https listener", listener, options, failed)
	return nil
}

// listen answers on the listener until it is stopped; an earlier end goes to failed.
func (p *parts) listen(name string, listener net.Listener, options httpserver.Options, failed chan<- error) {
	options.Logger, options.Failed = p.Logger, func(err error) { failed <- fmt.Errorf("%s: %w", name, err) }
	p.stack.Add(name, httpserver.Serve(listener, options))
}

// serveAdmin serves metrics and profiles, unless they are off. The default address is a convenience: where another hearth has it
// already, any free port of the loopback is used, and the log names it.
func (p *parts) serveAdmin(failed chan<- error) error {
	addr := p.Config.AdminAddr
	if addr == "" {
		return nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil && p.Config.IsDefault("admin_addr") {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			p.Logger.Warn("the default admin address is in use", "wanted", addr, "admin_addr", listener.Addr().String())
		}
	}
	if err != nil {
		return fmt.Errorf("listen on %s for metrics (another address: --admin-addr): %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", observe.AdminHandler(p.metrics, p.health))
	mux.Handle("/internal/mqtt/", brokerauth.Handler(p.devices, p.Clock))
	p.listen("admin listener", listener, httpserver.Options{Handler: mux}, failed)
	return nil
}
