package cli

import (
	"context"

	"hearth/internal/app"
)

type workerCommand struct{ Settings }

// Run runs background jobs until a signal ends it.
func (c *workerCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withService(p, cfg, func(s app.Settings) error { return app.RunWorker(ctx, s, nil) })
}
