package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// durability says what a power cut may undo. A killed process never loses a commit of either kind.
type durability string

const (
	// full: the commit is on the disk. For what is acknowledged: adding jobs, their outcomes, actions of users.
	full durability = "FULL"
	// light: a power cut may undo the commit, and leaves what was before. For leases: no holder survives a power cut, and
	// the next full commit carries them to the disk anyway.
	light durability = "NORMAL"
)

// writer is the one connection that writes. Transactions wait for their turn here, not for SQLite's lock.
type writer struct {
	db   *sql.DB
	conn *sql.Conn
	// free holds a token while no transaction runs; the receiver of the token has the fields below.
	free  chan struct{}
	mode  durability
	stmts map[string]*sql.Stmt
}

func newWriter(ctx context.Context, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, conn: conn, free: make(chan struct{}, 1), stmts: map[string]*sql.Stmt{}}
	w.free <- struct{}{}
	return w, nil
}

// close waits for the transaction under way, and ends the connection; no transaction runs afterwards.
func (w *writer) close() error {
	<-w.free
	errs := make([]error, 0, len(w.stmts)+2)
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// tx is a transaction of the writer. Its statements are prepared once.
type tx struct {
	w   *writer
	ctx context.Context
}

func (t tx) prepared(query string) (*sql.Stmt, error) {
	if s := t.w.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(t.ctx, query)
	if err == nil {
		t.w.stmts[query] = s
	}
	return s, err
}

// exec runs a statement and returns the number of rows that it changed.
func (t tx) exec(query string, args ...any) (int64, error) {
	s, err := t.prepared(query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row runs a query for one row.
func (t tx) row(query string, args ...any) scanner {
	s, err := t.prepared(query)
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(t.ctx, args...)
}

// scanner is a row.
type scanner interface{ Scan(...any) error }

type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }

// update runs fn in a write transaction. Once begun it is not interrupted: it is short, and half of it is worth nothing.
func (q *Queue) update(ctx context.Context, d durability, fn func(t tx) error) error {
	w := q.writer
	select {
	case <-q.closing:
		return unavailable(errClosed)
	default:
	}
	select {
	case <-w.free:
	case <-q.closing:
		return unavailable(errClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { w.free <- struct{}{} }()
	return q.translate(w.do(context.WithoutCancel(ctx), d, fn))
}

func (w *writer) do(ctx context.Context, d durability, fn func(t tx) error) error {
	t := tx{w: w, ctx: ctx}
	if w.mode != d {
		if _, err := w.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA synchronous = %s`, d)); err != nil {
			return err
		}
		w.mode = d
	}
	if _, err := t.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	err := fn(t)
	if err == nil {
		_, err = t.exec(`COMMIT`)
	}
	if err != nil {
		// SQLite may have rolled back by itself, as when the disk is full: then this fails, and that is right.
		_, _ = t.exec(`ROLLBACK`)
	}
	return err
}

var errClosed = errors.New("the queue is closed")
