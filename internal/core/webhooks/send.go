package webhooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth"
)

const (
	// sendTimeout bounds a request, with its connection and its answer; dialTimeout a connection.
	sendTimeout = 15 * time.Second
	dialTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
)

// sender makes the requests of deliveries.
type sender struct {
	client *http.Client
	agent  string
}

func newSender(g guard, o Options) *sender {
	agent := "hearth"
	if o.Version != "" {
		agent += "/" + o.Version
	}
	return &sender{agent: agent, client: &http.Client{
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy: it would resolve names by itself
			DialContext: g.dialer(o.Resolver), TLSHandshakeTimeout: dialTimeout, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxIdleConns: 200, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		},
	}}
}

// outcome is what came of a request.
type outcome struct {
	hearth.DeliveryAttempt
	// retryAfter is how long the receiver wants to be left alone.
	retryAfter time.Duration
}

// succeeded reports whether the receiver has taken the delivery.
func (o outcome) succeeded() bool { return o.Error == "" }

// send makes the request of a delivery with its secrets, at the time now.
func (s *sender) send(ctx context.Context, url string, d hearth.WebhookDelivery, secrets [][]byte, now time.Time) outcome {
	out := outcome{DeliveryAttempt: hearth.DeliveryAttempt{At: now}}
	start := time.Now()
	answer, err := s.post(ctx, url, d, secrets, now)
	if err != nil {
		out.Took, out.Error = time.Since(start), explain(err)
		return out
	}
	defer answer.Body.Close()
	// Whatever becomes of the rest: the status says what became of the delivery.
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
	if !out.succeeded() {
		out.retryAfter = retryAfter(answer.Header.Get("Retry-After"), now)
	}
	return out
}

func (s *sender) post(ctx context.Context, url string, d hearth.WebhookDelivery, secrets [][]byte, now time.Time) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", s.agent)
	r.Header.Set("Webhook-Id", d.ID)
	r.Header.Set("Webhook-Timestamp", stamp)
	r.Header.Set("Webhook-Signature", sign(d.ID, stamp, d.Body, secrets))
	return s.client.Do(r)
}

// sign returns the signatures of a request, one for each secret.
func sign(id, stamp string, body []byte, secrets [][]byte) string {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		sum := hmac.New(sha256.New, secret)
		sum.Write([]byte(id + "." + stamp + "."))
		sum.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	}
	return strings.Join(signatures, " ")
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
