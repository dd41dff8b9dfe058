package app

import (
	"context"
	"sync"

	"hearth/internal/demo"
)

// OpenDemo makes the demo's account and imports its data, or finds them where an earlier demo left them.
func (a *App) OpenDemo(ctx context.Context) (*demo.Demo, error) {
	return demo.New(ctx, demo.Options{
		DataDir: a.config.DataDir, Store: a.store, Accounts: a.people, Devices: a.fleet, Telemetry: a.telemetry, Importer: a.importer(),
		Clock: a.options.Clock, Logger: a.log,
	})
}

// RunDemo is Run with the demo's devices reporting.
func (a *App) RunDemo(ctx context.Context, d *demo.Demo, ready func(url string)) error {
	return a.Run(ctx, func(url string) {
		reporting, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() { d.Run(reporting) })
		a.steps.add("demo devices", func(context.Context) error {
			cancel()
			running.Wait()
			return nil
		})
		ready(url)
	})
}
