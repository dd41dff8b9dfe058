package people

import (
	"context"
	"net/http"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/timetext"
)

// TagNotifications is the chapter of the documentation.
const TagNotifications = "Notifications"

// Notification is a notification on the wire.
type Notification struct {
	ID        string                  `json:"id" example:"0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"`
	Type      hearth.NotificationType `json:"type" enum:"export_ready,export_failed,device_offline,device_online,new_sign_in,refresh_reused,password_changed,email_changed,account_locked,alarm,webhook_disabled"`
	Title     string                  `json:"title" example:"Your export is ready"`
	Body      string                  `json:"body" example:"logs-2026-03-01.csv"`
	Data      map[string]string       `json:"data" doc:"What it is about: export_id of an export, device_id and device_name of a device, alarm_id, rule_id and severity of an alarm, webhook_id of a webhook, channel_id of a notification channel."`
	ReadAt    *rest.Time              `json:"read_at" doc:"null until it is read."`
	CreatedAt rest.Time               `json:"created_at"`
}

// WireNotification returns a notification on the wire.
func WireNotification(n hearth.Notification) Notification {
	wire := Notification{
		ID: n.ID, Type: n.Type, Title: n.Title, Body: n.Body, Data: n.Data, ReadAt: rest.TimeOrNull(n.ReadAt), CreatedAt: rest.Time(n.CreatedAt),
	}
	if wire.Data == nil {
		wire.Data = map[string]string{}
	}
	return wire
}

// Delivery says how a user is notified of a type.
type Delivery struct {
	InApp bool `json:"in_app" doc:"Lists it and sends it live."`
	Email bool `json:"email"`
}

// QuietHours are quiet hours on the wire.
type QuietHours struct {
	Start string `json:"start" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM by the clock of your time_zone." example:"22:00"`
	End   string `json:"end" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM. Hours that end before they start go on past midnight." example:"07:00"`
}

// NotificationSettings are the notification settings of a user on the wire.
type NotificationSettings struct {
	Types       map[string]Delivery `json:"types" doc:"By type of notification. A type that is left out gets its default: all but devices also by e-mail."`
	Devices     []string            `json:"devices" nullable:"false" maxItems:"1000" doc:"Ids of the devices that notify you when they go offline or come back; none by default."`
	EmailDigest int                 `json:"email_digest_minutes" doc:"The least pause between two e-mails; 0 is none." example:"15"`
	Quiet       *QuietHours         `json:"quiet_hours" doc:"The hours without e-mails and messages to channels; null: none."`
}

func wireNotificationSettings(s hearth.NotificationSettings) NotificationSettings {
	wire := NotificationSettings{Types: map[string]Delivery{}, Devices: append([]string{}, s.Devices...), EmailDigest: s.EmailDigest}
	for kind, ways := range s.Types {
		wire.Types[string(kind)] = Delivery(ways)
	}
	if q := s.Quiet; q != nil {
		wire.Quiet = &QuietHours{Start: timetext.ClockTime(q.Start), End: timetext.ClockTime(q.End)}
	}
	return wire
}

// NewNotificationSettings are notification settings to set.
type NewNotificationSettings struct {
	Types       map[string]Delivery       `json:"types" doc:"By type of notification. A type that is left out gets its default: all but devices also by e-mail."`
	Devices     rest.ShortTexts           `json:"devices" nullable:"false" maxItems:"1000" doc:"Ids of the devices that notify you when they go offline or come back; none by default."`
	EmailDigest rest.Optional[int]        `json:"email_digest_minutes,omitempty" minimum:"0" maximum:"1440" doc:"The least pause between two e-mails: what comes meanwhile is one e-mail after it. Warnings about your account go at once. None, if nothing is said." example:"15"`
	Quiet       rest.Optional[QuietHours] `json:"quiet_hours,omitempty" doc:"The hours without e-mails and messages to channels: what comes meanwhile goes out after them. Critical alarms that begin and warnings about your account go out at once. None, if nothing is said."`
}

func (n NewNotificationSettings) settings() hearth.NotificationSettings {
	s := hearth.NotificationSettings{
		Types: map[hearth.NotificationType]hearth.Delivery{}, Devices: n.Devices, EmailDigest: n.EmailDigest.Or(0),
	}
	for kind, ways := range n.Types {
		s.Types[hearth.NotificationType(kind)] = hearth.Delivery(ways)
	}
	if n.Quiet.Has() {
		s.Quiet = &hearth.QuietHours{Start: timetext.MinuteOfDay(n.Quiet.Value.Start), End: timetext.MinuteOfDay(n.Quiet.Value.End)}
	}
	return s
}

// ReadCount reports how many notifications were marked as read.
type ReadCount struct {
	Read int `json:"read" example:"3"`
}

type listNotificationsInput struct {
	rest.PageParams
	Unread bool `query:"unread" doc:"Only those that were not read."`
}

// registerNotifications adds the operations of notifications and their settings.
func (a *people) registerNotifications() {
	s := a.Notifications
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "list-notifications", Method: http.MethodGet, Path: "/notifications", Tag: TagNotifications, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Summary: "List your notifications", ETag: true, Description: "The newest first. The newest 1000 are kept; one that was read, for 90 days.",
	}, func(ctx context.Context, in *listNotificationsInput) (*rest.Body[rest.List[Notification]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		found, err := s.List(ctx, rest.CallerOf(ctx), hearth.NotificationFilter{Unread: in.Unread}, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, WireNotification)
		return &rest.Body[rest.List[Notification]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "read-notification", Method: http.MethodPost, Path: "/notifications/{id}/read", Tag: TagNotifications,
		Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Summary: "Mark a notification as read", Codes: []hearth.Code{hearth.CodeNotFound},
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64"`
	}) (*rest.Body[Notification], error) {
		n, err := s.Read(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Notification]{Body: WireNotification(n)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "read-all-notifications", Method: http.MethodPost, Path: "/notifications/read-all", Tag: TagNotifications,
		Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Summary: "Mark all notifications as read",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[ReadCount], error) {
		n, err := s.ReadAll(ctx, rest.CallerOf(ctx))
		return &rest.Body[ReadCount]{Body: ReadCount{Read: n}}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-notification-settings", Method: http.MethodGet, Path: "/users/me/notification-settings", Tag: TagNotifications,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, Summary: "Get your notification settings", ETag: true,
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[NotificationSettings], error) {
		settings, err := s.Settings(ctx, rest.CallerOf(ctx))
		return &rest.Body[NotificationSettings]{Body: wireNotificationSettings(settings)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "set-notification-settings", Method: http.MethodPut, Path: "/users/me/notification-settings", Tag: TagNotifications,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, Summary: "Set your notification settings",
		Description: "Replaces all settings. A device that the caller may not read is refused.",
	}, func(ctx context.Context, in *rest.Body[NewNotificationSettings]) (*rest.Body[NotificationSettings], error) {
		settings, err := s.SetSettings(ctx, rest.CallerOf(ctx), in.Body.settings())
		return &rest.Body[NotificationSettings]{Body: wireNotificationSettings(settings)}, err
	})
}
