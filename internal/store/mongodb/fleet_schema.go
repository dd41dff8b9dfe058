package mongodb

import "context"

// migrateFleet makes the first form of devices and logs.
func migrateFleet(ctx context.Context, s *Store) error {
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
			lockIndex,
		},
		collBatches: {
			{keys: []string{"open"}},
			{keys: []string{"checkpoint._id", "checkpoint.order"}, where: "checkpoint"},
			lockIndex,
		},
		collNames: {{keys: []string{"key"}, unique: true}},
		collLogs: {
			{keys: []string{"block", "hour"}},
			{keys: []string{"gone_at"}, expires: true},
		},
		collRollups: {
			{keys: []string{"scope", "level", "bucket", "block"}},
			{keys: []string{"level", "bucket"}},
			{keys: []string{"frag"}, where: "frag"},
		},
		collRollupDays: {
			{keys: []string{"scope", "group", "day"}},
			{keys: []string{"day", "scope"}},
		},
	}
}
