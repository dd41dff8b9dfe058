// Package live follows a hearth server's events: each once and in order, across lost connections and restarts.
package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options say what to follow. URL and Token are required.
type Options struct {
	// URL is the server's, such as "https://hearth.example".
	URL string
	// Token returns an access token that is valid now. It is asked for each time a connection is made.
	Token func(ctx context.Context) (string, error)
	// Channels are what to follow: "device:ID", "org:ID", "user:ID"; none is everything of one's own.
	Channels []string
	// LastID goes on after an event of an earlier run, by its Event.ID; "" begins now.
	LastID string
	// HTTP makes the requests; nil is a client of the package's own. It must not have a Timeout: a stream has no end.
	HTTP *http.Client
	// MinDelay and MaxDelay bound the wait before a new attempt, which doubles with each that fails and is spread at random
	// (0: 500 ms and 30 s).
	MinDelay time.Duration
	MaxDelay time.Duration
	// Silence is how long a connection may bring nothing before it counts as lost (0: 60 s). The server says something every
	// 15 s.
	Silence time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.URL == "" || o.Token == nil {
		return o, errors.New("live: URL and Token are required")
	}
	if _, err := url.Parse(o.URL); err != nil {
		return o, fmt.Errorf("live: the URL is not valid: %w", err)
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	if o.HTTP.Timeout != 0 {
		return o, errors.New("live: the HTTP client has a Timeout, which would end every stream")
	}
	if o.MinDelay <= 0 {
		o.MinDelay = 500 * time.Millisecond
	}
	if o.MaxDelay <= 0 {
		o.MaxDelay = 30 * time.Second
	}
	if o.Silence <= 0 {
		o.Silence = time.Minute
	}
	return o, nil
}

// Refused is the error of a server that will not let the stream be followed: waiting does not help.
type Refused struct {
	// Status is the answer's; Code is hearth's name of the failure, such as "not_found", and Detail describes it.
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error says what the server said.
func (r *Refused) Error() string {
	return fmt.Sprintf("live: the server answers %d %s: %s", r.Status, r.Code, r.Detail)
}

// Follow calls handle for every event, in order, one at a time, until ctx ends, handle returns an error, or the server
// refuses (*Refused); it returns that error. A lost connection is made anew and goes on where it was. An event of type
// TypeReset says that something was missed that the server no longer has: read anew what you keep.
func Follow(ctx context.Context, options Options, handle func(Event) error) error {
	options, err := options.withDefaults()
	if err != nil {
		return err
	}
	f := &follower{options: options, handle: handle, lastID: options.LastID, retry: options.MinDelay}
	return f.run(ctx)
}

type follower struct {
	options Options
	handle  func(Event) error
	lastID  string
	// retry is the shortest wait, as the server asked for it; failures counts the attempts since the last that worked.
	retry    time.Duration
	failures int
	// refusals counts the 401 in a row: one may be a token that ran out on its way.
	refusals int
}

// stop wraps an error that ends Follow.
type stop struct{ err error }

func (s stop) Error() string { return s.err.Error() }
func (s stop) Unwrap() error { return s.err }

func (f *follower) run(ctx context.Context) error {
	for {
		after, err := f.connect(ctx)
		if ended, ok := errors.AsType[stop](err); ok {
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

// connect opens the stream and reads it to its end. after is how long the server wants to be left alone.
func (f *follower) connect(ctx context.Context) (after time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	token, err := f.options.Token(ctx)
	if err != nil {
		return 0, err
	}
	address := strings.TrimSuffix(f.options.URL, "/") + "/api/v1/realtime/sse"
	if len(f.options.Channels) > 0 {
		address += "?channels=" + url.QueryEscape(strings.Join(f.options.Channels, ","))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, stop{err}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "text/event-stream")
	if f.lastID != "" {
		request.Header.Set("Last-Event-ID", f.lastID)
	}
	silence := time.AfterFunc(f.options.Silence, cancel)
	defer silence.Stop()
	response, err := f.options.HTTP.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return f.refused(response)
	}
	f.refusals = 0
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

// take notes what a block says and hands its event on.
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
	event := Event{ID: f.lastID}
	if err := json.Unmarshal(block.data, &event); err != nil {
		return fmt.Errorf("live: an event is not as hearth writes it: %w", err)
	}
	return f.handle(event)
}

// refused decides about an answer that is no stream.
func (f *follower) refused(response *http.Response) (after time.Duration, err error) {
	refused := &Refused{Status: response.StatusCode}
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return 0, err
	}
	// A proxy's answer may be no problem document; its status says enough.
	_ = json.Unmarshal(body, refused)
	refused.Status = response.StatusCode
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized:
		if f.refusals++; f.refusals > 1 {
			return 0, stop{refused}
		}
		return 0, refused
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil {
			seconds = 0
		}
		return min(time.Duration(seconds)*time.Second, 5*time.Minute), refused
	}
	return 0, stop{refused}
}
