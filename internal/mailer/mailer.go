// Package mailer sends the e-mails that jobs ask for: notices, password resets and invitations.
package mailer

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/core/account"
	"hearth/internal/core/notify"
	"hearth/internal/core/orgs"
	"hearth/internal/mail"
	"hearth/internal/queue"
)

// Where the links of e-mails lead, below the public URL. Tokens stand behind the #, so that no server's log gets them.
const (
	resetPath      = "/reset-password#"
	invitationPath = "/invitation#"
	emailPath      = "/confirm-email#"
	runTimeout     = 2 * time.Minute
)

// MaxAttempts is how often an e-mail is attempted before its job is dead.
const MaxAttempts = 10

// Options are what e-mails are made of and sent by. All are required.
type Options struct {
	Sender        mail.Sender
	Accounts      *account.Service
	Organizations *orgs.Service
	Notices       *notify.Service
	// PublicURL is the address of this installation without a slash at its end.
	PublicURL string
	Registry  prometheus.Registerer
}

// Mailer sends e-mails.
type Mailer struct {
	o        Options
	writer   *mail.Writer
	outcomes *prometheus.CounterVec
	takes    prometheus.Histogram
}

// New returns what sends e-mails, and registers its metrics.
func New(options Options) (*Mailer, error) {
	writer, err := mail.NewWriter(options.PublicURL)
	if err != nil {
		return nil, err
	}
	m := &Mailer{
		o: options, writer: writer,
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_mail_messages_total", Help: "Attempts to send an e-mail: sent, failed (it is attempted again) or rejected (for good).",
		}, []string{"outcome"}),
		takes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_mail_seconds", Help: "Time of an attempt to send an e-mail.", Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
		}),
	}
	options.Registry.MustRegister(m.outcomes, m.takes)
	for _, outcome := range []string{"sent", "failed", "rejected"} {
		m.outcomes.WithLabelValues(outcome)
	}
	return m, nil
}

// Kinds returns the kinds of job that send an e-mail.
func (m *Mailer) Kinds() []queue.Kind {
	kind := func(name string, write func(ctx context.Context, payload []byte) (mail.Envelope, error)) queue.Kind {
		return queue.Kind{
			Name: name, Timeout: runTimeout, MaxAttempts: MaxAttempts,
			Backoff: queue.Backoff{Base: 30 * time.Second, Max: 2 * time.Hour},
			Handler: func(ctx context.Context, task *queue.Task) error {
				envelope, err := write(ctx, task.Job.Payload)
				if hearth.ErrorCode(err) == hearth.CodeNotFound {
					return nil // it is no longer wanted
				}
				if err != nil {
					return err
				}
				return m.deliver(ctx, task.Job.ID, envelope)
			},
		}
	}
	return []queue.Kind{
		kind(notify.EmailKind, m.o.Notices.Email),
		kind(account.ResetMailKind, m.reset),
		kind(account.EmailMailKind, m.email),
		kind(orgs.InvitationMailKind, m.invitation),
	}
}

// deliver sends an e-mail; id is the same for every attempt. What the server rejects is not attempted again.
func (m *Mailer) deliver(ctx context.Context, id string, envelope mail.Envelope) error {
	message, err := m.writer.Message(id, envelope)
	if err == nil {
		start := time.Now()
		err = m.o.Sender.Send(ctx, message)
		m.count(time.Since(start), err)
	}
	if mail.IsRejected(err) {
		return queue.Permanent(err)
	}
	return err
}

func (m *Mailer) reset(ctx context.Context, payload []byte) (mail.Envelope, error) {
	reset, err := m.o.Accounts.ResetMail(ctx, payload)
	return mail.Envelope{
		To:    mail.Address{Name: reset.Name, Email: reset.Email},
		Email: mail.PasswordReset{URL: m.o.PublicURL + resetPath + reset.Token, ExpiresAt: reset.ExpiresAt},
	}, err
}

func (m *Mailer) email(ctx context.Context, payload []byte) (mail.Envelope, error) {
	wanted, err := m.o.Accounts.EmailMail(ctx, payload)
	return mail.Envelope{
		To:    mail.Address{Name: wanted.Name, Email: wanted.Email},
		Email: mail.EmailConfirmation{URL: m.o.PublicURL + emailPath + wanted.Token, ExpiresAt: wanted.ExpiresAt},
	}, err
}

func (m *Mailer) invitation(ctx context.Context, payload []byte) (mail.Envelope, error) {
	invitation, err := m.o.Organizations.InvitationMail(ctx, payload)
	inviter := invitation.InvitedBy
	inviter = cmp.Or(inviter, "Somebody")
	return mail.Envelope{
		To: mail.Address{Email: invitation.Email},
		Email: mail.Invitation{
			Inviter: inviter, Organization: invitation.Organization, Role: string(invitation.Role),
			URL: m.o.PublicURL + invitationPath + invitation.Token, ExpiresAt: invitation.ExpiresAt,
		},
	}, err
}

// count counts an attempt.
func (m *Mailer) count(took time.Duration, err error) {
	outcome := "sent"
	switch {
	case mail.IsRejected(err):
		outcome = "rejected"
	case err != nil:
		outcome = "failed"
	}
	m.outcomes.WithLabelValues(outcome).Inc()
	m.takes.Observe(took.Seconds())
}
