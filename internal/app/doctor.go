package app

import (
	"context"

	"hearth"
	"hearth/internal/config"
	"hearth/internal/doctor"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/sqlite"
)

// Doctor checks the installation that the configuration describes, and changes nothing. Returns one line a check.
func Doctor(ctx context.Context, cfg *config.Config, clock hearth.Clock) []doctor.Line {
	return doctor.Check(ctx, doctor.Options{
		Config: cfg, Clock: clock, Files: openFiles,
		SQLite: func(ctx context.Context, path string) (doctor.SQLite, error) {
			e, err := sqlite.Examine(ctx, path)
			return doctor.SQLite(e), err
		},
		MongoDB: func(ctx context.Context, uri string) (doctor.MongoDB, error) {
			e, err := mongodb.Examine(ctx, uri)
			found := doctor.MongoDB{
				Server: e.Server, ReplicaSet: e.ReplicaSet, Members: e.Members, Down: e.Down, Volatile: e.Volatile, Skew: e.Skew,
				Exists: e.Exists, Version: e.Version, Newest: e.Newest, Restoring: e.Restoring,
			}
			for _, index := range e.Missing {
				found.Missing, found.Commands = append(found.Missing, index.Name), append(found.Commands, index.Command)
			}
			return found, err
		},
	})
}
