package hearth

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Limits of notification channels and digests.
const (
	// MaxNotificationChannels is how many channels a user has.
	MaxNotificationChannels = 10
	MaxChannelName          = 100 // characters
	MaxChannelToken         = 512 // bytes
	// MaxDigestMinutes is the longest pause between two messages.
	MaxDigestMinutes = 24 * 60
	// MaxDigestItems is how many notifications wait for a message; of further ones the number is kept.
	MaxDigestItems = 40
)

// ChannelKind is what a notification channel sends to.
type ChannelKind string

// The kinds of channels.
const (
	ChannelWebhook ChannelKind = "webhook"
	ChannelNtfy    ChannelKind = "ntfy"
	ChannelSlack   ChannelKind = "slack"
	ChannelTeams   ChannelKind = "teams"
)

// ChannelKinds returns all kinds.
func ChannelKinds() []ChannelKind {
	return []ChannelKind{ChannelWebhook, ChannelNtfy, ChannelSlack, ChannelTeams}
}

// NotificationChannel is a URL that a user is notified at.
type NotificationChannel struct {
	ID     string
	UserID string
	Name   string
	Kind   ChannelKind
	// Address is what is shown of the URL: its scheme and host, and the end of what follows if that is long.
	Address string
	// Secret is sealed: the URL, and what requests are authorized or signed with.
	Secret []byte
	// Types are sent. Of alarms only those of MinSeverity or worse; "" is all.
	Types       []NotificationType
	MinSeverity Severity
	// DigestMinutes is the least pause between two messages; 0 is none.
	DigestMinutes int
	Enabled       bool
	// DisabledReason is WebhookGone or WebhookFailing if the server disabled it.
	DisabledReason string
	// FailingSince is the first failed attempt since the last success, and LastError says what failed last; zero if nothing did.
	FailingSince time.Time
	LastError    string
	// Version counts the changes that users see.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Wants reports whether the channel is sent notifications of a type; severity is "" where the type has none.
func (c NotificationChannel) Wants(kind NotificationType, severity Severity) bool {
	return c.Enabled && slices.Contains(c.Types, kind) && (severity == "" || severity.Rank() >= c.MinSeverity.Rank())
}

// Validate checks what users set, all but the URL and the token; locations start with prefix, such as "body.".
func (c NotificationChannel) Validate(prefix string) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkText(c.Name, MaxChannelName); message != "" {
		bad("name", message)
	}
	if !slices.Contains(ChannelKinds(), c.Kind) {
		bad("kind", "must be webhook, ntfy, slack or teams")
	}
	known := NotificationTypes()
	switch distinct := slices.Compact(slices.Sorted(slices.Values(c.Types))); {
	case slices.ContainsFunc(c.Types, func(t NotificationType) bool { return !slices.Contains(known, t) }):
		bad("types", "holds a type that is not one")
	case len(distinct) < len(c.Types):
		bad("types", "has a type twice")
	}
	if c.MinSeverity != "" && c.MinSeverity.Rank() == 0 {
		bad("min_severity", "must be critical, major, minor, warning or info")
	}
	if message := checkDigest(c.DigestMinutes); message != "" {
		bad("digest_minutes", message)
	}
	return errs
}

func checkDigest(minutes int) string {
	if minutes < 0 || minutes > MaxDigestMinutes {
		return fmt.Sprintf("must be 0 to %d", MaxDigestMinutes)
	}
	return ""
}

// QuietHours are the part of each day, from Start to End, in which a user gets no message but urgent ones: in minutes after midnight by
// the clock of the user's time zone. Those that end before they start go on past midnight.
type QuietHours struct{ Start, End int }

// DigestItem is a notification that waits for a message.
type DigestItem struct {
	// ID is the notification's.
	ID       string
	Type     NotificationType
	Title    string
	Body     string
	Data     map[string]string
	URL      string
	Severity Severity // "" if it has none
	At       time.Time
	// Urgent passes quiet hours.
	Urgent bool
	// Email is the payload of the job that sends it alone as an e-mail; nil for a channel.
	Email []byte
}

// NotificationDigest is what waits to be sent to a channel, or as an e-mail, and the job that sends it. There is one job at a time.
type NotificationDigest struct {
	// ID is the channel's, or of e-mail "email:" and the user's.
	ID        string
	UserID    string
	ChannelID string // "" of e-mail
	// Items wait; the first Taken of them are in the message that the job sends. Dropped counts those that found no room.
	Items   []DigestItem
	Taken   int
	Dropped int
	// Round counts the jobs. JobID is the one that sends the next message at DueAt; "" and zero if nothing waits.
	Round int64
	JobID string
	DueAt time.Time
	// PausedUntil is when the next message may go out.
	PausedUntil time.Time
	// Known are the ids of the latest items, so that a notice that runs again adds none twice.
	Known []string
}

// DigestChange changes a digest in the step that stores a notification. Change only computes and may run more than once; it is passed
// a digest without items if none is stored, and returns the jobs that are stored with it.
type DigestChange struct {
	ID        string
	UserID    string
	ChannelID string
	Change    func(NotificationDigest) (NotificationDigest, []OutboxJob, error)
}

// NotificationChannelStore keeps notification channels and what waits for them. Every write is atomic and durable when it returns; errors
// are of the codes named here, or CodeUnavailable and CodeStorageFull. Functions that are passed in may run more than once and must only
// compute; an error of theirs is returned and nothing is written.
type NotificationChannelStore interface {
	// CreateChannel stores a channel; CodeNotFound if its user is gone, CodeConflict if the user has MaxNotificationChannels.
	CreateChannel(ctx context.Context, c NotificationChannel, effects SideEffects) error
	// Channel returns one channel; CodeNotFound.
	Channel(ctx context.Context, id string) (NotificationChannel, error)
	// Channels lists those of a user, or all if userID is "", by created_at, newest first; the page's sort is "".
	Channels(ctx context.Context, userID string, page Page) (List[NotificationChannel], error)
	// UpdateChannel reads, changes and writes one channel in one atomic step; change must not touch ID or UserID. CodeNotFound.
	UpdateChannel(
		ctx context.Context, id string, change func(NotificationChannel) (NotificationChannel, error), effects SideEffects,
	) (NotificationChannel, error)
	// DeleteChannel removes a channel with what waits for it; CodeNotFound.
	DeleteChannel(ctx context.Context, id string, check func(NotificationChannel) error, effects SideEffects) error
	// ChangeDigest changes one digest. One whose channel is gone is not changed.
	ChangeDigest(ctx context.Context, change DigestChange) error
	// OverdueDigests lists those with a job that was due before a time, by that time; the page's sort is "".
	OverdueDigests(ctx context.Context, before time.Time, page Page) (List[NotificationDigest], error)
}
