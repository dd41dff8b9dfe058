package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
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
	return again(ctx, func() error {
		_, err := s.db.Collection(collDevices).UpdateMany(ctx, bson.D{{Key: "desired_version", Value: nil}},
			set(bson.D{{Key: "desired_version", Value: int64(0)}}))
		return err
	})
}

// migrateMoves makes the index of devices that moved.
func migrateMoves(ctx context.Context, s *Store) error {
	return s.createIndexes(ctx, fleetIndexes())
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
