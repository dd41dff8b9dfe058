package storetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// NotificationStore is what the suite of notifications is about, with what they hang on.
type NotificationStore interface {
	AccountStore
	OutboxStore
	hearth.DeviceStore
	hearth.NotificationStore
}

// Notifications is the suite for hearth.NotificationStore. open returns an empty store; it is called once a test, in parallel.
func Notifications(t *testing.T, open func(t *testing.T) NotificationStore) {
	for name, test := range map[string]func(*testing.T, NotificationStore){
		"gives back what was stored, newest first, page by page": notificationPages,
		"an id is stored once, with its job":                     notificationOnce,
		"nothing is stored for a user who is gone":               notificationGone,
		"a hidden one leaves its job alone":                      notificationHidden,
		"reading is the user's own, and keeps the first time":    notificationRead,
		"reading all tells how many were not":                    notificationReadAll,
		"the oldest make room":                                   notificationBound,
		"what was read long ago is removed in steps":             notificationRemove,
		"settings begin with the defaults and are replaced":      notificationSettings,
		"a watcher is told of each change once":                  notificationWatch,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// notification returns one of user(1)'s; n makes ids and times that ascend.
func notification(n int) hearth.Notification {
	return hearth.Notification{
		ID: fmt.Sprintf("0195c000-0000-7000-8000-%012d", n), UserID: user(1).ID, Type: hearth.NotifyExportReady, Title: "Ready", Body: "logs.csv",
		Data: map[string]string{"export_id": "e"}, CreatedAt: epoch.Add(time.Duration(n) * time.Second),
	}
}

func notifyUser(t *testing.T, s NotificationStore, n hearth.NewNotification) bool {
	t.Helper()
	created, err := s.CreateNotification(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func listNotifications(t *testing.T, s NotificationStore, filter hearth.NotificationFilter, page hearth.Page) hearth.List[hearth.Notification] {
	t.Helper()
	list, err := s.Notifications(t.Context(), user(1).ID, filter, page)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func notificationPages(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	createUser(t, s, user(2))
	var want []hearth.Notification
	for i := range 5 {
		n := notification(i)
		n.CreatedAt = epoch // of the same time: the id decides
		notifyUser(t, s, hearth.NewNotification{Notification: n})
		want = append(want, n)
	}
	other := notification(9)
	other.UserID = user(2).ID
	notifyUser(t, s, hearth.NewNotification{Notification: other})
	slices.Reverse(want)
	var got []hearth.Notification
	page := hearth.Page{Limit: 2, Count: true}
	for {
		list := listNotifications(t, s, hearth.NotificationFilter{}, page)
		if list.Total != 5 {
			t.Errorf("the total is %d", list.Total)
		}
		got = append(got, list.Items...)
		if page.Cursor = list.Next; list.Next.IsZero() {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func notificationOnce(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	n := hearth.NewNotification{Notification: notification(1), SideEffects: hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}}
	var created atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if ok, err := s.CreateNotification(t.Context(), n); err != nil {
				t.Error(err)
			} else if ok {
				created.Add(1)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 || len(listNotifications(t, s, hearth.NotificationFilter{}, hearth.Page{}).Items) != 1 || len(pending(t, s, 10)) != 1 {
		t.Errorf("it was stored %d times, with %d jobs", created.Load(), len(pending(t, s, 10)))
	}
}

func notificationGone(t *testing.T, s NotificationStore) {
	n := hearth.NewNotification{Notification: notification(1), SideEffects: hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}}
	if notifyUser(t, s, n) || len(pending(t, s, 10)) != 0 {
		t.Error("somebody who is gone was told")
	}
}

func notificationHidden(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	n := hearth.NewNotification{Notification: notification(1), Hidden: true, SideEffects: hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}}
	for range 2 { // the job's id makes the second harmless
		notifyUser(t, s, n)
	}
	if len(listNotifications(t, s, hearth.NotificationFilter{}, hearth.Page{}).Items) != 0 || len(pending(t, s, 10)) != 1 {
		t.Errorf("it is listed, or left %d jobs", len(pending(t, s, 10)))
	}
}

func notificationRead(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	createUser(t, s, user(2))
	notifyUser(t, s, hearth.NewNotification{Notification: notification(1)})
	id := notification(1).ID
	if _, err := s.ReadNotification(t.Context(), user(2).ID, id, epoch); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("another user read it: %v", err)
	}
	for i := range 2 {
		got, err := s.ReadNotification(t.Context(), user(1).ID, id, epoch.Add(time.Duration(i+1)*time.Hour))
		if err != nil || !got.ReadAt.Equal(epoch.Add(time.Hour)) {
			t.Errorf("reading gives %v, %v", got.ReadAt, err)
		}
	}
	if list := listNotifications(t, s, hearth.NotificationFilter{Unread: true}, hearth.Page{Count: true}); len(list.Items) != 0 || list.Total != 0 {
		t.Errorf("unread are %+v", list)
	}
}

func notificationReadAll(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	for i := range 4 {
		notifyUser(t, s, hearth.NewNotification{Notification: notification(i)})
	}
	if _, err := s.ReadNotification(t.Context(), user(1).ID, notification(2).ID, epoch); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{3, 0} {
		if n, err := s.ReadNotifications(t.Context(), user(1).ID, epoch.Add(time.Hour)); err != nil || n != want {
			t.Errorf("read %d, %v; want %d", n, err, want)
		}
	}
}

func notificationBound(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	var wg sync.WaitGroup
	for i := range hearth.MaxNotifications + 2 {
		wg.Go(func() {
			if _, err := s.CreateNotification(t.Context(), hearth.NewNotification{Notification: notification(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list := listNotifications(t, s, hearth.NotificationFilter{}, hearth.Page{Limit: 1, Count: true})
	if list.Total != hearth.MaxNotifications || list.Items[0].ID != notification(hearth.MaxNotifications+1).ID {
		t.Errorf("kept are %d, the newest is %s", list.Total, list.Items[0].ID)
	}
}

func notificationRemove(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	for i := range 6 {
		notifyUser(t, s, hearth.NewNotification{Notification: notification(i)})
	}
	for i := range 5 { // the sixth is unread
		if _, err := s.ReadNotification(t.Context(), user(1).ID, notification(i).ID, epoch.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{2, 1, 0} {
		if n, err := s.RemoveReadNotifications(t.Context(), epoch.Add(3*time.Hour), 2); err != nil || n != want {
			t.Errorf("removed %d, %v; want %d", n, err, want)
		}
	}
	if left := len(listNotifications(t, s, hearth.NotificationFilter{}, hearth.Page{}).Items); left != 3 {
		t.Errorf("%d are left", left)
	}
}

func notificationSettings(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	watched := watchedDevice(t, s)
	check := func(want hearth.NotificationSettings) {
		t.Helper()
		got, err := s.NotificationSettings(t.Context(), user(1).ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	want := hearth.DefaultNotificationSettings()
	check(want)
	want.Types[hearth.NotifyExportReady] = hearth.Delivery{InApp: false, Email: true}
	want.Types[hearth.NotifyAccountLocked] = hearth.Delivery{InApp: true, Email: false}
	want.Devices = []string{watched}
	watches := []hearth.DeviceWatch{{DeviceID: watched, Told: hearth.Offline}, {DeviceID: "gone", Told: hearth.Offline}}
	if err := s.SetNotificationSettings(t.Context(), user(1).ID, hearth.NotificationChoice{Types: want.Types, Watches: watches}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	check(want)
	if err := s.SetNotificationSettings(t.Context(), user(1).ID, hearth.NotificationChoice{Types: hearth.DefaultNotificationSettings().Types}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	check(hearth.DefaultNotificationSettings())
	if err := s.SetNotificationSettings(t.Context(), user(7).ID, hearth.NotificationChoice{Types: want.Types}, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("settings of nobody: %v", err)
	}
}

// watchedDevice makes a device of user(1)'s and returns its id.
func watchedDevice(t *testing.T, s NotificationStore) string {
	t.Helper()
	d := device(1)
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{d}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return d.ID
}

func notificationWatch(t *testing.T, s NotificationStore) {
	createUser(t, s, user(1))
	id := watchedDevice(t, s)
	settings := hearth.DefaultNotificationSettings()
	set := func(told hearth.Connection) {
		t.Helper()
		if err := s.SetNotificationSettings(t.Context(), user(1).ID, hearth.NotificationChoice{Types: settings.Types, Watches: []hearth.DeviceWatch{{DeviceID: id, Told: told}}}, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	set(hearth.Online)
	next := 0
	tell := func(told hearth.Connection, hidden, want bool) {
		t.Helper()
		next++
		n := hearth.NewNotification{Notification: notification(next), Told: told, Hidden: hidden}
		n.Notification.Data = map[string]string{"device_id": id}
		if got := notifyUser(t, s, n); got != want {
			t.Errorf("telling %s gives %v; want %v", told, got, want)
		}
	}
	tell(hearth.Online, false, false)
	tell(hearth.Offline, false, true)
	tell(hearth.Offline, false, false)
	set(hearth.Online) // what is known of a device that was watched before is kept
	tell(hearth.Offline, false, false)
	tell(hearth.Online, true, true)
	watches, err := s.DeviceWatches(t.Context(), id)
	want := []hearth.DeviceWatch{{UserID: user(1).ID, DeviceID: id, Told: hearth.Online}}
	if diff := cmp.Diff(want, watches); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := s.SetNotificationSettings(t.Context(), user(1).ID, hearth.NotificationChoice{Types: settings.Types}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	tell(hearth.Offline, false, false)
}
