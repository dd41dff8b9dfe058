package notify

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"hearth"
)

// List returns the caller's notifications, newest first; CodeForbidden for a device.
func (s *Service) List(
	ctx context.Context, caller hearth.Caller, filter hearth.NotificationFilter, page hearth.Page,
) (hearth.List[hearth.Notification], error) {
	if !caller.IsUser() {
		return hearth.List[hearth.Notification]{}, errDevice()
	}
	return s.store.Notifications(ctx, caller.UserID, filter, page)
}

// Read marks one of the caller's notifications as read and returns it. CodeForbidden, CodeNotFound.
func (s *Service) Read(ctx context.Context, caller hearth.Caller, id string) (hearth.Notification, error) {
	if !caller.IsUser() {
		return hearth.Notification{}, errDevice()
	}
	return s.store.ReadNotification(ctx, caller.UserID, id, s.now())
}

// ReadAll marks all of the caller's notifications as read and returns the number of those that were not; CodeForbidden.
func (s *Service) ReadAll(ctx context.Context, caller hearth.Caller) (int, error) {
	if !caller.IsUser() {
		return 0, errDevice()
	}
	return s.store.ReadNotifications(ctx, caller.UserID, s.now())
}

// Settings returns the caller's notification settings; CodeForbidden.
func (s *Service) Settings(ctx context.Context, caller hearth.Caller) (hearth.NotificationSettings, error) {
	if !caller.IsUser() {
		return hearth.NotificationSettings{}, errDevice()
	}
	return s.store.NotificationSettings(ctx, caller.UserID)
}

// SetSettings replaces the caller's notification settings and returns them; types that are left out get their defaults.
// CodeForbidden; CodeValidationFailed, also for a device that the caller may not read.
func (s *Service) SetSettings(ctx context.Context, caller hearth.Caller, settings hearth.NotificationSettings) (hearth.NotificationSettings, error) {
	if !caller.IsUser() {
		return settings, errDevice()
	}
	if errs := settings.Validate("body."); len(errs) > 0 {
		return settings, hearth.Invalid(errs...)
	}
	whole := hearth.DefaultNotificationSettings()
	maps.Copy(whole.Types, settings.Types)
	ids := slices.Clone(settings.Devices)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	before, err := s.store.NotificationSettings(ctx, caller.UserID)
	if err != nil {
		return settings, err
	}
	watches, err := s.watchesOf(ctx, caller, ids, before.Devices)
	if err != nil {
		return settings, err
	}
	var effects hearth.SideEffects
	whole.EmailDigest, whole.Quiet = settings.EmailDigest, settings.Quiet
	if changes := settingsChanges(before, whole, ids); len(changes) > 0 {
		entry := caller.Entry(s.now(), "user.notifications", "user:"+caller.UserID)
		entry.Changes = changes
		effects.Audit = []hearth.AuditEntry{entry}
	}
	choice := hearth.NotificationChoice{Types: whole.Types, Watches: watches, EmailDigest: whole.EmailDigest, Quiet: whole.Quiet}
	if err := s.store.SetNotificationSettings(ctx, caller.UserID, choice, effects); err != nil {
		return settings, err
	}
	return s.store.NotificationSettings(ctx, caller.UserID)
}

// settingsChanges returns what differs, so that a warning is not switched off without a trace.
func settingsChanges(before, after hearth.NotificationSettings, devices []string) map[string]hearth.Change {
	changes := map[string]hearth.Change{}
	for kind, delivery := range after.Types {
		if before.Types[kind] != delivery {
			changes[string(kind)] = hearth.Change{Before: ways(before.Types[kind]), After: ways(delivery)}
		}
	}
	if before.EmailDigest != after.EmailDigest {
		changes["email_digest_minutes"] = hearth.Change{Before: before.EmailDigest, After: after.EmailDigest}
	}
	if was, is := quietText(before.Quiet), quietText(after.Quiet); was != is {
		changes["quiet_hours"] = hearth.Change{Before: was, After: is}
	}
	old := slices.Sorted(slices.Values(before.Devices))
	if !slices.Equal(old, devices) {
		changes["devices"] = hearth.Change{Before: len(old), After: len(devices)}
	}
	return changes
}

// quietText writes quiet hours as 22:00-07:00; "none" for none.
func quietText(q *hearth.QuietHours) string {
	if q == nil {
		return "none"
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", q.Start/60, q.Start%60, q.End/60, q.End%60)
}

// ways names the ways of a delivery.
func ways(d hearth.Delivery) string {
	switch {
	case d.InApp && d.Email:
		return "in app, e-mail"
	case d.InApp:
		return "in app"
	case d.Email:
		return "e-mail"
	}
	return "none"
}

// watchesOf returns the devices with what the caller can see of them now. One that was watched before and that the caller may
// not read any more is left out, so that settings that were read can be written back.
func (s *Service) watchesOf(ctx context.Context, caller hearth.Caller, ids, before []string) ([]hearth.DeviceWatch, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	devices, err := s.o.Devices.DevicesByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	now := s.now()
	readable := map[string]hearth.Connection{}
	for _, device := range devices {
		if caller.Access(device)&hearth.MayRead != 0 {
			readable[device.ID] = device.Connection(now)
		}
	}
	watches := make([]hearth.DeviceWatch, 0, len(ids))
	for _, id := range ids {
		connection, ok := readable[id]
		switch {
		case ok:
			watches = append(watches, hearth.DeviceWatch{UserID: caller.UserID, DeviceID: id, Told: connection})
		case !slices.Contains(before, id):
			return nil, hearth.Invalid(hearth.FieldError{Location: "body.devices", Message: "holds a device that does not exist"})
		}
	}
	return watches, nil
}

// CleanUp removes notifications that were read hearth.KeepRead ago, in small steps, and returns their number.
func (s *Service) CleanUp(ctx context.Context) (total int, err error) {
	const step = 500
	for {
		n, err := s.store.RemoveReadNotifications(ctx, s.now().Add(-hearth.KeepRead), step)
		total += n
		if err != nil || n < step {
			return total, err
		}
	}
}

func errDevice() error { return hearth.Errorf(hearth.CodeForbidden, "a device has no notifications") }
