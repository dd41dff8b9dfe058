package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"slices"
)

// Examination is what Examine found.
type Examination struct {
	// Exists reports whether there is a database; nothing else counts if not.
	Exists bool
	// Version is the schema's, Newest the program's.
	Version, Newest int64
	// Missing are tables, indexes and triggers that the schema should have and does not.
	Missing []string
	// Damage is what SQLite finds wrong with the file; empty if nothing.
	Damage []string
	// Journal is the size of the write-ahead log in bytes.
	Journal int64
	// Restoring names what the store is half restored from; "" if it is not.
	Restoring string
}

// Examine looks at the database of that path without changing anything; servers may work on it.
func Examine(ctx context.Context, path string) (e Examination, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	e.Exists = true
	if info, err := os.Stat(path + "-wal"); err == nil {
		e.Journal = info.Size()
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)")
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	have, err := objects(ctx, db)
	if err != nil {
		return e, err
	}
	want, newest, err := freshSchema(ctx)
	if err != nil {
		return e, err
	}
	e.Newest = newest
	if slices.Contains(have, "table goose_db_version") {
		if err := db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&e.Version); err != nil {
			return e, err
		}
	}
	if e.Version == e.Newest {
		for _, name := range want {
			if !slices.Contains(have, name) {
				e.Missing = append(e.Missing, name)
			}
		}
	}
	if slices.Contains(have, "table restore_state") {
		err := db.QueryRowContext(ctx, `SELECT source FROM restore_state`).Scan(&e.Restoring)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return e, err
		}
	}
	e.Damage, err = texts(ctx, db, `PRAGMA quick_check(5)`)
	if slices.Equal(e.Damage, []string{"ok"}) {
		e.Damage = nil
	}
	return e, err
}

// objects lists the schema's parts, as "index devices_name".
func objects(ctx context.Context, db *sql.DB) ([]string, error) {
	return texts(ctx, db, `SELECT type||' '||name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1`)
}

// asked is a database or a transaction.
type asked interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func texts(ctx context.Context, db asked, query string) (out []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, closed(rows, err)
		}
		out = append(out, text)
	}
	return out, closed(rows, nil)
}

// freshSchema returns the parts of a schema as this program makes it, in memory.
func freshSchema(ctx context.Context) (parts []string, version int64, err error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	provider, err := migrator(db)
	if err != nil {
		return nil, 0, err
	}
	if _, err := provider.Up(ctx); err != nil {
		return nil, 0, err
	}
	if err := complete(ctx, db); err != nil {
		return nil, 0, err
	}
	if version, err = provider.GetDBVersion(ctx); err != nil {
		return nil, 0, err
	}
	parts, err = objects(ctx, db)
	return parts, version, err
}
