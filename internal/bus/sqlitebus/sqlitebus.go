// Package sqlitebus is the bus of the processes that share a data directory, such as a server and its worker: a table in an SQLite
// file, which each reads on when the file has changed. A message arrives within about 100 ms in another process. While no other process
// listens, messages stay in memory.
package sqlitebus

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver

	"hearth"
	"hearth/internal/bus"
)

const (
	// look is how often the file is looked at for messages of other processes: reading its version costs microseconds.
	look = 100 * time.Millisecond
	// gather is how long a process waits before it reads what it published: one reading is of all that it published meanwhile.
	gather = 5 * time.Millisecond
	// kept is how long a message stays. A process that did not read for so long, because it was suspended, may have missed some.
	kept = time.Minute
	// sweepEvery is how often a process that publishes deletes what is older.
	sweepEvery = 10 * time.Second
	// batch bounds the messages of one reading.
	batch = 500
)

// No message has to survive: what was written before a start is not read. The file itself does, or no process would start after a
// power cut: synchronous=NORMAL keeps a WAL whole, and syncs at checkpoints alone.
const schema = `
CREATE TABLE IF NOT EXISTS messages (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at     INTEGER NOT NULL,
  sender TEXT NOT NULL,
  topic  TEXT NOT NULL,
  data   BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS messages_at ON messages (at);`

// Sealer encrypts what lies in the file.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

// Options are how a bus is opened.
type Options struct {
	// Path is the file; it is made, with mode 0600, if it is not there. Its directory must exist.
	Path string
	// Sealer encrypts the messages; nil leaves them as they are.
	Sealer Sealer
	// Clock says when a message is too old to be kept; nil is the system's.
	Clock hearth.Clock
	// Logger gets the error of a file that cannot be read, once; nil discards it.
	Logger *slog.Logger
}

// Bus implements bus.Bus.
type Bus struct {
	options Options
	id      string
	hub     *bus.Hub
	write   *sql.DB
	swept   atomic.Int64 // when messages were deleted last, in ms
	read    *sql.DB

	presence *presence
	local    local
	// written is the id of this end's last message in the file, delivered that of the last message that its listeners heard.
	written, delivered atomic.Int64

	// start begins the reading with the first listener.
	start   sync.Once
	wake    chan struct{}
	closing context.Context // the bus's life
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

var _ bus.Bus = (*Bus)(nil)

// Open opens the bus, and makes its table.
func Open(ctx context.Context, options Options) (_ *Bus, err error) {
	if options.Path, err = filepath.Abs(options.Path); err != nil {
		return nil, err
	}
	options.Logger = cmp.Or(options.Logger, slog.New(slog.DiscardHandler))
	// SQLite makes the files of the log with the same mode.
	file, err := os.OpenFile(options.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	b := &Bus{options: options, id: bus.NewID(), hub: bus.NewHub(nil), wake: make(chan struct{}, 1), local: local{wake: make(chan struct{}, 1)}}
	b.closing, b.cancel = context.WithCancel(context.Background())
	if b.presence, err = openPresence(options.Path + "-listeners"); err != nil {
		return nil, err
	}
	if b.write, err = open(options.Path, ""); err != nil {
		return nil, errors.Join(err, b.presence.close())
	}
	if b.read, err = open(options.Path, "&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, b.presence.close(), b.write.Close())
	}
	if _, err := b.write.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(bus.Unavailable(err), b.Close())
	}
	return b, nil
}

func open(path, more string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path,
		RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" + more}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // the version of the file is only comparable on one connection
	return db, nil
}

// Close ends the use. Closing twice is no error.
func (b *Bus) Close() error {
	b.cancel()
	b.work.Wait()
	b.hub.SetDown()
	return errors.Join(b.presence.close(), b.read.Close(), b.write.Close())
}

// ID implements bus.Bus.
func (b *Bus) ID() string { return b.id }

// PublishCounted implements bus.Bus: who reads the file is not known.
func (b *Bus) PublishCounted(ctx context.Context, topic, data string) (processes int, err error) {
	return bus.Uncounted, b.Publish(ctx, topic, data)
}

// Publish implements bus.Bus.
func (b *Bus) Publish(ctx context.Context, topic, data string) error {
	if err := bus.Check(topic, data); err != nil {
		return err
	}
	// After one in the file that is not heard yet, messages go there too, and stay in order.
	if b.delivered.Load() >= b.written.Load() && b.presence.alone() && b.local.add(bus.Message{Topic: topic, From: b.id, Data: data}) {
		return nil
	}
	text := []byte(data)
	if b.options.Sealer != nil {
		var err error
		if text, err = b.options.Sealer.Seal(text); err != nil {
			return err
		}
	}
	now := b.options.Clock.Now()
	if swept := b.swept.Load(); now.UnixMilli()-swept > sweepEvery.Milliseconds() && b.swept.CompareAndSwap(swept, now.UnixMilli()) {
		if _, err := b.write.ExecContext(ctx, `DELETE FROM messages WHERE at < ?`, now.Add(-kept).UnixMilli()); err != nil {
			return bus.Unavailable(err)
		}
	}
	result, err := b.write.ExecContext(ctx, `INSERT INTO messages (at, sender, topic, data) VALUES (?, ?, ?, ?)`, now.UnixMilli(), b.id, topic, text)
	if err != nil {
		return bus.Unavailable(err)
	}
	id, err := result.LastInsertId()
	if err != nil {
		return bus.Unavailable(err)
	}
	for last := b.written.Load(); last < id && !b.written.CompareAndSwap(last, id); last = b.written.Load() {
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// Listen implements bus.Bus.
func (b *Bus) Listen(l bus.Listener) bus.Subscription {
	s := b.hub.Listen(l)
	b.start.Do(func() {
		b.local.begin()
		b.work.Go(b.follow)
	})
	return s
}

// follow reads on until Close.
func (b *Bus) follow() {
	r := reader{bus: b, place: -1, version: -1}
	tick := time.NewTicker(look)
	defer tick.Stop()
	failing := false
	for {
		// Who begins to listen is seen by others before it reads how far they are.
		err := b.presence.enter()
		if err == nil {
			err = r.readOn(b.closing)
		}
		if b.closing.Err() != nil {
			return
		}
		if err != nil && !failing {
			b.options.Logger.Warn("messages of other processes cannot be read", "kind", "system", "err", err)
		}
		if failing = err != nil; failing {
			b.hub.SetDown()
		} else {
			b.hub.SetUp()
		}
		wrote, ok := b.await(tick.C, !failing)
		if !ok {
			return
		}
		if wrote {
			r.version = -1
		}
	}
}

// await returns when the file is to be read, and whether this end wrote to it; ok is false at the end. It delivers what stays in memory
// meanwhile, unless the link is down.
func (b *Bus) await(tick <-chan time.Time, up bool) (wrote, ok bool) {
	for {
		select {
		case <-b.local.wake:
			if messages := b.local.take(); up {
				b.deliver(messages)
			}
		case <-b.wake:
			select {
			case <-time.After(gather):
				return true, true
			case <-b.closing.Done():
				return true, false
			}
		case <-tick:
			return false, true
		case <-b.closing.Done():
			return false, false
		}
	}
}

func (b *Bus) deliver(messages []bus.Message) {
	for _, m := range messages {
		b.hub.Deliver(m)
	}
}

// reader is how far the file was read.
type reader struct {
	bus *Bus
	// place is the last message's id; -1 before the first reading.
	place int64
	// version is the file's, as the one connection sees it; -1 has it read anyway.
	version int64
}

// readOn delivers what is new.
func (r *reader) readOn(ctx context.Context) error {
	var version int64
	if err := r.bus.read.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
		return err
	}
	if version == r.version {
		return nil
	}
	if r.place < 0 {
		// Ids are never used twice, also when all messages are gone.
		if err := r.bus.read.QueryRowContext(ctx, `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0)`).Scan(&r.place); err != nil {
			return err
		}
	}
	for {
		messages, err := r.next(ctx)
		if err != nil {
			return err
		}
		r.bus.deliver(r.bus.local.take()) // published before any of these of the same end
		r.bus.deliver(messages)
		r.bus.delivered.Store(r.place)
		if len(messages) < batch {
			r.version = version
			return nil
		}
	}
}

// next returns the messages that follow, at most batch; where some were deleted before they were read, it takes the link down and up.
func (r *reader) next(ctx context.Context) ([]bus.Message, error) {
	rows, err := r.bus.read.QueryContext(ctx, `SELECT id, sender, topic, data FROM messages WHERE id > ? ORDER BY id LIMIT ?`, r.place, batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var messages []bus.Message
	place := r.place
	for rows.Next() {
		var id int64
		var m bus.Message
		var data []byte
		if err := rows.Scan(&id, &m.From, &m.Topic, &data); err != nil {
			return nil, err
		}
		if id != place+1 {
			r.bus.hub.SetDown()
			r.bus.hub.SetUp()
		}
		place = id
		if r.bus.options.Sealer != nil && r.bus.hub.Follows(m.Topic) {
			if data, err = r.bus.options.Sealer.Open(data); err != nil {
				r.bus.options.Logger.WarnContext(ctx, "a message of another process cannot be opened", "topic", m.Topic, "err", err)
				continue
			}
		}
		m.Data = string(data)
		messages = append(messages, m)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	r.place = place
	return messages, nil
}
