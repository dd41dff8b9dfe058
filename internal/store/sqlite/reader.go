package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync"
	"time"

	"hearth"
)

// readers is the connections that read. Each keeps the statements that were prepared on it: a statement must never need a
// second connection, or readers that each hold one would wait for one another for ever.
type readers struct {
	db   *sql.DB
	size int
	// free holds the connections that nobody uses; one without a conn is not open yet.
	free chan *readConn

	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error
}

type readConn struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func newReaders(db *sql.DB) *readers {
	size := max(4, runtime.NumCPU())
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	p := &readers{db: db, size: size, free: make(chan *readConn, size), closed: make(chan struct{})}
	for range size {
		p.free <- &readConn{}
	}
	return p
}

// close waits for the reads under way and closes the connections. It may be called twice; reads after it
// fail with CodeUnavailable.
func (p *readers) close() error {
	p.closeOnce.Do(func() {
		close(p.closed)
		for range p.size {
			c := <-p.free
			p.closeErr = errors.Join(p.closeErr, c.close())
		}
		p.closeErr = errors.Join(p.closeErr, p.db.Close())
	})
	return p.closeErr
}

// use reports how many connections are busy.
func (p *readers) use(name string) hearth.Pool {
	return hearth.Pool{Name: name, InUse: p.size - len(p.free), Max: p.size}
}

// take waits for a free connection and opens it if it is not open.
func (p *readers) take(ctx context.Context) (*readConn, error) {
	select {
	case c := <-p.free:
		if c.conn != nil {
			return c, nil
		}
		conn, err := p.db.Conn(ctx)
		if err != nil {
			p.free <- c
			return nil, err
		}
		c.conn, c.prepared = conn, map[string]*sql.Stmt{}
		return c, nil
	case <-p.closed:
		return nil, unavailable(errors.New("the store is closed"))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *readConn) close() error {
	if c.conn == nil {
		return nil
	}
	var errs []error
	for _, stmt := range c.prepared {
		errs = append(errs, stmt.Close())
	}
	errs = append(errs, c.conn.Close())
	c.conn, c.prepared = nil, nil
	return errors.Join(errs...)
}

func (c *readConn) prepare(query string) (*sql.Stmt, error) {
	if stmt := c.prepared[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := c.conn.PrepareContext(context.Background(), query)
	if err == nil {
		c.prepared[query] = stmt
	}
	return stmt, err
}

func (c *readConn) exec(query string) error {
	stmt, err := c.prepare(query)
	if err == nil {
		_, err = stmt.Exec()
	}
	return err
}

// reader is one read transaction: everything read through it is of one snapshot.
type reader struct {
	ctx context.Context
	*readConn
}

// read runs fn in a snapshot. Driver errors come back translated. fn must not read again but through its reader. The
// operation's name is for the observer.
func (s *Store) read(ctx context.Context, operation string, fn func(*reader) error) error {
	start := time.Now()
	err := s.readFrom(ctx, s.readers, fn)
	took := time.Since(start)
	s.options.Observer.Operation(ctx, operation, took, err)
	if s.options.SlowQuery > 0 && took >= s.options.SlowQuery {
		s.options.Logger.WarnContext(ctx, "slow query", "kind", "performance", "operation", operation, "duration", took)
	}
	return err
}

// snapshotKey finds the reader whose snapshot a context's reads share.
type snapshotKey struct{ store *Store }

// Snapshot runs fn, and has all reads of the store with fn's context see the store as it is now, whatever is written meanwhile.
// They are made one after another. While fn runs, the file that takes writes cannot be made smaller: it is for minutes at most.
// What fn returns comes back.
func (s *Store) Snapshot(ctx context.Context, fn func(context.Context) error) error {
	return s.readFrom(ctx, s.scans, func(r *reader) error {
		var one int
		if err := r.row(`SELECT count(*) FROM sqlite_schema`).Scan(&one); err != nil { // the first read is what fixes the snapshot
			return err
		}
		return fn(context.WithValue(ctx, snapshotKey{s}, r.readConn))
	})
}

// readFrom is read on a connection of that pool, or in the snapshot of ctx.
func (s *Store) readFrom(ctx context.Context, pool *readers, fn func(*reader) error) error {
	if c, ok := ctx.Value(snapshotKey{s}).(*readConn); ok {
		return translate(fn(&reader{ctx, c}))
	}
	c, err := pool.take(ctx)
	if err != nil {
		return translate(err)
	}
	defer func() { pool.free <- c }()
	if err := c.exec(`BEGIN`); err != nil {
		return translate(errors.Join(err, c.close()))
	}
	// Also when fn panics: the next reader must not find an old snapshot.
	defer func() {
		if err := c.exec(`ROLLBACK`); err != nil {
			s.options.Logger.WarnContext(ctx, "a reading connection is given up", "err", errors.Join(err, c.close()))
		}
	}()
	return translate(fn(&reader{ctx, c}))
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

// brief returns the reader for statements that find their rows at once, by an index: no context interrupts them, since watching
// one takes longer than they do.
func (r *reader) brief() querier {
	if r.ctx.Err() != nil {
		return r
	}
	return &reader{context.WithoutCancel(r.ctx), r.readConn}
}

type rowScanner interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }

// querier is a snapshot or a write: what reads rows.
type querier interface {
	query(query string, args ...any) (*sql.Rows, error)
	row(query string, args ...any) rowScanner
	brief() querier
}
