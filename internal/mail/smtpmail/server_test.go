package smtpmail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"hearth/internal/mail"
	"hearth/internal/mail/smtpmail"
)

// server is a real SMTP server that a test steers.
type server struct {
	mu sync.Mutex
	// mailErr, rcptErr and dataErr are its answers, nil for yes.
	mailErr, rcptErr, dataErr error
	// hang, if set, is waited for before the answer to DATA.
	hang chan struct{}

	messages    []received
	connections int
	open        []*smtp.Conn
	signedIn    []string
	roots       *x509.CertPool
	options     smtpmail.Options
	inner       *smtp.Server
}

type received struct {
	from string
	to   []string
	data string
}

func (s *server) set(fn func(s *server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

func (s *server) inbox() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.messages...)
}

// serve starts a server; how is its TLS.
func serve(t *testing.T, how smtpmail.TLS) *server {
	t.Helper()
	s := &server{}
	certificate, roots := selfSigned(t)
	s.roots = roots
	s.inner = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s.set(func(s *server) { s.connections++; s.open = append(s.open, c) })
		return &session{s: s}, nil
	}))
	s.inner.Domain = "localhost"
	s.inner.AllowInsecureAuth = true
	s.inner.ErrorLog = log.New(io.Discard, "", 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	switch how {
	case smtpmail.StartTLS:
		s.inner.TLSConfig = config
	case smtpmail.Implicit:
		listener = tls.NewListener(listener, config)
	case smtpmail.None:
	}
	var running sync.WaitGroup
	running.Go(func() { _ = s.inner.Serve(listener) })
	t.Cleanup(func() { _ = s.inner.Close(); running.Wait() })
	s.options = smtpmail.Options{Host: "127.0.0.1", Port: port, TLS: how, RootCAs: roots, Timeout: 10 * time.Second,
		From: mail.Address{Name: "hearth", Email: "no-reply@example.com"}}
	return s
}

// sender makes a sender for the server.
func (s *server) sender(t *testing.T, change ...func(*smtpmail.Options)) *smtpmail.Sender {
	t.Helper()
	o := s.options
	for _, c := range change {
		c(&o)
	}
	sender, err := smtpmail.NewSender(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	return sender
}

type session struct {
	s   *server
	now received
}

func (c *session) Reset()        { c.now = received{} }
func (c *session) Logout() error { return nil }

func (c *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (c *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if password != "right" {
			return smtp.ErrAuthFailed
		}
		c.s.set(func(s *server) { s.signedIn = append(s.signedIn, username) })
		return nil
	}), nil
}

func (c *session) Mail(from string, _ *smtp.MailOptions) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.now = received{from: from}
	return c.s.mailErr
}

func (c *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.now.to = append(c.now.to, to)
	return c.s.rcptErr
}

func (c *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	hang := c.s.hang
	c.s.mu.Unlock()
	if hang != nil {
		<-hang
		return errors.New("too late")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.dataErr != nil {
		return c.s.dataErr
	}
	c.now.data = string(data)
	c.s.messages = append(c.s.messages, c.now)
	return nil
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
