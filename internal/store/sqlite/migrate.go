package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to the program's. It refuses a newer one, which an older program would not understand.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	sources := provider.ListSources()
	if newest := sources[len(sources)-1].Version; version > newest {
		return fmt.Errorf("the database has schema %d, which is newer than this program's %d: use the newer program", version, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		// Another process may have done the same work at the same time.
		if now, again := provider.GetDBVersion(ctx); again != nil || now != sources[len(sources)-1].Version {
			return fmt.Errorf("migrate the schema: %w", err)
		}
	}
	return makeTables(ctx, db)
}
