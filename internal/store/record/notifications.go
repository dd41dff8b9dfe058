package record

import (
	"context"
	"slices"
	"time"

	"hearth"
)

var _ hearth.NotificationStore = (*Aggregates)(nil)

// notification is the stored form of hearth.Notification.
type notification struct {
	ID        string                  `json:"id"`
	UserID    string                  `json:"user_id" bson:"user"`
	Type      hearth.NotificationType `json:"type"`
	Title     string                  `json:"title"`
	Body      string                  `json:"body"`
	Data      map[string]string       `json:"data,omitempty"`
	CreatedAt time.Time               `json:"created_at,omitzero" bson:"created"`
	ReadAt    time.Time               `json:"read_at,omitzero" bson:"read"`
}

var notifications = describe(&Kind[notification]{Schema: Schema{
	Name: "notifications", Noun: "notification", Of: map[string]string{"user_id": "users"},
	Indexes: []Index{
		{Fields: []string{"user_id", "created_at", "id"}},
		{Fields: []string{"user_id", "read_at", "created_at", "id"}},
		{Fields: []string{"read_at"}},
	},
}})

// settings are the types of notifications as a user set them, without the defaults in the gaps.
type settings struct {
	UserID      string                               `json:"user_id"`
	Types       map[hearth.NotificationType]delivery `json:"types"`
	EmailDigest int                                  `json:"email_digest,omitempty"`
	Quiet       *quietHours                          `json:"quiet,omitempty"`
}

// quietHours is the stored form of hearth.QuietHours.
type quietHours struct {
	Start int `json:"start" bson:"start"`
	End   int `json:"end" bson:"end"`
}

type delivery struct {
	InApp bool `json:"in_app" bson:"in_app"`
	Email bool `json:"email" bson:"email"`
}

var notificationSettings = describe(&Kind[settings]{Schema: Schema{
	Name: "notification_settings", Noun: "notification settings", ID: []string{"user_id"}, Of: map[string]string{"user_id": "users"},
}})

// watch is a device that a user is told of, with the connection that the user knows.
type watch struct {
	UserID   string            `json:"user_id"`
	DeviceID string            `json:"device_id"`
	Told     hearth.Connection `json:"told"`
}

var watches = describe(&Kind[watch]{Schema: Schema{
	Name: "device_watches", Noun: "watch", ID: []string{"device_id", "user_id"},
	Of:      map[string]string{"user_id": "users", "device_id": "devices"},
	Indexes: []Index{{Fields: []string{"user_id", "device_id"}}, {Fields: []string{"device_id"}}},
}})

// CreateNotification implements hearth.NotificationStore.
func (a *Aggregates) CreateNotification(ctx context.Context, n hearth.NewNotification) (bool, error) {
	w := Write{Name: "CreateNotification", Key: "notifications/" + n.Notification.ID, Effects: n.SideEffects}
	if n.Told != "" || len(n.Digests) > 0 {
		w.Key = "notification_settings/" + n.Notification.UserID
	}
	created, err := update(ctx, a.b, w, func(ctx context.Context, tx Tx) (bool, error) {
		isNews, err := a.isNews(ctx, tx, n)
		if err != nil || !isNews {
			tx.With(hearth.SideEffects{})
			return false, err
		}
		effects := n.SideEffects
		for _, change := range n.Digests {
			jobs, err := changeDigest(ctx, tx, change)
			if err != nil {
				return false, err
			}
			effects.Jobs = append(slices.Clip(effects.Jobs), jobs...)
		}
		tx.With(effects)
		if n.Hidden {
			return true, nil
		}
		return true, notifications.Insert(ctx, tx, notification(n.Notification))
	})
	if err == nil && created && !n.Hidden {
		err = a.dropOldest(ctx, n.Notification.UserID)
	}
	return created && err == nil, err
}

// isNews reports whether the notification is to be stored, and notes what the user knows of its device.
func (a *Aggregates) isNews(ctx context.Context, tx Tx, n hearth.NewNotification) (bool, error) {
	if known, err := users.Exists(ctx, tx, Eq("id", n.Notification.UserID)); err != nil || !known {
		return false, err
	}
	_, err := notifications.Get(ctx, tx, n.Notification.ID)
	if isNew, err := absent(err); err != nil || !isNew || n.Told == "" {
		return isNew, err
	}
	w, err := watches.Get(ctx, tx, n.Notification.Data["device_id"], n.Notification.UserID)
	if gone, err := absent(err); err != nil || gone || w.Told == n.Told {
		return false, err
	}
	w.Told = n.Told
	return true, watches.Replace(ctx, tx, w)
}

// dropOldest removes the user's oldest notifications beyond MaxNotifications. It comes after those that were stored, since others
// may have been at the same time.
func (a *Aggregates) dropOldest(ctx context.Context, userID string) error {
	const name = "CreateNotification"
	of := Filter{Eq("user_id", userID)}
	ids, err := view(ctx, a.b, name, func(ctx context.Context, r Reader) (ids []string, _ error) {
		count, err := r.Count(ctx, &notifications.Schema, of, false)
		if err != nil || count <= hearth.MaxNotifications {
			return nil, err
		}
		oldest, err := notifications.Find(ctx, r, Query{Where: of, Order: newestFirst, Skip: hearth.MaxNotifications})
		for _, n := range oldest {
			ids = append(ids, n.ID)
		}
		return ids, err
	})
	if err == nil && len(ids) > 0 {
		_, err = a.b.Remove(ctx, name, &notifications.Schema, Filter{In("id", ids...)}, "id", 0)
	}
	return err
}

// Notifications implements hearth.NotificationStore.
func (a *Aggregates) Notifications(
	ctx context.Context, userID string, filter hearth.NotificationFilter, page hearth.Page,
) (hearth.List[hearth.Notification], error) {
	where := Filter{Eq("user_id", userID)}
	if filter.Unread {
		where = append(where, Eq("read_at", 0))
	}
	item := func(n notification) hearth.Notification { return hearth.Notification(n) }
	return listing[notification, hearth.Notification]{"Notifications", notifications, where, newestFirst, item}.page(ctx, a.b, page)
}

// ReadNotification implements hearth.NotificationStore.
func (a *Aggregates) ReadNotification(ctx context.Context, userID, id string, at time.Time) (hearth.Notification, error) {
	return update(ctx, a.b, Write{Name: "ReadNotification", Key: "notifications/" + id}, func(ctx context.Context, tx Tx) (hearth.Notification, error) {
		n, err := notifications.Get(ctx, tx, id)
		if err == nil && n.UserID != userID {
			err = notifications.NotFound()
		}
		if err == nil && n.ReadAt.IsZero() {
			n.ReadAt = hearth.Millis(at)
			err = notifications.Replace(ctx, tx, n)
		}
		return hearth.Notification(n), err
	})
}

// ReadNotifications implements hearth.NotificationStore. A crash may leave some unread: reading again reads the rest.
func (a *Aggregates) ReadNotifications(ctx context.Context, userID string, at time.Time) (int, error) {
	return a.b.Change(ctx, "ReadNotifications", &notifications.Schema, Filter{Eq("user_id", userID), Eq("read_at", 0)}, Changes{Set("read_at", at)})
}

// RemoveReadNotifications implements hearth.NotificationStore.
func (a *Aggregates) RemoveReadNotifications(ctx context.Context, before time.Time, limit int) (int, error) {
	return a.b.Remove(ctx, "RemoveReadNotifications", &notifications.Schema, Filter{Gt("read_at", 0), Lt("read_at", before)}, "read_at", limit)
}

// NotificationSettings implements hearth.NotificationStore.
func (a *Aggregates) NotificationSettings(ctx context.Context, userID string) (hearth.NotificationSettings, error) {
	return view(ctx, a.b, "NotificationSettings", func(ctx context.Context, r Reader) (hearth.NotificationSettings, error) {
		all := hearth.DefaultNotificationSettings()
		stored, err := notificationSettings.Get(ctx, r, userID)
		if unset, err := absent(err); err != nil || unset {
			return all, err
		}
		for kind, d := range stored.Types {
			all.Types[kind] = hearth.Delivery(d)
		}
		all.EmailDigest, all.Quiet = stored.EmailDigest, (*hearth.QuietHours)(stored.Quiet)
		watched, err := watches.Find(ctx, r, Query{Where: Filter{Eq("user_id", userID)}, Order: Order{By: "device_id"}})
		for _, w := range watched {
			all.Devices = append(all.Devices, w.DeviceID)
		}
		return all, err
	})
}

// SetNotificationSettings implements hearth.NotificationStore. All changes of a user's watches change the settings, so that they
// follow one another.
func (a *Aggregates) SetNotificationSettings(
	ctx context.Context, userID string, choice hearth.NotificationChoice, effects hearth.SideEffects,
) error {
	set := settings{
		UserID: userID, Types: map[hearth.NotificationType]delivery{}, EmailDigest: choice.EmailDigest, Quiet: (*quietHours)(choice.Quiet),
	}
	for kind, d := range choice.Types {
		set.Types[kind] = delivery(d)
	}
	w := Write{Name: "SetNotificationSettings", Key: "notification_settings/" + userID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if _, err := users.Get(ctx, tx, userID); err != nil {
			return err
		}
		if err := keep(ctx, tx, notificationSettings, set); err != nil {
			return err
		}
		return setWatches(ctx, tx, userID, choice.Watches)
	})
}

// setWatches replaces what a user watches; what is known of a device that was watched before is kept. A device that is gone by
// now is left out.
func setWatches(ctx context.Context, tx Tx, userID string, wanted []hearth.DeviceWatch) error {
	ids := make([]string, len(wanted))
	told := map[string]hearth.Connection{}
	for i, w := range wanted {
		ids[i], told[w.DeviceID] = w.DeviceID, w.Told
	}
	before, err := watches.Find(ctx, tx, Query{Where: Filter{Eq("user_id", userID)}})
	if err != nil {
		return err
	}
	for _, w := range before {
		if _, still := told[w.DeviceID]; still {
			delete(told, w.DeviceID)
		} else if err := watches.Delete(ctx, tx, w.DeviceID, userID); err != nil {
			return err
		}
	}
	if len(told) == 0 {
		return nil
	}
	existing, err := devices.Find(ctx, tx, Query{Where: Filter{In("id", ids...)}})
	if err != nil {
		return err
	}
	for _, d := range existing {
		connection, isNew := told[d.ID]
		if !isNew {
			continue
		}
		if err := watches.Insert(ctx, tx, watch{UserID: userID, DeviceID: d.ID, Told: connection}); err != nil {
			return err
		}
	}
	return nil
}

// DeviceWatches implements hearth.NotificationStore.
func (a *Aggregates) DeviceWatches(ctx context.Context, deviceID string) ([]hearth.DeviceWatch, error) {
	item := func(w watch) hearth.DeviceWatch { return hearth.DeviceWatch(w) }
	return find(ctx, a.b, "DeviceWatches", watches, item, Query{Where: Filter{Eq("device_id", deviceID)}})
}
