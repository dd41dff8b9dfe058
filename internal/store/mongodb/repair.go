package mongodb

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// repairAlways repairs now and then until the store closes.
func (s *Store) repairAlways() {
	ticker := time.NewTicker(s.options.RepairEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.stopping.Done():
			return
		case <-ticker.C:
		}
		if s.reachable() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(s.stopping, max(s.options.RepairEvery, s.settleWithin()))
		if err := s.repair(ctx); err != nil && s.stopping.Err() == nil && !isAway(err) {
			s.options.Logger.WarnContext(ctx, "writes that a crash left unfinished could not be finished", "error", err)
		}
		cancel()
	}
}

// repair finishes what is decided and drops what is not, if it is older than Grace: whoever began it is not at it any more,
// or so slow that it makes no difference. Nobody waits for that, since whoever meets such a write finishes it.
func (s *Store) repair(ctx context.Context) error {
	const most = 1000
	before := time.Now().Add(-s.options.Grace)
	commits, err := findAll[commitDoc](ctx, s.db.Collection(collCommits), bson.D{{Key: "open", Value: bson.D{{Key: "$lt", Value: before.UnixMilli()}}}},
		options.Find().SetSort(bson.D{{Key: "open", Value: 1}}).SetLimit(most))
	if err != nil {
		return err
	}
	for _, c := range commits {
		if err := s.complete(ctx, &c); err != nil {
			return err
		}
	}
	for _, coll := range lockable() {
		type held struct {
			ID   any `bson:"_id"`
			Meta `bson:",inline"`
		}
		docs, err := findAll[held](ctx, s.db.Collection(coll), bson.D{{Key: "lock", Value: bson.D{{Key: "$exists", Value: true}}}},
			options.Find().SetProjection(bson.D{{Key: "lock", Value: 1}, {Key: "draft", Value: 1}}).SetLimit(most))
		if err != nil {
			return err
		}
		for _, d := range docs {
			if begun(d.Lock).After(before) {
				continue
			}
			if err := s.resolve(ctx, coll, d.ID, d.Lock); err != nil {
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
func (s *Store) complete(ctx context.Context, c *commitDoc) error {
	if err := s.apply(ctx, c); err != nil {
		return err
	}
	return s.finish(ctx, c)
}

// await waits until the step with the id lock lets go of a document. After Grace it finishes the step itself, or drops it if
// it is not decided.
func (s *Store) await(ctx context.Context, coll string, id any, lock string) error {
	start := time.Now()
	for try := 0; time.Since(start) < s.options.Grace; try++ {
		if err := pause(ctx, try); err != nil {
			return err
		}
		err := s.db.Collection(coll).FindOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "lock", Value: lock}},
			options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
		if errors.Is(err, mongo.ErrNoDocuments) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return s.resolve(ctx, coll, id, lock)
}

// resolve ends the step that holds a document.
func (s *Store) resolve(ctx context.Context, coll string, id any, lock string) error {
	decided, err := s.forbid(ctx, lock)
	if err != nil {
		return err
	}
	if decided {
		var c commitDoc
		err := s.db.Collection(collCommits).FindOne(ctx, byID(lock)).Decode(&c)
		if err == nil && c.Open != 0 {
			return s.complete(ctx, &c)
		}
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			return err
		}
	}
	// A draft is removed, any other document let go of.
	coll1 := s.db.Collection(coll)
	err = again(ctx, func() error {
		_, err := coll1.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "lock", Value: lock}, {Key: "draft", Value: true}})
		return err
	})
	if err != nil {
		return err
	}
	return s.dropLocks(ctx, coll, lock, nil, bson.A{id})
}

// findAll reads everything that a find returns.
func findAll[T any](ctx context.Context, coll *mongo.Collection, filter bson.D, settings ...options.Lister[options.FindOptions]) ([]T, error) {
	var cursor *mongo.Cursor
	cursor, err := coll.Find(ctx, filter, settings...)
	if err != nil {
		return nil, err
	}
	var all []T
	return all, cursor.All(ctx, &all)
}
