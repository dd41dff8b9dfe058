package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"hearth/internal/store/archive"
	"hearth/internal/tsdb"
)

// Source is a database that is archived and never written to, beside a server or without one: it takes no lock that a
// writer would wait for, and neither migrates nor folds.
type Source struct{ store *Store }

// OpenSource opens the database of the path. It must have the program's schema.
func OpenSource(ctx context.Context, options Options) (_ *Source, err error) {
	if options, err = options.validate(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(options.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s", options.Path)
	}
	db, err := sql.Open("sqlite", dsn(options.Path, "&mode=rw&_pragma=query_only(1)&_pragma=cache_size(-4096)"))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	pool := newReaders(db)
	s := &Source{&Store{options: options, readers: pool, scans: pool}}
	if s.store.Engine, err = tsdb.New(logBackend{s.store}, options.Logs); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.checkVersion(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Source) checkVersion(ctx context.Context) error {
	provider, err := migrator(s.store.scans.db)
	if err != nil {
		return err
	}
	newest := newestOf(provider)
	var version int64
	err = s.store.read(ctx, "SchemaVersion", func(r *reader) error {
		return r.row(`SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&version)
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the schema's version: %w", err)
	case version != newest:
		return fmt.Errorf("the database has schema %d and this program %d: back it up with the program that runs on it", version, newest)
	}
	return nil
}

// Archive is Store.Archive.
func (s *Source) Archive(ctx context.Context) iter.Seq2[archive.Part, error] {
	return s.store.Archive(ctx)
}

// Restoring is Store.Restoring.
func (s *Source) Restoring(ctx context.Context) (archive.Restore, error) {
	return s.store.Restoring(ctx)
}

// Close ends the reading. It may be called twice.
func (s *Source) Close() error { return s.store.scans.close() }
