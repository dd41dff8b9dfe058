package apitest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Password is that of every user that this package makes.
const Password = "a long enough secret"

// callTimeout bounds a call that is answered at once.
const callTimeout = 60 * time.Second

// Object is a JSON object.
type Object = map[string]any

// Client calls a program as one caller.
type Client struct {
	URL string
	// Token is sent with every call; "" is no one's.
	Token string
	// HTTP makes the calls; nil is http.DefaultClient.
	HTTP *http.Client
}

// Answer is a response, read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Text returns the status, and the body as text.
func (a Answer) Text() (status int, body string) { return a.Status, string(a.Body) }

// Into decodes the body.
func (a Answer) Into(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		tb.Fatalf("%v: %d %s", err, a.Status, a.Body)
	}
}

// Open makes a request and returns the response, whose body the caller closes. body is nil, a string or []byte sent as it is, or
// anything else as JSON; header is pairs. A path that does not name another part of the program is one of /api/v1.
func (c *Client) Open(ctx context.Context, method, path string, body any, header ...string) (*http.Response, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL+fullPath(path), reader)
	if err != nil {
		return nil, err
	}
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if c.HTTP != nil {
		return c.HTTP.Do(r)
	}
	return http.DefaultClient.Do(r)
}

func fullPath(path string) string {
	for _, other := range []string{"/api/", "/health", "/.well-known", "/openapi"} {
		if strings.HasPrefix(path, other) {
			return path
		}
	}
	return "/api/v1" + path
}

// Send is Open with the body read.
func (c *Client) Send(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	response, err := c.Open(ctx, method, path, body, header...)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	return Answer{response.StatusCode, response.Header, data}, err
}

// Ask returns the answer, whatever it is. No answer ends the test; one that docs/openapi.json does not allow fails it.
func (c *Client) Ask(tb testing.TB, method, path string, body any, header ...string) Answer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	a, err := c.Send(ctx, method, path, body, header...)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	if target, err := url.Parse(fullPath(path)); err == nil { // a path that is none reached no operation
		if err := CheckAnswer(method, target, a); err != nil {
			tb.Error(err)
		}
	}
	return a
}

// Call makes a call that has to succeed, and returns the object of the answer; nil if there is none.
func (c *Client) Call(tb testing.TB, method, path string, body any, header ...string) (object Object) {
	tb.Helper()
	a := c.Ask(tb, method, path, body, header...)
	if a.Status >= http.StatusBadRequest {
		tb.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
	}
	if len(a.Body) > 0 {
		a.Into(tb, &object)
	}
	return object
}

// Text returns a field of an object that is a string; "" if it is not one.
func Text(object Object, field string) string {
	value, _ := object[field].(string)
	return value
}

// SignUp makes an account and returns its client.
func SignUp(tb testing.TB, url, email string) *Client {
	tb.Helper()
	c := &Client{URL: url}
	c.Call(tb, "POST", "/auth/signup", Object{"name": "Ann", "email": email, "password": Password})
	return LogIn(tb, url, email)
}

// LogIn returns the client of a user whose password is Password.
func LogIn(tb testing.TB, url, email string) *Client {
	tb.Helper()
	c := &Client{URL: url}
	c.Token = Text(c.Call(tb, "POST", "/auth/login", Object{"email": email, "password": Password}), "access_token")
	return c
}

// Stream opens a stream of server-sent events with a ticket, and returns its lines until it ends.
func (c *Client) Stream(tb testing.TB, query string) <-chan string {
	tb.Helper()
	ticket := Text(c.Call(tb, "POST", "/realtime/ticket", nil), "ticket")
	reader := &Client{URL: c.URL, HTTP: c.HTTP}
	// Without the context of the test: a stream may outlive the part of a test that opens it.
	response, err := reader.Open(context.Background(), "GET", "/realtime/sse?ticket="+ticket+query, nil) //nolint:bodyclose // closed where its lines end
	if err != nil {
		tb.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		tb.Fatalf("the stream answers %d: %s", response.StatusCode, body)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		defer func() { _ = response.Body.Close() }()
		for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return lines
}
