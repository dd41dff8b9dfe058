package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/observe"
)

type serveCommand struct{ Settings }

// Run serves until a signal ends it. What it says goes to the log; the log goes to standard error.
func (c *serveCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withApp(ctx, p, cfg, func(a *app.App, logger *slog.Logger) error {
		return a.Run(ctx, func(url string) {
			if cfg.PublicURL != "" {
				url = cfg.PublicURL
			}
			if err := offerSetup(ctx, p, a, url); err != nil {
				logger.ErrorContext(ctx, "the set-up link could not be made", "err", err)
			}
		})
	})
}

// offerSetup says how to make the first admin, where there is no user. It is for standard output alone: the token is a
// secret and stays out of the log.
func offerSetup(ctx context.Context, p *Process, a *app.App, url string) error {
	token, err := a.SetupToken(ctx)
	if err != nil || token == "" {
		return err
	}
	_, err = fmt.Fprintf(p.Stdout, `There is no user yet. Make the first admin, once, with:

  curl -X POST %s/api/v1/auth/setup -H 'Content-Type: application/json' \
    -d '{"token": "%s", "name": "NAME", "email": "EMAIL", "password": "PASSWORD"}'

`, url, token)
	return err
}

// withApp builds the program for cfg, does something with it and takes it down again. A failure is in the log too, where
// whoever runs a service looks first.
func withApp(ctx context.Context, p *Process, cfg *config.Config, do func(*app.App, *slog.Logger) error) (err error) {
	logger, closer, err := observe.NewLogger(observe.LogOptions{Writer: p.Stderr, Level: cfg.LogLevel, Format: cfg.LogFormat, Dir: cfg.LogDir, Traces: cfg.OTLPEndpoint != ""})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()

	a, err := app.New(ctx, app.Options{Config: cfg, Logger: logger, Version: Version()})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
		defer cancel()
		err = errors.Join(err, a.Close(stopping))
	}()
	return do(a, logger)
}
