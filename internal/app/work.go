package app

import (
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/cause"
	"hearth/internal/core/account"
	"hearth/internal/core/exports"
	"hearth/internal/invalidate"
	"hearth/internal/keyshare"
	"hearth/internal/leader"
	"hearth/internal/lifecycle"
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
	work := []func(context.Context){func(ctx context.Context) {
		if err := p.telemetry.Run(ctx); err != nil {
			p.Logger.ErrorContext(ctx, "background work failed", "work", "summaries of logs", "err", err)
		}
	}}
	work = append(work, p.webhooks.Watch)
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
		Backend: p.queue, Kinds: p.traced(p.kinds()), Periodic: p.schedule(), Concurrency: limits, Clock: p.Clock, Log: p.Logger,
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
	kinds := slices.Concat(p.mailer.Kinds(), p.notices.Kinds(), p.exports.Kinds(), p.commands.Kinds(), p.alarms.Kinds(), p.backups.Kinds())
	for _, c := range p.cleanups() {
		kinds = append(kinds, queue.Kind{Name: c.name, Timeout: cleanupTimeout, MaxAttempts: 3, Handler: p.clean(c)})
	}
	return kinds
}

// schedule are the jobs that come by themselves, once for all processes.
func (p *parts) schedule() []queue.Periodic {
	all := slices.Concat(p.exports.Periodic(), p.backups.Periodic())
	for _, c := range p.cleanups() {
		all = append(all, queue.Periodic{Name: c.name, Every: c.every, Offset: c.offset, Kind: c.name, Queue: queue.Cleanup})
	}
	return all
}

// traced returns the kinds with their runs traced, each linked to the request that caused it.
func (p *parts) traced(kinds []queue.Kind) []queue.Kind {
	if p.tracer == nil {
		return kinds
	}
	for i, kind := range kinds {
		kinds[i].Handler = func(ctx context.Context, task *queue.Task) error {
			ctx, end := p.tracer.Job(ctx, kind.Name, task.Job.ID, cause.Of(task.Job.Payload))
			err := kind.Handler(ctx, task)
			end(err)
			return err
		}
	}
	return kinds
}

// cleanup is a periodic job that removes what is no longer needed.
type cleanup struct {
	name  string
	every time.Duration
	// offset is where in every its slot lies, so that cleanups do not all come at once.
	offset time.Duration
	// work returns how many things it removed or changed. It goes in small steps, so that writes of users go first.
	work func(context.Context) (int, error)
}

// cleanups are the periodic jobs of this configuration. They run in the queue "cleanup", one at a time.
func (p *parts) cleanups() []cleanup {
	return []cleanup{
		{name: "cleanup.idempotency", every: 15 * time.Minute, offset: time.Minute, work: p.deleteExpiredRecords},
		{name: "cleanup.sessions", every: time.Hour, offset: 10 * time.Minute, work: p.accounts.CleanUp},
		{name: "cleanup.invitations", every: time.Hour, offset: 20 * time.Minute, work: p.orgs.CleanUp},
		{name: "cleanup.claims", every: time.Hour, offset: 25 * time.Minute, work: p.provision.CleanUp},
		{name: "cleanup.notifications", every: 24 * time.Hour, offset: 3 * time.Hour, work: p.notices.CleanUp},
		{name: "cleanup.digests", every: 5 * time.Minute, offset: 3 * time.Minute, work: p.notices.ResumeDigests},
		{name: "cleanup.logs", every: 5 * time.Minute, offset: 2 * time.Minute, work: p.telemetry.CleanUp},
		{name: "cleanup.database", every: 24 * time.Hour, offset: 4 * time.Hour, work: p.store.Tidy},
		{name: "cleanup.devices", every: 5 * time.Minute, work: p.devices.Deactivate}, // how late InactiveAfter may be
		{name: "cleanup.commands", every: time.Hour, offset: 30 * time.Minute, work: p.commands.CleanUp},
		{name: "cleanup.webhooks", every: time.Hour, offset: 40 * time.Minute, work: p.webhooks.CleanUp},
		{name: "cleanup.alarms", every: 24 * time.Hour, offset: 5 * time.Hour, work: p.alarms.CleanUp},
		{name: "cleanup.audit", every: 24 * time.Hour, offset: 6 * time.Hour, work: p.audit().CleanUp},
		{name: "cleanup.exports", every: 15 * time.Minute, offset: 5 * time.Minute, work: p.exports.Clean},
	}
}

const (
	// cleanupTimeout ends a run that hangs; what is left is done by the next.
	cleanupTimeout = time.Hour
	// recordBatch is how many expired idempotency records one write removes.
	recordBatch = 1000
)

// clean does the work and reports what it did, also when it had to stop half-way.
func (p *parts) clean(c cleanup) queue.Handler {
	return func(ctx context.Context, task *queue.Task) error {
		start := time.Now()
		n, err := c.work(ctx)
		task.Report(queue.Progress{Step: "done", Done: int64(n), Total: int64(n)})
		if n > 0 {
			p.Logger.InfoContext(ctx, "cleaned up", "job", c.name, "items", n, "duration", time.Since(start))
		}
		return err
	}
}

// deleteExpiredRecords deletes the idempotency records that have expired, and returns their number.
func (p *parts) deleteExpiredRecords(ctx context.Context) (total int, err error) {
	for {
		n, err := p.store.DeleteExpiredIdempotencyRecords(ctx, p.Clock.Now(), recordBatch)
		total += n
		if err != nil || n < recordBatch {
			return total, err
		}
	}
}
