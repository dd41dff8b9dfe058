package app

import (
	"context"
	"sync"

	"hearth"
	"hearth/internal/core/analytics"
	"hearth/internal/core/archive"
	"hearth/internal/core/telemetry"
)

// publishers passes events on to everybody who wants them. It is complete before the first event.
type publishers struct{ all []hearth.Publisher }

// Publish implements hearth.Publisher.
func (p *publishers) Publish(events ...hearth.Event) {
	for _, to := range p.all {
		to.Publish(events...)
	}
}

// smallestCache stands for no cache: answers then share their loads, and hardly anything is kept.
const smallestCache = 64 << 10

// openTelemetry builds what takes logs in and what counts them.
func (a *App) openTelemetry() error {
	if err := a.openCache(); err != nil {
		return err
	}
	var err error
	a.analytics, err = analytics.New(analytics.Options{
		Logs: a.store, Devices: a.store, Cache: a.cache, Clock: a.options.Clock,
		Flow: a.openFlow(),
	})
	if err != nil {
		return err
	}
	a.events.all = append(a.events.all, a.analytics)
	options := telemetry.Options{
		Store: a.store, Directory: a.fleet, Publisher: a.events, Listener: a.analytics, Clock: a.options.Clock, Logger: a.log,
		Retention: a.config.Retention,
	}
	if a.config.Archive {
		if options.Archive, err = archive.New(archive.Options{Logs: a.store, Devices: a.store, Files: a.files, Log: a.log}); err != nil {
			return err
		}
	}
	a.telemetry, err = telemetry.New(options)
	return err
}

// runTelemetry runs what telemetry does in the background, until ctx ends.
func (a *App) runTelemetry(ctx context.Context, running *sync.WaitGroup) {
	running.Go(func() {
		if err := a.telemetry.Run(ctx); err != nil {
			a.log.ErrorContext(ctx, "background work failed", "work", "summaries of logs", "err", err)
		}
	})
}
