package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// ChannelStore is what the suite of notification channels is about, with what they hang on.
type ChannelStore interface {
	NotificationStore
	hearth.NotificationChannelStore
}

// Channels is the suite for hearth.NotificationChannelStore. open returns an empty store; it is called once a test, in parallel.
func Channels(t *testing.T, open func(t *testing.T) ChannelStore) {
	for name, test := range map[string]func(*testing.T, ChannelStore){
		"are the user's own, page by page":                  channelPages,
		"a user has ten":                                    channelLimit,
		"are changed in one step and deleted with a digest": channelChanges,
		"a digest changes with a notification, once":        digestWithNotification,
		"changes of a digest follow one another":            digestRace,
		"overdue digests are listed by their time":          digestOverdue,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			createUser(t, s, user(1))
			createUser(t, s, user(2))
			test(t, s)
		})
	}
}

// channelOf returns one of a user's; n makes ids and times that ascend.
func channelOf(u hearth.User, n int) hearth.NotificationChannel {
	at := epoch.Add(time.Duration(n) * time.Second)
	return hearth.NotificationChannel{
		ID: fmt.Sprintf("0195c100-0000-7000-8000-%012d", n), UserID: u.ID, Name: "Phone", Kind: hearth.ChannelSlack, Address: "https://s/…",
		Secret: []byte{1, 2}, Types: []hearth.NotificationType{hearth.NotifyAlarm}, DigestMinutes: 5, Enabled: true, Version: 1, CreatedAt: at, UpdatedAt: at,
	}
}

func createChannel(t *testing.T, s ChannelStore, c hearth.NotificationChannel) {
	t.Helper()
	if err := s.CreateChannel(t.Context(), c, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func channelPages(t *testing.T, s ChannelStore) {
	var want []hearth.NotificationChannel
	for n := range 3 {
		want = append([]hearth.NotificationChannel{channelOf(user(1), n)}, want...)
		createChannel(t, s, want[0])
	}
	other := channelOf(user(2), 9)
	createChannel(t, s, other)
	list, err := s.Channels(t.Context(), user(1).ID, hearth.Page{Limit: 2, Count: true})
	if err != nil || list.Total != 3 || list.Next.IsZero() {
		t.Fatalf("%+v, %v", list, err)
	}
	rest, err := s.Channels(t.Context(), user(1).ID, hearth.Page{Limit: 2, Cursor: list.Next})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, append(list.Items, rest.Items...)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if all, err := s.Channels(t.Context(), "", hearth.Page{}); err != nil || len(all.Items) != 4 {
		t.Errorf("all are %+v, %v", all.Items, err)
	}
	if one, err := s.Channel(t.Context(), other.ID); err != nil || !cmp.Equal(one, other) {
		t.Errorf("%+v, %v", one, err)
	}
	gone := channelOf(user(3), 10)
	if err := s.CreateChannel(t.Context(), gone, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("of a user who is gone: %v", err)
	}
}

func channelLimit(t *testing.T, s ChannelStore) {
	for n := range hearth.MaxNotificationChannels {
		createChannel(t, s, channelOf(user(1), n))
	}
	if err := s.CreateChannel(t.Context(), channelOf(user(1), 99), hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("another one: %v", err)
	}
	createChannel(t, s, channelOf(user(2), 98))
}

func channelChanges(t *testing.T, s ChannelStore) {
	c := channelOf(user(1), 1)
	createChannel(t, s, c)
	refused := errors.New("refused")
	if _, err := s.UpdateChannel(t.Context(), c.ID, func(c hearth.NotificationChannel) (hearth.NotificationChannel, error) {
		c.Name = "Other"
		return c, refused
	}, hearth.SideEffects{}); !errors.Is(err, refused) {
		t.Error(err)
	}
	after, err := s.UpdateChannel(t.Context(), c.ID, func(c hearth.NotificationChannel) (hearth.NotificationChannel, error) {
		c.Enabled, c.FailingSince, c.LastError = false, epoch, "no"
		return c, nil
	}, hearth.SideEffects{})
	if stored, err2 := s.Channel(t.Context(), c.ID); err != nil || err2 != nil || !cmp.Equal(stored, after) || stored.Name != c.Name || stored.Enabled {
		t.Errorf("%+v, %v, %v", stored, err, err2)
	}
	change := func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
		d.Round++
		return d, nil, nil
	}
	digest := hearth.DigestChange{ID: c.ID, UserID: c.UserID, ChannelID: c.ID, Change: change}
	if err := s.ChangeDigest(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteChannel(t.Context(), c.ID, func(hearth.NotificationChannel) error { return refused }, hearth.SideEffects{}); !errors.Is(err, refused) {
		t.Error(err)
	}
	if err := s.DeleteChannel(t.Context(), c.ID, func(hearth.NotificationChannel) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Channel(t.Context(), c.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("deleted: %v", err)
	}
	digest.Change = func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
		t.Error("the digest of a deleted channel is changed")
		return d, nil, nil
	}
	if err := s.ChangeDigest(t.Context(), digest); err != nil {
		t.Error(err)
	}
}

// digestOf returns a digest as it is stored.
func digestOf(t *testing.T, s ChannelStore, id string) (found hearth.NotificationDigest) {
	t.Helper()
	stop := errors.New("read")
	err := s.ChangeDigest(t.Context(), hearth.DigestChange{
		ID: id, UserID: user(1).ID, Change: func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
			found = d
			return d, nil, stop
		},
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	return found
}

func digestWithNotification(t *testing.T, s ChannelStore) {
	item := hearth.DigestItem{
		ID: "i", Type: hearth.NotifyAlarm, Title: "T", Body: "B", Data: map[string]string{"a": "b"}, URL: "https://h/", Severity: hearth.SeverityMajor,
		At: epoch, Urgent: true, Email: []byte(`{"a":1}`),
	}
	job := hearth.OutboxJob{ID: "0195c200-0000-7000-8000-000000000001", Kind: "k", Queue: "channel", Payload: []byte(`{}`)}
	n := hearth.NewNotification{Notification: notification(1), Digests: []hearth.DigestChange{{
		ID: "email:1", UserID: user(1).ID, Change: func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
			d.Items, d.Known, d.Round, d.JobID, d.DueAt, d.PausedUntil = append(d.Items, item), append(d.Known, item.ID), 1, job.ID, epoch, epoch
			return d, []hearth.OutboxJob{job}, nil
		},
	}}}
	for i := range 2 {
		if created := notifyUser(t, s, n); created != (i == 0) {
			t.Errorf("call %d: created %t", i, created)
		}
	}
	want := hearth.NotificationDigest{
		ID: "email:1", UserID: user(1).ID, Items: []hearth.DigestItem{item}, Known: []string{"i"}, Round: 1, JobID: job.ID, DueAt: epoch, PausedUntil: epoch,
	}
	if diff := cmp.Diff(want, digestOf(t, s, "email:1")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 9); err != nil || len(jobs) != 1 || jobs[0].ID != job.ID {
		t.Errorf("the jobs are %+v, %v", jobs, err)
	}
	refused := errors.New("refused")
	n.Notification.ID = notification(2).ID
	n.Digests[0].Change = func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
		return d, nil, refused
	}
	if created, err := s.CreateNotification(t.Context(), n); created || !errors.Is(err, refused) {
		t.Errorf("created %t, %v", created, err)
	}
	if list := listNotifications(t, s, hearth.NotificationFilter{}, hearth.Page{}); len(list.Items) != 1 {
		t.Errorf("there are %+v", list.Items)
	}
}

func digestRace(t *testing.T, s ChannelStore) {
	c := channelOf(user(1), 1)
	createChannel(t, s, c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.ChangeDigest(t.Context(), hearth.DigestChange{
				ID: c.ID, UserID: c.UserID, ChannelID: c.ID, Change: func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
					d.Round++
					return d, nil, nil
				},
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := digestOf(t, s, c.ID); d.Round != 8 {
		t.Errorf("%d of 8 changes were made", d.Round)
	}
}

func digestOverdue(t *testing.T, s ChannelStore) {
	for i, due := range []time.Time{epoch.Add(time.Minute), epoch, {}, epoch.Add(time.Hour)} {
		if err := s.ChangeDigest(t.Context(), hearth.DigestChange{
			ID: fmt.Sprint(i), UserID: user(1).ID, Change: func(d hearth.NotificationDigest) (hearth.NotificationDigest, []hearth.OutboxJob, error) {
				d.DueAt, d.JobID = due, "j"
				return d, nil, nil
			},
		}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.OverdueDigests(t.Context(), epoch.Add(time.Hour), hearth.Page{Limit: 1})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != "1" {
		t.Fatalf("%+v, %v", list.Items, err)
	}
	rest, err := s.OverdueDigests(t.Context(), epoch.Add(time.Hour), hearth.Page{Cursor: list.Next})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].ID != "0" {
		t.Errorf("%+v, %v", rest.Items, err)
	}
}
