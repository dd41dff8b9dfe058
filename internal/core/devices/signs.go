package devices

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"hearth"
)

// signEvery is how long after a device was heard its logs do not count as a sign of life.
const signEvery = time.Second

// signs are the devices that sent logs and whose sign of life is not stored yet.
type signs struct {
	mu      sync.Mutex
	devices map[string]*hearth.Device
	storing bool
	stopped bool
}

// Reported counts logs of the devices as a sign of life, which is stored as heartbeats are, at most once a
// second for each device. It returns at once: the logs do not wait for it, and a sign that cannot be stored is logged.
func (f *Service) Reported(devices []*hearth.Device) {
	quiet := f.directory.quiet(devices, f.now().Add(-signEvery).UnixMilli())
	f.signs.mu.Lock()
	defer f.signs.mu.Unlock()
	if len(quiet) == 0 || f.signs.stopped {
		return
	}
	if f.signs.devices == nil {
		f.signs.devices = map[string]*hearth.Device{}
	}
	for _, device := range quiet {
		if len(f.signs.devices) < maxWaitingBeats { // the others' next logs count
			f.signs.devices[device.ID] = device
		}
	}
	if !f.signs.storing {
		f.signs.storing = true
		f.running.Go(f.storeSigns)
	}
}

// storeSigns stores signs of life until none waits.
func (f *Service) storeSigns() {
	for {
		f.signs.mu.Lock()
		waiting := slices.Collect(maps.Values(f.signs.devices))
		clear(f.signs.devices)
		f.signs.storing = len(waiting) > 0
		f.signs.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		now := f.now()
		for part := range slices.Chunk(f.directory.quiet(waiting, now.Add(-signEvery).UnixMilli()), hearth.MaxHeartbeatBatch) {
			beats := make([]accepted, len(part))
			for i, device := range part {
				beats[i].device = device
				beats[i].beat, _ = f.beat(device, "", now)
			}
			if err := f.await(context.Background(), beats...); err != nil {
				f.options.Logger.Warn("signs of life could not be stored", "devices", len(part), "error", err)
			}
		}
	}
}

// stop lets the signs that wait be stored, and accepts no more.
func (s *signs) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// quiet returns the devices that were not heard after a time (Unix milliseconds).
func (d *directory) quiet(devices []*hearth.Device, after int64) (quiet []*hearth.Device) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, device := range devices {
		if e := d.entries[device.ID]; e == nil || e.last <= after {
			quiet = append(quiet, device)
		}
	}
	return quiet
}

// lastHeard returns when each of the devices was heard last, as far as it is known here; zero for never.
func (d *directory) lastHeard(devices []*hearth.Device) []time.Time {
	last := make([]time.Time, len(devices))
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i, device := range devices {
		if e := d.entries[device.ID]; e != nil && e.last > 0 {
			last[i] = time.UnixMilli(e.last).UTC()
		}
	}
	return last
}
