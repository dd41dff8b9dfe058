// Package redisqueue keeps jobs in Redis, for many instances and workers. Each method is one Lua script, so that it is
// atomic. What Redis acknowledged is as durable as its append-only file is set to be: docs/reference/redis.md.
package redisqueue

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/bus"
	"hearth/internal/bus/redisbus"
	"hearth/internal/queue"
	"hearth/internal/redisconn"
)

// Options are how a queue is opened. Bus is required.
type Options struct {
	Bus *redisbus.Bus
	// MaxBacklog is how many unfinished jobs there may be before Enqueue refuses; 0 is 1,000,000.
	MaxBacklog int64
	// Clock is for due times, leases and records; nil is the system's. The instances' clocks agree within a second or two.
	Clock hearth.Clock
	// Timeout bounds a call; 0 is 3 s.
	Timeout time.Duration
}

// Queue implements queue.Backend.
type Queue struct {
	bus     *redisbus.Bus
	conn    *redisconn.Conn
	clock   hearth.Clock
	backlog int64
	timeout time.Duration

	mu        sync.Mutex
	watchers  queue.Watchers
	listening bus.Subscription // nil until the first Watch
	closed    bool
}

var (
	_ queue.Backend   = (*Queue)(nil)
	_ queue.Forgetful = (*Queue)(nil)
)

// Open opens the queue. It asks Redis nothing: what is there was checked by redisconn.Connect.
func Open(o Options) (*Queue, error) {
	if o.Bus == nil || o.MaxBacklog < 0 || o.Timeout < 0 {
		return nil, errors.New("a queue needs a bus, and numbers that are not negative")
	}
	q := &Queue{bus: o.Bus, conn: o.Bus.Conn(), clock: o.Clock, backlog: o.MaxBacklog, timeout: o.Timeout}
	q.backlog = cmp.Or(q.backlog, 1_000_000)
	q.timeout = cmp.Or(q.timeout, 3*time.Second)
	return q, nil
}

// Close implements queue.Backend. The bus stays open.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	listening := q.listening
	q.listening = nil
	q.mu.Unlock()
	if listening != nil {
		listening.Close()
	}
	return nil
}

// Ping implements queue.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	return q.try(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Exists().Key(rootKey).Build()).Error()
	})
}

// attempt calls Redis, unless the queue is closed. A step that was begun is not interrupted by its caller: whether it happened
// would stay unknown.
func (q *Queue) try(ctx context.Context, fn func(context.Context, rueidis.Client) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	closed := q.closed
	q.mu.Unlock()
	if closed {
		return unavailable(errors.New("the queue is closed"))
	}
	err := q.conn.DoFor(context.WithoutCancel(ctx), q.timeout, fn)
	if hearth.ErrorCode(err) == hearth.CodeUnavailable {
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error {
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the queue does not answer", RetryAfter: time.Second, Cause: err}
}

// run runs a script and has read take its answer.
func (q *Queue) run(ctx context.Context, script *redisconn.Script, args []string, read func(rueidis.RedisResult) error) error {
	return q.try(ctx, func(ctx context.Context, client rueidis.Client) error {
		return read(script.Run(ctx, client, []string{rootKey}, append([]string{q.bus.Channel(topic), q.bus.ID()}, args...)))
	})
}

// Watch implements queue.Backend.
func (q *Queue) Watch() (<-chan struct{}, func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed && q.listening == nil {
		q.listening = q.bus.Listen(bus.Listener{
			Topics: []string{topic}, Heard: func(bus.Message) { q.watchers.Signal() },
			// Something may have come while the queue did not listen.
			Up: func(context.Context) error { q.watchers.Signal(); return nil },
		})
	}
	return q.watchers.Add()
}
