package notify

import (
	"context"
	"errors"
	"strings"
	"time"

	"hearth"
	"hearth/internal/mail"
	"hearth/internal/queue"
)

// The kinds of jobs that other packages enqueue to have a user notified.
const (
	// SecurityKind's payload is hearth.SecurityNotice.
	SecurityKind = hearth.JobSecurity
	// ExportKind's payload is ExportNotice.
	ExportKind = "notify.export"
	// WebhookKind's payload is hearth.WebhookNotice.
	WebhookKind = hearth.JobWebhookDisabled
	// DeviceKind's payload is DeviceNotice; Service.DeviceConnection makes it.
	DeviceKind = "notify.device"
)

// accountLock is how long an account is locked.
const accountLock = 15 * time.Minute

func (s *Service) security(ctx context.Context, job queue.Job, notice hearth.SecurityNotice) error {
	user, ok, err := s.user(ctx, notice.UserID)
	if err != nil || !ok {
		return err
	}
	sessions := s.o.PublicURL + "/account/sessions"
	n := message{user: user, at: notice.At, mailTo: notice.Email, sealed: true, url: sessions}
	from := s.origin(ctx, notice)
	switch notice.What {
	case hearth.NoticeNewDevice:
		n.kind, n.title = hearth.NotifyNewSignIn, "New sign-in to your account"
		n.body = "Your account was used from a device that was not seen before. If it was not you, end that session and change your password."
		n.email = mail.NewSignIn{At: notice.At, UserAgent: from.UserAgent, IP: from.IP, URL: sessions}
	case hearth.NoticeReused:
		n.kind, n.title = hearth.NotifyRefreshReused, "One of your sessions was ended"
		n.body = "A key of that session was used a second time, as happens when it was copied. If this comes as a surprise, change your password."
		n.email = mail.RefreshReused{At: notice.At, UserAgent: from.UserAgent, IP: from.IP, URL: sessions}
	case hearth.NoticePassword:
		n.kind, n.title = hearth.NotifyPasswordChanged, "Your password was changed"
		n.body = "Your other sessions have ended. If it was not you, reset your password."
		n.email = mail.PasswordChanged{At: notice.At, IP: from.IP, URL: s.o.PublicURL + "/forgot-password"}
	case hearth.NoticeEmail:
		n.kind, n.title = hearth.NotifyEmailChanged, "Your e-mail address was changed"
		n.body = "Your account has a new e-mail address. If it was not you, contact an administrator."
		n.email = mail.EmailChanged{At: notice.At, IP: from.IP, URL: s.o.PublicURL + "/account"}
	case hearth.NoticeLocked:
		until := notice.At.Add(accountLock)
		n.kind, n.title = hearth.NotifyAccountLocked, "Your account was locked for a while"
		n.body = "A wrong password was entered several times. Open sessions stayed open."
		n.email = mail.AccountLocked{Until: until, IP: from.IP, URL: s.o.PublicURL + "/forgot-password"}
	default:
		return queue.Permanent(hearth.Errorf(hearth.CodeInternal, "there is no notice of the kind %q", notice.What))
	}
	return s.send(ctx, job.ID, n)
}

// ExportNotice is the payload of a job of ExportKind: an export has ended.
type ExportNotice struct {
	ExportID string `json:"export_id"`
	UserID   string `json:"user_id"`
	// Status is completed or failed; no other is notified.
	Status string `json:"status"`
	// ForceMail sends the e-mail whatever the settings say.
	ForceMail bool `json:"force_mail"`
}

// exportInfo is what an e-mail says of an export.
type exportInfo struct {
	What, FileName, Reason string
	Records, Bytes         int64
	ExpiresAt              time.Time
	// Schedule is how often it is made, "" if by hand; it is of From to To.
	Schedule string
	From, To time.Time
}

// describe returns what an e-mail says of an export; CodeNotFound.
func (s *Service) describe(ctx context.Context, id string) (exportInfo, error) {
	e, err := s.o.Exports.Export(ctx, id)
	if err != nil {
		return exportInfo{}, err
	}
	info := exportInfo{What: strings.ReplaceAll(string(e.Type), "_", " "), ExpiresAt: e.ExpiresAt}
	if e.Result != nil {
		info.FileName, info.Records, info.Bytes = e.Result.FileName, e.Result.Records, e.Result.Size
	}
	if e.Failure != nil {
		info.Reason = e.Failure.Message
	}
	if e.Schedule != "" {
		schedule, err := s.o.Exports.ExportSchedule(ctx, e.Schedule)
		if err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
			return info, err
		}
		info.Schedule, info.From, info.To = string(schedule.Recurrence.Every), e.From, e.To
	}
	return info, nil
}

func (s *Service) export(ctx context.Context, job queue.Job, notice ExportNotice) error {
	user, ok, err := s.user(ctx, notice.UserID)
	if err != nil || !ok {
		return err
	}
	var info exportInfo
	if s.o.Exports != nil {
		info, err = s.describe(ctx, notice.ExportID)
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
	}
	link := s.o.PublicURL + "/exports/" + notice.ExportID
	n := message{user: user, at: s.now(), data: map[string]string{"export_id": notice.ExportID}, mailNow: notice.ForceMail, url: link}
	switch notice.Status {
	case "completed":
		n.kind, n.title = hearth.NotifyExportReady, "Your export is ready"
		n.body = mail.Line(info.FileName)
		n.email = mail.ExportReady{FileName: info.FileName, Records: info.Records, Bytes: info.Bytes, URL: link, ExpiresAt: info.ExpiresAt}
		if info.Schedule != "" {
			n.title = "Your " + info.Schedule + " export is ready"
			n.email = mail.ScheduledExport{
				Schedule: info.Schedule, What: info.What, From: info.From, To: info.To, FileName: info.FileName, Records: info.Records,
				Bytes: info.Bytes, URL: link, ExpiresAt: info.ExpiresAt,
			}
		}
	case "failed":
		n.kind, n.title = hearth.NotifyExportFailed, "Your export failed"
		n.body = mail.Line(info.Reason)
		n.email = mail.ExportFailed{What: info.What, Reason: info.Reason, URL: link}
	default:
		return nil
	}
	return s.send(ctx, job.ID, n)
}

// webhook notifies the user who has a webhook or channel, or the owner and administrators of the organization, that it was disabled.
func (s *Service) webhook(ctx context.Context, job queue.Job, notice hearth.WebhookNotice) error {
	ids := []string{notice.UserID}
	if notice.OrganizationID != "" {
		var err error
		if ids, err = s.membersOf(ctx, hearth.OrgScope(notice.OrganizationID), hearth.OrgAdmin); err != nil {
			return err
		}
	}
	noun, data, link := "webhook", map[string]string{"webhook_id": notice.WebhookID}, s.o.PublicURL+"/webhooks/"+notice.WebhookID
	if notice.ChannelID != "" {
		noun, data, link = "notification channel", map[string]string{"channel_id": notice.ChannelID}, s.o.PublicURL+"/account/notifications"
	}
	name, why := mail.Line(notice.Name), "Every attempt of a week failed."
	if notice.Reason == hearth.WebhookGone {
		why = "Its receiver answered that it wants no more events (410)."
	}
	var errs []error
	for _, id := range ids {
		user, ok, err := s.user(ctx, id)
		if err != nil || !ok {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.send(ctx, job.ID, message{
			user: user, at: notice.At, data: data, kind: hearth.NotifyWebhookDisabled, url: link,
			title: "The " + noun + " " + name + " was disabled", body: why + " It is sent nothing until you enable it.",
			email: mail.WebhookDisabled{Noun: noun, Webhook: name, Why: why, At: notice.At, URL: link},
		}))
	}
	return errors.Join(errs...)
}
