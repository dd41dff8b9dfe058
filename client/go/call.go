package hearth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// request is one call of an operation.
type request struct {
	method, path string
	// query is the …Params of the operation, or nil.
	query any
	// body is sent as JSON, unless it is nil.
	body any
	// creates gets an Idempotency-Key; public needs no token.
	creates, public bool
}

// CallOption changes one call: what WithHeader and the like return, or the …Params of an operation that seldom has any.
type CallOption interface{ apply(*callOptions) }

type callOption func(*callOptions)

func (f callOption) apply(o *callOptions) { f(o) }

type callOptions struct {
	header   http.Header
	query    any
	response *http.Header
	// repeatable calls may be sent again where it is not known whether they had an effect.
	repeatable bool
}

// WithHeader sends a header, such as Range or If-None-Match.
func WithHeader(name, value string) CallOption {
	return callOption(func(o *callOptions) { o.header.Set(name, value) })
}

// WithIdempotencyKey makes a creation under a key of yours, so that it is safe to repeat also after a restart of your program.
func WithIdempotencyKey(key string) CallOption { return WithHeader("Idempotency-Key", key) }

// IfMatch makes a change only where the object still has the entity tag: otherwise ErrorCodeVersionMismatch.
func IfMatch(tag string) CallOption { return WithHeader("If-Match", tag) }

// ResponseHeader stores the headers of the answer, such as ETag.
func ResponseHeader(header *http.Header) CallOption {
	return callOption(func(o *callOptions) { o.response = header })
}

func repeatable(o *callOptions) { o.repeatable = true }

// encode returns a …Params as the query of a URL: each field under the name of its tag, those that are empty left out.
func encode(params any) string {
	values := url.Values{}
	fields := reflect.ValueOf(params)
	for i := range fields.NumField() {
		field := fields.Field(i)
		if field.IsZero() {
			continue
		}
		text := fmt.Sprint(field.Interface())
		if at, ok := field.Interface().(time.Time); ok {
			text = at.Format(time.RFC3339Nano)
		}
		values.Set(fields.Type().Field(i).Tag.Get("query"), text)
	}
	return values.Encode()
}

// call makes a call and decodes what it answers; nil where the answer is empty.
func call[T any](ctx context.Context, c *Client, r request, options []CallOption) (*T, error) {
	response, err := c.do(ctx, r, options)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusNoContent || response.ContentLength == 0 {
		return nil, nil
	}
	out := new(T)
	if reflect.TypeFor[T]() == reflect.TypeFor[struct{}]() {
		return out, nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return nil, fmt.Errorf("hearth: read the answer of %s %s: %w", r.method, r.path, err)
	}
	return out, nil
}

// open makes a call whose answer is a file.
func (c *Client) open(ctx context.Context, r request, options []CallOption) (io.ReadCloser, error) {
	response, err := c.do(ctx, r, options)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// do makes a call until it succeeds, is refused, or its attempts are spent. A 429 was refused before it had an effect, so that it is
// repeated always; what failed in another way only where repeating has no second effect.
func (c *Client) do(ctx context.Context, r request, options []CallOption) (*http.Response, error) {
	o := callOptions{header: http.Header{}, repeatable: r.method == http.MethodGet || r.creates}
	if r.creates {
		o.header.Set("Idempotency-Key", rand.Text())
	}
	for _, option := range options {
		option.apply(&o)
	}
	if o.query != nil {
		r.query = o.query
	}
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("hearth: write the body of %s %s: %w", r.method, r.path, err)
		}
	}
	rejected, renewed := "", false
	for attempt := 1; ; attempt++ {
		token, err := c.bearer(ctx, r, rejected)
		if err != nil {
			return nil, err
		}
		response, err := c.send(ctx, r, o, body, token)
		if err == nil && response.StatusCode < http.StatusBadRequest {
			if o.response != nil {
				*o.response = response.Header
			}
			return response, nil
		}
		wait := backoff(attempt)
		repeat := o.repeatable
		if err == nil {
			refused := errorOf(response)
			err, wait = refused, max(wait, refused.RetryAfter)
			switch refused.Status {
			case http.StatusUnauthorized:
				// ErrorCodeInvalidCredentials is about a password in the body.
				if c.session != nil && c.token == "" && !r.public && !renewed && refused.Code != ErrorCodeInvalidCredentials {
					rejected, renewed, attempt = token, true, attempt-1
					continue
				}
				repeat = false
			case http.StatusTooManyRequests:
				repeat = true
			case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			default:
				repeat = false
			}
		}
		if !repeat || attempt >= c.attempts || wait > c.longest || !sleep(ctx, wait) {
			return nil, err
		}
	}
}

func (c *Client) bearer(ctx context.Context, r request, rejected string) (string, error) {
	switch {
	case r.public:
		return "", nil
	case c.token != "" || c.session == nil:
		return c.token, nil
	}
	return c.session.token(ctx, c, rejected)
}

// send makes one attempt.
func (c *Client) send(ctx context.Context, r request, o callOptions, body []byte, token string) (*http.Response, error) {
	address := c.base + r.path
	if r.query != nil {
		if query := encode(r.query); query != "" {
			address += "?" + query
		}
	}
	request, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, o.header)
	request.Header.Set("User-Agent", c.agent)
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/json, */*;q=0.5")
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return c.http.Do(request)
}

// backoff returns the wait after a failed attempt: 250 ms, 500 ms, 1 s …, spread, so that many clients do not come back at once.
func backoff(attempt int) time.Duration {
	longest := 250 * time.Millisecond << min(attempt-1, 7)
	return longest/2 + mathrand.N(longest/2)
}

// sleep waits, and reports false where the context ends first, or would.
func sleep(ctx context.Context, wait time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Page is a page of a list.
type Page[T any] struct {
	Items []T `json:"items"`
	// NextCursor is where the next page starts; null on the last page.
	NextCursor *string `json:"next_cursor"`
	// Total is the number of items on all pages, with Count.
	Total *int64 `json:"total,omitempty"`
}

// pages iterates over the items of pages. cursor is where read finds the one it reads, at first that of the first page.
func pages[T any](cursor *string, read func() (*Page[T], error)) iter.Seq2[T, error] {
	first := *cursor
	return func(yield func(T, error) bool) {
		for *cursor = first; ; {
			page, err := read()
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == nil {
				return
			}
			*cursor = *page.NextCursor
		}
	}
}

// isPermanent reports whether the server refused what no repetition changes.
func isPermanent(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests
}

// Optional is a field of a change: not set, set, or null, which clears.
type Optional[T any] struct {
	value T
	set   bool
	null  bool
}

// Set returns a field with a value.
func Set[T any](value T) Optional[T] { return Optional[T]{value: value, set: true} }

// Null returns a field that clears.
func Null[T any]() Optional[T] { return Optional[T]{set: true, null: true} }

// IsZero reports whether the field is not set.
func (o Optional[T]) IsZero() bool { return !o.set }

// MarshalJSON writes the value or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.set || o.null {
		return []byte("null"), nil
	}
	return json.Marshal(o.value)
}

// UnmarshalJSON reads a value or null.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.set, o.null = true, strings.TrimSpace(string(data)) == "null"
	if o.null {
		return nil
	}
	return json.Unmarshal(data, &o.value)
}

// Ptr returns a pointer to a value, for optional numbers and booleans.
func Ptr[T any](value T) *T { return &value }
