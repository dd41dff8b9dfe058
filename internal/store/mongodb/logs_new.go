package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
)

// newLogGuards is the number of guards of steps that store new logs: each is of a part of all devices.
const newLogGuards = 64

func newLogGuard(part int64) string { return fmt.Sprintf("new-logs/%d", part) }

// errOvertaken says that another process may have stored what Prune has not seen.
var errOvertaken = errors.New("mongodb: new logs of the devices were stored meanwhile")

// migrateNewLogs makes the guards of steps that store new logs.
func migrateNewLogs(ctx context.Context, s *Store) error {
	var guards []steps.GuardDoc
	for part := range int64(newLogGuards) {
		guards = append(guards, steps.GuardDoc{ID: newLogGuard(part), Meta: steps.Meta{V: 1}})
	}
	return s.InsertMissing(ctx, steps.Guards, guards)
}

// appendNew stores what Prune leaves of a batch, in a step that comes about if no other process has stored new logs of the devices since
// Prune saw those that there are. Calls of this process wait for one another.
func (b *logBackend) appendNew(ctx context.Context, batch *tsdb.Batch) error {
	var parts []int64
	for _, s := range batch.Series {
		parts = append(parts, s.Device%newLogGuards)
	}
	slices.Sort(parts)
	parts = slices.Compact(parts)
	for _, part := range parts {
		unlock, err := b.newLogs.Lock(ctx, part)
		if err != nil {
			return err
		}
		defer unlock() //nolint:gocritic // all are held to the end
	}
	for try := 0; ; try++ {
		guards, err := b.readGuards(ctx, parts)
		if err == nil {
			err = batch.Prune(ctx)
		}
		if err != nil {
			return err
		}
		if batch.Size == 0 {
			guards = nil
		}
		if err := b.appendStep(ctx, batch, guards); !errors.Is(err, errOvertaken) {
			return err
		}
		if err := steps.Pause(ctx, try); err != nil {
			return err
		}
	}
}

// readGuards returns the guards of parts of the devices when no step holds them.
func (b *logBackend) readGuards(ctx context.Context, parts []int64) (guards []steps.GuardDoc, err error) {
	names := make([]string, len(parts))
	for i, part := range parts {
		names[i] = newLogGuard(part)
	}
	err = b.store.Do(ctx, "AppendNewLogs", func(ctx context.Context) error {
		guards, err = steps.FindAll[steps.GuardDoc](ctx, b.store.Collection(steps.Guards), bson.D{among("_id", names)})
		for i := 0; i < len(guards) && err == nil; i++ {
			if guards[i].Lock != "" {
				guards[i], err = steps.Load[steps.GuardDoc](ctx, b.store.DB, steps.Guards, steps.ByID(guards[i].ID))
			}
		}
		return err
	})
	if err == nil && len(guards) != len(parts) {
		err = errors.New("mongodb: a guard of new logs is missing")
	}
	return guards, err
}
