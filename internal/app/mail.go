package app

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"hearth/internal/mail"
	"hearth/internal/mail/smtpmail"
	"hearth/internal/mailer"
	"hearth/internal/observe"
)

// openMail makes what sends e-mails: by SMTP, or into files of the data directory where there is no server.
func (a *App) openMail() error {
	from, err := mail.ParseAddress(a.config.MailFrom)
	if err != nil {
		return fmt.Errorf("HEARTH_MAIL_FROM: %w", err)
	}
	var sender mail.Sender
	if a.config.SMTPURL == "" {
		sender, err = smtpmail.NewFiles(smtpmail.FilesOptions{Dir: filepath.Join(a.config.DataDir, "mail"), From: from, Clock: a.options.Clock})
	} else {
		sender, err = a.openSMTP(from)
	}
	if err != nil {
		return err
	}
	a.steps.add("mail", func(context.Context) error { return sender.Close() })
	a.health.Register(observe.Check{Name: "mail", Probe: sender.Ping})
	a.mailer, err = mailer.New(mailer.Options{
		Sender: sender, Accounts: a.people, Organizations: a.orgs, Notices: a.notify, PublicURL: a.publicURL(), Registry: a.metrics.Registry,
	})
	return err
}

func (a *App) openSMTP(from mail.Address) (mail.Sender, error) {
	options, err := smtpmail.ParseURL(a.config.SMTPURL)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_SMTP_URL: %w", err)
	}
	options.From, options.Clock, options.Timeout = from, a.options.Clock, a.options.MailTimeout
	return smtpmail.NewSender(options)
}

// publicURL returns the address of this installation without a slash at its end.
func (a *App) publicURL() string {
	if a.config.PublicURL != "" {
		return strings.TrimRight(a.config.PublicURL, "/")
	}
	_, port, err := net.SplitHostPort(a.config.Addr)
	if err != nil || strings.Trim(port, "0") == "" {
		return "http://localhost"
	}
	return "http://localhost:" + port
}
