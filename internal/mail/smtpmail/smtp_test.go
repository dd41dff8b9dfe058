package smtpmail_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"hearth"
	"hearth/internal/mail"
	"hearth/internal/mail/smtpmail"
)

func message() mail.Message {
	return mail.Message{ID: "0192-abc", To: mail.Address{Name: "Grace Höpper", Email: "grace@example.com"},
		Subject: "Grüße & more", Text: "Hello Grace,\n\n.a line that begins with a dot\nä\n", HTML: "<p>Hello <b>Grace</b></p>"}
}

func TestAMessageArrivesByEveryWay(t *testing.T) {
	t.Parallel()
	for _, how := range []smtpmail.TLS{smtpmail.StartTLS, smtpmail.Implicit, smtpmail.None} {
		for _, user := range []string{"", "user"} {
			t.Run(fmt.Sprintf("%s %q", how, user), func(t *testing.T) {
				t.Parallel()
				s := serve(t, how)
				sender := s.sender(t, func(o *smtpmail.Options) {
					if user != "" {
						o.Username, o.Password = user, "right"
					}
				})
				if err := sender.Ping(t.Context()); err != nil {
					t.Fatalf("ping: %v", err)
				}
				if err := sender.Send(t.Context(), message()); err != nil {
					t.Fatal(err)
				}
				inbox := s.inbox()
				if len(inbox) != 1 || inbox[0].from != "no-reply@example.com" || len(inbox[0].to) != 1 || inbox[0].to[0] != "grace@example.com" {
					t.Fatalf("the server has %+v", inbox)
				}
				checkContent(t, inbox[0].data)
				if user != "" && (len(s.signedIn) == 0 || s.signedIn[0] != user) {
					t.Errorf("signed in: %v", s.signedIn)
				}
			})
		}
	}
}

func checkContent(t *testing.T, raw string) {
	t.Helper()
	parsed, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	to, err := parsed.Header.AddressList("To")
	if err != nil || len(to) != 1 || to[0].Name != "Grace Höpper" || to[0].Address != "grace@example.com" {
		t.Errorf("to %v, error %v", to, err)
	}
	if got := parsed.Header.Get("Message-Id"); got != "<0192-abc@example.com>" {
		t.Errorf("the Message-ID is %q", got)
	}
	if got := parsed.Header.Get("Auto-Submitted"); got != "auto-generated" {
		t.Errorf("Auto-Submitted is %q", got)
	}
	if !strings.HasPrefix(parsed.Header.Get("Content-Type"), "multipart/alternative") {
		t.Errorf("the type is %q", parsed.Header.Get("Content-Type"))
	}
	for _, want := range []string{"\r\n.a line that begins with a dot", "=C3=A4", "<p>Hello <b>Grace</b></p>"} {
		if !strings.Contains(raw, want) {
			t.Errorf("it lacks %q", want)
		}
	}
}

func TestNoHeaderCanBeSmuggledIn(t *testing.T) {
	t.Parallel()
	s := serve(t, smtpmail.None)
	sender := s.sender(t)
	evil := "x\r\nBcc: victim@example.com\r\n\r\nbody\n.\nQUIT"
	m := message()
	m.Subject, m.To.Name = evil, evil
	if err := sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m.To.Email = "grace@example.com>\r\nRCPT TO:<victim@example.com"
	if err := sender.Send(t.Context(), m); !mail.IsRejected(err) {
		t.Fatalf("the address was taken: %v", err)
	}
	inbox := s.inbox()
	if len(inbox) != 1 || len(inbox[0].to) != 1 {
		t.Fatalf("the server has %+v", inbox)
	}
	parsed, err := netmail.ReadMessage(strings.NewReader(inbox[0].data))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header.Get("Bcc") != "" || !strings.HasPrefix(parsed.Header.Get("Content-Type"), "multipart/") {
		t.Fatalf("the headers are %v", parsed.Header)
	}
}

func TestAnswersAreTakenForWhatTheyAre(t *testing.T) {
	t.Parallel()
	answer := func(code int) error { return &smtp.SMTPError{Code: code, Message: "no"} }
	for _, step := range []struct {
		name string
		set  func(s *server, err error)
	}{
		{"MAIL", func(s *server, err error) { s.mailErr = err }},
		{"RCPT", func(s *server, err error) { s.rcptErr = err }},
		{"DATA", func(s *server, err error) { s.dataErr = err }},
	} {
		for code, rejected := range map[int]bool{421: false, 450: false, 452: false, 550: true, 552: true, 554: true} {
			t.Run(fmt.Sprintf("%s %d", step.name, code), func(t *testing.T) {
				t.Parallel()
				s := serve(t, smtpmail.None)
				sender := s.sender(t)
				s.set(func(s *server) { step.set(s, answer(code)) })
				err := sender.Send(t.Context(), message())
				if mail.IsRejected(err) != rejected || !rejected && hearth.ErrorCode(err) != hearth.CodeUnavailable {
					t.Fatalf("the error is %v", err)
				}
				if r, ok := errors.AsType[*mail.Rejected](err); ok && r.Code != code {
					t.Errorf("the code is %d", r.Code)
				}
				s.set(func(s *server) { step.set(s, nil) })
				if err := sender.Send(t.Context(), message()); err != nil {
					t.Fatalf("after that: %v", err)
				}
				if n := len(s.inbox()); n != 1 {
					t.Fatalf("%d messages arrived", n)
				}
			})
		}
	}
}

func TestAWrongPasswordIsWorthAnotherTry(t *testing.T) {
	t.Parallel()
	sender := serve(t, smtpmail.StartTLS).sender(t, func(o *smtpmail.Options) { o.Username, o.Password = "user", "wrong" })
	err := sender.Send(t.Context(), message())
	if hearth.ErrorCode(err) != hearth.CodeUnavailable || mail.IsRejected(err) {
		t.Fatalf("the error is %v", err)
	}
	if strings.Contains(err.Error(), "wrong") {
		t.Fatalf("the error tells the password: %v", err)
	}
}

func TestNothingIsSentWithoutTheTLSThatWasAskedFor(t *testing.T) {
	t.Parallel()
	plain := serve(t, smtpmail.None)
	for _, how := range []smtpmail.TLS{smtpmail.StartTLS, smtpmail.Implicit} {
		err := plain.sender(t, func(o *smtpmail.Options) { o.TLS, o.Timeout = how, time.Second }).Send(t.Context(), message())
		if hearth.ErrorCode(err) != hearth.CodeUnavailable {
			t.Errorf("%s with a plain server: %v", how, err)
		}
	}
	for _, how := range []smtpmail.TLS{smtpmail.StartTLS, smtpmail.Implicit} {
		s := serve(t, how)
		// Without the test's certificate among the trusted ones.
		err := s.sender(t, func(o *smtpmail.Options) { o.RootCAs = nil }).Send(t.Context(), message())
		if hearth.ErrorCode(err) != hearth.CodeUnavailable || len(s.inbox()) != 0 {
			t.Errorf("%s with an unknown certificate: %v", how, err)
		}
	}
	if len(plain.inbox()) != 0 {
		t.Error("a message was sent in plain")
	}
}

func TestConnectionsAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, smtpmail.StartTLS)
	sender := s.sender(t, func(o *smtpmail.Options) { o.MaxConnections = 2 })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := sender.Send(t.Context(), message()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(s.inbox()); n != 20 {
		t.Fatalf("%d messages arrived", n)
	}
	// STARTTLS begins a second session on the same connection.
	if s.connections > 4 {
		t.Fatalf("there were %d sessions", s.connections)
	}
}

func TestAKeptConnectionThatDiedIsReplaced(t *testing.T) {
	t.Parallel()
	s := serve(t, smtpmail.None)
	sender := s.sender(t)
	for i := range 3 {
		if err := sender.Send(t.Context(), message()); err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
		s.set(func(s *server) {
			for _, c := range s.open {
				_ = c.Close()
			}
		})
	}
	if n := len(s.inbox()); n != 3 {
		t.Fatalf("%d messages arrived", n)
	}
}

func TestAServerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	greeting := listen(t, func(net.Conn) {})
	data := serve(t, smtpmail.None)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	data.set(func(s *server) { s.hang = hang })
	for name, o := range map[string]smtpmail.Options{"at the greeting": greeting, "at the data": data.options} {
		t.Run("by the timeout "+name, func(t *testing.T) {
			o.Timeout = 200 * time.Millisecond
			checkHang(t, o, func() (context.Context, func()) { return t.Context(), func() {} }, func(err error) bool {
				return hearth.ErrorCode(err) == hearth.CodeUnavailable
			})
		})
		t.Run("by the context "+name, func(t *testing.T) {
			o.Timeout = time.Minute
			checkHang(t, o, func() (context.Context, func()) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, cancel)
				return ctx, cancel
			}, func(err error) bool { return errors.Is(err, context.Canceled) })
		})
	}
}

// A server that answers without end is left, whatever it says and however fast.
func TestAServerThatAnswersWithoutEndIsLeft(t *testing.T) {
	t.Parallel()
	for name, endless := range map[string]string{"one line": "220 " + strings.Repeat("x", 1000), "many lines": "220-x\r\n"} {
		read := make(chan int, 1)
		o := listen(t, func(conn net.Conn) {
			sent := 0
			for {
				n, err := io.WriteString(conn, endless)
				if sent += n; err != nil {
					break
				}
			}
			read <- sent
		})
		o.Timeout = time.Minute
		checkHang(t, o, func() (context.Context, func()) { return t.Context(), func() {} }, func(err error) bool {
			return hearth.ErrorCode(err) == hearth.CodeUnavailable
		})
		if sent := <-read; sent < 64<<10 {
			t.Errorf("%s: the server sent %d bytes alone", name, sent)
		}
	}
}

func checkHang(t *testing.T, o smtpmail.Options, context func() (context.Context, func()), right func(error) bool) {
	t.Helper()
	o.From = mail.Address{Email: "a@example.com"}
	sender, err := smtpmail.NewSender(o)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	ctx, cancel := context()
	defer cancel()
	began := time.Now()
	if err := sender.Send(ctx, message()); !right(err) {
		t.Fatalf("the error is %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("it took %v", took)
	}
}

func TestAServerThatRefusesIsUnavailable(t *testing.T) {
	t.Parallel()
	busy := listen(t, func(c net.Conn) { fmt.Fprint(c, "554 no service here\r\n") })
	gone := listen(t, func(c net.Conn) { c.Close() })
	closed := listen(t, nil)
	for name, o := range map[string]smtpmail.Options{"busy": busy, "gone": gone, "closed": closed} {
		o.From = mail.Address{Email: "a@example.com"}
		sender, err := smtpmail.NewSender(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := sender.Send(t.Context(), message()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
		if err := sender.Ping(t.Context()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
			t.Errorf("%s: ping: %v", name, err)
		}
		_ = sender.Close()
	}
}

func TestAConnectionLostAfterTheMessageWasTakenIsNoFailure(t *testing.T) {
	t.Parallel()
	o := listen(t, func(c net.Conn) {
		fmt.Fprint(c, "220 hi\r\n")
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			switch word, _, _ := strings.Cut(lines.Text(), " "); word {
			case "DATA":
				fmt.Fprint(c, "354 go on\r\n")
			case ".":
				fmt.Fprint(c, "250 taken\r\n")
			case "RSET":
				c.Close()
				return
			default:
				fmt.Fprint(c, "250 ok\r\n")
			}
		}
	})
	o.From = mail.Address{Email: "a@example.com"}
	sender, err := smtpmail.NewSender(o)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if err := sender.Send(t.Context(), message()); err != nil {
		t.Fatalf("the message would be sent twice: %v", err)
	}
}

// listen accepts connections and returns them to serve; nil closes the port at once.
func listen(t *testing.T, serve func(net.Conn)) smtpmail.Options {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if serve == nil {
		listener.Close()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return smtpmail.Options{Host: "127.0.0.1", Port: port, TLS: smtpmail.None, Timeout: 5 * time.Second}
}
