package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
)

const (
	// maxQueued bounds the writes that wait for their turn.
	maxQueued = 4096
	// maxGroup bounds the writes that share a commit, and maxGroupTime how long a group goes on taking writes in.
	maxGroup     = 512
	maxGroupTime = 20 * time.Millisecond
	// crowd is the size of a group whose callers run before the next group begins: what they write next shares its commit, where the processors
	// are busy, and otherwise they take no time.
	crowd = 16
)

// writer owns the one writing connection. Writes that arrive while a commit is under way share the next one: each but the first runs in
// a savepoint of its own, so that the failure of one undoes that one alone, and none is answered before the commit that
// holds it was fsynced. Long writes share no commit with short ones, which wait for one of them at most.
type writer struct {
	db       *sql.DB
	conn     *sql.Conn
	options  Options
	short    chan *request
	long     chan *request
	stopping chan struct{}
	done     chan struct{}
	stopOnce sync.Once
	stopErr  error

	// shared counts the short writes since the last giveWay.
	shared atomic.Int64

	prepared   map[string]*sql.Stmt
	logs       *logWriter
	checkpoint *checkpointer
}

type request struct {
	fn func(*tx) error
	// ctx is the asker's: the jobs of the write are marked with what caused them.
	ctx context.Context
	// at is when it was queued.
	at time.Time
	// claimed is set by the first of the writer (to run it) and the asker (to give up waiting).
	claimed atomic.Bool
	result  chan error
	hooks   []func()
	after   []func()
	err     error
}

// tx is one write's view of the group's transaction.
type tx struct {
	w   *writer
	req *request
	// unsaved is set until the first statement of a write that is not its group's first: then its savepoint begins. Logs alone need none.
	unsaved bool
}

func startWriter(ctx context.Context, db *sql.DB, file *os.File, options Options) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the writing connection: %w", err)
	}
	w := &writer{
		db: db, conn: conn, options: options, prepared: map[string]*sql.Stmt{},
		short: make(chan *request, maxQueued), long: make(chan *request, maxQueued), stopping: make(chan struct{}), done: make(chan struct{}), logs: &logWriter{},
	}
	if w.checkpoint, err = startCheckpointer(ctx, options, file); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

// stop lets the queued writes finish and closes the connection.
func (w *writer) stop() error {
	w.stopOnce.Do(func() {
		close(w.stopping)
		<-w.done
		w.stopErr = w.checkpoint.close()
		for _, stmt := range w.prepared {
			w.stopErr = errors.Join(w.stopErr, stmt.Close())
		}
		w.stopErr = errors.Join(w.stopErr, w.conn.Close(), w.db.Close())
	})
	return w.stopErr
}

// write runs fn in the next group's transaction and returns when that transaction is durable, or with fn's error and
// nothing written. A context that ends while the write still waits takes it back; one that ends later does not. The
// operation's name is for the observer.
func (s *Store) write(ctx context.Context, operation string, fn func(*tx) error) error {
	return s.writeIn(ctx, s.writer.short, operation, fn)
}

// writeLong is write for what takes longer than a millisecond or two.
func (s *Store) writeLong(ctx context.Context, operation string, fn func(*tx) error) error {
	return s.writeIn(ctx, s.writer.long, operation, fn)
}

func (s *Store) writeIn(ctx context.Context, queue chan *request, operation string, fn func(*tx) error) error {
	start := time.Now()
	req := &request{fn: fn, ctx: ctx, at: start, result: make(chan error, 1)}
	err := s.enqueue(ctx, queue, req)
	s.options.Observer.Operation(ctx, operation, time.Since(start), err)
	if err == nil {
		for _, hook := range req.after {
			hook()
		}
	}
	return err
}

// enqueue is writeIn for a request.
func (s *Store) enqueue(ctx context.Context, queue chan *request, req *request) error {
	unavailable := &hearth.Error{Code: hearth.CodeUnavailable, Message: "the store is busy", RetryAfter: time.Second}
	select {
	case <-s.writer.stopping:
		return unavailable
	default:
	}
	select {
	case queue <- req:
	case <-s.writer.done:
		return unavailable
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-req.result:
		return err
	case <-ctx.Done():
		if req.claimed.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	case <-s.writer.done:
		if req.claimed.CompareAndSwap(false, true) {
			return unavailable
		}
	}
	return <-req.result
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case <-w.checkpoint.nearly:
			w.copyRest()
		default:
		}
		select {
		case req := <-w.short:
			if w.group(req, w.short) >= crowd {
				runtime.Gosched()
			}
			// A long write waits for one group of short ones at most.
			select {
			case req := <-w.long:
				w.group(req, w.long)
			default:
			}
			continue
		default:
		}
		select {
		case req := <-w.short:
			w.group(req, w.short)
		case req := <-w.long:
			w.group(req, w.long)
		case <-w.checkpoint.nearly:
			w.copyRest()
		case <-w.stopping:
			w.drain()
			return
		}
	}
}

// The time from one write of many that belong together to the next is restTimes what it took, and mostRest at most, while others write.
const (
	restTimes = 2
	mostRest  = 50 * time.Millisecond
)

// giveWay waits between the writes of a large request, and the folds of logs that are spread over much time: one after the other they would keep a
// processor, the writer and the disk busy that others need.
func (w *writer) giveWay(ctx context.Context, took time.Duration) {
	if w.shared.Swap(0) == 0 {
		return
	}
	select {
	case <-time.After(min(restTimes*took, mostRest)):
	case <-ctx.Done():
	case <-w.stopping:
	}
}

// copyRest copies the little that the checkpointer has left of the log. What fails is done by a later checkpoint.
func (w *writer) copyRest() {
	_, _, err := logPages(context.Background(), w.conn, `PRAGMA wal_checkpoint(PASSIVE)`)
	if err != nil {
		w.options.Logger.Debug("the end of a checkpoint failed", "err", err)
		w.checkpoint.forget(err)
	}
}

// drain runs the writes that wait.
func (w *writer) drain() {
	for {
		select {
		case req := <-w.short:
			w.group(req, w.short)
		case req := <-w.long:
			w.group(req, w.long)
		default:
			return
		}
	}
}

// group runs first and whatever else is waiting in its queue in one transaction, commits it, and answers them all. Long writes go on joining
// until a short one waits. It returns how many there were.
func (w *writer) group(first *request, queue chan *request) (size int) {
	if !first.claimed.CompareAndSwap(false, true) {
		return 0
	}
	start := time.Now()
	members := []*request{first}
	all := &tx{w: w, req: first}
	fatal := w.begin(all)
	if fatal == nil {
		fatal = w.runFirst(all)
	}
collect:
	for fatal == nil && len(members) < maxGroup && time.Since(start) < maxGroupTime && (queue == w.short || len(w.short) == 0) {
		select {
		case req := <-queue:
			if req.claimed.CompareAndSwap(false, true) {
				members = append(members, req)
				fatal = w.runOne(req)
			}
		default:
			break collect
		}
	}
	if fatal == nil {
		fatal = w.logs.flush(all)
	}
	if fatal == nil {
		fatal = w.exec(`COMMIT`)
	}
	if fatal != nil {
		w.logs.end(true)
		if err := w.exec(`ROLLBACK`); err != nil {
			w.options.Logger.Debug("rollback after a failed commit", "err", err)
		}
		w.answer(members, fatal)
		return len(members)
	}
	took := time.Since(start)
	w.options.Observer.Commit(len(members), start.Sub(first.at), took)
	if w.options.SlowQuery > 0 && took >= w.options.SlowQuery {
		w.options.Logger.Warn("slow commit", "kind", "performance", "duration", took, "writes", len(members))
	}
	if queue == w.short {
		w.shared.Add(int64(len(members)))
	}
	w.logs.end(false)
	w.answer(members, nil)
	w.checkpoint.committed()
	return len(members)
}

// begin begins a group's transaction.
func (w *writer) begin(all *tx) error {
	if err := w.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	return w.logs.begin(all)
}

// runFirst runs the first write of a group. It needs no savepoint, for which SQLite would copy each page that it changes: if it fails, the
// transaction holds nothing else, and begins anew.
func (w *writer) runFirst(all *tx) (fatal error) {
	req := all.req
	req.err = all.guarded()
	w.logs.settle(req.err != nil)
	if req.err == nil {
		return nil
	}
	req.hooks = nil
	// A full disk or an I/O error may have rolled the transaction back already; then this fails, and with it the group.
	if err := w.exec(`ROLLBACK`); err != nil {
		return errors.Join(req.err, err)
	}
	return w.begin(all)
}

// runOne runs another write, in a savepoint. Its own failure goes to req.err; what it returns ends the whole group.
func (w *writer) runOne(req *request) (fatal error) {
	t := &tx{w: w, req: req, unsaved: true}
	req.err = t.guarded()
	w.logs.settle(req.err != nil)
	if req.err != nil {
		req.hooks = nil
	}
	if t.unsaved {
		return nil
	}
	if req.err != nil {
		// A full disk or an I/O error may have rolled the transaction back already; then this fails, and with it the group.
		if err := w.exec(`ROLLBACK TO write`); err != nil {
			return errors.Join(req.err, err)
		}
	}
	return w.exec(`RELEASE write`)
}

// guarded runs the write, and turns its panic into its error: the writer serves everybody.
func (t *tx) guarded() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a write panicked: %v", p)
		}
	}()
	return t.req.fn(t)
}

func (w *writer) answer(members []*request, groupErr error) {
	for _, req := range members {
		if groupErr == nil && req.err == nil {
			for _, hook := range req.hooks {
				hook()
			}
		}
		err := req.err
		if groupErr != nil && err == nil {
			err = groupErr
		}
		req.result <- translate(err)
	}
}

func (w *writer) prepare(query string) (*sql.Stmt, error) {
	if stmt := w.prepared[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), query)
	if err == nil {
		w.prepared[query] = stmt
	}
	return stmt, err
}

func (w *writer) exec(query string) error {
	stmt, err := w.prepare(query)
	if err == nil {
		_, err = stmt.Exec()
	}
	return err
}

// statement returns a statement of the write.
func (t *tx) statement(query string) (*sql.Stmt, error) {
	if t.unsaved {
		if err := t.w.exec(`SAVEPOINT write`); err != nil {
			return nil, err
		}
		t.unsaved = false
	}
	return t.w.prepare(query)
}

// exec runs a statement whose text does not change from call to call (it stays prepared).
func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	stmt, err := t.statement(query)
	if err != nil {
		return nil, err
	}
	return stmt.Exec(args...)
}

// query is exec for rows. The rows must be closed before the write goes on to its next statement on the same table.
func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := t.statement(query)
	if err != nil {
		return nil, err
	}
	return stmt.Query(args...)
}

// row is query for one row.
func (t *tx) row(query string, args ...any) rowScanner {
	stmt, err := t.statement(query)
	if err != nil {
		return failedRow{err}
	}
	return stmt.QueryRow(args...)
}

// brief implements querier: nothing interrupts a write.
func (t *tx) brief() querier { return t }

// afterwards runs hook on the asker's goroutine after the write is durable, so that no other write waits for it.
func (t *tx) afterwards(hook func()) { t.req.after = append(t.req.after, hook) }

// onCommit runs hook on the writer's goroutine after the write is durable and before it is answered; hook must be quick.
func (t *tx) onCommit(hook func()) { t.req.hooks = append(t.req.hooks, hook) }
