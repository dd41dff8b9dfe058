package mongodb

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.NotificationStore = (*Store)(nil)

// notificationDoc is the stored form of a notification.
type notificationDoc struct {
	ID      string `bson:"_id"`
	Meta    `bson:",inline"`
	User    string                  `bson:"user"`
	Type    hearth.NotificationType `bson:"type"`
	Title   string                  `bson:"title"`
	Body    string                  `bson:"body"`
	Data    map[string]string       `bson:"data"`
	Created int64                   `bson:"created"`
	Read    int64                   `bson:"read"` // 0 while it is unread
}

func newNotificationDoc(n hearth.Notification) notificationDoc {
	return notificationDoc{
		ID: n.ID, Meta: Meta{V: 1}, User: n.UserID, Type: n.Type, Title: n.Title, Body: n.Body, Data: n.Data,
		Created: millis(n.CreatedAt), Read: millis(n.ReadAt),
	}
}

func (d notificationDoc) notification() hearth.Notification {
	return hearth.Notification{
		ID: d.ID, UserID: d.User, Type: d.Type, Title: d.Title, Body: d.Body, Data: d.Data, CreatedAt: fromMillis(d.Created), ReadAt: fromMillis(d.Read),
	}
}

// settingsDoc is what a user set; its _id is the user's.
type settingsDoc struct {
	ID      string `bson:"_id"`
	Meta    `bson:",inline"`
	Types   map[hearth.NotificationType]delivery `bson:"types"`
	Watches []watchDoc                           `bson:"watches"`
}

// delivery is the stored form of hearth.Delivery.
type delivery struct {
	InApp bool `bson:"in_app"`
	Email bool `bson:"email"`
}

type watchDoc struct {
	Device string            `bson:"device"`
	Told   hearth.Connection `bson:"told"`
}

// errNoNews ends a step that has nothing to tell.
var errNoNews = errors.New("mongodb: the user is not told this")

// CreateNotification implements hearth.NotificationStore.
func (s *Store) CreateNotification(ctx context.Context, n hearth.NewNotification) (created bool, err error) {
	w := writing{name: "CreateNotification", line: collNotifications + "/" + n.Notification.ID, effects: n.SideEffects}
	if n.Told != "" {
		w.line = collSettings + "/" + n.Notification.UserID
	}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		created = false
		if err := s.tell(ctx, st, n); err != nil {
			if errors.Is(err, errNoNews) {
				st.effects, st.ops = hearth.SideEffects{}, nil
				return nil
			}
			return err
		}
		created = true
		return nil
	})
	if errors.Is(err, errNoNews) { // found out when it was stored
		return false, nil
	}
	if err == nil && created && !n.Hidden {
		err = s.dropOldest(ctx, n.Notification.UserID)
	}
	return created && err == nil, err
}

// tell notes a notification, or returns errNoNews.
func (s *Store) tell(ctx context.Context, st *step, n hearth.NewNotification) error {
	user, err := s.exists(ctx, collUsers, live(bson.E{Key: "_id", Value: n.Notification.UserID}))
	if err != nil {
		return err
	}
	known, err := s.exists(ctx, collNotifications, live(bson.E{Key: "_id", Value: n.Notification.ID}))
	if err != nil {
		return err
	}
	if !user || known {
		return errNoNews
	}
	if n.Told != "" {
		if err := noteTold(ctx, st, n); err != nil {
			return err
		}
	}
	if !n.Hidden {
		st.insert(collNotifications, n.Notification.ID, newNotificationDoc(n.Notification), errNoNews)
	}
	return nil
}

// noteTold notes what the user learns of a device; errNoNews if the user does not watch it or knows.
func noteTold(ctx context.Context, st *step, n hearth.NewNotification) error {
	d, err := load[settingsDoc](ctx, st, collSettings, byID(n.Notification.UserID))
	if errors.Is(err, errGone) {
		return errNoNews
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(d.Watches, func(w watchDoc) bool { return w.Device == n.Notification.Data["device_id"] })
	if i < 0 || d.Watches[i].Told == n.Told {
		return errNoNews
	}
	d.Watches[i].Told = n.Told
	st.update(collSettings, d.ID, d.V, set(bson.D{{Key: "watches", Value: d.Watches}}))
	return nil
}

// dropOldest removes the user's oldest notifications beyond MaxNotifications.
func (s *Store) dropOldest(ctx context.Context, userID string) error {
	return s.do(ctx, "CreateNotification", func(ctx context.Context) error {
		// Counted in (user, created, _id).
		count, err := s.db.Collection(collNotifications).CountDocuments(ctx, bson.D{{Key: "user", Value: userID}},
			options.Count().SetLimit(hearth.MaxNotifications+1))
		if err != nil || count <= hearth.MaxNotifications {
			return err
		}
		// Walks the same index backwards.
		docs, err := findAll[notificationDoc](ctx, s.db.Collection(collNotifications), live(bson.E{Key: "user", Value: userID}),
			options.Find().SetSort(newestFirst).SetSkip(hearth.MaxNotifications).SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil || len(docs) == 0 {
			return err
		}
		ids := make(bson.A, 0, len(docs))
		for _, d := range docs {
			ids = append(ids, d.ID)
		}
		return again(ctx, func() error {
			_, err := s.db.Collection(collNotifications).DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
			return err
		})
	})
}

// Notifications implements hearth.NotificationStore.
func (s *Store) Notifications(
	ctx context.Context, userID string, filter hearth.NotificationFilter, page hearth.Page,
) (hearth.List[hearth.Notification], error) {
	where := live(bson.E{Key: "user", Value: userID})
	if filter.Unread {
		where = append(where, bson.E{Key: "read", Value: 0})
	}
	// Walks (user, created, _id) or (user, read, created, _id) backwards.
	list := listing[notificationDoc, hearth.Notification]{
		name: "Notifications", coll: collNotifications, filter: where, field: "created", descending: true,
		item: notificationDoc.notification, place: func(d notificationDoc) hearth.Cursor { return at(d.Created, d.ID) },
	}
	return list.page(ctx, s, page)
}

// ReadNotification implements hearth.NotificationStore.
func (s *Store) ReadNotification(ctx context.Context, userID, id string, at time.Time) (n hearth.Notification, err error) {
	err = s.do(ctx, "ReadNotification", func(ctx context.Context) error {
		own := live(bson.E{Key: "_id", Value: id}, bson.E{Key: "user", Value: userID})
		var d notificationDoc
		err := again(ctx, func() error {
			_, err := s.db.Collection(collNotifications).UpdateOne(ctx, append(own, bson.E{Key: "read", Value: 0}),
				set(bson.D{{Key: "read", Value: millis(at)}}))
			return err
		})
		if err != nil {
			return err
		}
		err = s.db.Collection(collNotifications).FindOne(ctx, own).Decode(&d)
		n = d.notification()
		return found(err, "notification")
	})
	if err != nil {
		return hearth.Notification{}, err
	}
	return n, nil
}

// ReadNotifications implements hearth.NotificationStore. A crash may leave some unread: reading again reads the rest.
func (s *Store) ReadNotifications(ctx context.Context, userID string, at time.Time) (read int, err error) {
	err = s.do(ctx, "ReadNotifications", func(ctx context.Context) error {
		return again(ctx, func() error {
			// Served by (user, read, created, _id).
			result, err := s.db.Collection(collNotifications).UpdateMany(ctx,
				live(bson.E{Key: "user", Value: userID}, bson.E{Key: "read", Value: 0}), set(bson.D{{Key: "read", Value: millis(at)}}))
			if err == nil {
				read = int(result.ModifiedCount)
			}
			return err
		})
	})
	return read, err
}

// RemoveReadNotifications implements hearth.NotificationStore.
func (s *Store) RemoveReadNotifications(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	err = s.do(ctx, "RemoveReadNotifications", func(ctx context.Context) error {
		// The index read finds them.
		removed, err = s.deleteFirst(ctx, collNotifications,
			bson.D{{Key: "read", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: millis(before)}}}}, "read", limit)
		return err
	})
	return removed, err
}

// NotificationSettings implements hearth.NotificationStore.
func (s *Store) NotificationSettings(ctx context.Context, userID string) (hearth.NotificationSettings, error) {
	settings := hearth.DefaultNotificationSettings()
	err := s.do(ctx, "NotificationSettings", func(ctx context.Context) error {
		var d settingsDoc
		err := s.db.Collection(collSettings).FindOne(ctx, live(bson.E{Key: "_id", Value: userID})).Decode(&d)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return nil
		}
		for kind, way := range d.Types {
			settings.Types[kind] = hearth.Delivery(way)
		}
		for _, w := range d.Watches {
			settings.Devices = append(settings.Devices, w.Device)
		}
		slices.Sort(settings.Devices)
		return err
	})
	return settings, err
}

// SetNotificationSettings implements hearth.NotificationStore.
func (s *Store) SetNotificationSettings(
	ctx context.Context, userID string, choice hearth.NotificationChoice, effects hearth.SideEffects,
) error {
	types := map[hearth.NotificationType]delivery{}
	for kind, way := range choice.Types {
		types[kind] = delivery(way)
	}
	return s.commit(ctx, writing{name: "SetNotificationSettings", line: collSettings + "/" + userID, effects: effects}, func(ctx context.Context, st *step) error {
		exists, err := s.exists(ctx, collUsers, live(bson.E{Key: "_id", Value: userID}))
		if err != nil {
			return err
		}
		if !exists {
			return hearth.NotFound("user")
		}
		before, err := load[settingsDoc](ctx, st, collSettings, byID(userID))
		gone := errors.Is(err, errGone)
		if err != nil && !gone {
			return err
		}
		watched, err := s.watched(ctx, before.Watches, choice.Watches)
		if err != nil {
			return err
		}
		if gone {
			st.insert(collSettings, userID, settingsDoc{ID: userID, Meta: Meta{V: 1}, Types: types, Watches: watched}, errStale)
			return nil
		}
		st.update(collSettings, userID, before.V, set(bson.D{{Key: "types", Value: types}, {Key: "watches", Value: watched}}))
		return nil
	})
}

// watched returns the stored form of watches: of those devices that exist, and with what was known before.
func (s *Store) watched(ctx context.Context, before []watchDoc, watches []hearth.DeviceWatch) ([]watchDoc, error) {
	watched := []watchDoc{}
	if len(watches) == 0 {
		return watched, nil
	}
	wanted := map[string]hearth.Connection{}
	for _, w := range watches {
		wanted[w.DeviceID] = w.Told
	}
	for _, w := range before {
		if _, still := wanted[w.Device]; still {
			wanted[w.Device] = w.Told
		}
	}
	ids := make(bson.A, 0, len(wanted))
	for id := range wanted {
		ids = append(ids, id)
	}
	existing, err := s.idsOf(ctx, collDevices, alive(bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}))
	for _, id := range existing {
		watched = append(watched, watchDoc{Device: id, Told: wanted[id]})
	}
	return watched, err
}

// idsOf returns the ids, which are texts, of the documents that match.
func (s *Store) idsOf(ctx context.Context, coll string, filter bson.D) (ids []string, err error) {
	type named struct {
		ID string `bson:"_id"`
	}
	docs, err := findAll[named](ctx, s.db.Collection(coll), filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	for _, d := range docs {
		ids = append(ids, d.ID)
	}
	return ids, err
}

// forgetWatches takes a device that is removed out of everybody's settings.
func (st *step) forgetWatches(deviceID string) {
	st.sweep(collSettings, bson.D{{Key: "watches.device", Value: deviceID}},
		bson.D{{Key: "$pull", Value: bson.D{{Key: "watches", Value: bson.D{{Key: "device", Value: deviceID}}}}}})
}

// DeviceWatches implements hearth.NotificationStore.
func (s *Store) DeviceWatches(ctx context.Context, deviceID string) (watches []hearth.DeviceWatch, err error) {
	err = s.do(ctx, "DeviceWatches", func(ctx context.Context) error {
		// By watches.device; of the watches only that one comes back.
		docs, err := findAll[settingsDoc](ctx, s.db.Collection(collSettings), live(bson.E{Key: "watches.device", Value: deviceID}),
			options.Find().SetProjection(bson.D{{Key: "watches", Value: bson.D{
				{Key: "$elemMatch", Value: bson.D{{Key: "device", Value: deviceID}}},
			}}}))
		for _, d := range docs {
			for _, w := range d.Watches {
				watches = append(watches, hearth.DeviceWatch{UserID: d.ID, DeviceID: w.Device, Told: w.Told})
			}
		}
		return err
	})
	return watches, err
}
