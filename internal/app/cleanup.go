package app

import (
	"context"
	"time"

	"hearth/internal/queue"
)

// chore is a periodic job that removes what nobody needs any more.
type chore struct {
	name  string
	every time.Duration
	// offset is where in every its slot lies, so that chores do not all come at once.
	offset time.Duration
	// work returns how many things it removed or changed. It goes in small steps, so that writes of people go first.
	work func(context.Context) (int, error)
}

// chores are the periodic jobs of this configuration. They run in the queue "cleanup", one at a time.
func (a *App) chores() []chore {
	return []chore{
		{name: "cleanup.idempotency", every: 15 * time.Minute, offset: time.Minute, work: a.forgetOnce},
		{name: "cleanup.sessions", every: time.Hour, offset: 10 * time.Minute, work: a.people.CleanUp},
		{name: "cleanup.invitations", every: time.Hour, offset: 20 * time.Minute, work: a.orgs.CleanUp},
		{name: "cleanup.notifications", every: 24 * time.Hour, offset: 3 * time.Hour, work: a.notify.CleanUp},
		{name: "cleanup.logs", every: 5 * time.Minute, offset: 2 * time.Minute, work: a.telemetry.CleanUp},
		{name: "cleanup.database", every: 24 * time.Hour, offset: 4 * time.Hour, work: a.store.Tidy},
		{name: "cleanup.devices", every: idleEvery, work: a.fleet.Deactivate},
		{name: "cleanup.exports", every: 15 * time.Minute, offset: 5 * time.Minute, work: a.exports.Clean},
	}
}

// choreTimeout ends a run that hangs; what is left is done by the next.
const choreTimeout = time.Hour

func (a *App) cleanupKinds() []queue.Kind {
	var kinds []queue.Kind
	for _, c := range a.chores() {
		kinds = append(kinds, queue.Kind{Name: c.name, Timeout: choreTimeout, MaxAttempts: 3, Handler: a.doChore(c)})
	}
	return kinds
}

func (a *App) cleanupSchedule() []queue.Periodic {
	var all []queue.Periodic
	for _, c := range a.chores() {
		all = append(all, queue.Periodic{Name: c.name, Every: c.every, Offset: c.offset, Kind: c.name, Queue: queue.Cleanup})
	}
	return all
}

// doChore does the work and says what it did, also when it had to stop half-way.
func (a *App) doChore(c chore) queue.Handler {
	return func(ctx context.Context, task *queue.Task) error {
		start := time.Now()
		n, err := c.work(ctx)
		task.Report(queue.Progress{Step: "done", Done: int64(n), Total: int64(n)})
		if n > 0 {
			a.log.InfoContext(ctx, "cleaned up", "job", c.name, "items", n, "duration", time.Since(start))
		}
		return err
	}
}
