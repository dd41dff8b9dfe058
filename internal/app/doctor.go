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
			return doctor.MongoDB(e), err
		},
	})
}
