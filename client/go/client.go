// Package hearth is the client of a hearth server: every operation of its API, typed errors, sessions that renew themselves, retries,
// a writer of many logs, and live events.
//
//	client, err := hearth.New("https://hearth.example", hearth.WithToken("hk_…"))
//	device, err := client.CreateDevice(ctx, hearth.NewDevice{Name: "Kitchen", Type: "thermostat"})
//	for device, err := range client.AllDevices(ctx, hearth.ListDevicesParams{Status: hearth.DeviceStatusActive}) { … }
package hearth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base     string
	http     *http.Client
	agent    string
	attempts int
	longest  time.Duration
	// token is sent as it is; without it the session has one. Neither: only public operations work.
	token   string
	session *session
}

// Option changes how New makes a client.
type Option func(*Client)

// WithToken sends an API key ("hk_…"), a device's token ("hd_…") or an access token with every request.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithPassword signs in at the first request, renews the access token before it ends, and signs in again once the session is over.
func WithPassword(email, password string) Option {
	return func(c *Client) { c.session = &session{email: email, password: password} }
}

// WithSession continues a session: tokens are those that an earlier client saved. save, unless it is nil, is called with the new ones
// after each renewal, which spends the old refresh token.
func WithSession(tokens Tokens, save func(Tokens)) Option {
	return func(c *Client) {
		c.session = &session{access: tokens.AccessToken, refresh: tokens.RefreshToken, save: save}
		c.session.ends = time.Now().Add(time.Duration(tokens.ExpiresIn) * time.Second)
	}
}

// WithHTTPClient makes the requests with another client. With a Timeout it cannot follow events.
func WithHTTPClient(client *http.Client) Option { return func(c *Client) { c.http = client } }

// WithUserAgent names the program that calls.
func WithUserAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// WithRetries bounds the attempts of a call and the longest wait before one. A call whose Retry-After is longer fails at once.
// The default is 4 attempts and 30 s.
func WithRetries(attempts int, longest time.Duration) Option {
	return func(c *Client) { c.attempts, c.longest = max(attempts, 1), longest }
}

// New returns a client of the server at an address such as "https://hearth.example". It makes no request.
func New(address string, options ...Option) (*Client, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("hearth: the address is not valid: %w", err)
	}
	if parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return nil, errors.New("hearth: the address must be like https://hearth.example")
	}
	c := &Client{base: strings.TrimSuffix(address, "/"), agent: "hearth-go", attempts: 4, longest: 30 * time.Second}
	for _, option := range options {
		option(c)
	}
	if c.http == nil {
		c.http = &http.Client{Transport: newTransport()}
	}
	return c, nil
}

// newTransport bounds how long an answer may not begin: commands wait for 30 s at most.
func newTransport() http.RoundTripper {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	transport := standard.Clone()
	transport.ResponseHeaderTimeout = time.Minute
	transport.MaxIdleConnsPerHost = 16
	return transport
}
