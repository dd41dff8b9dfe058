// Package guardedhttp makes requests to URLs that users give.
//
// It connects to public addresses alone, and to those that the configuration allows: the address is checked when it is dialed, so that a
// name cannot lead elsewhere after it was checked. It follows no redirect and uses no proxy. Requests and answers are bounded.
package guardedhttp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth"
)

const (
	// MaxURL is the longest URL, in bytes.
	MaxURL = 2048
	// SendTimeout bounds a request, with its connection and its answer; dialTimeout a connection.
	SendTimeout = 15 * time.Second
	dialTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
)

// Options are what a Client is made with.
type Options struct {
	// AllowNetworks and AllowHosts, names in lower case, may be reached though they are private.
	AllowNetworks []netip.Prefix
	AllowHosts    []string
	// Version is the program's, for User-Agent.
	Version string
	// Resolver finds the addresses of hosts; nil is the system's.
	Resolver *net.Resolver
}

// Client makes requests. Safe for concurrent use.
type Client struct {
	guard  guard
	client *http.Client
	agent  string
}

// New returns a client.
func New(o Options) *Client {
	agent := "hearth"
	if o.Version != "" {
		agent += "/" + o.Version
	}
	g := guard{networks: o.AllowNetworks, hosts: o.AllowHosts}
	return &Client{guard: g, agent: agent, client: &http.Client{
		Timeout:       SendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy: it would resolve names by itself
			DialContext: g.dialer(o.Resolver), TLSHandshakeTimeout: dialTimeout, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxIdleConns: 200, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		},
	}}
}

// CheckURL says what is wrong with a URL: a sentence's end; "" if nothing is.
func (c *Client) CheckURL(text string) string { return c.guard.checkURL(text) }

// Request is a POST of JSON.
type Request struct {
	URL  string
	Body []byte
	// Header is sent besides Content-Type and User-Agent.
	Header http.Header
}

// Outcome is what came of a request.
type Outcome struct {
	hearth.DeliveryAttempt
	// RetryAfter is how long the receiver wants to be left alone.
	RetryAfter time.Duration
}

// Succeeded reports whether the receiver accepted the request.
func (o Outcome) Succeeded() bool { return o.Error == "" }

// Post makes a request at the time now.
func (c *Client) Post(ctx context.Context, r Request, now time.Time) Outcome {
	out := Outcome{DeliveryAttempt: hearth.DeliveryAttempt{At: now}}
	start := time.Now()
	answer, err := c.do(ctx, r)
	if err != nil {
		out.Took, out.Error = time.Since(start), explain(err)
		return out
	}
	defer answer.Body.Close()
	// Whatever becomes of the rest: the status says what became of the request.
	begin, err := io.ReadAll(io.LimitReader(answer.Body, hearth.MaxAttemptText))
	if err == nil {
		_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	}
	out.Took, out.Status, out.Excerpt = time.Since(start), answer.StatusCode, printable(string(begin))
	switch {
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		out.Error = "the receiver redirects, which is not followed"
	case answer.StatusCode < 200 || answer.StatusCode >= 300:
		out.Error = fmt.Sprintf("the receiver answered %d", answer.StatusCode)
	}
	if !out.Succeeded() {
		out.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), now)
	}
	return out
}

func (c *Client) do(ctx context.Context, r Request) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, r.Header)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", c.agent)
	return c.client.Do(request)
}

// Sign returns the headers of a request by the Standard Webhooks specification, with a signature for each secret.
func Sign(id string, now time.Time, body []byte, secrets ...[]byte) http.Header {
	stamp := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		sum := hmac.New(sha256.New, secret)
		sum.Write([]byte(id + "." + stamp + "."))
		sum.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	}
	header := http.Header{}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", stamp)
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
	return header
}

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
)

// NewSecret returns a secret for Sign, and the form in which it is shown to users.
func NewSecret() (raw []byte, shown string) {
	raw = make([]byte, secretBytes)
	rand.Read(raw)
	return raw, secretPrefix + base64.StdEncoding.EncodeToString(raw)
}

// retryAfter reads the header of that name: seconds or a time. 0 for anything else; a day at most.
func retryAfter(text string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now)), most)
	}
	return 0
}

// explain returns an error of a request as its user may read it: without addresses that a name resolved to.
func explain(err error) string {
	if _, ok := errors.AsType[errBlocked](err); ok {
		return "the host leads to an address that is not public"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "the host is not known"
		}
		return "the host could not be looked up"
	}
	switch {
	case isTimeout(err):
		return "no answer came in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "the host is not reachable"
	case strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: "):
		text := err.Error()
		if i := strings.LastIndex(text, "tls: "); i >= 0 {
			text = text[i:]
		}
		return printable(text)
	}
	return "the request failed"
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// printable returns a text of the other side without what does not print, and not longer than hearth.MaxAttemptText.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	for len(text) > hearth.MaxAttemptText {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
