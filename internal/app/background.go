package app

import (
	"context"
	"sync"
	"time"

	"hearth/internal/core/account"
	"hearth/internal/keyshare"
	"hearth/internal/sealer"
)

// periodic is work that repeats for as long as the program serves.
type periodic struct {
	name  string
	every time.Duration
	work  func(context.Context) error
}

// periodics is the background work that each server does for itself. What is done once for all of them is a job.
func (a *App) periodics() []periodic {
	all := []periodic{
		{name: "signing keys", every: account.FollowInterval, work: a.keys.Follow},
		{name: "what other processes wrote", every: time.Second, work: a.followOthers},
	}
	if a.secrets.Shared() {
		all = append(all, periodic{name: "shared keys", every: keyshare.FollowInterval, work: a.secrets.Follow})
	}
	if a.sealing != nil {
		all = append(all, periodic{name: "field keys", every: sealer.FollowInterval, work: a.sealing.Follow})
	}
	return all
}

// startBackground runs the periodic work. Its step cancels it and waits for what is under way.
func (a *App) startBackground(ctx context.Context) {
	a.fleet.Start()
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	a.runTelemetry(working, &running)
	for _, p := range a.periodics() {
		running.Go(func() { a.repeat(working, p) })
	}
	a.steps.add("background work", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// repeat does the work until ctx ends. That a part of the program is away is said once for as long as it is.
func (a *App) repeat(ctx context.Context, p periodic) {
	ticker := time.NewTicker(p.every)
	defer ticker.Stop()
	away := false
	for {
		err := p.work(ctx)
		if err != nil && ctx.Err() == nil && (!away || !isUnavailable(err)) {
			a.log.ErrorContext(ctx, "background work failed", "work", p.name, "err", err)
		}
		away = err != nil && isUnavailable(err)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
