package hearth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// FollowOptions say what to follow.
type FollowOptions struct {
	// Channels are what to follow: "device:ID", "org:ID", "user:ID"; none is everything of your own devices.
	Channels []string
	// LastID continues after an event of an earlier run, by its LiveEvent.ID; "" begins now.
	LastID string
	// Opened, unless it is nil, is called whenever the stream is open.
	Opened func()
	// MinDelay and MaxDelay bound the wait before a new attempt, which doubles with each that fails and is spread at random
	// (0: 500 ms and 30 s).
	MinDelay time.Duration
	MaxDelay time.Duration
	// Silence is how long a connection may bring nothing before it counts as lost (0: 60 s). The server sends a comment every 15 s.
	Silence time.Duration
}

func (o FollowOptions) withDefaults() FollowOptions {
	if o.MinDelay <= 0 {
		o.MinDelay = 500 * time.Millisecond
	}
	if o.MaxDelay <= 0 {
		o.MaxDelay = 30 * time.Second
	}
	if o.Silence <= 0 {
		o.Silence = time.Minute
	}
	return o
}

// Follow calls handle for every event, each once and in order, one at a time, until ctx ends, handle returns an error, or the server
// refuses (*Error); it returns that error. After a lost connection it continues where it was. An event of type EventReset says that
// events were missed that the server no longer has: read anew what you keep.
func (c *Client) Follow(ctx context.Context, options FollowOptions, handle func(LiveEvent) error) error {
	if c.http.Timeout != 0 {
		return errors.New("hearth: the HTTP client has a Timeout, which would end every stream")
	}
	options = options.withDefaults()
	f := &follower{client: c, options: options, handle: handle, lastID: options.LastID, retry: options.MinDelay}
	return f.run(ctx)
}

type follower struct {
	client  *Client
	options FollowOptions
	handle  func(LiveEvent) error
	lastID  string
	// retry is the shortest wait, as the server asked for it; failures counts the attempts since the last that worked.
	retry    time.Duration
	failures int
	// refusals counts the 401 in a row: one may be a ticket that ran out on its way.
	refusals int
}

// stop wraps an error that ends Follow.
type stop struct{ err error }

func (s stop) Error() string { return s.err.Error() }
func (s stop) Unwrap() error { return s.err }

func (f *follower) run(ctx context.Context) error {
	for {
		after, err := f.connect(ctx)
		var ended stop
		if errors.As(err, &ended) {
			return ended.err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		timer := time.NewTimer(max(after, f.delay()))
		f.failures++
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// delay is how long to wait before the next attempt: spread, so that many clients do not come back at once.
func (f *follower) delay() time.Duration {
	longest := min(f.options.MaxDelay, f.options.MinDelay<<min(f.failures, 16))
	if f.retry > f.options.MinDelay {
		longest += f.retry
	}
	return f.options.MinDelay/2 + rand.N(max(longest-f.options.MinDelay/2, 1))
}

// connect opens the stream with a ticket and reads it to its end. after is how long the server asks to wait.
func (f *follower) connect(ctx context.Context) (after time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticket, err := f.client.CreateStreamTicket(ctx)
	if err != nil {
		return f.refused(err)
	}
	parameters := struct {
		Ticket   string `query:"ticket"`
		Channels string `query:"channels"`
	}{ticket.Ticket, strings.Join(f.options.Channels, ",")}
	o := callOptions{header: http.Header{"Accept": {"text/event-stream"}}}
	if f.lastID != "" {
		o.header.Set("Last-Event-ID", f.lastID)
	}
	silence := time.AfterFunc(f.options.Silence, cancel)
	defer silence.Stop()
	response, err := f.client.send(ctx, request{method: http.MethodGet, path: "/api/v1/realtime/sse", query: parameters}, o, nil, "")
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return f.refused(errorOf(response))
	}
	f.refusals = 0
	if f.options.Opened != nil {
		f.options.Opened()
	}
	lines := newReader(response.Body)
	for {
		block, err := lines.next(func() { silence.Reset(f.options.Silence) })
		if err != nil {
			return 0, err
		}
		if err := f.take(block); err != nil {
			return 0, stop{err}
		}
	}
}

// take notes what a block says and passes its event on.
func (f *follower) take(block block) error {
	f.failures = 0
	if block.retry > 0 {
		f.retry = min(block.retry, f.options.MaxDelay)
	}
	if block.hasID {
		f.lastID = block.id
	}
	if len(block.data) == 0 {
		return nil
	}
	event := LiveEvent{ID: f.lastID}
	if err := json.Unmarshal(block.data, &event); err != nil {
		return fmt.Errorf("hearth: an event is not as the server writes it: %w", err)
	}
	return f.handle(event)
}

// refused decides about a failure: what waiting does not change ends Follow.
func (f *follower) refused(err error) (after time.Duration, _ error) {
	var refused *Error
	switch {
	case !errors.As(err, &refused):
		return 0, err
	case refused.Status == http.StatusUnauthorized:
		if f.refusals++; f.refusals > 1 {
			return 0, stop{refused}
		}
		return 0, refused
	case isPermanent(refused):
		return 0, stop{refused}
	}
	return min(refused.RetryAfter, 5*time.Minute), refused
}
