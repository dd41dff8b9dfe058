package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// take returns the first of n numbers that nobody else ever gets from that counter, which counts from 1. Numbers that are taken
// and not used leave a gap. It is for use inside of do or of a step.
func (s *Store) take(ctx context.Context, counter string, n int64) (first int64, err error) {
	var doc struct {
		Last int64 `bson:"last"`
	}
	for try := 0; ; try++ {
		err = s.db.Collection(collCounters).FindOneAndUpdate(ctx, byID(counter), bson.D{{Key: "$inc", Value: bson.D{{Key: "last", Value: n}}}},
			options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&doc)
		if !isDuplicate(err) && !isDeadlock(err) { // the first takes of a counter may run into one another
			return doc.Last - n + 1, err
		}
		if err := pause(ctx, try); err != nil {
			return 0, err
		}
	}
}
