package mongodb

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.IdempotencyStore = (*Store)(nil)

// idempotencyID names an idempotency record. A caller's key holds no NUL.
func idempotencyID(caller, key string) string { return caller + "\x00" + key }

func (c *commitDoc) setIdempotency(r hearth.IdempotencyRecord) {
	c.Idempotency, c.Fingerprint, c.Operation = idempotencyID(r.Caller, r.Key), r.Fingerprint, r.Operation
	c.What, c.FirstLog = r.Created, int64(r.FirstLog)
	c.Created, c.Expires = millis(r.CreatedAt), millis(r.ExpiresAt)
}

func (c *commitDoc) idempotencyRecord() hearth.IdempotencyRecord {
	caller, key, _ := strings.Cut(c.Idempotency, "\x00")
	return hearth.IdempotencyRecord{
		Caller: caller, Key: key, Fingerprint: c.Fingerprint, Operation: c.Operation, Created: c.What, FirstLog: uint64(c.FirstLog),
		CreatedAt: fromMillis(c.Created), ExpiresAt: fromMillis(c.Expires),
	}
}

// findIdempotencyRecord returns the unexpired record of a caller's key, whose write it makes sure to be finished; nil if there is none. One
// that has expired is removed.
func (s *Store) findIdempotencyRecord(ctx context.Context, caller, key string) (*hearth.IdempotencyRecord, error) {
	commits := s.db.Collection(collCommits)
	start := time.Now()
	for try := 0; ; try++ {
		var c commitDoc
		// Served by the unique index of once.
		err := commits.FindOne(ctx, bson.D{{Key: "once", Value: idempotencyID(caller, key)}}).Decode(&c)
		switch {
		case errors.Is(err, mongo.ErrNoDocuments):
			return nil, nil
		case err != nil:
			return nil, err
		case c.Open != 0 && time.Since(start) < s.options.Grace:
			// Whoever decided it is about to finish it.
			if err := pause(ctx, try); err != nil {
				return nil, err
			}
		case c.Open != 0:
			if err := s.complete(ctx, &c); err != nil {
				return nil, err
			}
		case !fromMillis(c.Expires).After(s.now()):
			err := again(ctx, func() error {
				_, err := commits.DeleteOne(ctx, byID(c.ID))
				return err
			})
			return nil, err
		default:
			record := c.idempotencyRecord()
			return &record, nil
		}
	}
}

// replay returns the error of a write that was done before, nil if it was not.
func (s *Store) replay(ctx context.Context, record *hearth.IdempotencyRecord) error {
	if record == nil {
		return nil
	}
	first, err := s.findIdempotencyRecord(ctx, record.Caller, record.Key)
	if err != nil || first == nil {
		return err
	}
	if first.Fingerprint != record.Fingerprint {
		return hearth.Errorf(hearth.CodeIdempotencyMismatch, "this Idempotency-Key was used for another request")
	}
	return &hearth.Replayed{Record: *first}
}

// IdempotencyRecord implements hearth.IdempotencyStore.
func (s *Store) IdempotencyRecord(ctx context.Context, caller, key string) (record hearth.IdempotencyRecord, err error) {
	err = s.do(ctx, "IdempotencyRecord", func(ctx context.Context) error {
		first, err := s.findIdempotencyRecord(ctx, caller, key)
		if err == nil && first == nil {
			err = hearth.NotFound("idempotency record")
		}
		if err == nil {
			record = *first
		}
		return err
	})
	return record, err
}

// DeleteExpiredIdempotencyRecords implements hearth.IdempotencyStore.
func (s *Store) DeleteExpiredIdempotencyRecords(ctx context.Context, now time.Time, limit int) (deleted int, err error) {
	err = s.do(ctx, "DeleteExpiredIdempotencyRecords", func(ctx context.Context) error {
		// The index expires finds them.
		deleted, err = s.deleteFirst(ctx, collCommits, bson.D{
			{Key: "expires", Value: bson.D{{Key: "$exists", Value: true}, {Key: "$lte", Value: millis(now)}}}, {Key: "open", Value: nil},
		}, "expires", limit)
		return err
	})
	return deleted, err
}

// deleteFirst removes up to limit documents that match, the first by field, and returns their number.
func (s *Store) deleteFirst(ctx context.Context, coll string, filter bson.D, field string, limit int) (int, error) {
	ids, err := s.firstIDs(ctx, coll, filter, field, limit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return s.deleteAll(ctx, coll, append(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, filter...))
}

// deleteAll removes the documents that match and returns their number.
func (s *Store) deleteAll(ctx context.Context, coll string, filter bson.D) (n int, err error) {
	err = again(ctx, func() error {
		result, err := s.db.Collection(coll).DeleteMany(ctx, filter)
		if err == nil {
			n = int(result.DeletedCount)
		}
		return err
	})
	return n, err
}

// firstIDs returns the ids of up to limit documents that match, the first by field.
func (s *Store) firstIDs(ctx context.Context, coll string, filter bson.D, field string, limit int) (bson.A, error) {
	type named struct {
		ID any `bson:"_id"`
	}
	docs, err := findAll[named](ctx, s.db.Collection(coll), filter,
		options.Find().SetSort(bson.D{{Key: field, Value: 1}}).SetLimit(int64(limit)).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	ids := make(bson.A, 0, len(docs))
	for _, d := range docs {
		ids = append(ids, d.ID)
	}
	return ids, err
}
