package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/alarms"
	"hearth/internal/core/notify"
	"hearth/internal/guardedhttp"
	"hearth/internal/queue"
	"hearth/internal/queue/sqlitequeue"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

const (
	lamp   = "0195b000-0000-7000-8000-000000000001"
	settle = 30 * time.Second
)

// desk is the service over real parts, with ann, her lamp, and a clock.
type desk struct {
	*testing.T
	*notify.Service
	store *sqlite.Store
	queue queue.Backend
	now   atomic.Int64
	ann   hearth.Caller
	alarm hearth.Alarm
	rule  hearth.Rule
}

// flip is a sealer without a key.
type flip struct{}

func (flip) Seal(plain []byte) ([]byte, error) {
	out := bytes.Clone(plain)
	for i := range out {
		out[i] ^= 0x55
	}
	return append([]byte{1}, out...), nil
}

// Current says that what begins with 1 is sealed.
func (flip) Current(sealed []byte) bool { return len(sealed) > 0 && sealed[0] == 1 }

func (f flip) Open(sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != 1 {
		return nil, errors.New("not sealed")
	}
	out, err := f.Seal(sealed[1:])
	return out[1:], err
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, ann: hearth.Caller{UserID: "ann", Role: hearth.RoleUser}}
	d.alarm = hearth.Alarm{ID: "a", Scope: hearth.UserScope("ann"), RuleID: "r", RuleName: "Hot", DeviceID: lamp, DeviceName: "lamp", Severity: hearth.SeverityMajor}
	d.rule.Condition = hearth.Condition{Event: "t", Operator: hearth.Greater, Value: hearth.Number(30), For: time.Minute}
	d.now.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	clock := func() time.Time { return time.UnixMilli(d.now.Load()).UTC() }
	var err error
	if d.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir()), Clock: clock}); err != nil {
		t.Fatal(err)
	}
	if d.queue, err = sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), Clock: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.queue.Close(), d.store.Close()); err != nil {
			t.Error(err)
		}
	})
	ann := hearth.User{ID: "ann", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x"), CreatedAt: clock(), UpdatedAt: clock()}
	if err := d.store.CreateUser(t.Context(), ann, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.store.CreateDevices(t.Context(), []hearth.Device{d.device()}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	client := guardedhttp.New(guardedhttp.Options{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	d.Service, err = notify.New(notify.Options{
		Store: d.store, Channels: d.store, Client: client, ChannelSealer: flip{}, Alarms: d, EventsOf: alarms.EventsOf, Logs: d.store, Users: d.store, Devices: d.store, Queue: d.queue, Clock: clock, Debounce: settle, Sealer: flip{}, PublicURL: "https://h.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Alarm is the one alarm that there is.
func (d *desk) Alarm(context.Context, string) (hearth.Alarm, error) { return d.alarm, nil }

// Rule is the alarm's.
func (d *desk) Rule(context.Context, string) (hearth.Rule, error) {
	return d.rule, nil
}

// Members are none.
func (d *desk) Members(context.Context, string, hearth.Page) (hearth.List[hearth.Member], error) {
	return hearth.List[hearth.Member]{}, nil
}

// device is ann's lamp, last heard now.
func (d *desk) device() hearth.Device {
	now := time.UnixMilli(d.now.Load()).UTC()
	return hearth.Device{
		ID: lamp, Name: "lamp", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "ann", Version: 1, LastActiveAt: now,
		CreatedAt: now, UpdatedAt: now,
	}
}

// do runs the handler of a kind.
func (d *desk) do(kind string, payload any) error {
	d.Helper()
	data, err := json.Marshal(payload)
	if err != nil {
		d.Fatal(err)
	}
	for _, k := range d.Kinds() {
		if k.Name == kind {
			return k.Handler(d.Context(), &queue.Task{Job: queue.Job{ID: queue.NewID(time.UnixMilli(d.now.Load())), Kind: kind, Payload: data}})
		}
	}
	d.Fatalf("no handler for %s", kind)
	return nil
}

func (d *desk) told() []hearth.Notification {
	d.Helper()
	list, err := d.List(d.Context(), d.ann, hearth.NotificationFilter{}, hearth.Page{Limit: 100})
	if err != nil {
		d.Fatal(err)
	}
	return list.Items
}

func (d *desk) emails() []hearth.OutboxJob {
	d.Helper()
	jobs, err := d.store.PendingOutbox(d.Context(), 100)
	if err != nil {
		d.Fatal(err)
	}
	return jobs
}

func TestEverySecurityEventIsToldAndWhereItCameFromIsSealed(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]struct {
		kind  hearth.NotificationType
		email string
	}{
		hearth.NoticeNewDevice: {hearth.NotifyNewSignIn, "new_sign_in"},
		hearth.NoticeReused:    {hearth.NotifyRefreshReused, "refresh_reused"},
		hearth.NoticePassword:  {hearth.NotifyPasswordChanged, "password_changed"},
		hearth.NoticeEmail:     {hearth.NotifyEmailChanged, "email_changed"},
		hearth.NoticeLocked:    {hearth.NotifyAccountLocked, "account_locked"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			origin, _ := flip{}.Seal([]byte(`{"ip":"192.0.2.7","user_agent":"Agent/1"}`))
			notice := hearth.SecurityNotice{UserID: "ann", What: what, Origin: origin, At: time.UnixMilli(d.now.Load()).UTC(), Email: "old@example.com"}
			if err := d.do(notify.SecurityKind, notice); err != nil {
				t.Fatal(err)
			}
			told, emails := d.told(), d.emails()
			if len(told) != 1 || told[0].Type != want.kind || len(emails) != 1 {
				t.Fatalf("told is %+v, the emails are %+v", told, emails)
			}
			if bytes.Contains(emails[0].Payload, []byte("192.0.2.7")) || bytes.Contains(emails[0].Payload, []byte("old@example.com")) {
				t.Errorf("the e-mail waits as %s", emails[0].Payload)
			}
			envelope, err := d.Email(t.Context(), emails[0].Payload)
			if err != nil || envelope.To.Email != "old@example.com" || envelope.Email.Kind() != want.email {
				t.Fatalf("the e-mail is %+v, %v", envelope, err)
			}
			if text, err := json.Marshal(envelope); err != nil || !bytes.Contains(text, []byte("192.0.2.7")) {
				t.Errorf("the e-mail says %s, %v", text, err)
			}
			// A missing key does not stop a warning.
			notice.Origin = []byte("sealed by a key that is gone")
			if err := d.do(notify.SecurityKind, notice); err != nil || len(d.told()) != 2 {
				t.Errorf("without the key: %v, told %d times", err, len(d.told()))
			}
		})
	}
}

func TestWhatNobodyCanReadIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if err := d.do(notify.SecurityKind, hearth.SecurityNotice{UserID: "ann", What: "a new thing"}); !queue.IsPermanent(err) {
		t.Errorf("an event that nobody knows: %v", err)
	}
	if err := d.do(notify.SecurityKind, "no object"); !queue.IsPermanent(err) {
		t.Errorf("a payload that is none: %v", err)
	}
	if _, err := d.Email(t.Context(), []byte("{")); !queue.IsPermanent(err) {
		t.Errorf("an e-mail that is none: %v", err)
	}
	if err := d.do(notify.SecurityKind, hearth.SecurityNotice{UserID: "gone", What: hearth.NoticeLocked}); err != nil || len(d.emails()) != 0 {
		t.Errorf("somebody who is gone: %v", err)
	}
}

// watch sets the lamp to be watched.
func (d *desk) watch() {
	d.Helper()
	settings := hearth.DefaultNotificationSettings()
	settings.Devices = []string{lamp}
	if _, err := d.SetSettings(d.Context(), d.ann, settings); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) looks() []queue.Job {
	d.Helper()
	page, err := d.queue.List(d.Context(), queue.Filter{Kind: notify.DeviceKind})
	if err != nil {
		d.Fatal(err)
	}
	return page.Jobs
}

func TestDevicesAreToldOfOnlyToThoseWhoAsk(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.DeviceConnection(context.Background(), d.device())
	if jobs := d.looks(); len(jobs) != 0 {
		t.Errorf("nobody asked, and there are %+v", jobs)
	}
	d.watch()
	d.DeviceConnection(context.Background(), d.device())
	if jobs := d.looks(); len(jobs) != 1 {
		t.Errorf("there are %+v", jobs)
	}
	another := d.device()
	another.ID = "0195b000-0000-7000-8000-000000000002"
	d.DeviceConnection(context.Background(), another)
	if jobs := d.looks(); len(jobs) != 1 {
		t.Errorf("a device that nobody watches makes %+v", jobs)
	}
}

func TestADeviceThatFlapsIsLookedAtOnceASpan(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.watch()
	start := d.now.Load()
	for second := range 60 { // two spans
		d.now.Store(start + int64(second)*1000)
		d.DeviceConnection(context.Background(), d.device())
	}
	jobs := d.looks()
	if len(jobs) != 2 {
		t.Fatalf("%d looks at a device that flapped for two spans", len(jobs))
	}
	for _, job := range jobs {
		if wait := job.ScheduledAt.Sub(job.CreatedAt); wait < settle || wait > 2*settle {
			t.Errorf("a look comes after %v", wait)
		}
	}
	// Back online when it is looked at, as ann knew it: there is no notice.
	if err := d.do(notify.DeviceKind, notify.DeviceNotice{DeviceID: lamp}); err != nil || len(d.told()) != 0 {
		t.Errorf("told is %+v, %v", d.told(), err)
	}
	d.now.Store(start + 10*60*1000)
	for range 2 {
		if err := d.do(notify.DeviceKind, notify.DeviceNotice{DeviceID: lamp}); err != nil {
			t.Fatal(err)
		}
	}
	told := d.told()
	if len(told) != 1 || told[0].Type != hearth.NotifyDeviceOffline || len(d.emails()) != 0 {
		t.Errorf("told is %+v, by mail %+v", told, d.emails()) // by e-mail only for who asks
	}
}
