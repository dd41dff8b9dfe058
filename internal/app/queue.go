package app

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"hearth/internal/meters"
	"hearth/internal/observe"
	"hearth/internal/queue"
	"hearth/internal/queue/redisqueue"
	"hearth/internal/queue/sqlitequeue"
)

// kinds are the jobs that this program does: each part adds its own. A job of another kind, as a newer program leaves it
// behind, stays in the queue until somebody knows it.
func (a *App) kinds() []queue.Kind {
	return slices.Concat(a.mailer.Kinds(), a.notify.Kinds(), a.exports.Kinds(), a.cleanupKinds(), a.backups.Kinds())
}

// schedule are the jobs that come by themselves, once for all processes.
func (a *App) schedule() []queue.Periodic {
	return slices.Concat(a.cleanupSchedule(), a.exports.Periodic(), a.backups.Periodic())
}

// openQueue opens the jobs: in Redis where instances share it, else in a file of the data directory. Nothing runs them yet.
func (a *App) openQueue(ctx context.Context) (err error) {
	if a.redis != nil {
		a.queue, err = redisqueue.Open(redisqueue.Options{Conn: a.redis, Clock: a.options.Clock})
	} else {
		a.queue, err = sqlitequeue.Open(ctx, sqlitequeue.Options{Path: filepath.Join(a.config.DataDir, "queue.db"), Clock: a.options.Clock})
	}
	if err != nil {
		return err
	}
	a.steps.add("queue", func(context.Context) error { return a.queue.Close() })
	// Not required: what a write wants done waits in the store meanwhile.
	a.health.Register(observe.Check{Name: "queue", Probe: a.queue.Ping})
	a.jobMeter = meters.NewJobs(a.metrics.Registry, a.queue)
	return nil
}

// startRelay begins to move jobs from the store into the queue. Every process does: its own writes wake it at once.
func (a *App) startRelay(ctx context.Context) error {
	relay, err := queue.NewRelay(queue.RelayOptions{Outbox: a.store, Queue: a.queue, Wake: a.store.OutboxSignal(), Log: a.log})
	if err != nil {
		return err
	}
	if err := relay.Start(ctx); err != nil {
		return err
	}
	a.steps.add("relay", relay.Stop)
	return nil
}

// startWorker begins to run jobs. At a stop they have a third of the time to end by themselves; then they are handed back.
func (a *App) startWorker(ctx context.Context) error {
	limits := map[queue.Name]int{}
	for name, n := range a.config.QueueConcurrency {
		limits[queue.Name(name)] = n
	}
	worker, err := queue.NewWorker(queue.WorkerOptions{
		Backend: a.queue, Kinds: a.tracedKinds(a.kinds()), Periodic: a.schedule(), Concurrency: limits, Clock: a.options.Clock, Log: a.log,
		Drain: min(5*time.Second, a.config.ShutdownTimeout/3), Observe: a.jobMeter.Observe,
	})
	if err != nil {
		return err
	}
	if err := worker.Start(ctx); err != nil {
		return err
	}
	a.steps.add("worker", worker.Stop)
	a.log.InfoContext(ctx, "working", "worker", worker.ID(), "concurrency", a.config.QueueConcurrency.String())
	return nil
}

// startJobs begins what the background work of this process is: the worker is stopped before the relay, which takes what
// the last jobs want done.
func (a *App) startJobs(ctx context.Context, work bool) error {
	if err := a.startRelay(ctx); err != nil || !work {
		return err
	}
	return a.startWorker(ctx)
}

// RunWorker runs jobs, and serves metrics, until ctx ends; beside servers and other workers of the same data. Jobs that do not
// end within the shutdown timeout are handed back. ready, if not nil, is called once jobs run. The App is used up afterwards.
func (a *App) RunWorker(ctx context.Context, ready func()) error {
	return a.until(ctx, func(failed chan<- error) error {
		if err := a.startAdmin(failed); err != nil {
			return err
		}
		if a.redis != nil { // events of jobs reach the streams of other instances
			if err := a.realtime.Start(); err != nil {
				return err
			}
			a.startBus(ctx)
		}
		a.startTelling(ctx)
		if err := a.startJobs(ctx, true); err != nil {
			return err
		}
		if ready != nil {
			ready()
		}
		return nil
	})
}
