package app

import (
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/cleanup"
	"hearth/internal/core/account"
	"hearth/internal/core/exports"
	"hearth/internal/invalidate"
	"hearth/internal/keyshare"
	"hearth/internal/leader"
	"hearth/internal/lifecycle"
	"hearth/internal/meters"
	"hearth/internal/queue"
	"hearth/internal/realtime"
	"hearth/internal/sealer"
)

// backgroundWork is what each server does for itself. What is done once for all of them is a job.
func (p *parts) backgroundWork() []func(context.Context) {
	periodics := []lifecycle.Periodic{
		{Name: "signing keys", Every: account.FollowInterval, Work: p.signing.Follow},
		{Name: "last uses of API keys", Every: account.KeyUseInterval, Work: p.accounts.StoreKeyUses},
		{Name: "writes of other processes", Every: time.Second, Work: p.followWrites()},
	}
	if p.keys.Shared() {
		periodics = append(periodics, lifecycle.Periodic{Name: "shared keys", Every: keyshare.FollowInterval, Work: p.keys.Follow})
	}
	if p.fieldKeys != nil {
		periodics = append(periodics, lifecycle.Periodic{Name: "field keys", Every: sealer.FollowInterval, Work: p.fieldKeys.Follow})
	}
	work := []func(context.Context){p.webhooks.Watch, func(ctx context.Context) {
		if err := p.telemetry.Run(ctx); err != nil {
			p.Logger.ErrorContext(ctx, "background work failed", "work", "summaries of logs", "err", err)
		}
	}}
	for _, periodic := range periodics {
		work = append(work, func(ctx context.Context) { periodic.Repeat(ctx, p.Logger) })
	}
	return work
}

// followWrites returns what drops cached answers when another process, such as an import, has written to the store.
func (p *parts) followWrites() func(context.Context) error {
	return invalidate.FollowWrites(p.store, func(ctx context.Context) {
		p.devices.Forget()
		p.analytics.LogsChanged(ctx, hearth.Reach{All: true})
	})
}

// followBus has this process do what messages of other instances ask for. A worker is one of them; it answers nothing for what it
// does not do.
func (p *parts) followBus(ctx context.Context) {
	if p.redis == nil {
		return
	}
	p.stack.Go(ctx, "changes of other instances", func(ctx context.Context) {
		p.others.Run(ctx, invalidate.Caches{Devices: remoteDevices{p.devices, p.bridge}, Logs: p.store, Users: p.accounts, Roles: p.orgs, Streams: p.realtime})
	})
	p.stack.Go(ctx, "questions of other instances", p.asker.Run)
}

// receiveEventsOfWorkers shows in the streams what workers of the same data directory do. In a fleet the broker does that.
func (p *parts) receiveEventsOfWorkers() {
	if p.redis == nil {
		relayed := p.realtime.FollowRelay(p.bus)
		p.stack.Add("events of workers", func(context.Context) error { relayed.Close(); return nil })
	}
}

// sendEventsToServer has the events of this process reach the streams of the server of the same data directory.
func (p *parts) sendEventsToServer(ctx context.Context) {
	relay := realtime.NewRelay(p.bus, api.EncodeEvent, p.Logger)
	p.events.add(relay)
	p.stack.Go(ctx, "events to the server", relay.Run)
}

// lead lets this instance be the one of several that notifies users of devices that fell silent.
func (p *parts) lead(ctx context.Context) {
	if p.redis == nil {
		return // alone it leads
	}
	p.stack.Add("lease of the leader", p.leader.Resign)
	p.stack.Go(ctx, "leading", func(ctx context.Context) {
		lifecycle.Periodic{Name: "lease of the leader", Every: leader.RenewInterval, Work: p.leader.Renew}.Repeat(ctx, p.Logger)
	})
}

// startJobs moves jobs from the store into the queue, in every process: its own writes wake it at once. Where the process works it
// runs jobs too; at a stop they have a third of the time to end by themselves, and then they are handed back.
func (p *parts) startJobs(ctx context.Context, work bool) error {
	relay, err := queue.NewRelay(queue.RelayOptions{Outbox: p.store, Queue: p.queue, Wake: p.store.OutboxSignal(), Log: p.Logger})
	if err != nil {
		return err
	}
	if err := relay.Start(ctx); err != nil {
		return err
	}
	p.stack.Add("relay", relay.Stop) // after the worker: it moves what the last jobs want done
	if !work {
		return nil
	}
	limits := map[queue.Name]int{}
	for name, n := range p.Config.QueueConcurrency {
		limits[queue.Name(name)] = n
	}
	worker, err := queue.NewWorker(queue.WorkerOptions{
		Backend: p.queue, Kinds: meters.Traced(p.kinds(), p.tracer.Job), Periodic: p.schedule(), Concurrency: limits, Clock: p.Clock, Log: p.Logger,
		Drain: min(5*time.Second, p.Config.ShutdownTimeout/3), Observe: p.jobMeter.Observe,
	})
	if err != nil {
		return err
	}
	if err := worker.Start(ctx); err != nil {
		return err
	}
	p.stack.Add("worker", worker.Stop)
	p.stack.Go(ctx, "lost exports", func(ctx context.Context) {
		lifecycle.Periodic{Name: "lost exports", Every: exports.EndLostInterval, Work: p.exports.EndLost}.Repeat(ctx, p.Logger)
	})
	p.webhooks.Start()
	p.stack.Add("webhooks", func(context.Context) error { p.webhooks.Stop(); return nil })
	p.Logger.InfoContext(ctx, "working", "worker", worker.ID(), "concurrency", p.Config.QueueConcurrency.String())
	return nil
}

// kinds are the jobs that this program does. A job of another kind, as a newer program leaves it behind, stays in the queue until a
// worker knows it.
func (p *parts) kinds() []queue.Kind {
	return slices.Concat(p.mailer.Kinds(), p.notices.Kinds(), p.exports.Kinds(), p.commands.Kinds(), p.alarms.Kinds(), p.backups.Kinds(), p.cleaning())
}

// schedule are the jobs that come by themselves, once for all processes.
func (p *parts) schedule() []queue.Periodic {
	return slices.Concat(p.exports.Periodic(), p.backups.Periodic(), p.cleanups().Periodic())
}

// cleaning is how cleanups are run.
func (p *parts) cleaning() []queue.Kind {
	return p.cleanups().Kinds(cleanup.Clock{Store: p.store, Clock: p.Clock, Log: p.Logger})
}

// cleanups are the periodic jobs of this configuration.
func (p *parts) cleanups() cleanup.Jobs {
	return cleanup.Jobs{
		{Name: "cleanup.idempotency", Every: 15 * time.Minute, Offset: time.Minute, Old: true, Work: cleanup.IdempotencyRecords(p.store, p.Clock)},
		{Name: "cleanup.sessions", Every: time.Hour, Offset: 10 * time.Minute, Old: true, Work: p.accounts.CleanUp},
		{Name: "cleanup.invitations", Every: time.Hour, Offset: 20 * time.Minute, Old: true, Work: p.orgs.CleanUp},
		{Name: "cleanup.claims", Every: time.Hour, Offset: 25 * time.Minute, Old: true, Work: p.provision.CleanUp},
		{Name: "cleanup.notifications", Every: 24 * time.Hour, Offset: 3 * time.Hour, Old: true, Work: p.notices.CleanUp},
		{Name: "cleanup.digests", Every: 5 * time.Minute, Offset: 3 * time.Minute, Work: p.notices.ResumeDigests},
		{Name: "cleanup.logs", Every: 5 * time.Minute, Offset: 2 * time.Minute, Old: true, Work: p.telemetry.CleanUp},
		{Name: "cleanup.database", Every: 24 * time.Hour, Offset: 4 * time.Hour, Work: p.store.Tidy},
		{Name: "cleanup.devices", Every: 5 * time.Minute, Work: p.devices.Deactivate}, // how late InactiveAfter may be
		{Name: "cleanup.commands", Every: time.Hour, Offset: 30 * time.Minute, Old: true, Work: p.commands.CleanUp},
		{Name: "cleanup.webhooks", Every: time.Hour, Offset: 40 * time.Minute, Old: true, Work: p.webhooks.CleanUp},
		{Name: "cleanup.alarms", Every: 24 * time.Hour, Offset: 5 * time.Hour, Old: true, Work: p.alarms.CleanUp},
		{Name: "cleanup.audit", Every: 24 * time.Hour, Offset: 6 * time.Hour, Old: true, Work: p.audit().CleanUp},
		{Name: "cleanup.exports", Every: 15 * time.Minute, Offset: 5 * time.Minute, Old: true, Work: p.exports.Clean},
	}
}
