// Package sqlite is the store on one machine: a SQLite file in WAL mode with synchronous=FULL, one writer whose
// concurrent writes share commits, and a pool of readers that each see one snapshot.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver

	"hearth"
)

// Options say where the store is and how it behaves.
type Options struct {
	// Path is the database file; it is made, with mode 0600, if it is not there.
	Path string
	// Clock is the time of everything that the store stamps; nil is the system's.
	Clock hearth.Clock
	// Logger takes what nobody is there to be told; nil discards it.
	Logger *slog.Logger
	// SlowQuery is the duration from which a read or a commit is logged; zero logs none.
	SlowQuery time.Duration
}

func (o Options) validate() (Options, error) {
	if o.Path == "" {
		return o, errors.New("sqlite: no path was given")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Store is an open database. All its methods may be called at once from many goroutines.
type Store struct {
	options Options
	writer  *writer
	readers *sql.DB
	// prepared holds the readers' statements by their text.
	prepared sync.Map
}

// pragmas go into the DSN, so that every connection of a pool has them.
const pragmas = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
	"&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(67108864)&_pragma=temp_store(MEMORY)&_pragma=mmap_size(0)"

func dsn(path, more string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas + more
}

// Open opens the store, making or migrating its schema. It refuses a schema that is newer than the program.
func Open(ctx context.Context, options Options) (_ *Store, err error) {
	options, err = options.validate()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(options.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	writes, err := sql.Open("sqlite", dsn(options.Path, "&_txlock=immediate&_pragma=cache_size(-65536)"))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	writes.SetMaxOpenConns(1)
	if err := migrate(ctx, writes); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	readers, err := sql.Open("sqlite", dsn(options.Path, "&_pragma=query_only(1)&_pragma=cache_size(-16384)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), writes.Close())
	}
	size := max(4, runtime.NumCPU())
	readers.SetMaxOpenConns(size)
	readers.SetMaxIdleConns(size)
	writer, err := startWriter(ctx, writes, options)
	if err != nil {
		return nil, errors.Join(err, writes.Close(), readers.Close())
	}
	return &Store{options: options, writer: writer, readers: readers}, nil
}

// Close finishes the writes that were taken, refuses new ones with CodeUnavailable, and closes the file. It may be
// called twice.
func (s *Store) Close() error {
	return errors.Join(s.writer.stop(), s.readers.Close())
}

// Ping tells whether the store answers; CodeUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(r *reader) error {
		var one int
		return r.row(`SELECT 1`).Scan(&one)
	})
}

func (s *Store) now() time.Time { return s.options.Clock.Now() }

// reader is one read transaction: everything read through it is of one snapshot.
type reader struct {
	ctx   context.Context
	tx    *sql.Tx
	store *Store
}

// read runs fn in a snapshot. Driver errors come back translated.
func (s *Store) read(ctx context.Context, fn func(*reader) error) error {
	start := time.Now()
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return translate(err)
	}
	err = fn(&reader{ctx: ctx, tx: tx, store: s})
	if took := time.Since(start); s.options.SlowQuery > 0 && took >= s.options.SlowQuery {
		s.options.Logger.WarnContext(ctx, "slow query", "kind", "performance", "duration", took)
	}
	// Ending a read cannot lose anything, and after a cancelled context it has ended already.
	if end := tx.Rollback(); err == nil && end != nil && !errors.Is(end, sql.ErrTxDone) {
		err = end
	}
	return translate(err)
}

func (r *reader) prepare(query string) (*sql.Stmt, error) {
	if stmt, ok := r.store.prepared.Load(query); ok {
		return r.tx.StmtContext(r.ctx, stmt.(*sql.Stmt)), nil
	}
	stmt, err := r.store.readers.PrepareContext(r.ctx, query)
	if err != nil {
		return nil, err
	}
	if first, raced := r.store.prepared.LoadOrStore(query, stmt); raced {
		if err := stmt.Close(); err != nil {
			return nil, err
		}
		stmt = first.(*sql.Stmt)
	}
	return r.tx.StmtContext(r.ctx, stmt), nil
}

// query runs a statement whose text does not change from call to call (it stays prepared).
func (r *reader) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := r.prepare(query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(r.ctx, args...)
}

// row is query for one row.
func (r *reader) row(query string, args ...any) rowScanner {
	stmt, err := r.prepare(query)
	if err != nil {
		return failedRow{err}
	}
	return stmt.QueryRowContext(r.ctx, args...)
}

// queryOnce runs a statement whose text is made for this call; it is not kept prepared.
func (r *reader) queryOnce(query string, args ...any) (*sql.Rows, error) {
	return r.tx.QueryContext(r.ctx, query, args...)
}

type rowScanner interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }
