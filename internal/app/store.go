package app

import (
	"context"
	"path/filepath"

	"hearth"
	"hearth/internal/observe"
	"hearth/internal/queue"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/record"
	"hearth/internal/store/sqlite"
)

// store is the database: every contract of the vocabulary, and what the program needs to run it.
type store interface {
	hearth.UserStore
	hearth.SessionStore
	hearth.OrganizationStore
	hearth.DeviceStore
	hearth.LogStore
	hearth.ExportStore
	hearth.ExportScheduleStore
	hearth.NotificationStore
	hearth.AuditStore
	hearth.IdempotencyStore
	record.Archiver
	queue.Outbox

	// OutboxSignal is signalled after a write of this process that left jobs behind.
	OutboxSignal() <-chan struct{}
	// Tidy is the daily care of the engine; it returns how many things it mended or freed.
	Tidy(ctx context.Context) (int, error)
	Ping(ctx context.Context) error
	Close() error
}

// follower is a store that cannot tell other processes of a write: it has to be asked for them.
type follower interface {
	// ForeignWrites returns a number that grows when another process has written since it was last asked for.
	ForeignWrites(ctx context.Context) (uint64, error)
}

// openStore opens the database of HEARTH_STORE_URL; without one, SQLite in the data directory.
func (a *App) openStore(ctx context.Context) (err error) {
	if a.config.StoreURL == "" {
		a.store, err = sqlite.Open(ctx, sqlite.Options{
			Path: filepath.Join(a.config.DataDir, "hearth.db"), Clock: a.options.Clock, Logger: a.log, SlowQuery: a.config.SlowQuery, Observer: a.metrics.Store,
		})
	} else {
		a.store, err = mongodb.Open(ctx, mongodb.Options{
			URI: a.config.StoreURL, Clock: a.options.Clock, Logger: a.log, SlowQuery: a.config.SlowQuery, Observer: a.metrics.Store,
		})
	}
	if err != nil {
		return err
	}
	a.steps.add("store", func(context.Context) error { return a.store.Close() })
	a.health.Register(observe.Check{Name: "database", Required: true, Probe: a.store.Ping})
	return nil
}

// followOthers forgets what was read, when another process (an import) has written to the store.
func (a *App) followOthers(ctx context.Context) error {
	others, ok := a.store.(follower)
	if !ok {
		return nil
	}
	writes, err := others.ForeignWrites(ctx)
	if err != nil || writes == a.foreign {
		return err
	}
	a.foreign = writes
	a.fleet.Forget()
	a.analytics.LogsChanged(ctx, hearth.Reach{All: true})
	return nil
}
