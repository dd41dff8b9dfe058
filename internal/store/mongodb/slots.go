package mongodb

import (
	"context"
	"errors"

	"hearth/internal/store/mongodb/steps"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// errNoSlot is freeSlot's for an owner whose places are all taken.
var errNoSlot = errors.New("mongodb: every place is taken")

// freeSlot returns a place, from 0 up to but not most, that none of an owner's documents in a collection has. A unique index of
// (owner, slot) keeps two from taking the same one, so that nobody ever has more documents than places. Drafts have theirs.
func (s *Store) freeSlot(ctx context.Context, coll, ownerField string, owner any, most int) (int, error) {
	// From the index (owner, slot).
	docs, err := steps.FindAll[struct {
		Slot int `bson:"slot"`
	}](ctx, s.Collection(coll), bson.D{{Key: ownerField, Value: owner}, {Key: slotField, Value: bson.D{{Key: "$exists", Value: true}}}},
		options.Find().SetProjection(bson.D{{Key: slotField, Value: 1}}))
	if err != nil {
		return 0, err
	}
	taken := map[int]bool{}
	for _, d := range docs {
		taken[d.Slot] = true
	}
	for slot := range most {
		if !taken[slot] {
			return slot, nil
		}
	}
	return 0, errNoSlot
}
