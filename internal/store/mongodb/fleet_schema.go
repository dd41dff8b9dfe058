package mongodb

import "context"

// migrateFleet makes the first form of devices and logs.
func migrateFleet(ctx context.Context, s *Store) error {
	return s.createIndexes(ctx, fleetIndexes())
}

// migrateSerials makes the indexes of serials.
func migrateSerials(ctx context.Context, s *Store) error {
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
			{keys: []string{"serial", "scope"}, where: "serial"},
			lockIndex,
		},
		collSerials:     {{keys: []string{"device"}}, lockIndex},
		collTail:        {{keys: []string{"open"}}, lockIndex},
		collCheckpoints: {lockIndex},
		collDocuments: {
			{keys: []string{"t", "s", "a", "b"}},
			{keys: []string{"h"}, where: "h"},
			{keys: []string{"gone"}, where: "gone"},
		},
		collNames: {{keys: []string{"key"}, unique: true}},
	}
}
