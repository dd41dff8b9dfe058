// Package sqlite is the store on one machine: a SQLite file in WAL mode with synchronous=FULL, one writer whose
// concurrent writes share commits, and a pool of readers that each see one snapshot.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver

	"hearth"
	"hearth/internal/keymutex"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
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
	// Observer is told of each operation, by the name of its method, and of each commit; nil: nobody is.
	Observer hearth.StoreObserver
	// CacheBytes is how many bytes of pages the connections keep in all, outside of the heap; 0 is MaxCacheBytes.
	CacheBytes int64
	// Logs tune the storage of logs.
	Logs tsdb.Options
}

// MaxCacheBytes is the most that the connections keep of pages: the writer writerPages, each reader readerPages, each scan scanPages, in KiB.
const (
	writerPages, readerPages, scanPages = 65_536, 16_384, 4_096

	MaxCacheBytes = (writerPages + 4*readerPages + 4*scanPages) << 10
)

// cachePragma sets how much a connection keeps that keeps so many KiB of MaxCacheBytes.
func (o Options) cachePragma(pages int64) string {
	return fmt.Sprintf("&_pragma=cache_size(-%d)", pages*o.CacheBytes/MaxCacheBytes)
}

func (o Options) validate() (Options, error) {
	if o.Path == "" {
		return o, errors.New("sqlite: no path was given")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Observer == nil {
		o.Observer = hearth.NoObserver{}
	}
	if o.CacheBytes <= 0 || o.CacheBytes > MaxCacheBytes {
		o.CacheBytes = MaxCacheBytes
	}
	o.Logs.Clock, o.Logs.Logger = o.Clock, o.Logger
	return o, nil
}

// Store is an open database. All its methods may be called at once from many goroutines.
type Store struct {
	*record.Aggregates
	// Engine is the store of logs.
	*tsdb.Engine
	options Options
	writer  *writer
	readers *readers
	// scans is for reads that take as long as whoever reads them, so that those never keep a short one waiting.
	scans *readers
	// creating is held, by scope, while many devices are created.
	creating keymutex.Mutex[hearth.Scope]
	indexer  *targetIndexer
	// outbox and hooks are told of commits with jobs.
	outbox, hooks chan struct{}
	// closeFiles closes the files of the checkpointer. It is called last: closing them ends the locks that SQLite has on them.
	closeFiles func() error
}

// pragmas go into the DSN, so that every connection of a pool has them.
const pragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
	"&_pragma=wal_autocheckpoint(16000)&_pragma=journal_size_limit(67108864)&_pragma=temp_store(MEMORY)&_pragma=mmap_size(0)"

func dsn(path, more string) string { return dsnOf(path, "", more) }

// writerDSN is dsn for the connection that may make the database. Its auto_vacuum has to come before anything is written, and
// writes each time that a connection is opened, which a reader must not: it would wait for the writer.
func writerDSN(path, more string) string {
	return dsnOf(path, "&_pragma=auto_vacuum(INCREMENTAL)", more)
}

func dsnOf(path, first, more string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(5000)" + first + "&" + pragmas + more
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
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	writes, err := sql.Open("sqlite", writerDSN(options.Path, "&_txlock=immediate"+options.cachePragma(writerPages)))
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	writes.SetMaxOpenConns(1)
	if err := migrate(ctx, writes); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads, err := sql.Open("sqlite", dsn(options.Path, "&_pragma=query_only(1)"+options.cachePragma(readerPages)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), writes.Close())
	}
	writer, err := startWriter(ctx, writes, file, options)
	if err != nil {
		return nil, errors.Join(err, writes.Close(), reads.Close())
	}
	scans, err := sql.Open("sqlite", dsn(options.Path, "&_pragma=query_only(1)"+options.cachePragma(scanPages)))
	if err != nil {
		return nil, errors.Join(err, writer.stop(), reads.Close())
	}
	s := &Store{options: options, writer: writer, readers: newReaders(reads), scans: newReaders(scans),
		outbox: make(chan struct{}, 1), hooks: make(chan struct{}, 1),
		closeFiles: sync.OnceValue(func() error { return errors.Join(writer.checkpoint.index.Close(), file.Close()) })}
	s.indexer = newTargetIndexer(s)
	s.Aggregates = record.New(records{s})
	go writer.run()
	options.Logs.GiveWay = writer.giveWay
	if s.Engine, err = tsdb.New(logBackend{s}, options.Logs); err != nil {
		return nil, errors.Join(err, writer.stop(), s.readers.close(), s.scans.close())
	}
	if err := s.removeAllLate(ctx); err != nil {
		options.Logger.Warn("records of what was removed are not removed yet", "err", err)
	}
	s.settle(ctx)
	s.Start()
	return s, nil
}

// Close finishes the writes that were taken, refuses new ones with CodeUnavailable, and closes the file. It may be
// called twice.
func (s *Store) Close() error {
	s.Stop()
	s.indexer.stop()
	err := s.writer.stop()
	s.indexer.work.Wait()
	return errors.Join(err, s.readers.close(), s.scans.close(), s.closeFiles())
}

// Ping reports whether the store answers; CodeUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "Ping", func(r *reader) error {
		var one int
		return r.row(`SELECT 1`).Scan(&one)
	})
}

// Pools reports how busy the connections are: "read" are those of short questions, "scan" those of exports. There is one more,
// which writes.
func (s *Store) Pools() []hearth.Pool {
	return []hearth.Pool{s.readers.use("read"), s.scans.use("scan")}
}

func (s *Store) now() time.Time { return s.options.Clock.Now() }
