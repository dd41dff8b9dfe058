package devices

import (
	"context"
	"sync"
	"time"

	"hearth"
)

// connections are those that devices keep to this process, by device: the latest of each.
type connections struct {
	mu   sync.Mutex
	open map[string]*Connection
}

// Connection is one that a device keeps to this process. While it is the device's latest here, each of the device's signs of life says how long
// it is good for.
type Connection struct {
	device  *hearth.Device
	silence time.Duration
}

// until returns when a device that is heard at the time now is offline; zero for one that keeps no connection.
func (c *connections) until(deviceID string, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept := c.open[deviceID]; kept != nil {
		return now.Add(kept.silence)
	}
	return time.Time{}
}

func (c *connections) add(kept *Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[string]*Connection{}
	}
	c.open[kept.device.ID] = kept
}

// remove reports whether the connection was the device's latest.
func (c *connections) remove(gone *Connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	latest := c.open[gone.device.ID] == gone
	if latest {
		delete(c.open, gone.device.ID)
	}
	return latest
}

// Connect begins a connection that the caller, a device, keeps, and returns it once it is durable that the device is online: until silence has
// passed after its latest sign of life, whatever its heartbeat interval. Errors: CodeNotFound, CodeUnavailable.
func (f *Service) Connect(ctx context.Context, caller hearth.Caller, silence time.Duration) (*Connection, error) {
	device, err := f.one(ctx, caller.DeviceID)
	if err != nil {
		return nil, err
	}
	kept := &Connection{device: device, silence: silence}
	f.connections.add(kept)
	stored, _ := f.beat(device, "", f.now())
	if err := f.await(ctx, accepted{device: device, beat: stored}); err != nil {
		f.connections.remove(kept)
		return nil, err
	}
	return kept, nil
}

// HeardFrom counts something that came over connections as a sign of life, as Reported does.
func (f *Service) HeardFrom(kept ...*Connection) {
	devices := make([]*hearth.Device, len(kept))
	for i, one := range kept {
		devices[i] = one.device
	}
	f.Reported(devices)
}

// Disconnect ends connections. Of those that were lost, the devices are offline when they would have been without another sign of life; those that
// the devices have left make them offline at once, durably. Where a device has a newer connection here, nothing changes. CodeUnavailable.
func (f *Service) Disconnect(ctx context.Context, leave bool, kept ...*Connection) error {
	// It comes after the signs of life of what was sent before, in whatever order they are stored.
	now := f.now().Add(time.Millisecond)
	var beats []accepted
	for _, one := range kept {
		if f.connections.remove(one) && leave {
			stored, _ := f.beat(one.device, "", now)
			stored.Until = now
			beats = append(beats, accepted{device: one.device, beat: stored})
		}
	}
	if len(beats) == 0 {
		return nil
	}
	return f.await(ctx, beats...)
}

// Failed notes, durably, the latest thing that a device sent and that cannot be stored. It is published with the device. CodeUnavailable.
func (f *Service) Failed(ctx context.Context, deviceID string, failure hearth.DeviceError) error {
	device, err := f.one(ctx, deviceID)
	if err != nil {
		return err
	}
	if err := f.store.SetDeviceError(ctx, deviceID, failure); err != nil {
		return err
	}
	f.lists.changed(device.Scope())
	f.pending.add(reasonsByID{deviceID: changed})
	return nil
}
