package smtpmail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"hearth"
	"hearth/internal/mail"
)

// Sender sends by SMTP. It implements mail.Sender.
type Sender struct {
	o Options
	// places holds a token for each connection that may be open.
	places chan struct{}

	mu     sync.Mutex
	idle   []*connection
	closed bool
}

var _ mail.Sender = (*Sender)(nil)

// NewSender checks the options. It does not connect.
func NewSender(o Options) (*Sender, error) {
	o = o.withDefaults()
	if err := o.validateServer(); err != nil {
		return nil, err
	}
	from, err := o.From.Clean()
	if err != nil {
		return nil, fmt.Errorf("the sender's address: %w", err)
	}
	o.From = from
	return &Sender{o: o, places: make(chan struct{}, o.MaxConnections)}, nil
}

// maxMessages is how many messages one connection carries: servers end long ones.
const maxMessages = 100

// maxAnswers bounds what a server may answer to the signing in and to each message, in bytes: the library keeps answers of any length.
const maxAnswers = 64 << 10

// answers is a connection whose peer may send so many bytes more.
type answers struct {
	net.Conn
	left atomic.Int64
}

// Read implements io.Reader.
func (a *answers) Read(p []byte) (int, error) {
	left := a.left.Load()
	if left <= 0 {
		return 0, errors.New("the mail server answers more than 64 KiB")
	}
	n, err := a.Conn.Read(p[:min(int64(len(p)), left)])
	a.left.Add(-int64(n))
	return n, err
}

// connection is a dialogue with the server, at the point where a message may begin.
type connection struct {
	client *gomail.Client
	smtp   *smtp.Client
	raw    *answers
	sent   int
	// expiry closes the connection while it is idle.
	expiry *time.Timer
}

// Send implements mail.Sender.
func (s *Sender) Send(ctx context.Context, m mail.Message) error {
	msg, err := render(m, s.o.From, s.o.Clock)
	if err != nil {
		return err
	}
	return s.use(ctx, func(c *connection) error {
		err := c.client.SendWithSMTPClient(c.smtp, msg)
		if msg.IsDelivered() {
			// What failed came after the server had taken the message.
			return err
		}
		if err == nil {
			err = errors.New("the message was not sent")
		}
		return &undelivered{err}
	})
}

// Ping implements mail.Sender.
func (s *Sender) Ping(ctx context.Context) error {
	return s.use(ctx, func(c *connection) error {
		if err := c.smtp.Noop(); err != nil {
			return &undelivered{err}
		}
		return nil
	})
}

// undelivered marks a failure before the server had taken the message.
type undelivered struct{ cause error }

func (u *undelivered) Error() string { return u.cause.Error() }
func (u *undelivered) Unwrap() error { return u.cause }

// use runs fn on a connection, a fresh one when the one that was kept turns out to be dead.
func (s *Sender) use(ctx context.Context, fn func(*connection) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return translate(ctx, ctx.Err())
	}
	defer func() { <-s.places }()
	for {
		c, kept, err := s.connect(ctx)
		if err != nil {
			return translate(ctx, err)
		}
		// The library knows deadlines, not contexts.
		unwatch := context.AfterFunc(ctx, func() { c.raw.Close() })
		c.raw.left.Store(maxAnswers)
		err = fn(c)
		if unwatch() && err == nil {
			s.keep(c)
			return nil
		}
		c.raw.Close()
		_, failed := errors.AsType[*undelivered](err)
		if !failed {
			return nil
		}
		if kept && deadBefore(err) && ctx.Err() == nil {
			continue
		}
		return translate(ctx, err)
	}
}

// deadBefore reports whether the connection was gone before anything of the message was said.
func deadBefore(err error) bool {
	e, ok := errors.AsType[*gomail.SendError](err)
	return !ok || e.Reason == gomail.ErrConnCheck
}

// connect returns a kept connection, or a fresh one.
func (s *Sender) connect(ctx context.Context) (c *connection, kept bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false, net.ErrClosed
	}
	if n := len(s.idle); n > 0 {
		c = s.idle[n-1]
		s.idle = s.idle[:n-1]
		c.expiry.Stop()
	}
	s.mu.Unlock()
	if c != nil {
		return c, true, nil
	}
	c, err = s.dial(ctx)
	return c, false, err
}

func (s *Sender) dial(ctx context.Context) (*connection, error) {
	c := &connection{}
	trust := &tls.Config{ServerName: s.o.Host, RootCAs: s.o.RootCAs, MinVersion: tls.VersionTLS12}
	unwatch := func() bool { return true }
	dial := func(dialling context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialling, network, address)
		if err != nil {
			return nil, err
		}
		c.raw = &answers{Conn: conn}
		c.raw.left.Store(maxAnswers)
		conn = c.raw
		// The greeting and the sign-in know deadlines alone: the end of ctx ends them here.
		unwatch = context.AfterFunc(ctx, func() { conn.Close() })
		if s.o.TLS != Implicit {
			return conn, nil
		}
		secure := tls.Client(conn, trust)
		return secure, secure.HandshakeContext(dialling)
	}
	options := []gomail.Option{
		gomail.WithPort(s.o.Port), gomail.WithTimeout(s.o.Timeout), gomail.WithTLSConfig(trust), gomail.WithDialContextFunc(dial),
		gomail.WithTLSPolicy(gomail.TLSMandatory),
	}
	if s.o.TLS != StartTLS {
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if s.o.Username != "" {
		ways := []gomail.SMTPAuthType{gomail.SMTPAuthPlain, gomail.SMTPAuthLogin}
		if s.o.TLS == None {
			ways = []gomail.SMTPAuthType{gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc}
		}
		options = append(options, gomail.WithUsername(s.o.Username), gomail.WithPassword(s.o.Password), gomail.WithOpportunisticSMTPAuth(ways...))
	}
	var err error
	if c.client, err = gomail.NewClient(s.o.Host, options...); err != nil {
		return nil, err
	}
	c.smtp, err = c.client.DialToSMTPClientWithContext(ctx)
	if !unwatch() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if c.raw != nil {
			c.raw.Close()
		}
		return nil, err
	}
	return c, nil
}

// keep puts a connection aside for the next message.
func (s *Sender) keep(c *connection) {
	c.sent++
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.IdleTimeout < 0 || c.sent >= maxMessages {
		go quit(c)
		return
	}
	s.idle = append(s.idle, c)
	c.expiry = time.AfterFunc(s.o.IdleTimeout, func() { s.expire(c) })
}

func (s *Sender) expire(c *connection) {
	s.mu.Lock()
	found := false
	for i, other := range s.idle {
		if other == c {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			found = true
			break
		}
	}
	s.mu.Unlock()
	if found {
		quit(c)
	}
}

// quit says good-bye, and does not wait long for the answer.
func quit(c *connection) {
	_ = c.raw.SetDeadline(time.Now().Add(2 * time.Second))
	_ = c.smtp.Quit()
	c.raw.Close()
}

// Close implements mail.Sender.
func (s *Sender) Close() error {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, c := range idle {
		c.expiry.Stop()
		quit(c)
	}
	return nil
}

// translate marks permanent failures as rejected.
func translate(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	if sent, ok := errors.AsType[*gomail.SendError](err); ok {
		switch code := sent.ErrorCode(); sent.Reason {
		case gomail.ErrSMTPMailFrom, gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose:
			// 530, 534, 535 and 538 are about signing in: that is for the operator to mend.
			if code >= 500 && code != 530 && code != 534 && code != 535 && code != 538 {
				return &mail.Rejected{Code: code, Cause: err}
			}
		case gomail.ErrNoUnencoded, gomail.ErrGetSender, gomail.ErrGetRcpts:
			return &mail.Rejected{Cause: err}
		}
	}
	message := "the mail server does not answer"
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		message = "the mail server answered " + strconv.Itoa(answer.Code)
	}
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: message, RetryAfter: 30 * time.Second, Cause: err}
}
