package smtpmail

import (
	"bytes"
	"fmt"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"hearth"
	"hearth/internal/mail"
)

// render makes the message as it goes out. from is clean.
func render(m mail.Message, from mail.Address, clock hearth.Clock) (*gomail.Msg, error) {
	m, err := m.Prepare()
	if err != nil {
		return nil, err
	}
	out := gomail.NewMsg(gomail.WithCharset(gomail.CharsetUTF8), gomail.WithEncoding(gomail.EncodingQP), gomail.WithNoDefaultUserAgent())
	// FromFormat and AddToFormat put the name in quotes and encode it.
	if err := out.FromFormat(from.Name, from.Email); err != nil {
		return nil, fmt.Errorf("the sender's address: %w", err)
	}
	if err := out.AddToFormat(m.To.Name, m.To.Email); err != nil {
		return nil, &mail.Rejected{Cause: err}
	}
	out.Subject(m.Subject)
	out.SetDateWithValue(clock.Now())
	_, domain, _ := strings.Cut(from.Email, "@")
	out.SetMessageIDWithValue(m.ID + "@" + domain)
	// Answering machines stay silent.
	out.SetGenHeader("Auto-Submitted", "auto-generated")
	out.SetGenHeader("X-Auto-Response-Suppress", "All")
	out.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		out.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	if m.Picture != nil {
		out.EmbedReadSeeker("chart.png", bytes.NewReader(m.Picture),
			gomail.WithFileContentID("<"+mail.PictureID+">"), gomail.WithFileContentType("image/png"))
	}
	return out, nil
}
