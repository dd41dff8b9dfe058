package steps

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// ByID is the filter of one document.
func ByID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// Set returns the update that returns a document the fields of a struct; "_id" and Meta must not be among them.
func Set(fields any) bson.D { return bson.D{{Key: "$set", Value: fields}} }

// Live is the filter of documents that are there for everybody.
func Live(filter ...bson.E) bson.D { return append(bson.D{{Key: "draft", Value: nil}}, filter...) }

// BatchSize is how many documents the database returns at once, unless they have 16 MB together: by itself it begins with 101, and each more
// is another round trip.
const BatchSize = 1000

// FindAll reads everything that a find returns.
func FindAll[T any](ctx context.Context, coll *mongo.Collection, filter bson.D, settings ...options.Lister[options.FindOptions]) ([]T, error) {
	var cursor *mongo.Cursor
	cursor, err := coll.Find(ctx, filter, append([]options.Lister[options.FindOptions]{options.Find().SetBatchSize(BatchSize)}, settings...)...)
	if err != nil {
		return nil, err
	}
	var all []T
	return all, cursor.All(ctx, &all)
}

// Exists reports whether a document matches.
func (db *DB) Exists(ctx context.Context, coll string, filter bson.D) (bool, error) {
	err := db.Collection(coll).FindOne(ctx, filter, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, err
}

// InsertMissing inserts those of the documents whose _id is not there.
func (db *DB) InsertMissing(ctx context.Context, coll string, docs any) error {
	return Again(ctx, func() error {
		_, err := db.Collection(coll).InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		bulk, ok := errors.AsType[mongo.BulkWriteException](err)
		if !ok || bulk.WriteConcernError != nil {
			return err
		}
		for _, failed := range bulk.WriteErrors {
			if !IsDuplicate(failed) {
				return err
			}
		}
		return nil
	})
}

// DeleteFirst removes up to limit documents that match, the first by field, and returns their number.
func (db *DB) DeleteFirst(ctx context.Context, coll string, filter bson.D, field string, limit int) (int, error) {
	ids, err := db.FirstIDs(ctx, coll, filter, field, limit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return db.DeleteAll(ctx, coll, append(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, filter...))
}

// DeleteAll removes the documents that match and returns their number.
func (db *DB) DeleteAll(ctx context.Context, coll string, filter bson.D) (n int, err error) {
	err = Again(ctx, func() error {
		result, err := db.Collection(coll).DeleteMany(ctx, filter)
		if err == nil {
			n = int(result.DeletedCount)
		}
		return err
	})
	return n, err
}

// FirstIDs returns the ids of up to limit documents that match, the first by field.
func (db *DB) FirstIDs(ctx context.Context, coll string, filter bson.D, field string, limit int) (bson.A, error) {
	type named struct {
		ID any `bson:"_id"`
	}
	docs, err := FindAll[named](ctx, db.Collection(coll), filter,
		options.Find().SetSort(bson.D{{Key: field, Value: 1}}).SetLimit(int64(limit)).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	ids := make(bson.A, 0, len(docs))
	for _, d := range docs {
		ids = append(ids, d.ID)
	}
	return ids, err
}

// Take returns the first of n numbers that nobody else ever gets from that counter, which counts from 1. Numbers that are taken
// and not used leave a gap. It is for use inside of do or of a step.
func (db *DB) Take(ctx context.Context, counter string, n int64) (first int64, err error) {
	var doc struct {
		Last int64 `bson:"last"`
	}
	counters := db.Collection(Counters)
	for {
		err = Again(ctx, func() error {
			return counters.FindOneAndUpdate(ctx, ByID(counter), bson.D{{Key: "$inc", Value: bson.D{{Key: "last", Value: n}}}},
				options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc)
		})
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return doc.Last - n + 1, err
		}
		// Not with an upsert: FerretDB's returns the same number to two who make the document at once.
		if err := db.InsertMissing(ctx, Counters, []bson.D{{{Key: "_id", Value: counter}, {Key: "last", Value: int64(0)}}}); err != nil {
			return 0, err
		}
	}
}

// Millis returns the stored form of a time: Unix milliseconds; 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// FromMillis reads the stored form back.
func FromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
