package redisconn

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"hearth"
)

// Options say which Redis, and how long it may take.
type Options struct {
	// URL names the server; docs/reference/redis.md lists the forms.
	URL string
	// CallTimeout bounds a call of Do; 0 is 150 ms.
	CallTimeout time.Duration
	// ConnectTimeout bounds Connect; 0 is 8 s.
	ConnectTimeout time.Duration
	// Logger records, once each, that Redis goes away and that it is back; nil discards it.
	Logger *slog.Logger
}

func (o Options) validate() (Options, error) {
	if o.CallTimeout < 0 || o.ConnectTimeout < 0 {
		return o, errors.New("redisconn: a duration is negative")
	}
	o.CallTimeout = cmp.Or(o.CallTimeout, 150*time.Millisecond)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 8*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

const (
	// dialTimeout bounds the opening of a connection; silence is how long one may be silent after a question before it is
	// given up, and askAfter how long an idle one is left unasked. Together the two bound how late a lost one is noticed.
	dialTimeout = time.Second
	silence     = 600 * time.Millisecond
	askAfter    = 250 * time.Millisecond
	// firstProbe is the pause between the first looks whether Redis is back; it doubles up to lastProbe.
	firstProbe = 20 * time.Millisecond
	lastProbe  = 500 * time.Millisecond
	// calm is how long Redis must have been there for the next fault to count as the first again.
	calm = 5 * time.Second
)

// Conn is a connection to Redis with a breaker. Its methods may be called at once from many goroutines.
type Conn struct {
	options Options
	target  target
	client  rueidis.Client

	// away is set while Redis is known to be away.
	away atomic.Bool

	mu sync.Mutex
	// fault is why, and back is closed when that ends; both nil while Redis is there.
	fault error
	back  chan struct{}
	since time.Time
	// pause is the next first pause of the probes; returned is when Redis came back last.
	pause    time.Duration
	returned time.Time
	closed   bool
	closing  chan struct{}
	probing  sync.WaitGroup
}

// Client returns the library's client, for what Do does not fit: subscriptions. Its calls do not know of the breaker.
func (c *Conn) Client() rueidis.Client { return c.client }

// Database returns the number of the database.
func (c *Conn) Database() int { return c.target.options.SelectDB }

// Do runs fn with at most Options.CallTimeout, unless Redis is known to be away: then it fails at once. What fn returns
// decides what becomes of the breaker: an error of the connection, a timeout, or an answer by which Redis refuses to
// serve opens it. Such errors come back as CodeUnavailable, an end of ctx as its error, others as they are.
func (c *Conn) Do(ctx context.Context, fn func(context.Context, rueidis.Client) error) error {
	return c.DoFor(ctx, c.options.CallTimeout, fn)
}

// DoFor is Do with another timeout.
func (c *Conn) DoFor(ctx context.Context, timeout time.Duration, fn func(context.Context, rueidis.Client) error) error {
	if c.away.Load() {
		return c.unavailable(c.Fault())
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := fn(bounded, c.client)
	switch {
	case err == nil || rueidis.IsRedisNil(err):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if answer, ok := rueidis.IsRedisErr(err); ok && !refuses(answer.Error()) {
		return err
	}
	if _, ok := errors.AsType[*hearth.Error](err); ok {
		return err
	}
	err = c.explain(err)
	c.lost(err)
	return c.unavailable(err)
}

func (c *Conn) unavailable(cause error) error {
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: "a part of the service is not available", RetryAfter: time.Second, Cause: cause}
}

// Away reports whether Redis is known to be away.
func (c *Conn) Away() bool { return c.away.Load() }

// Fault returns why Redis is away, in a sentence; nil while it is there.
func (c *Conn) Fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// Await waits until Redis is not known to be away, or ctx ends.
func (c *Conn) Await(ctx context.Context) error {
	c.mu.Lock()
	back := c.back
	c.mu.Unlock()
	if back == nil {
		return ctx.Err()
	}
	select {
	case <-back:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closing:
		return errClosed
	}
}

var errClosed = errors.New("the connection to Redis is closed")

// Ping asks Redis for a sign of life: the probe of its health.
func (c *Conn) Ping(ctx context.Context) error {
	return c.DoFor(ctx, time.Second, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Ping().Build()).Error()
	})
}

// lost opens the breaker and begins to ask.
func (c *Conn) lost(fault error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil || c.closed {
		return
	}
	if time.Since(c.returned) > calm {
		c.pause = firstProbe
	}
	c.fault, c.back, c.since = fault, make(chan struct{}), time.Now()
	c.away.Store(true)
	c.options.Logger.Warn("Redis is away: the service goes on without it, slower", "kind", "system", "err", fault)
	c.probing.Go(c.probe)
}

// probe asks until Redis takes writes again.
func (c *Conn) probe() {
	c.mu.Lock()
	pause := c.pause
	// A Redis that comes back only to go again is asked less and less often.
	c.pause = min(2*c.pause, lastProbe)
	c.mu.Unlock()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.closing:
			return
		}
		err := c.look()
		if err == nil {
			c.found()
			return
		}
		c.mu.Lock()
		c.fault = err
		c.mu.Unlock()
		pause = min(2*pause, lastProbe)
		timer.Reset(pause)
	}
}

// look returns what is wrong with Redis. A replica answers a PING but accepts no write.
func (c *Conn) look() error {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	err := c.client.Do(ctx, c.client.B().Set().Key("hearth:probe").Value("1").PxMilliseconds(1000).Build()).Error()
	if err != nil {
		return c.explain(err)
	}
	return nil
}

// found closes the breaker.
func (c *Conn) found() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.options.Logger.Info("Redis is back", "kind", "system", "away", time.Since(c.since).Round(time.Millisecond).String())
	c.fault, c.returned = nil, time.Now()
	c.away.Store(false) // first: whom back wakes calls at once
	close(c.back)
	c.back = nil
}

// Close ends the connection. Later calls fail with CodeUnavailable; closing twice is no error.
func (c *Conn) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	close(c.closing)
	if c.fault == nil {
		c.fault = errClosed
	}
	c.away.Store(true)
	c.mu.Unlock()
	c.probing.Wait()
	c.client.Close()
}
