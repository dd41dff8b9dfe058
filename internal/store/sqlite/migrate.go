package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"hearth/internal/store/record"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrator returns the program's migrations of a database: those in SQL, and those that SQL cannot do.
func migrator(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithGoMigrations(goose.NewGoMigration(24, &goose.GoFunc{RunTx: addSearch}, nil)))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return provider, nil
}

// newestOf returns the version that the migrations lead to.
func newestOf(provider *goose.Provider) int64 {
	sources := provider.ListSources()
	return sources[len(sources)-1].Version
}

// addSearch gives devices and users the text that is searched.
func addSearch(ctx context.Context, t *sql.Tx) error {
	for _, kind := range []struct {
		table, id, text string
		first           any
	}{{"devices", "key", "name", 0}, {"users", "id", "name || char(10) || email", ""}} {
		if _, err := t.ExecContext(ctx, `ALTER TABLE `+kind.table+` ADD COLUMN search TEXT NOT NULL DEFAULT ''`); err != nil {
			return err
		}
		page := `SELECT ` + kind.id + `, ` + kind.text + ` FROM ` + kind.table + ` WHERE ` + kind.id + `>? ORDER BY 1 LIMIT 1000`
		for last := kind.first; last != nil; {
			folded, err := foldPage(ctx, t, page, last)
			if err != nil {
				return err
			}
			last = nil
			for _, row := range folded {
				last = row[0]
				if _, err := t.ExecContext(ctx, `UPDATE `+kind.table+` SET search=? WHERE `+kind.id+`=?`, row[1], row[0]); err != nil { //nolint:gosec // names of ours
					return err
				}
			}
		}
	}
	return nil
}

// foldPage returns identities and folded texts.
func foldPage(ctx context.Context, t *sql.Tx, query string, last any) (folded [][2]any, err error) {
	rows, err := t.QueryContext(ctx, query, last)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var id any
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			return nil, closed(rows, err)
		}
		folded = append(folded, [2]any{id, record.Fold(text)})
	}
	return folded, closed(rows, nil)
}

// migrate brings the schema up to the program's. It refuses a newer one, which an older program would not understand.
func migrate(ctx context.Context, db *sql.DB) error {
	provider, err := migrator(db)
	if err != nil {
		return err
	}
	if migrated(ctx, db, provider) {
		return complete(ctx, db)
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	newest := newestOf(provider)
	if version > newest {
		return fmt.Errorf("the database has schema %d, which is newer than this program's %d: use the newer program", version, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		// Another process may have done the same work at the same time.
		if now, again := provider.GetDBVersion(ctx); again != nil || now != newest {
			return fmt.Errorf("migrate the schema: %w", err)
		}
	}
	return complete(ctx, db)
}

// migrated reports whether every migration was applied, and no other: one read, where goose makes a lock, a table and several.
func migrated(ctx context.Context, db *sql.DB, provider *goose.Provider) bool {
	var applied, newest int64
	err := db.QueryRowContext(ctx, `SELECT count(DISTINCT version_id), ifnull(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&applied, &newest)
	// A version of 0 stands for the empty database. There is no table before the first migration.
	return err == nil && applied == int64(len(provider.ListSources()))+1 && newest == newestOf(provider)
}

// complete does what is left after the migrations: what takes steps of its own, and what follows from the descriptions.
func complete(ctx context.Context, db *sql.DB) error {
	if err := moveTargets(ctx, db, movedAtOnce); err != nil {
		return fmt.Errorf("index the targets of the audit: %w", err)
	}
	return makeTables(ctx, db)
}
