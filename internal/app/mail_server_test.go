package app_test

import (
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// mailServer is a real SMTP server that a test steers.
type mailServer struct {
	url string

	mu sync.Mutex
	// answer is what it says to DATA, nil for yes; hang, if set, is waited for before.
	answer error
	hang   chan struct{}
	inbox  []letter
}

// letter is what the server took.
type letter struct{ to, data string }

func startMailServer(t *testing.T) *mailServer {
	t.Helper()
	s := &mailServer{}
	inner := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: s}, nil }))
	inner.Domain, inner.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "smtp://" + listener.Addr().String() + "?tls=none"
	var running sync.WaitGroup
	running.Go(func() { _ = inner.Serve(listener) })
	t.Cleanup(func() { _ = inner.Close(); running.Wait() })
	return s
}

// become sets what the server does from now on.
func (s *mailServer) become(answer error, hang chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.hang = answer, hang
}

func (s *mailServer) letters() []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]letter(nil), s.inbox...)
}

type mailSession struct {
	server *mailServer
	to     string
}

func (c *mailSession) Reset()                               { c.to = "" }
func (c *mailSession) Logout() error                        { return nil }
func (c *mailSession) Mail(string, *smtp.MailOptions) error { return nil }

func (c *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.to = to
	return nil
}

func (c *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s := c.server
	s.mu.Lock()
	answer, hang := s.answer, s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
		return errors.New("too late")
	}
	if answer != nil {
		return answer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox = append(s.inbox, letter{to: c.to, data: string(data)})
	return nil
}
