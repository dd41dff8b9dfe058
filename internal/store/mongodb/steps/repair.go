package steps

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

// repairAlways repairs now and then until the store closes.
func (db *DB) repairAlways() {
	ticker := time.NewTicker(db.Options.RepairEvery)
	defer ticker.Stop()
	for {
		select {
		case <-db.stopping.Done():
			return
		case <-ticker.C:
		}
		if db.reachable() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(db.stopping, max(db.Options.RepairEvery, db.settleWithin()))
		if err := db.Repair(ctx); err != nil && db.stopping.Err() == nil && !IsAway(err) {
			db.Options.Logger.WarnContext(ctx, "writes that a crash left unfinished could not be finished", "error", err)
		}
		cancel()
	}
}

// Repair finishes what is decided and drops what is not, if it is older than Grace: whoever began it is not at it any more,
// or so slow that it makes no difference. So is what began later than hearth.MaxSkew from now: the clock was put back since. Nobody waits for that, since whoever meets such a write finishes it.
func (db *DB) Repair(ctx context.Context) error {
	const most = 1000
	now := time.Now()
	before, ahead := now.Add(-db.Options.Grace), now.Add(hearth.MaxSkew)
	commits, err := FindAll[commitDoc](ctx, db.Collection(Commits), bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "open", Value: bson.D{{Key: "$lt", Value: before.UnixMilli()}}}},
		bson.D{{Key: "open", Value: bson.D{{Key: "$gt", Value: ahead.UnixMilli()}}}},
	}}},
		options.Find().SetSort(bson.D{{Key: "open", Value: 1}}).SetLimit(most))
	if err != nil {
		return err
	}
	for _, c := range commits {
		if err := db.complete(ctx, &c); err != nil {
			return err
		}
	}
	for _, coll := range db.Options.Lockable {
		type held struct {
			ID   any `bson:"_id"`
			Meta `bson:",inline"`
		}
		docs, err := FindAll[held](ctx, db.Collection(coll), bson.D{{Key: "lock", Value: bson.D{{Key: "$exists", Value: true}}}},
			options.Find().SetProjection(bson.D{{Key: "lock", Value: 1}, {Key: "draft", Value: 1}}).SetLimit(most))
		if err != nil {
			return err
		}
		for _, d := range docs {
			if at := begun(d.Lock); at.After(before) && !at.After(ahead) {
				continue
			}
			if err := db.resolve(ctx, coll, d.ID, d.Lock); err != nil {
				return err
			}
		}
	}
	return nil
}

// begun tells when a step began, by its id: for patience alone, never for a decision.
func begun(id string) time.Time {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return time.Time{}
	}
	seconds, nanos := parsed.Time().UnixTime()
	return time.Unix(seconds, nanos)
}

// complete applies and puts away a commit.
func (db *DB) complete(ctx context.Context, c *commitDoc) error {
	if err := db.apply(ctx, c); err != nil {
		return err
	}
	return db.finish(ctx, c)
}

// Await waits until the step with the id lock lets go of a document. After Grace it finishes the step itself, or drops it if
// it is not decided.
func (db *DB) Await(ctx context.Context, coll string, id any, lock string) error {
	start := time.Now()
	for try := 0; time.Since(start) < db.Options.Grace; try++ {
		if err := Pause(ctx, try); err != nil {
			return err
		}
		err := db.Collection(coll).FindOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "lock", Value: lock}},
			options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
		if errors.Is(err, mongo.ErrNoDocuments) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return db.resolve(ctx, coll, id, lock)
}

// resolve ends the step that holds a document.
func (db *DB) resolve(ctx context.Context, coll string, id any, lock string) error {
	decided, err := db.forbid(ctx, lock)
	if err != nil {
		return err
	}
	if decided {
		var c commitDoc
		err := db.Collection(Commits).FindOne(ctx, ByID(lock)).Decode(&c)
		if err == nil && c.Open != 0 {
			return db.complete(ctx, &c)
		}
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			return err
		}
	}
	// A draft is removed, any other document let go of.
	coll1 := db.Collection(coll)
	err = Again(ctx, func() error {
		_, err := coll1.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "lock", Value: lock}, {Key: "draft", Value: true}})
		return err
	})
	if err != nil {
		return err
	}
	return db.dropLocks(ctx, coll, lock, nil, bson.A{id})
}
