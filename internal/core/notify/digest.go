package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth"
	"hearth/internal/calendar"
	"hearth/internal/mail"
	"hearth/internal/queue"
)

// The kinds of jobs that send what waits in a digest; their payload is digestJob.
const (
	// ChannelKind sends to a channel, EmailDigestKind makes an e-mail.
	ChannelKind     = "notify.channel"
	EmailDigestKind = "notify.digest"
)

const (
	// channelAttempts is how often a message to a channel is attempted before it is dropped: within 12 hours or so.
	channelAttempts = 20
	// overdue is how late a job must be before it is looked for.
	// What was due longer ago than stale, as in an old backup, is dropped then.
	overdue = 5 * time.Minute
	stale   = 24 * time.Hour
	// maxKnown is how many ids of items a digest keeps, maxItemText how long the texts of an item may be, in bytes.
	maxKnown    = 2 * hearth.MaxDigestItems
	maxItemText = 500
	// maxEmailPayload leaves room in the job of an e-mail.
	maxEmailPayload = queue.MaxPayload - 4<<10
)

type digestJob struct {
	DigestID  string `json:"digest_id"`
	UserID    string `json:"user_id"`
	ChannelID string `json:"channel_id,omitempty"`
}

// pace is when a user may be sent messages on one way.
type pace struct {
	pause time.Duration
	quiet *hearth.QuietHours
	zone  *time.Location
}

// paceOf returns the pace of messages to a user with a pause in minutes.
func paceOf(user hearth.User, settings hearth.NotificationSettings, minutes int) pace {
	zone, err := hearth.TimeZone(user.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	return pace{pause: time.Duration(minutes) * time.Minute, quiet: settings.Quiet, zone: zone}
}

// quietUntil returns the end of the quiet hours that t is in, and t outside of them.
func (p pace) quietUntil(t time.Time) time.Time {
	if p.quiet == nil {
		return t
	}
	today := calendar.DateOf(t.In(p.zone))
	for _, day := range []time.Time{today.AddDate(0, 0, -1), today} {
		last := day
		if p.quiet.End <= p.quiet.Start {
			last = day.AddDate(0, 0, 1)
		}
		start, end := calendar.At(day, p.quiet.Start, p.zone), calendar.At(last, p.quiet.End, p.zone)
		if !t.Before(start) && t.Before(end) {
			return end
		}
	}
	return t
}

// allows returns when an item may be sent at the earliest.
func (p pace) allows(d hearth.NotificationDigest, item hearth.DigestItem, now time.Time) time.Time {
	at := later(now, d.PausedUntil)
	if item.Urgent {
		return at
	}
	return p.quietUntil(at)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// note adds an id to those that a digest knows.
func note(d *hearth.NotificationDigest, id string) {
	d.Known = append(slices.Clone(d.Known), id)
	d.Known = d.Known[max(0, len(d.Known)-maxKnown):]
}

// add puts an item into a digest. Where there is no room, the oldest one goes that is not urgent, and is counted.
func add(d *hearth.NotificationDigest, item hearth.DigestItem) {
	note(d, item.ID)
	item.Title, item.Body = cutText(item.Title), cutText(item.Body)
	d.Items = append(slices.Clone(d.Items), item)
	if len(d.Items) <= hearth.MaxDigestItems {
		return
	}
	out := d.Taken
	if i := slices.IndexFunc(d.Items[d.Taken:], func(i hearth.DigestItem) bool { return !i.Urgent }); i >= 0 {
		out += i
	}
	d.Items = slices.Delete(d.Items, out, out+1)
	d.Dropped++
}

func cutText(text string) string {
	if len(text) <= maxItemText {
		return text
	}
	cut := maxItemText - len("…")
	for cut > 0 && text[cut]&0xc0 == 0x80 { // within a character
		cut--
	}
	return text[:cut] + "…"
}

// schedule makes the job of what waits, unless one is under way that comes early enough.
func schedule(d *hearth.NotificationDigest, p pace, now time.Time) ([]hearth.OutboxJob, error) {
	if d.Taken > 0 {
		return nil, nil // its job schedules the next one
	}
	if len(d.Items) == 0 {
		d.JobID, d.DueAt, d.Dropped = "", time.Time{}, 0
		return nil, nil
	}
	due := p.allows(*d, d.Items[0], now)
	for _, item := range d.Items[1:] {
		if at := p.allows(*d, item, now); at.Before(due) {
			due = at
		}
	}
	if d.JobID != "" && !due.Before(d.DueAt) {
		return nil, nil
	}
	return newRound(d, due, now)
}

// newRound makes another job the one that sends what waits.
func newRound(d *hearth.NotificationDigest, due, now time.Time) ([]hearth.OutboxJob, error) {
	d.Round++
	d.DueAt, d.JobID = due, queue.DeriveID(now, fmt.Sprint(d.ID, "\x00", d.Round))
	payload, err := json.Marshal(digestJob{DigestID: d.ID, UserID: d.UserID, ChannelID: d.ChannelID})
	job := hearth.OutboxJob{ID: d.JobID, Kind: EmailDigestKind, Queue: string(queue.Notification), Payload: payload, RunAt: due}
	if d.ChannelID != "" {
		job.Kind, job.Queue = ChannelKind, string(queue.Channel)
	}
	return []hearth.OutboxJob{job}, err
}

// take moves the items that may be sent to the front, and reports whether there are any.
func take(d *hearth.NotificationDigest, p pace, now time.Time) bool {
	var ready, rest []hearth.DigestItem
	for _, item := range d.Items {
		if p.allows(*d, item, now).After(now) {
			rest = append(rest, item)
		} else {
			ready = append(ready, item)
		}
	}
	d.Items, d.Taken = append(ready, rest...), len(ready)
	return len(ready) > 0
}

// toChannel returns the change that has a channel sent an item.
func (s *Service) toChannel(c hearth.NotificationChannel, p pace, item hearth.DigestItem) hearth.DigestChange {
	change := func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
		if slices.Contains(d.Known, item.ID) {
			return d, nil, nil
		}
		add(&d, item)
		jobs, err := schedule(&d, p, s.now())
		return d, jobs, err
	}
	return hearth.DigestChange{ID: c.ID, UserID: c.UserID, ChannelID: c.ID, Change: change}
}

// toEmail returns the change that has a user sent an item by e-mail: at once by its job, if it may be sent now and nothing waits before it.
func (s *Service) toEmail(p pace, userID string, item hearth.DigestItem, job hearth.OutboxJob) hearth.DigestChange {
	item.Email = job.Payload
	change := func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
		now := s.now()
		if slices.Contains(d.Known, item.ID) {
			return d, nil, nil
		}
		if !p.allows(d, item, now).After(now) && (item.Urgent || len(d.Items) == 0) {
			note(&d, item.ID)
			if p.pause > 0 {
				d.PausedUntil = now.Add(p.pause)
			}
			return d, []hearth.OutboxJob{job}, nil
		}
		add(&d, item)
		jobs, err := schedule(&d, p, now)
		return d, jobs, err
	}
	return hearth.DigestChange{ID: "email:" + userID, UserID: userID, Change: change}
}

// errOther ends the change of a digest that another job sends.
var errOther = errors.New("another job sends the digest")

// sendEmailDigest makes one e-mail of what waits, in the step that removes it.
func (s *Service) sendEmailDigest(ctx context.Context, job queue.Job, order digestJob) error {
	user, ok, err := s.user(ctx, order.UserID)
	if err != nil {
		return err
	}
	settings, err := s.store.NotificationSettings(ctx, order.UserID)
	if err != nil {
		return err
	}
	p, now := paceOf(user, settings, settings.EmailDigest), later(s.now(), job.ScheduledAt)
	return s.changeDigest(ctx, job, order, func(d *hearth.NotificationDigest) (jobs []hearth.OutboxJob, err error) {
		if !ok {
			d.Items = nil
		}
		if take(d, p, now) {
			email := hearth.OutboxJob{ID: derive(job.ID, "mail"), Kind: EmailKind, Queue: string(queue.Notification)}
			if email.Payload, err = s.digestEmail(user, *d); err != nil {
				return nil, err
			}
			jobs = append(jobs, email)
		}
		more, err := finish(d, p, now, d.Dropped)
		return append(jobs, more...), err
	})
}

// changeDigest changes the digest that a job sends, unless another job sends it by now.
func (s *Service) changeDigest(
	ctx context.Context, job queue.Job, order digestJob, do func(d *hearth.NotificationDigest) ([]hearth.OutboxJob, error),
) error {
	change := func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
		if d.JobID != job.ID {
			return d, nil, errOther
		}
		jobs, err := do(&d)
		return d, jobs, err
	}
	err := s.o.Channels.ChangeDigest(ctx, hearth.DigestChange{
		ID: order.DigestID, UserID: order.UserID, ChannelID: order.ChannelID, Change: change,
	})
	if errors.Is(err, errOther) {
		return nil
	}
	return err
}

// finish removes what was taken, with the number of the dropped that the message named, and schedules the rest.
func finish(d *hearth.NotificationDigest, p pace, now time.Time, dropped int) ([]hearth.OutboxJob, error) {
	if d.Taken > 0 {
		d.Items, d.Taken, d.Dropped = slices.Clone(d.Items[d.Taken:]), 0, d.Dropped-dropped
		if p.pause > 0 {
			d.PausedUntil = now.Add(p.pause)
		}
	}
	d.JobID, d.DueAt = "", time.Time{}
	return schedule(d, p, now)
}

// digestEmail returns the payload of the e-mail of the items that were taken: of one alone its own.
func (s *Service) digestEmail(user hearth.User, d hearth.NotificationDigest) ([]byte, error) {
	if d.Taken == 1 && d.Dropped == 0 {
		return d.Items[0].Email, nil
	}
	for n := d.Taken; ; n-- {
		email := mail.Digest{URL: s.o.PublicURL + "/notifications", More: d.Dropped + d.Taken - n}
		for _, item := range d.Items[:n] {
			email.Items = append(email.Items, mail.DigestItem{Title: item.Title, Body: item.Body, At: item.At})
		}
		payload, err := json.Marshal(mail.Envelope{To: mail.Address{Name: user.Name, Email: user.Email}, Email: email})
		if err != nil || len(payload) <= maxEmailPayload || n == 1 {
			return payload, err
		}
	}
}

// sendToChannel sends what waits for a channel, in one message. As long as it fails, the job is attempted again with the same items and
// the same id of the message.
func (s *Service) sendToChannel(ctx context.Context, job queue.Job, order digestJob) error {
	c, err := s.o.Channels.Channel(ctx, order.ChannelID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil // deleted, with what waited
	}
	if err != nil {
		return err
	}
	user, ok, err := s.user(ctx, order.UserID)
	if err != nil {
		return err
	}
	settings, err := s.store.NotificationSettings(ctx, order.UserID)
	if err != nil {
		return err
	}
	p, now := paceOf(user, settings, c.DigestMinutes), later(s.now(), job.ScheduledAt)
	var message outgoing
	err = s.changeDigest(ctx, job, order, func(d *hearth.NotificationDigest) ([]hearth.OutboxJob, error) {
		switch {
		case !ok || !c.Enabled:
			d.Items, d.Taken = nil, 0
		case d.Taken > 0 || take(d, p, now):
			first := d.Items[0]
			message = outgoing{id: queue.DeriveID(first.At, d.ID+"\x00"+first.ID), items: d.Items[:d.Taken], dropped: d.Dropped}
			return nil, nil
		}
		message = outgoing{}
		return finish(d, p, now, 0)
	})
	if err != nil || len(message.items) == 0 {
		return err
	}
	out := s.post(ctx, c, message)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ended, err := s.noteAttempt(ctx, c, out)
	if err != nil {
		return err
	}
	if !out.Succeeded() && !ended && job.Attempt < channelAttempts {
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the channel " + c.ID + ": " + out.Error, RetryAfter: out.RetryAfter}
	}
	return s.changeDigest(ctx, job, order, func(d *hearth.NotificationDigest) ([]hearth.OutboxJob, error) {
		return finish(d, p, out.At, message.dropped) // the pause counts from when the message was sent
	})
}

// ResumeDigests makes a new job for each digest whose job has been lost, as after a backup was restored, and returns their number.
func (s *Service) ResumeDigests(ctx context.Context) (resumed int, err error) {
	page := hearth.Page{Limit: hearth.MaxLimit}
	for {
		list, err := s.o.Channels.OverdueDigests(ctx, s.now().Add(-overdue), page)
		if err != nil {
			return resumed, err
		}
		for _, d := range list.Items {
			job, err := s.o.Queue.Job(ctx, d.JobID)
			if err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
				return resumed, err
			}
			if err == nil && !job.State.Ended() {
				continue // it is attempted again, or waits for a worker
			}
			order := digestJob{DigestID: d.ID, UserID: d.UserID, ChannelID: d.ChannelID}
			if err := s.changeDigest(ctx, queue.Job{ID: d.JobID}, order, func(d *hearth.NotificationDigest) ([]hearth.OutboxJob, error) {
				if s.now().Sub(d.DueAt) > stale {
					d.Items, d.Taken = nil, 0
					return finish(d, pace{}, s.now(), 0)
				}
				return newRound(d, s.now(), s.now())
			}); err != nil {
				return resumed, err
			}
			resumed++
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			return resumed, nil
		}
	}
}
