package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hearth"
	"hearth/internal/mail"
	"hearth/internal/queue"
)

// DeviceNotice is the payload of a job of DeviceKind: a device's connection changed some time ago.
type DeviceNotice struct {
	DeviceID string `json:"device_id"`
}

// DeviceConnection schedules the notices of a device that came online or went offline; see OnConnection of package devices.
// A device without watchers costs one short read.
func (s *Service) DeviceConnection(ctx context.Context, device hearth.Device) {
	if err := s.noteConnection(ctx, device); err != nil && ctx.Err() == nil {
		s.o.Logger.WarnContext(ctx, "no notices of a device's changed connection were scheduled", "device", device.ID, "err", err)
	}
}

// noteConnection enqueues a job that checks the device once its connection has lasted. All changes of one span of time share a job
// that runs after its end: so a device that flaps costs one job a span, and no change comes after the last look.
func (s *Service) noteConnection(ctx context.Context, device hearth.Device) error {
	watches, err := s.store.DeviceWatches(ctx, device.ID)
	if err != nil || len(watches) == 0 {
		return err
	}
	payload, err := json.Marshal(DeviceNotice{DeviceID: device.ID})
	if err != nil {
		return err
	}
	now := s.now()
	span := now.UnixMilli() / s.o.Debounce.Milliseconds()
	_, err = s.o.Queue.Enqueue(ctx, queue.Job{
		ID: queue.NewID(now), Kind: DeviceKind, Queue: queue.Notification, Payload: payload,
		Unique:      fmt.Sprintf("%s:%s:%d", DeviceKind, device.ID, span),
		ScheduledAt: time.UnixMilli((span + 2) * s.o.Debounce.Milliseconds()),
	})
	return err
}

// device notifies the users who watch a device and were last notified of another connection than that of now.
func (s *Service) device(ctx context.Context, job queue.Job, notice DeviceNotice) error {
	watches, err := s.store.DeviceWatches(ctx, notice.DeviceID)
	if err != nil {
		return err
	}
	devices, err := s.o.Devices.DevicesByID(ctx, []string{notice.DeviceID})
	if err != nil || len(devices) == 0 {
		return err
	}
	var errs []error
	for _, watch := range watches {
		errs = append(errs, s.notifyOfDevice(ctx, job, watch, devices[0]))
	}
	return errors.Join(errs...)
}

func (s *Service) notifyOfDevice(ctx context.Context, job queue.Job, watch hearth.DeviceWatch, device hearth.Device) error {
	now := s.now()
	connection := device.Connection(now)
	if connection == watch.Told || connection == hearth.Never {
		return nil
	}
	user, ok, err := s.user(ctx, watch.UserID)
	if err != nil || !ok {
		return err
	}
	// The right to read may have ended since.
	if may, err := s.mayRead(ctx, user, device); err != nil || !may {
		return err
	}
	link, name := s.o.PublicURL+"/devices/"+device.ID, mail.Line(device.Name)
	n := message{
		user: user, at: now, told: connection, url: link, data: map[string]string{"device_id": device.ID, "device_name": device.Name},
		kind: hearth.NotifyDeviceOnline, title: name + " is back online", body: "The device reports again.",
		email: mail.DeviceOnline{Device: device.Name, At: device.LastActiveAt, URL: link},
	}
	if connection == hearth.Offline {
		n.kind, n.title, n.body = hearth.NotifyDeviceOffline, name+" is offline", "The device has stopped reporting."
		n.email = mail.DeviceOffline{Device: device.Name, LastSeen: device.LastActiveAt, URL: link}
	}
	return s.send(ctx, job.ID, n)
}

func (s *Service) mayRead(ctx context.Context, user hearth.User, device hearth.Device) (bool, error) {
	orgs, err := s.o.Roles(ctx, user.ID)
	caller := hearth.Caller{UserID: user.ID, Role: user.Role, Orgs: orgs}
	return caller.Access(device)&hearth.MayRead != 0, err
}
