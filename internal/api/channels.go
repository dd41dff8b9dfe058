package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
	"hearth/internal/core/notify"
)

// ChannelTypes are the types of notifications that a channel is sent.
type ChannelTypes []hearth.NotificationType

// Schema names them all.
func (ChannelTypes) Schema(huma.Registry) *huma.Schema {
	all := hearth.NotificationTypes()
	most := len(all)
	one := &huma.Schema{Type: huma.TypeString, Examples: []any{hearth.NotifyAlarm}}
	for _, t := range all {
		one.Enum = append(one.Enum, string(t))
	}
	schema := &huma.Schema{
		Type: huma.TypeArray, Items: one, MaxItems: &most, UniqueItems: true, Description: "The types of notifications that it is sent.",
		Examples: []any{[]any{"alarm", "device_offline"}},
	}
	schema.PrecomputeMessages()
	one.PrecomputeMessages()
	return schema
}

// NotificationChannel is a notification channel on the wire.
type NotificationChannel struct {
	ID             string       `json:"id" format:"uuid" example:"0195a1b2-eee1-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string       `json:"name" example:"Phone"`
	Kind           string       `json:"kind" enum:"webhook,ntfy,slack,teams"`
	Address        string       `json:"address" doc:"What is shown of the URL: what follows the host may be a secret, of which at most the last four characters are shown." example:"https://ntfy.sh/…"`
	Types          ChannelTypes `json:"types"`
	MinSeverity    *string      `json:"min_severity" enum:"critical,major,minor,warning,info" doc:"Of alarms, only those of this severity or worse are sent; null: all."`
	DigestMinutes  int          `json:"digest_minutes" doc:"The least pause between two messages; 0 is none." example:"15"`
	Enabled        bool         `json:"enabled"`
	DisabledReason *string      `json:"disabled_reason" enum:"gone,failing" doc:"Why the server disabled it. gone: its receiver answered 410. failing: every attempt of a week failed. Null if it did not."`
	FailingSince   *rest.Time   `json:"failing_since" doc:"The first failed attempt since the last success; null if there is none."`
	LastError      *string      `json:"last_error" doc:"Why the latest attempt failed; null if it did not." example:"the receiver answered 503"`
	Version        int64        `json:"version" doc:"Counts the changes. If-Match is held against it." example:"1"`
	CreatedAt      rest.Time    `json:"created_at"`
	UpdatedAt      rest.Time    `json:"updated_at"`
}

func wireChannel(c hearth.NotificationChannel) NotificationChannel {
	return NotificationChannel{
		ID: c.ID, Name: c.Name, Kind: string(c.Kind), Address: c.Address, Types: append(ChannelTypes{}, c.Types...),
		MinSeverity: rest.TextOrNull(string(c.MinSeverity)), DigestMinutes: c.DigestMinutes, Enabled: c.Enabled, DisabledReason: rest.TextOrNull(c.DisabledReason),
		FailingSince: rest.TimeOrNull(c.FailingSince), LastError: rest.TextOrNull(c.LastError), Version: c.Version, CreatedAt: rest.Time(c.CreatedAt),
		UpdatedAt: rest.Time(c.UpdatedAt),
	}
}

// IssuedChannel is a notification channel that is new or has a new secret, with the secret of a webhook.
type IssuedChannel struct {
	NotificationChannel
	Secret *string `json:"secret" doc:"Signs every request to a webhook. Shown only in this answer; null of other kinds." example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw…"`
}

func wireIssuedChannel(i notify.IssuedChannel) IssuedChannel {
	return IssuedChannel{wireChannel(i.NotificationChannel), rest.TextOrNull(i.Shown)}
}

// NewNotificationChannel is a notification channel to make.
type NewNotificationChannel struct {
	Name          string                `json:"name" minLength:"1" maxLength:"100" example:"Phone"`
	Kind          string                `json:"kind" enum:"webhook,ntfy,slack,teams" doc:"webhook: any URL, with requests signed as the Standard Webhooks specification says. ntfy: a topic of an ntfy server. slack: an incoming webhook of Slack, Mattermost, Rocket.Chat or, with /slack at its end, Discord. teams: an incoming webhook of Microsoft Teams."`
	URL           string                `json:"url" minLength:"1" maxLength:"2048" doc:"http or https, without user and fragment; stored encrypted, and never shown again. Addresses that are not public are refused, here and again at every request." example:"https://ntfy.sh/hearth-4k7q"`
	Token         rest.Optional[string] `json:"token,omitempty" minLength:"1" maxLength:"512" doc:"The access token of a protected ntfy topic. Never shown again." example:"tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"`
	Types         ChannelTypes          `json:"types"`
	MinSeverity   rest.Optional[string] `json:"min_severity,omitempty" enum:"critical,major,minor,warning,info" doc:"Of alarms, only those of this severity or worse are sent; all, if nothing is said."`
	DigestMinutes rest.Optional[int]    `json:"digest_minutes,omitempty" minimum:"0" maximum:"1440" doc:"The least pause between two messages: what comes meanwhile is one message after it. None, if nothing is said." example:"15"`
	Enabled       rest.Optional[bool]   `json:"enabled,omitempty" doc:"true, if nothing is said."`
}

// NotificationChannelChange is what to change of a notification channel: what is left out stays.
type NotificationChannelChange struct {
	Name          rest.Optional[string]       `json:"name,omitempty" minLength:"1" maxLength:"100"`
	URL           rest.Optional[string]       `json:"url,omitempty" minLength:"1" maxLength:"2048" doc:"Another URL drops the token; the secret of a webhook stays."`
	Token         rest.Optional[string]       `json:"token,omitempty" minLength:"1" maxLength:"512" doc:"null: none."`
	Types         rest.Optional[ChannelTypes] `json:"types,omitempty" doc:"null: none."`
	MinSeverity   rest.Optional[string]       `json:"min_severity,omitempty" enum:"critical,major,minor,warning,info" doc:"null: all."`
	DigestMinutes rest.Optional[int]          `json:"digest_minutes,omitempty" minimum:"0" maximum:"1440" doc:"null: none."`
	Enabled       rest.Optional[bool]         `json:"enabled,omitempty" doc:"null: true."`
}

func (c NotificationChannelChange) change() (change notify.ChannelChange, err error) {
	var problems []hearth.FieldError
	change.Name, change.URL = rest.RequiredOf(c.Name, "name", &problems), rest.RequiredOf(c.URL, "url", &problems)
	change.Token, change.DigestMinutes, change.Enabled = rest.PatchOf(c.Token, ""), rest.PatchOf(c.DigestMinutes, 0), rest.PatchOf(c.Enabled, true)
	change.Types, change.MinSeverity = (*[]hearth.NotificationType)(rest.PatchOf(c.Types, nil)), (*hearth.Severity)(rest.PatchOf(c.MinSeverity, ""))
	return change, rest.InvalidIf(problems)
}

// ChannelPath names a notification channel in the path.
type ChannelPath struct {
	ID string `path:"id" maxLength:"64" doc:"The notification channel." example:"0195a1b2-eee1-7e5f-8a9b-0c1d2e3f4a5b"`
}

// ChannelCondition is a change's precondition.
type ChannelCondition struct {
	ChannelPath
	IfMatch string `header:"If-Match" doc:"Entity tags, of which the object must still have one, or *."`
}

func (c ChannelCondition) check() func(hearth.NotificationChannel) error {
	return func(n hearth.NotificationChannel) error { return rest.CheckVersion(c.IfMatch, n.Version) }
}

type channelOutput struct {
	ETag string `header:"ETag" doc:"Begins with the version."`
	Body NotificationChannel
}

func newChannelOutput(c hearth.NotificationChannel) *channelOutput {
	return &channelOutput{rest.FormatVersion(c.Version), wireChannel(c)}
}

type updateChannelInput struct {
	ChannelCondition
	Body NotificationChannelChange
}

// registerChannels adds the operations of notification channels.
func (a *API) registerChannels() {
	s := a.options.Channels
	if s == nil {
		return
	}
	op := func(id, method, path, summary string) rest.Operation {
		return rest.Operation{
			ID: id, Method: method, Path: "/users/me/notification-channels" + path, Tag: people.TagNotifications, Access: rest.ForUsers, Key: rest.ClosedToKeys,
			Summary: summary,
		}
	}
	create := op("create-notification-channel", http.MethodPost, "", "Create a notification channel")
	create.Status, create.Creates, create.Location, create.Secret = http.StatusCreated, true, true, true
	create.Codes = []hearth.Code{hearth.CodeConflict}
	create.Description = "It is sent your notifications of the types that it names, as long as it is enabled. A message that fails is attempted again for " +
		"about 12 hours. `conflict`: you have 10 already."
	rest.Register(a.Router, create, a.createChannel)

	list := op("list-notification-channels", http.MethodGet, "", "List your notification channels")
	list.ETag, list.Description = true, "The newest first."
	rest.Register(a.Router, list, func(ctx context.Context, in *rest.PageParams) (*rest.Body[rest.List[NotificationChannel]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		found, err := s.ListChannels(ctx, rest.CallerOf(ctx), page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, wireChannel)
		return &rest.Body[rest.List[NotificationChannel]]{Body: list}, err
	})

	get := op("get-notification-channel", http.MethodGet, "/{id}", "Get a notification channel")
	get.ETag, get.Codes = true, []hearth.Code{hearth.CodeNotFound}
	rest.Register(a.Router, get, func(ctx context.Context, in *ChannelPath) (*channelOutput, error) {
		c, err := s.Channel(ctx, rest.CallerOf(ctx), in.ID)
		return newChannelOutput(c), err
	})

	update := op("update-notification-channel", http.MethodPatch, "/{id}", "Change a notification channel")
	update.ETag, update.Codes = true, []hearth.Code{hearth.CodeNotFound}
	update.Description = "What is left out stays. What waits for a channel that is not enabled is dropped when it is due. With `If-Match`, only if the " +
		"channel is still at the version of that entity tag."
	rest.Register(a.Router, update, func(ctx context.Context, in *updateChannelInput) (*channelOutput, error) {
		change, err := in.Body.change()
		if err != nil {
			return nil, err
		}
		c, err := s.UpdateChannel(ctx, rest.CallerOf(ctx), in.ID, change, in.check())
		return newChannelOutput(c), err
	})

	remove := op("delete-notification-channel", http.MethodDelete, "/{id}", "Delete a notification channel")
	remove.Status, remove.Codes = http.StatusNoContent, []hearth.Code{hearth.CodeNotFound}
	remove.Description = "What waits for it goes with it. With `If-Match`, only at that version."
	rest.Register(a.Router, remove, func(ctx context.Context, in *ChannelCondition) (*struct{}, error) {
		return nil, s.DeleteChannel(ctx, rest.CallerOf(ctx), in.ID, in.check())
	})

	rotate := op("rotate-notification-channel-secret", http.MethodPost, "/{id}/rotate-secret", "Rotate the secret of a notification channel")
	rotate.Secret, rotate.Codes = true, []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}
	rotate.Description = "For 24 hours the secret before signs too: requests carry both signatures. `conflict`: the channel is no webhook."
	rest.Register(a.Router, rotate, func(ctx context.Context, in *ChannelPath) (*rest.Body[IssuedChannel], error) {
		issued, err := s.RotateChannel(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[IssuedChannel]{Body: wireIssuedChannel(issued)}, err
	})

	test := op("test-notification-channel", http.MethodPost, "/{id}/test", "Send a test message")
	test.Codes = []hearth.Code{hearth.CodeNotFound}
	test.Description = "Sends one message at once, also to a channel that is not enabled, and returns what the receiver answered, within 15 seconds. The " +
		"answer is 200 whatever came of it: look at `error`."
	rest.Register(a.Router, test, func(ctx context.Context, in *ChannelPath) (*rest.Body[DeliveryAttempt], error) {
		attempt, err := s.TestChannel(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[DeliveryAttempt]{Body: wireAttempt(attempt)}, err
	})
}

func (a *API) createChannel(ctx context.Context, in *rest.Body[NewNotificationChannel]) (*rest.Created[IssuedChannel], error) {
	issued, err := a.options.Channels.CreateChannel(ctx, rest.CallerOf(ctx), notify.NewChannel{
		Name: in.Body.Name, Kind: hearth.ChannelKind(in.Body.Kind), URL: in.Body.URL, Token: in.Body.Token.Or(""), Types: in.Body.Types,
		MinSeverity: hearth.Severity(in.Body.MinSeverity.Or("")), DigestMinutes: in.Body.DigestMinutes.Or(0), Enabled: in.Body.Enabled.Or(true),
	}, rest.Idempotency(ctx, wireIssuedChannel))
	return rest.NewCreated("/users/me/notification-channels/"+issued.ID, wireIssuedChannel(issued)), err
}
