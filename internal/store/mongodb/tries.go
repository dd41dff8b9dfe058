package mongodb

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"hearth"
)

// triesDoc counts failed logins under a key, which is its _id.
type triesDoc struct {
	ID          []byte `bson:"_id"`
	Meta        `bson:",inline"`
	TriesFields `bson:",inline"`
}

// TriesFields are what changes of a count. The type is exported for package bson alone.
type TriesFields struct {
	Failed  int        `bson:"failed"`
	Locked  int64      `bson:"locked_until"`
	Updated int64      `bson:"updated"`
	PurgeAt *time.Time `bson:"purge_at"`
}

func (d triesDoc) tries() hearth.Tries {
	return hearth.Tries{Failed: d.Failed, LockedUntil: fromMillis(d.Locked), UpdatedAt: fromMillis(d.Updated)}
}

func (s *Store) triesFields(t hearth.Tries) TriesFields {
	return TriesFields{
		Failed: t.Failed, Locked: millis(t.LockedUntil), Updated: millis(t.UpdatedAt), PurgeAt: s.purgeAt(s.now().Add(keepTries)),
	}
}

// keepTries is for how long the server keeps what nobody touched, if the clean-up does not remove it before.
const keepTries = 30 * 24 * time.Hour

// Tries implements hearth.UserStore.
func (s *Store) Tries(ctx context.Context, key []byte) (tries hearth.Tries, err error) {
	err = s.do(ctx, "Tries", func(ctx context.Context) error {
		var d triesDoc
		err := s.db.Collection(collTries).FindOne(ctx, live(bson.E{Key: "_id", Value: key})).Decode(&d)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return nil
		}
		tries = d.tries()
		return err
	})
	return tries, err
}

// UpdateTries implements hearth.UserStore.
func (s *Store) UpdateTries(
	ctx context.Context, key []byte, change func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error),
) (tries hearth.Tries, err error) {
	err = s.commit(ctx, writing{name: "UpdateTries", line: collTries + "/" + string(key)}, func(ctx context.Context, st *step) error {
		before, err := load[triesDoc](ctx, st, collTries, byID(key))
		gone := errors.Is(err, errGone)
		if err != nil && !gone {
			return err
		}
		if tries, st.effects, err = change(before.tries()); err != nil {
			return err
		}
		fields := s.triesFields(tries)
		empty := tries == (hearth.Tries{})
		switch {
		case gone && empty:
		case gone:
			st.insert(collTries, key, triesDoc{ID: key, Meta: Meta{V: 1}, TriesFields: fields}, errStale)
		case empty:
			st.remove(collTries, key, before.V)
		default:
			st.update(collTries, key, before.V, set(fields))
		}
		return nil
	})
	if err != nil {
		return hearth.Tries{}, err
	}
	return tries, nil
}

// clearTries forgets what is counted under a key, if anything is.
func clearTries(ctx context.Context, st *step, key []byte) error {
	d, err := load[triesDoc](ctx, st, collTries, byID(key))
	if errors.Is(err, errGone) {
		return nil
	}
	if err == nil {
		st.remove(collTries, key, d.V)
	}
	return err
}

// removeTries removes failed logins that are older than a time.
func (s *Store) removeTries(ctx context.Context, before time.Time) error {
	// The index updated finds them.
	return again(ctx, func() error {
		_, err := s.db.Collection(collTries).DeleteMany(ctx, bson.D{
			{Key: "updated", Value: bson.D{{Key: "$lt", Value: millis(before)}}},
			{Key: "locked_until", Value: bson.D{{Key: "$lt", Value: millis(before)}}}, {Key: "lock", Value: nil},
		})
		return err
	})
}
