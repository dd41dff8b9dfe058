package steps

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.IdempotencyStore = (*DB)(nil)

// idempotencyID names an idempotency record. A caller's key holds no NUL.
func idempotencyID(caller, key string) string { return caller + "\x00" + key }

func (c *commitDoc) setIdempotency(r hearth.IdempotencyRecord) {
	c.Idempotency, c.Fingerprint, c.Operation = idempotencyID(r.Caller, r.Key), r.Fingerprint, r.Operation
	c.What, c.FirstLog = r.Created, int64(r.FirstLog)
	c.Created, c.Expires = Millis(r.CreatedAt), Millis(r.ExpiresAt)
}

func (c *commitDoc) idempotencyRecord() hearth.IdempotencyRecord {
	caller, key, _ := strings.Cut(c.Idempotency, "\x00")
	return hearth.IdempotencyRecord{
		Caller: caller, Key: key, Fingerprint: c.Fingerprint, Operation: c.Operation, Created: c.What, FirstLog: uint64(c.FirstLog),
		CreatedAt: FromMillis(c.Created), ExpiresAt: FromMillis(c.Expires),
	}
}

// findIdempotencyRecord returns the unexpired record of a caller's key, whose write it makes sure to be finished; nil if there is none. One
// that has expired is removed.
func (db *DB) findIdempotencyRecord(ctx context.Context, caller, key string) (*hearth.IdempotencyRecord, error) {
	commits := db.Collection(Commits)
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
		case c.Open != 0 && time.Since(start) < db.Options.Grace:
			// Whoever decided it is about to finish it.
			if err := Pause(ctx, try); err != nil {
				return nil, err
			}
		case c.Open != 0:
			if err := db.complete(ctx, &c); err != nil {
				return nil, err
			}
		case !FromMillis(c.Expires).After(db.Now()):
			err := Again(ctx, func() error {
				_, err := commits.DeleteOne(ctx, ByID(c.ID))
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
func (db *DB) replay(ctx context.Context, record *hearth.IdempotencyRecord) error {
	if record == nil {
		return nil
	}
	first, err := db.findIdempotencyRecord(ctx, record.Caller, record.Key)
	if err != nil || first == nil {
		return err
	}
	if first.Fingerprint != record.Fingerprint {
		return hearth.Errorf(hearth.CodeIdempotencyMismatch, "this Idempotency-Key was used for another request")
	}
	return &hearth.Replayed{Record: *first}
}

// IdempotencyRecord implements hearth.IdempotencyStore.
func (db *DB) IdempotencyRecord(ctx context.Context, caller, key string) (record hearth.IdempotencyRecord, err error) {
	err = db.Do(ctx, "IdempotencyRecord", func(ctx context.Context) error {
		first, err := db.findIdempotencyRecord(ctx, caller, key)
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
func (db *DB) DeleteExpiredIdempotencyRecords(ctx context.Context, now time.Time, limit int) (deleted int, err error) {
	err = db.Do(ctx, "DeleteExpiredIdempotencyRecords", func(ctx context.Context) error {
		// The index expires finds them.
		deleted, err = db.DeleteFirst(ctx, Commits, bson.D{
			{Key: "expires", Value: bson.D{{Key: "$exists", Value: true}, {Key: "$lte", Value: Millis(now)}}}, {Key: "open", Value: nil},
		}, "expires", limit)
		return err
	})
	return deleted, err
}

// ScanIdempotencyRecords gives the records of writes that are done.
func (db *DB) ScanIdempotencyRecords(ctx context.Context, give func(hearth.IdempotencyRecord) error) error {
	cursor, err := db.Collection(Commits).Find(ctx,
		bson.D{{Key: "once", Value: bson.D{{Key: "$exists", Value: true}}}, {Key: "open", Value: nil}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(rowsAtOnce))
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		var c commitDoc
		if err := cursor.Decode(&c); err != nil {
			return err
		}
		if err := give(c.idempotencyRecord()); err != nil {
			return err
		}
	}
	return cursor.Err()
}

// RestoreIdempotencyRecords stores those that are not stored.
func (db *DB) RestoreIdempotencyRecords(ctx context.Context, records []hearth.IdempotencyRecord) error {
	docs := make([]commitDoc, 0, len(records))
	for _, r := range records {
		c := commitDoc{ID: uuid.NewString(), PurgeAt: db.PurgeAt(r.ExpiresAt)}
		c.setIdempotency(r)
		docs = append(docs, c)
	}
	return db.InsertMissing(ctx, Commits, docs)
}
