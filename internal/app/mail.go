package app

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"hearth"
	"hearth/internal/core/account"
	"hearth/internal/core/notify"
	"hearth/internal/core/orgs"
	"hearth/internal/mail"
	"hearth/internal/mail/smtpmail"
	"hearth/internal/observe"
	"hearth/internal/queue"
)

// Where the links of letters lead, below the public URL. Tokens stand behind the #, so that no server's log gets them.
const (
	resetPath      = "/reset-password#"
	invitationPath = "/invitation#"
	mailDir        = "mail"
	mailAttempts   = 10
	mailRunTimeout = 2 * time.Minute
)

// openMail makes what sends letters: by SMTP, or into files of the data directory where there is no server.
func (a *App) openMail() error {
	from, err := mail.ParseAddress(a.config.MailFrom)
	if err != nil {
		return fmt.Errorf("HEARTH_MAIL_FROM: %w", err)
	}
	a.letters, err = mail.NewWriter(a.publicURL())
	if err != nil {
		return err
	}
	if a.config.SMTPURL == "" {
		a.mail, err = smtpmail.NewFiles(smtpmail.FilesOptions{Dir: filepath.Join(a.config.DataDir, mailDir), From: from, Clock: a.options.Clock})
	} else {
		a.mail, err = a.openSMTP(from)
	}
	if err != nil {
		return err
	}
	a.mailMeter = newMailMeter(a.metrics.Registry)
	a.steps.add("mail", func(context.Context) error { return a.mail.Close() })
	a.health.Register(observe.Check{Name: "mail", Probe: a.mail.Ping})
	return nil
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

// mailKinds are the jobs that send a letter.
func (a *App) mailKinds() []queue.Kind {
	kind := func(name string, write func(ctx context.Context, payload []byte) (mail.Envelope, error)) queue.Kind {
		return queue.Kind{
			Name: name, Timeout: mailRunTimeout, MaxAttempts: mailAttempts,
			Backoff: queue.Backoff{Base: 30 * time.Second, Max: 2 * time.Hour},
			Handler: func(ctx context.Context, task *queue.Task) error {
				envelope, err := write(ctx, task.Job.Payload)
				if hearth.ErrorCode(err) == hearth.CodeNotFound {
					return nil // nobody waits for it any more
				}
				if err != nil {
					return err
				}
				return a.deliver(ctx, task.Job.ID, envelope)
			},
		}
	}
	return []queue.Kind{
		kind(notify.LetterKind, a.notify.Letter),
		kind(account.ResetMailKind, a.resetLetter),
		kind(orgs.InvitationMailKind, a.invitationLetter),
	}
}

// deliver sends a letter; id is the same for every try. What the server refuses for good is not tried again.
func (a *App) deliver(ctx context.Context, id string, envelope mail.Envelope) error {
	message, err := a.letters.Message(id, envelope)
	if err == nil {
		start := time.Now()
		err = a.mail.Send(ctx, message)
		a.mailMeter.sent(time.Since(start), err)
	}
	if mail.IsRejected(err) {
		return queue.Permanent(err)
	}
	return err
}

func (a *App) resetLetter(ctx context.Context, payload []byte) (mail.Envelope, error) {
	reset, err := a.people.ResetMail(ctx, payload)
	return mail.Envelope{
		To:     mail.Address{Name: reset.Name, Email: reset.Email},
		Letter: mail.PasswordReset{URL: a.publicURL() + resetPath + reset.Token, ExpiresAt: reset.ExpiresAt},
	}, err
}

func (a *App) invitationLetter(ctx context.Context, payload []byte) (mail.Envelope, error) {
	invitation, err := a.orgs.InvitationMail(ctx, payload)
	inviter := invitation.InvitedBy
	if inviter == "" {
		inviter = "Somebody"
	}
	return mail.Envelope{
		To: mail.Address{Email: invitation.Email},
		Letter: mail.Invitation{
			Inviter: inviter, Organization: invitation.Organization, Role: string(invitation.Role),
			URL: a.publicURL() + invitationPath + invitation.Token, ExpiresAt: invitation.ExpiresAt,
		},
	}, err
}
