package cli

import (
	"context"
	"log/slog"

	"hearth/internal/app"
)

type workerCommand struct{ Settings }

// Run runs background jobs until a signal ends it.
func (c *workerCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withApp(ctx, p, cfg, func(a *app.App, _ *slog.Logger) error { return a.RunWorker(ctx, nil) })
}
