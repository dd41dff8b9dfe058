package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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
	return withService(p, cfg, func(s app.Settings) error {
		return app.Run(ctx, s, func(serving app.Serving) {
			if cfg.PublicURL != "" {
				serving.URL = cfg.PublicURL
			}
			if err := offerSetup(ctx, p, serving); err != nil {
				s.Logger.ErrorContext(ctx, "the set-up link could not be made", "err", err)
			}
		})
	})
}

// offerSetup prints how to make the first admin, where there is none. It is for standard output alone: the token is a
// secret and stays out of the log.
func offerSetup(ctx context.Context, p *Process, serving app.Serving) error {
	token, err := serving.SetupToken(ctx)
	if err != nil || token == "" {
		return err
	}
	_, err = fmt.Fprintf(p.Stdout, `There is no administrator yet. Make one, once, in a browser:

  %[1]s/set-up#%[2]s

or with:

  curl -X POST %[1]s/api/v1/auth/setup -H 'Content-Type: application/json' \
    -d '{"token": "%[2]s", "name": "NAME", "email": "EMAIL", "password": "PASSWORD"}'

`, serving.URL, token)
	return err
}

// withSettings is withService for a command that a person waits for: its log is of what goes wrong, unless they ask for more.
func withSettings(p *Process, cfg *config.Config, do func(app.Settings) error) error {
	if cfg.IsDefault("log_level") {
		cfg.LogLevel = slog.LevelWarn
	}
	if cfg.IsDefault("log_format") {
		cfg.LogFormat = observe.FormatText
	}
	return withService(p, cfg, do)
}

// logDelay is how long the line of a request may wait for those of others.
const logDelay = 10 * time.Millisecond

// withService does something with the settings of cfg and a logger, which is closed afterwards.
func withService(p *Process, cfg *config.Config, do func(app.Settings) error) (err error) {
	logger, closer, err := observe.NewLogger(observe.LogOptions{
		Writer: p.Stderr, Level: cfg.LogLevel, Format: cfg.LogFormat, Dir: cfg.LogDir, Delay: logDelay, Traces: cfg.OTLPEndpoint != "",
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	return do(app.Settings{Config: cfg, Logger: logger, Version: Version()})
}
