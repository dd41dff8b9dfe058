// Package sqlitequeue keeps jobs in an SQLite file of their own. Several processes may use the file at once.
package sqlitequeue

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"

	"hearth"
	"hearth/internal/bus"
	"hearth/internal/queue"
)

//go:embed schema.sql
var schema string

// schemaVersion is the user_version of a file that schema made. Files of version 2 have a table more: messages between processes.
const schemaVersion = 3

// Options are how a queue is opened.
type Options struct {
	// Path is the file; it is made, with mode 0600, if it is not there. Its directory must exist.
	Path string
	// MaxBacklog is how many unfinished jobs there may be before Enqueue refuses; 0 is 1,000,000.
	MaxBacklog int64
	// Clock is for due times, leases and records; nil is the system's.
	Clock hearth.Clock
	// Bus wakes other processes that use the file; nil wakes none.
	Bus bus.Bus
}

// Queue implements queue.Backend.
type Queue struct {
	clock   hearth.Clock
	backlog int64
	bus     bus.Bus
	writer  *writer
	// read is a small pool of connections that only read.
	read *sql.DB
	// hot are read's statements that a worker repeats all the time.
	hot struct{ due, cancelling, expired *sql.Stmt }
	// closing is closed by Close.
	closing   chan struct{}
	closeOnce sync.Once
	closed    error

	watchers queue.Watchers
	// changed is signalled where other processes are to be woken.
	changed chan struct{}
	waking  sync.WaitGroup

	mu        sync.Mutex
	isOpen    bool
	listening bus.Subscription // nil until the first Watch
}

var _ queue.Backend = (*Queue)(nil)

// Open opens the queue and makes or checks its tables. CodeUnavailable and CodeStorageFull as in queue.Queue; a file
// that a newer version of the program wrote is refused.
func Open(ctx context.Context, o Options) (*Queue, error) {
	if o.Path == "" || o.MaxBacklog < 0 {
		return nil, errors.New("a queue needs a path, and a backlog that is not negative")
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, err
	}
	// SQLite creates the files next to it with the same mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the queue's file cannot be opened: %w", translatePath(err))
	}
	if err := f.Close(); err != nil {
		return nil, translatePath(err)
	}
	q := &Queue{
		clock: o.Clock, backlog: o.MaxBacklog, bus: o.Bus, isOpen: true, closing: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	q.backlog = cmp.Or(q.backlog, 1_000_000)
	write, err := open(path, 1, "")
	if err != nil {
		return nil, err
	}
	if q.writer, err = newWriter(ctx, write); err != nil {
		return nil, errors.Join(q.translate(err), write.Close())
	}
	if q.read, err = open(path, 4, "&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, q.writer.close())
	}
	if err := q.migrate(ctx); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	for query, stmt := range map[string]**sql.Stmt{selectDue: &q.hot.due, selectCancelling: &q.hot.cancelling, selectExpired: &q.hot.expired} {
		if *stmt, err = q.read.PrepareContext(ctx, query); err != nil {
			return nil, errors.Join(q.translate(err), q.Close())
		}
	}
	if q.bus != nil {
		q.waking.Go(q.wakeOthers)
	}
	return q, nil
}

func open(path string, connections int, more string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path,
		RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" + more}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (q *Queue) migrate(ctx context.Context) error {
	return q.update(ctx, full, func(t tx) error {
		var version int
		if err := t.row(`PRAGMA user_version`).Scan(&version); err != nil {
			return err
		}
		switch version {
		case schemaVersion:
			return nil
		case 0, 1, 2:
			steps := []string{fmt.Sprintf(`PRAGMA user_version = %d`, schemaVersion)}
			if version == 0 {
				steps = append(steps, schema)
			} else {
				steps = append(steps, `DROP TABLE IF EXISTS feed`)
			}
			for _, step := range steps {
				if _, err := q.writer.conn.ExecContext(ctx, step); err != nil {
					return err
				}
			}
			return nil
		default:
			return fmt.Errorf("the queue's file has version %d; this program knows %d", version, schemaVersion)
		}
	})
}

// Close implements queue.Backend.
func (q *Queue) Close() error {
	q.closeOnce.Do(func() {
		q.mu.Lock()
		q.isOpen = false
		listening := q.listening
		q.mu.Unlock()
		close(q.closing)
		q.waking.Wait()
		if listening != nil {
			listening.Close()
		}
		q.closed = errors.Join(q.read.Close(), q.writer.close())
	})
	return q.closed
}

// Ping implements queue.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	var one int
	return q.translate(q.read.QueryRowContext(ctx, `SELECT count(*) FROM slots WHERE name = ''`).Scan(&one))
}

// The primary result codes of SQLite that mean something to a caller: https://sqlite.org/rescode.html
const (
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeIOErr    = 10
	codeFull     = 13
	codeCantOpen = 14
	codeProtocol = 15
)

// translate returns a driver's error one of our codes.
func (q *Queue) translate(err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*hearth.Error](err); ours {
		return err
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case codeFull:
			return &hearth.Error{Code: hearth.CodeStorageFull, Message: "the disk is full", RetryAfter: 10 * time.Second, Cause: err}
		case codeBusy, codeLocked, codeReadOnly, codeIOErr, codeCantOpen, codeProtocol:
			return unavailable(err)
		}
		return err
	}
	// database/sql has no typed error for a closed pool.
	select {
	case <-q.closing:
		return unavailable(err)
	default:
		return err
	}
}

func translatePath(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error {
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the queue does not answer", RetryAfter: time.Second, Cause: err}
}
