package hearth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Limits of notifications.
const (
	// MaxNotifications is how many a user keeps; a further one removes the oldest.
	MaxNotifications = 1000
	// MaxWatchedDevices is how many devices a user is told about when they go offline and come back.
	MaxWatchedDevices = 1000
	// KeepRead is how long a notification is kept after it was read.
	KeepRead = 90 * 24 * time.Hour
)

// NotificationType says what a notification is about.
type NotificationType string

// The types of notifications.
const (
	NotifyExportReady     NotificationType = "export_ready"
	NotifyExportFailed    NotificationType = "export_failed"
	NotifyDeviceOffline   NotificationType = "device_offline"
	NotifyDeviceOnline    NotificationType = "device_online"
	NotifyNewSignIn       NotificationType = "new_sign_in"
	NotifyRefreshReused   NotificationType = "refresh_reused"
	NotifyPasswordChanged NotificationType = "password_changed"
	NotifyEmailChanged    NotificationType = "email_changed"
	NotifyAccountLocked   NotificationType = "account_locked"
	NotifyAlarm           NotificationType = "alarm"
	NotifyWebhookDisabled NotificationType = "webhook_disabled"
)

// NotificationTypes returns all types.
func NotificationTypes() []NotificationType {
	return []NotificationType{
		NotifyExportReady, NotifyExportFailed, NotifyDeviceOffline, NotifyDeviceOnline, NotifyNewSignIn, NotifyRefreshReused,
		NotifyPasswordChanged, NotifyEmailChanged, NotifyAccountLocked, NotifyAlarm, NotifyWebhookDisabled,
	}
}

// Notification is something that a user is told.
type Notification struct {
	ID     string
	UserID string
	Type   NotificationType
	Title  string
	Body   string
	// Data names what it is about, such as "export_id" or "device_id".
	Data      map[string]string
	CreatedAt time.Time
	ReadAt    time.Time // zero until it is read
}

// Delivery says on which ways a user is told of a type.
type Delivery struct {
	// InApp lists it and sends it live.
	InApp bool
	Email bool
}

// NotificationSettings are what a user wants to be told.
type NotificationSettings struct {
	// Types holds every type.
	Types map[NotificationType]Delivery
	// Devices are the ids of those whose going offline and coming back is told; sorted.
	Devices []string
	// EmailDigest is the least pause between two e-mails, in minutes; 0 is none.
	EmailDigest int
	// Quiet are the hours without e-mails and messages to channels; nil is none.
	Quiet *QuietHours
}

// DefaultNotificationSettings are those of a user who never changed any: everything but devices, also by e-mail.
func DefaultNotificationSettings() NotificationSettings {
	s := NotificationSettings{Types: map[NotificationType]Delivery{}, Devices: []string{}}
	for _, t := range NotificationTypes() {
		s.Types[t] = Delivery{InApp: true, Email: t != NotifyDeviceOffline && t != NotifyDeviceOnline}
	}
	return s
}

// Validate checks what a user set; locations start with prefix, such as "body.".
func (s NotificationSettings) Validate(prefix string) []FieldError {
	var errs []FieldError
	for _, t := range slices.Sorted(maps.Keys(s.Types)) {
		if !slices.Contains(NotificationTypes(), t) {
			errs = append(errs, FieldError{prefix + "types", "holds a type that is not one"})
			break
		}
	}
	if len(s.Devices) > MaxWatchedDevices {
		errs = append(errs, FieldError{prefix + "devices", fmt.Sprintf("must hold %d devices at most", MaxWatchedDevices)})
	}
	if message := checkDigest(s.EmailDigest); message != "" {
		errs = append(errs, FieldError{prefix + "email_digest_minutes", message})
	}
	if s.Quiet != nil && s.Quiet.Start == s.Quiet.End {
		errs = append(errs, FieldError{prefix + "quiet_hours", "must not end when they start"})
	}
	return errs
}

// NotificationFilter picks notifications.
type NotificationFilter struct {
	// Unread picks those that were not read.
	Unread bool
}

// NewNotification is a notification about to be stored.
type NewNotification struct {
	Notification Notification
	// Told, if set, is the connection of the device Data["device_id"] that the user learns of: it is stored only if the
	// user still watches the device and was told something else last.
	Told Connection
	// Hidden stores nothing to be listed: only Told, Digests and SideEffects.
	Hidden bool
	// Digests are changed if the notification is stored.
	Digests []DigestChange
	// SideEffects is written if the notification is.
	SideEffects SideEffects
}

// DeviceWatch is a device that somebody wants to be told about.
type DeviceWatch struct {
	UserID   string
	DeviceID string
	// Told is the connection that the user knows of.
	Told Connection
}

// NotificationChoice is what a user wants to be told, as it is stored.
type NotificationChoice struct {
	Types map[NotificationType]Delivery
	// Watches are the devices of it, with what the user knows of each.
	Watches []DeviceWatch
	// EmailDigest and Quiet are as in NotificationSettings.
	EmailDigest int
	Quiet       *QuietHours
}

// NotificationStore keeps notifications and what people want to be told. Every write is atomic and durable when it returns;
// errors are of the codes named here, or CodeUnavailable and CodeStorageFull.
type NotificationStore interface {
	// CreateNotification stores a notification and reports whether it did: one whose ID was stored before, whose user is gone or
	// whose Told is no news changes nothing. It removes the user's oldest beyond MaxNotifications. Only as long as the ID is
	// kept, a second call is known.
	CreateNotification(ctx context.Context, n NewNotification) (created bool, err error)
	// Notifications lists a user's, newest first.
	Notifications(ctx context.Context, userID string, filter NotificationFilter, page Page) (List[Notification], error)
	// ReadNotification marks one of the user's as read, if it was not, and returns it; CodeNotFound.
	ReadNotification(ctx context.Context, userID, id string, at time.Time) (Notification, error)
	// ReadNotifications marks all of the user's as read and returns the number of those that were not.
	ReadNotifications(ctx context.Context, userID string, at time.Time) (int, error)
	// RemoveReadNotifications removes up to limit notifications that were read before a time and says how many.
	RemoveReadNotifications(ctx context.Context, before time.Time, limit int) (int, error)
	// NotificationSettings returns what a user set, the defaults in its gaps.
	NotificationSettings(ctx context.Context, userID string) (NotificationSettings, error)
	// SetNotificationSettings replaces what a user set; what is known of a device that was watched before is kept. along is
	// written in the same step. CodeNotFound if the user is gone.
	SetNotificationSettings(ctx context.Context, userID string, choice NotificationChoice, effects SideEffects) error
	// DeviceWatches returns those who watch a device.
	DeviceWatches(ctx context.Context, deviceID string) ([]DeviceWatch, error)
}
