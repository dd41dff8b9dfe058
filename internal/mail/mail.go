// Package mail writes the e-mails to users and sends them by a mail server.
package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sender sends messages. Safe for concurrent use.
//
// Send returns nil once the server has accepted the message. A *Rejected error means that this message will never be accepted: do
// not send it again. Any other error is worth another attempt: CodeUnavailable when the server does not answer, refuses for now or
// cannot be signed in to, CodeStorageFull when the disk is full, and ctx's own error. A connection that breaks after the whole
// message was sent leaves it open whether it was accepted: another attempt may send it twice, under the same Message-ID.
type Sender interface {
	Send(ctx context.Context, m Message) error
	// Ping reports whether messages can be sent now. It is worth an answer of some milliseconds, not a send.
	Ping(ctx context.Context) error
	// Close ends the use; it waits for no message under way.
	Close() error
}

// Message is one message to one recipient.
type Message struct {
	// ID makes the Message-ID: the same for every attempt of the same message; 1 to 64 bytes of [A-Za-z0-9_-].
	ID string
	To Address
	// Subject is one line; see Line.
	Subject string
	Text    string
	// HTML may be empty.
	HTML string
	// Picture is a PNG that HTML shows as "cid:" and PictureID; nil for none.
	Picture []byte
}

// PictureID is the Content-ID of Message.Picture.
const PictureID = "chart@hearth"

// Address is a mailbox.
type Address struct {
	// Name may be empty.
	Name  string `json:"name,omitempty"`
	Email string `json:"email"`
}

// Rejected is the error of a message that no attempt will deliver.
type Rejected struct {
	// Code is the server's answer, 500 to 599; 0 when the message did not reach a server.
	Code  int
	Cause error
}

// Error says why.
func (r *Rejected) Error() string { return "the message was refused for good: " + r.Cause.Error() }

// Unwrap returns the cause.
func (r *Rejected) Unwrap() error { return r.Cause }

// IsRejected reports whether err says that another attempt is useless.
func IsRejected(err error) bool {
	_, ok := errors.AsType[*Rejected](err)
	return ok
}

// MaxLine is where Line cuts, in characters.
const MaxLine = 200

// Line makes s fit for a header or one line of text: control characters, line breaks above all, and those
// that turn the direction of text become spaces, runs of spaces one, and what is longer than MaxLine characters is cut.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > MaxLine {
		s = strings.TrimSpace(string([]rune(s)[:MaxLine-1])) + "…"
	}
	return s
}

// Name makes a name that a user or a device chose harmless in the text of an e-mail: one line (see Line), in which programs that read e-mail
// find no address to make a link of. "evil.example/x" becomes "evil. example/x".
func Name(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\u3002' || r == '\uFF0E' || r == '\uFF61' || r == '\u2024' { // which domains may have for a dot
			return '.'
		}
		return r
	}, Line(s))
	s = strings.ReplaceAll(strings.ReplaceAll(s, "://", ": //"), "@", " @ ")
	var out strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		out.WriteRune(r)
		if r == '.' && i > 0 && i+1 < len(runes) && runes[i-1] != ' ' && unicode.IsLetter(runes[i+1]) {
			out.WriteByte(' ')
		}
	}
	return Line(out.String())
}

// Prepare returns m as it may be sent: headers as single lines. It fails with *Rejected when m has no valid address, no valid ID
// or nothing to say.
func (m Message) Prepare() (Message, error) {
	reject := func(format string, args ...any) (Message, error) {
		return Message{}, &Rejected{Cause: fmt.Errorf(format, args...)}
	}
	if !validID(m.ID) {
		return reject("the message's ID is not valid")
	}
	to, err := m.To.Clean()
	if err != nil {
		return Message{}, &Rejected{Cause: err}
	}
	m.To, m.Subject = to, Line(m.Subject)
	if m.Subject == "" || m.Text == "" {
		return reject("the message has no subject or no text")
	}
	return m, nil
}

// Clean returns a with its name as one line, or an error when the mailbox is not one.
func (a Address) Clean() (Address, error) {
	parsed, err := mail.ParseAddress(a.Email)
	// More than the bare mailbox would smuggle in a name or a comment.
	if err != nil || parsed.Address != a.Email || len(a.Email) > 254 || Line(a.Email) != a.Email || strings.ContainsAny(a.Email, "\"<>") {
		return Address{}, errors.New("the e-mail address is not valid")
	}
	return Address{Name: Line(a.Name), Email: a.Email}, nil
}

// ParseAddress reads "Name <mailbox>" or a bare mailbox, as in HEARTH_MAIL_FROM.
func ParseAddress(s string) (Address, error) {
	parsed, err := mail.ParseAddress(s)
	if err != nil {
		return Address{}, errors.New("the e-mail address must look like \"Name <name@example.com>\" or name@example.com")
	}
	return Address{Name: parsed.Name, Email: parsed.Address}.Clean()
}

func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}) < 0
}
