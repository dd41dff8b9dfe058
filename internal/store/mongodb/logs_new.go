package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth/internal/tsdb"
)

// newLogGuards is the number of guards of steps that store new logs: each is of a part of all devices.
const newLogGuards = 64

func newLogGuard(part int64) string { return fmt.Sprintf("new-logs/%d", part) }

// errOvertaken says that another process may have stored what Prune has not seen.
var errOvertaken = errors.New("mongodb: new logs of the devices were stored meanwhile")

// migrateNewLogs makes the guards of steps that store new logs.
func migrateNewLogs(ctx context.Context, s *Store) error {
	var guards []guardDoc
	for part := range int64(newLogGuards) {
		guards = append(guards, guardDoc{ID: newLogGuard(part), Meta: Meta{V: 1}})
	}
	return s.insertMissing(ctx, collGuards, guards)
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
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// readGuards returns the guards of parts of the devices when no step holds them.
func (b *logBackend) readGuards(ctx context.Context, parts []int64) (guards []guardDoc, err error) {
	names := make([]string, len(parts))
	for i, part := range parts {
		names[i] = newLogGuard(part)
	}
	err = b.store.do(ctx, "AppendNewLogs", func(ctx context.Context) error {
		guards, err = findAll[guardDoc](ctx, b.store.db.Collection(collGuards), bson.D{among("_id", names)})
		for i := 0; i < len(guards) && err == nil; i++ {
			if guards[i].Lock != "" {
				guards[i], err = load[guardDoc](ctx, &step{s: b.store}, collGuards, byID(guards[i].ID))
			}
		}
		return err
	})
	if err == nil && len(guards) != len(parts) {
		err = errors.New("mongodb: a guard of new logs is missing")
	}
	return guards, err
}
