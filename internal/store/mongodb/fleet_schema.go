package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

// migrateFleet makes the first form of devices and logs.
func migrateFleet(ctx context.Context, s *Store) error {
	return s.createIndexes(ctx, fleetIndexes())
}

// migrateSerials makes the indexes of serials.
func migrateSerials(ctx context.Context, s *Store) error {
	return s.createIndexes(ctx, fleetIndexes())
}

// migrateTwins gives every device the version of its desired state.
func migrateTwins(ctx context.Context, s *Store) error {
	return steps.Again(ctx, func() error {
		_, err := s.Collection(collDevices).UpdateMany(ctx, bson.D{{Key: "desired_version", Value: nil}},
			steps.Set(bson.D{{Key: "desired_version", Value: int64(0)}}))
		return err
	})
}

// migrateMoves makes the index of devices that moved.
func migrateMoves(ctx context.Context, s *Store) error {
	return s.createIndexes(ctx, fleetIndexes())
}

// migrateSearch gives devices and users the text that is searched.
func migrateSearch(ctx context.Context, s *Store) error {
	for _, coll := range []string{collDevices, collUsers} {
		for more := true; more; {
			docs, err := steps.FindAll[struct {
				ID    string  `bson:"_id"`
				Name  string  `bson:"name"`
				Email *string `bson:"email"`
			}](ctx, s.Collection(coll), bson.D{{Key: "search", Value: nil}}, options.Find().SetLimit(steps.BatchSize))
			if err != nil {
				return err
			}
			var updates []mongo.WriteModel
			for _, doc := range docs {
				// A document that changes meanwhile is found again.
				is, text := bson.D{{Key: "_id", Value: doc.ID}, {Key: "name", Value: doc.Name}}, doc.Name
				if doc.Email != nil {
					is, text = append(is, bson.E{Key: "email", Value: *doc.Email}), doc.Name+"\n"+*doc.Email
				}
				updates = append(updates, mongo.NewUpdateOneModel().SetFilter(is).
					SetUpdate(steps.Set(bson.D{{Key: "search", Value: record.Fold(text)}})))
			}
			if more = len(docs) > 0; !more {
				break
			}
			err = steps.Again(ctx, func() error {
				_, err := s.Collection(coll).BulkWrite(ctx, updates, options.BulkWrite().SetOrdered(false))
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// fleetIndexes are those of devices and logs.
func fleetIndexes() map[string][]index {
	return map[string][]index{
		collDevices: {
			{keys: []string{"key"}, unique: true},
			{keys: []string{"scope", "created", "_id"}},
			{keys: []string{"scope", "name", "_id"}},
			{keys: []string{"scope", "status"}},
			{keys: []string{"created", "_id"}},
			{keys: []string{"name", "_id"}},
			{keys: []string{"status", "seen"}},
			{keys: []string{"dead"}, where: "dead"},
			{keys: []string{"hidden"}, where: "hidden"},
			{keys: []string{"serial", "scope"}, where: "serial"},
			lockIndex,
		},
		collSerials:     {{keys: []string{"device"}}, lockIndex},
		collTail:        {{keys: []string{"open"}}, lockIndex},
		collCheckpoints: {lockIndex},
		collDocuments: {
			{keys: []string{"k"}},
			{keys: []string{"h"}, where: "h"},
			purgeIndex,
		},
		collNames: {{keys: []string{"key"}, unique: true}},
	}
}
