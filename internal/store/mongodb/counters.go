package mongodb

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// take returns the first of n numbers that nobody else ever gets from that counter, which counts from 1. Numbers that are taken
// and not used leave a gap. It is for use inside of do or of a step.
func (s *Store) take(ctx context.Context, counter string, n int64) (first int64, err error) {
	var doc struct {
		Last int64 `bson:"last"`
	}
	counters := s.db.Collection(collCounters)
	for {
		err = again(ctx, func() error {
			return counters.FindOneAndUpdate(ctx, byID(counter), bson.D{{Key: "$inc", Value: bson.D{{Key: "last", Value: n}}}},
				options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc)
		})
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return doc.Last - n + 1, err
		}
		// Not with an upsert: FerretDB's returns the same number to two who make the document at once.
		if err := s.insertMissing(ctx, collCounters, []bson.D{{{Key: "_id", Value: counter}, {Key: "last", Value: int64(0)}}}); err != nil {
			return 0, err
		}
	}
}
