package notify

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"hearth"
	"hearth/internal/audited"
	"hearth/internal/guardedhttp"
	"hearth/internal/newid"
	"hearth/internal/sealed"
)

// destination is what is sealed of a channel.
type destination struct {
	URL string `json:"url"`
	// Token authorizes requests to ntfy, Secret signs those to a webhook; OldSecret, the one before, signs too until OldUntil.
	Token     string    `json:"token,omitempty"`
	Secret    []byte    `json:"secret,omitempty"`
	OldSecret []byte    `json:"old_secret,omitempty"`
	OldUntil  time.Time `json:"old_until,omitzero"`
}

// secrets are those that sign at a time.
func (to destination) secrets(now time.Time) [][]byte {
	if now.Before(to.OldUntil) {
		return [][]byte{to.Secret, to.OldSecret}
	}
	return [][]byte{to.Secret}
}

// NewChannel is what a user sets of a channel.
type NewChannel struct {
	Name          string
	Kind          hearth.ChannelKind
	URL           string
	Token         string
	Types         []hearth.NotificationType
	MinSeverity   hearth.Severity
	DigestMinutes int
	Enabled       bool
}

// IssuedChannel is a channel that is new or has a new secret. Shown is the secret of a webhook, which is known this once.
type IssuedChannel struct {
	hearth.NotificationChannel
	Shown string
}

// ChannelChange is what to change of a channel: nil fields stay. A new URL without a token drops the token.
type ChannelChange struct {
	Name          *string
	URL           *string
	Token         *string
	Types         *[]hearth.NotificationType
	MinSeverity   *hearth.Severity
	DigestMinutes *int
	Enabled       *bool
}

// CreateChannel makes a channel of the caller's. CodeForbidden for a device, CodeValidationFailed, CodeConflict (too many),
// CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) CreateChannel(ctx context.Context, caller hearth.Caller, n NewChannel, key *hearth.IdempotencyRequest) (IssuedChannel, error) {
	if !caller.IsUser() {
		return IssuedChannel{}, errDevice()
	}
	to, shown := destination{URL: n.URL, Token: n.Token}, ""
	if n.Kind == hearth.ChannelWebhook {
		to.Secret, shown = guardedhttp.NewSecret()
	}
	now := s.now()
	c := hearth.NotificationChannel{
		ID: newid.New(), UserID: caller.UserID, Name: n.Name, Kind: n.Kind, Address: addressOf(n.URL), Types: n.Types, MinSeverity: n.MinSeverity,
		DigestMinutes: n.DigestMinutes, Enabled: n.Enabled, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	if problems := append(c.Validate("body."), s.checkDestination(c.Kind, to)...); len(problems) > 0 {
		return IssuedChannel{}, hearth.Invalid(problems...)
	}
	var err error
	if c.Secret, err = s.seal(to); err != nil {
		return IssuedChannel{}, err
	}
	entry := caller.Entry(now, "notification_channel.create", "notification_channel:"+c.ID)
	entry.Changes = channelChanges(hearth.NotificationChannel{}, c)
	issued := IssuedChannel{c, shown}
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}
	if effects.Idempotency, err = key.Record(issued); err != nil {
		return IssuedChannel{}, err
	}
	if err := s.o.Channels.CreateChannel(ctx, c, effects); err != nil {
		return IssuedChannel{}, err
	}
	return issued, nil
}

// checkDestination returns what is wrong with where a channel sends to.
func (s *Service) checkDestination(kind hearth.ChannelKind, to destination) (problems []hearth.FieldError) {
	if message := s.o.Client.CheckURL(to.URL); message != "" {
		problems = append(problems, hearth.FieldError{Location: "body.url", Message: message})
	} else if _, _, ok := ntfyTopic(to.URL); kind == hearth.ChannelNtfy && !ok {
		problems = append(problems, hearth.FieldError{Location: "body.url", Message: "must end in a topic, such as https://ntfy.sh/my-topic"})
	}
	switch printable := strings.Trim(to.Token, tokenLetters) == ""; {
	case to.Token != "" && kind != hearth.ChannelNtfy:
		problems = append(problems, hearth.FieldError{Location: "body.token", Message: "is for ntfy alone"})
	case len(to.Token) > hearth.MaxChannelToken || !printable:
		problems = append(problems, hearth.FieldError{Location: "body.token", Message: "must be up to 512 letters, digits and _ - . ~ + / ="})
	}
	return problems
}

const (
	letters      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	tokenLetters = letters + ".~+/="
)

// ntfyTopic splits the URL of a topic into that of its server and the topic.
func ntfyTopic(text string) (server, topic string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return "", "", false
	}
	at := strings.LastIndexByte(u.Path, '/')
	if at < 0 {
		return "", "", false
	}
	topic = u.Path[at+1:]
	u.Path, u.RawPath = u.Path[:at+1], ""
	return u.String(), topic, topic != "" && len(topic) <= 64 && strings.Trim(topic, letters) == ""
}

// addressOf returns what is shown of a URL: what follows the host may be a secret, of which the last four characters are shown if it is long.
func addressOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	const shown, long = 4, 20
	rest := u.RequestURI()
	if rest == "/" {
		return u.Scheme + "://" + u.Host + rest
	}
	if len(rest) < long {
		return u.Scheme + "://" + u.Host + "/…"
	}
	return u.Scheme + "://" + u.Host + "/…" + strings.ToValidUTF8(rest[len(rest)-shown:], "")
}

func (s *Service) seal(to destination) ([]byte, error) {
	plain, err := json.Marshal(to)
	if err != nil {
		return nil, err
	}
	return s.o.ChannelSealer.Seal(plain)
}

func (s *Service) open(c hearth.NotificationChannel) (to destination, err error) {
	plain, err := s.o.ChannelSealer.Open(c.Secret)
	if err == nil {
		err = json.Unmarshal(plain, &to)
	}
	if err != nil {
		return destination{}, errors.New("the URL cannot be decrypted: create the channel anew") // what the decoder says would repeat it
	}
	return to, nil
}

// channelChanges returns the fields that users set and that differ; of the URL only what is shown.
func channelChanges(before, after hearth.NotificationChannel) audited.Changes {
	out := audited.Changes{}
	out.Note("name", before.Name != after.Name, before.Name, after.Name)
	out.Note("kind", before.Kind != after.Kind, before.Kind, after.Kind)
	out.Note("url", !slices.Equal(before.Secret, after.Secret), before.Address, after.Address)
	out.Note("types", !slices.Equal(before.Types, after.Types), before.Types, after.Types)
	out.Note("min_severity", before.MinSeverity != after.MinSeverity, before.MinSeverity, after.MinSeverity)
	out.Note("digest_minutes", before.DigestMinutes != after.DigestMinutes, before.DigestMinutes, after.DigestMinutes)
	out.Note("enabled", before.Enabled != after.Enabled, before.Enabled, after.Enabled)
	return out
}

// Channel returns one channel of the caller's; CodeForbidden, CodeNotFound.
func (s *Service) Channel(ctx context.Context, caller hearth.Caller, id string) (hearth.NotificationChannel, error) {
	c, err := s.o.Channels.Channel(ctx, id)
	if err == nil {
		err = owns(caller, c)
	}
	if err != nil {
		return hearth.NotificationChannel{}, err
	}
	return c, nil
}

// owns is the rule of who may see and change a channel: its user.
func owns(caller hearth.Caller, c hearth.NotificationChannel) error {
	switch {
	case !caller.IsUser():
		return errDevice()
	case c.UserID != caller.UserID:
		return hearth.NotFound("notification channel")
	}
	return nil
}

// ListChannels lists the caller's channels, newest first. CodeForbidden, CodeValidationFailed (the cursor).
func (s *Service) ListChannels(ctx context.Context, caller hearth.Caller, page hearth.Page) (hearth.List[hearth.NotificationChannel], error) {
	if !caller.IsUser() {
		return hearth.List[hearth.NotificationChannel]{}, errDevice()
	}
	return s.o.Channels.Channels(ctx, caller.UserID, page)
}

// UpdateChannel changes a channel; check sees it first, and its error stops the change. CodeForbidden, CodeNotFound, CodeValidationFailed,
// check's.
func (s *Service) UpdateChannel(
	ctx context.Context, caller hearth.Caller, id string, change ChannelChange, check func(hearth.NotificationChannel) error,
) (hearth.NotificationChannel, error) {
	now := s.now()
	entry := caller.Entry(now, "notification_channel.update", "notification_channel:"+id)
	after, _, err := audited.Update(ctx, s.o.Channels.UpdateChannel, id, entry, func(c hearth.NotificationChannel) (hearth.NotificationChannel, error) {
		if err := allowChannel(caller, c, check); err != nil {
			return c, err
		}
		c, err := s.applyChange(c, change)
		c.UpdatedAt = now
		c.Version++
		return c, err
	}, channelChanges)
	return after, err
}

func allowChannel(caller hearth.Caller, c hearth.NotificationChannel, check func(hearth.NotificationChannel) error) error {
	if err := owns(caller, c); err != nil || check == nil {
		return err
	}
	return check(c)
}

func (s *Service) applyChange(c hearth.NotificationChannel, change ChannelChange) (hearth.NotificationChannel, error) {
	audited.Set(&c.Name, change.Name)
	audited.Set(&c.Types, change.Types)
	audited.Set(&c.MinSeverity, change.MinSeverity)
	audited.Set(&c.DigestMinutes, change.DigestMinutes)
	if change.Enabled != nil && *change.Enabled != c.Enabled {
		c.Enabled, c.DisabledReason, c.FailingSince, c.LastError = *change.Enabled, "", time.Time{}, ""
	}
	problems := c.Validate("body.")
	if change.URL != nil || change.Token != nil {
		to, err := s.open(c)
		if err != nil {
			return c, hearth.Invalid(hearth.FieldError{Location: "body.url", Message: "cannot be replaced: delete the channel and create another one"})
		}
		before := to
		if change.URL != nil && *change.URL != to.URL {
			to.URL, to.Token = *change.URL, ""
		}
		audited.Set(&to.Token, change.Token)
		problems = append(problems, s.checkDestination(c.Kind, to)...)
		if to.URL != before.URL || to.Token != before.Token {
			c.Address, c.FailingSince, c.LastError = addressOf(to.URL), time.Time{}, ""
			if c.Secret, err = s.seal(to); err != nil {
				return c, err
			}
		}
	}
	if len(problems) > 0 {
		return c, hearth.Invalid(problems...)
	}
	return c, nil
}

// RotateChannel makes a new secret for a webhook; the one before signs too for hearth.RotationTTL, and one before that no more.
// CodeForbidden, CodeNotFound; CodeConflict for a channel of another kind, and where the secret cannot be decrypted.
func (s *Service) RotateChannel(ctx context.Context, caller hearth.Caller, id string) (IssuedChannel, error) {
	secret, shown := guardedhttp.NewSecret()
	now := s.now()
	entry := caller.Entry(now, "notification_channel.rotate_secret", "notification_channel:"+id)
	c, err := s.o.Channels.UpdateChannel(ctx, id, func(c hearth.NotificationChannel) (hearth.NotificationChannel, error) {
		if err := owns(caller, c); err != nil {
			return c, err
		}
		if c.Kind != hearth.ChannelWebhook {
			return c, hearth.Errorf(hearth.CodeConflict, "a channel of the kind %s has no secret", c.Kind)
		}
		to, err := s.open(c)
		if err != nil {
			return c, hearth.Errorf(hearth.CodeConflict, "%s", err.Error())
		}
		to.Secret, to.OldSecret, to.OldUntil = secret, to.Secret, now.Add(hearth.RotationTTL)
		c.Secret, err = s.seal(to)
		c.UpdatedAt = now
		c.Version++
		return c, err
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
	return IssuedChannel{c, shown}, err
}

// DeleteChannel removes a channel with what waits for it; check is as in UpdateChannel. CodeForbidden, CodeNotFound, check's.
func (s *Service) DeleteChannel(ctx context.Context, caller hearth.Caller, id string, check func(hearth.NotificationChannel) error) error {
	audit := []hearth.AuditEntry{caller.Entry(s.now(), "notification_channel.delete", "notification_channel:"+id)}
	return s.o.Channels.DeleteChannel(ctx, id, func(c hearth.NotificationChannel) error {
		audit[0].Changes = channelChanges(c, hearth.NotificationChannel{})
		return allowChannel(caller, c, check)
	}, hearth.SideEffects{Audit: audit})
}

// TestChannel sends a test message to a channel, also to one that is not enabled, and returns what the receiver answered. CodeForbidden,
// CodeNotFound.
func (s *Service) TestChannel(ctx context.Context, caller hearth.Caller, id string) (hearth.DeliveryAttempt, error) {
	c, err := s.Channel(ctx, caller, id)
	if err != nil {
		return hearth.DeliveryAttempt{}, err
	}
	now := s.now()
	entry := caller.Entry(now, "notification_channel.test", "notification_channel:"+id)
	if _, err := s.o.Channels.UpdateChannel(ctx, id, func(c hearth.NotificationChannel) (hearth.NotificationChannel, error) {
		return c, nil
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}); err != nil {
		return hearth.DeliveryAttempt{}, err
	}
	item := hearth.DigestItem{
		ID: newid.New(), Type: "test", Title: "Test of " + c.Name, Body: "Notifications reach this channel.", URL: s.o.PublicURL + "/account/notifications",
		At: now,
	}
	out := s.post(ctx, c, outgoing{id: item.ID, items: []hearth.DigestItem{item}})
	if ctx.Err() != nil {
		return out.DeliveryAttempt, ctx.Err()
	}
	if _, err := s.noteAttempt(ctx, c, out); err != nil && ctx.Err() == nil {
		s.o.Logger.WarnContext(ctx, "what came of a test was not noted of its channel", "channel", c.ID, "err", err)
	}
	return out.DeliveryAttempt, nil
}

// ResealChannels seals every URL anew that is not sealed with today's key, and returns how many it changed and how many it could not open.
func (s *Service) ResealChannels(ctx context.Context) (changed, lost int, err error) {
	return sealed.Stored[hearth.NotificationChannel]{
		List: func(ctx context.Context, page hearth.Page) (hearth.List[hearth.NotificationChannel], error) {
			return s.o.Channels.Channels(ctx, "", page)
		},
		Update: s.o.Channels.UpdateChannel,
		ID:     func(c hearth.NotificationChannel) string { return c.ID },
		Fields: func(c *hearth.NotificationChannel) []*[]byte { return []*[]byte{&c.Secret} },
	}.Reseal(ctx, s.o.ChannelSealer)
}
