package app

import (
	"context"
	"log/slog"

	"hearth"
	"hearth/internal/backup"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/sqlite"
)

// BackupStores returns what opens stores to archive, restore and move them.
func BackupStores(logger *slog.Logger, clock hearth.Clock) backup.Stores {
	return backup.Stores{
		Files: openFiles,
		SQLite: func(ctx context.Context, path string) (backup.Store, error) {
			return sqlite.Open(ctx, sqlite.Options{Path: path, Clock: clock, Logger: logger})
		},
		SQLiteSource: func(ctx context.Context, path string) (backup.ReadStore, error) {
			return sqlite.OpenSource(ctx, sqlite.Options{Path: path, Clock: clock, Logger: logger})
		},
		MongoDB: func(ctx context.Context, uri string) (backup.Store, error) {
			return mongodb.Open(ctx, mongodb.Options{URI: uri, Clock: clock, Logger: logger})
		},
	}
}
