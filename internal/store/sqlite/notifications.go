package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"hearth"
)

var _ hearth.NotificationStore = (*Store)(nil)

const notificationColumns = `id, user_id, type, title, body, data, created_at, read_at`

func scanNotification(row rowScanner) (hearth.Notification, error) {
	var n hearth.Notification
	var data string
	var created, read int64
	if err := row.Scan(&n.ID, &n.UserID, &n.Type, &n.Title, &n.Body, &data, &created, &read); err != nil {
		return n, err
	}
	n.CreatedAt, n.ReadAt = fromMillis(created), fromMillis(read)
	return n, json.Unmarshal([]byte(data), &n.Data)
}

// CreateNotification implements hearth.NotificationStore.
func (s *Store) CreateNotification(ctx context.Context, n hearth.NewNotification) (created bool, err error) {
	err = s.write(ctx, "CreateNotification", func(t *tx) error {
		created = false
		news, err := isNews(t, n)
		if err != nil || !news {
			return err
		}
		if err := s.writeEffects(t, n.SideEffects); err != nil {
			return err
		}
		created = true
		if n.Hidden {
			return nil
		}
		return insertNotification(t, n.Notification)
	})
	return created, err
}

// isNews reports whether the notification is to be stored, and notes what the user knows of its device.
func isNews(t *tx, n hearth.NewNotification) (bool, error) {
	var user, known bool
	// Both by primary key.
	err := t.row(`SELECT EXISTS(SELECT 1 FROM users WHERE id=?), EXISTS(SELECT 1 FROM notifications WHERE id=?)`,
		n.Notification.UserID, n.Notification.ID).Scan(&user, &known)
	if err != nil || !user || known || n.Told == "" {
		return user && !known, err
	}
	result, err := t.exec(`UPDATE device_watches SET told=?1 WHERE device_id=?2 AND user_id=?3 AND told<>?1`,
		n.Told, n.Notification.Data["device_id"], n.Notification.UserID)
	if err != nil {
		return false, err
	}
	changed, err := result.RowsAffected()
	return changed > 0, err
}

func insertNotification(t *tx, n hearth.Notification) error {
	data, err := json.Marshal(n.Data)
	if err != nil {
		return err
	}
	if _, err := t.exec(`INSERT INTO notifications(`+notificationColumns+`) VALUES(?,?,?,?,?,?,?,?)`,
		n.ID, n.UserID, n.Type, n.Title, n.Body, string(data), millis(n.CreatedAt), millis(n.ReadAt)); err != nil {
		return err
	}
	// Walks notifications_user.
	_, err = t.exec(`DELETE FROM notifications WHERE id IN (SELECT id FROM notifications WHERE user_id=?
		ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?)`, n.UserID, hearth.MaxNotifications)
	return err
}

// Notifications implements hearth.NotificationStore.
func (s *Store) Notifications(
	ctx context.Context, userID string, filter hearth.NotificationFilter, page hearth.Page,
) (hearth.List[hearth.Notification], error) {
	list := hearth.List[hearth.Notification]{Total: -1}
	where, args := `user_id=?`, []any{userID}
	if filter.Unread {
		where += ` AND read_at=0`
	}
	all, allArgs := where, args
	if !page.Cursor.IsZero() {
		created, err := strconv.ParseInt(page.Cursor.Key, 10, 64)
		if err != nil {
			return list, hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
		}
		where, args = where+` AND (created_at, id) < (?,?)`, append(args, created, page.Cursor.ID)
	}
	size := page.Size()
	err := s.read(ctx, "Notifications", func(r *reader) error {
		if page.Count {
			if err := r.row(`SELECT count(*) FROM notifications WHERE `+all, allArgs...).Scan(&list.Total); err != nil {
				return err
			}
		}
		// Walks notifications_user or notifications_unread backwards.
		rows, err := r.query(`SELECT `+notificationColumns+` FROM notifications WHERE `+where+` ORDER BY created_at DESC, id DESC LIMIT ?`,
			append(args, size+1)...)
		if err != nil {
			return err
		}
		for rows.Next() {
			n, err := scanNotification(rows)
			if err != nil {
				return closed(rows, err)
			}
			list.Items = append(list.Items, n)
		}
		return closed(rows, nil)
	})
	if err == nil && len(list.Items) > size {
		list.Items = list.Items[:size]
		last := list.Items[size-1]
		list.Next = hearth.Cursor{Sort: page.Sort, Key: strconv.FormatInt(millis(last.CreatedAt), 10), ID: last.ID}
	}
	return list, err
}

// ReadNotification implements hearth.NotificationStore.
func (s *Store) ReadNotification(ctx context.Context, userID, id string, at time.Time) (n hearth.Notification, err error) {
	err = s.write(ctx, "ReadNotification", func(t *tx) (err error) {
		if _, err := t.exec(`UPDATE notifications SET read_at=? WHERE id=? AND user_id=? AND read_at=0`, millis(at), id, userID); err != nil {
			return err
		}
		n, err = scanNotification(t.row(`SELECT `+notificationColumns+` FROM notifications WHERE id=? AND user_id=?`, id, userID))
		return found(err, "notification")
	})
	return n, err
}

// ReadNotifications implements hearth.NotificationStore.
func (s *Store) ReadNotifications(ctx context.Context, userID string, at time.Time) (read int, err error) {
	err = s.write(ctx, "ReadNotifications", func(t *tx) error {
		// Served by notifications_unread.
		result, err := t.exec(`UPDATE notifications SET read_at=? WHERE user_id=? AND read_at=0`, millis(at), userID)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		read = int(n)
		return err
	})
	return read, err
}

// RemoveReadNotifications implements hearth.NotificationStore.
func (s *Store) RemoveReadNotifications(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	err = s.write(ctx, "RemoveReadNotifications", func(t *tx) error {
		// Served by notifications_read.
		result, err := t.exec(`DELETE FROM notifications WHERE id IN
			(SELECT id FROM notifications WHERE read_at>0 AND read_at<? ORDER BY read_at LIMIT ?)`, millis(before), limit)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		removed = int(n)
		return err
	})
	return removed, err
}

// delivery is the stored form of hearth.Delivery.
type delivery struct {
	InApp bool `json:"in_app"`
	Email bool `json:"email"`
}

// NotificationSettings implements hearth.NotificationStore.
func (s *Store) NotificationSettings(ctx context.Context, userID string) (hearth.NotificationSettings, error) {
	settings := hearth.DefaultNotificationSettings()
	err := s.read(ctx, "NotificationSettings", func(r *reader) error {
		var data string
		err := r.row(`SELECT types FROM notification_settings WHERE user_id=?`, userID).Scan(&data)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		stored := map[hearth.NotificationType]delivery{}
		if err := json.Unmarshal([]byte(data), &stored); err != nil {
			return err
		}
		for kind, d := range stored {
			settings.Types[kind] = hearth.Delivery(d)
		}
		// Served by device_watches_user.
		rows, err := r.query(`SELECT device_id FROM device_watches WHERE user_id=? ORDER BY device_id`, userID)
		if err != nil {
			return err
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return closed(rows, err)
			}
			settings.Devices = append(settings.Devices, id)
		}
		return closed(rows, nil)
	})
	return settings, err
}

// SetNotificationSettings implements hearth.NotificationStore.
func (s *Store) SetNotificationSettings(
	ctx context.Context, userID string, choice hearth.NotificationChoice, effects hearth.SideEffects,
) error {
	types := map[hearth.NotificationType]delivery{}
	for kind, d := range choice.Types {
		types[kind] = delivery(d)
	}
	data, err := json.Marshal(types)
	if err != nil {
		return err
	}
	return s.write(ctx, "SetNotificationSettings", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		result, err := t.exec(`INSERT OR REPLACE INTO notification_settings(user_id, types) SELECT id, ?2 FROM users WHERE id=?1`, userID, string(data))
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return cmp.Or(err, error(hearth.NotFound("user")))
		}
		told, err := toldBefore(t, userID)
		if err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM device_watches WHERE user_id=?`, userID); err != nil {
			return err
		}
		for _, w := range choice.Watches {
			if before, ok := told[w.DeviceID]; ok {
				w.Told = before
			}
			// A device that is gone by now is left out.
			if _, err := t.exec(`INSERT OR IGNORE INTO device_watches(device_id, user_id, told) SELECT id, ?2, ?3 FROM devices WHERE id=?1`,
				w.DeviceID, userID, w.Told); err != nil {
				return err
			}
		}
		return nil
	})
}

// toldBefore returns what the user knows of the devices that are watched.
func toldBefore(t *tx, userID string) (map[string]hearth.Connection, error) {
	told := map[string]hearth.Connection{}
	rows, err := t.query(`SELECT device_id, told FROM device_watches WHERE user_id=?`, userID)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var id string
		var connection hearth.Connection
		if err := rows.Scan(&id, &connection); err != nil {
			return nil, closed(rows, err)
		}
		told[id] = connection
	}
	return told, closed(rows, nil)
}

// DeviceWatches implements hearth.NotificationStore.
func (s *Store) DeviceWatches(ctx context.Context, deviceID string) (watches []hearth.DeviceWatch, err error) {
	err = s.read(ctx, "DeviceWatches", func(r *reader) error {
		rows, err := r.query(`SELECT user_id, told FROM device_watches WHERE device_id=?`, deviceID) // by primary key
		if err != nil {
			return err
		}
		for rows.Next() {
			w := hearth.DeviceWatch{DeviceID: deviceID}
			if err := rows.Scan(&w.UserID, &w.Told); err != nil {
				return closed(rows, err)
			}
			watches = append(watches, w)
		}
		return closed(rows, nil)
	})
	return watches, err
}
