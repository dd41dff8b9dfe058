package devices

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"hearth"
)

const (
	// signEvery is how long after a device was heard its logs do not count as a sign of life, unless it has left.
	signEvery = time.Second
	// signsTogether is for how long, after some were stored, more signs are gathered: each write of a few costs as much as that of many logs.
	signsTogether = 50 * time.Millisecond
)

// signs are the devices that sent logs and whose sign of life is not stored yet.
type signs struct {
	mu      sync.Mutex
	devices map[string]sign
	storing bool
	stopped bool
	ended   chan struct{} // closed once it is stopped
}

// sign is a sign of life, which came at a time.
type sign struct {
	device *hearth.Device
	at     time.Time
}

// Reported counts logs of the devices as a sign of life, which is stored as heartbeats are, at most once a
// second for each device. It returns at once: the logs do not wait for it, and a sign that cannot be stored is logged.
func (f *Service) Reported(devices []*hearth.Device) {
	now := f.now()
	heard := make([]sign, len(devices))
	for i, device := range devices {
		heard[i] = sign{device, now}
	}
	quiet := f.directory.quiet(heard)
	f.signs.mu.Lock()
	defer f.signs.mu.Unlock()
	if len(quiet) == 0 || f.signs.stopped {
		return
	}
	if f.signs.devices == nil {
		f.signs.devices = map[string]sign{}
	}
	for _, s := range quiet {
		if len(f.signs.devices) < maxWaitingBeats { // the others' next logs count
			f.signs.devices[s.device.ID] = s
		}
	}
	if !f.signs.storing {
		f.signs.storing = true
		f.running.Go(f.storeSigns)
	}
}

// storeSigns stores signs of life until none comes.
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
		for part := range slices.Chunk(f.directory.quiet(waiting), hearth.MaxHeartbeatBatch) {
			beats := make([]accepted, len(part))
			for i, s := range part {
				beats[i].device = s.device
				beats[i].beat, _ = f.beat(s.device, "", s.at)
			}
			if err := f.await(context.Background(), beats...); err != nil {
				f.options.Logger.Warn("signs of life could not be stored", "devices", len(part), "error", err)
			}
		}
		select {
		case <-time.After(signsTogether):
		case <-f.signs.ended:
		}
	}
}

// stop lets the signs that wait be stored, and accepts no more.
func (s *signs) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	close(s.ended)
}

// quiet returns the signs of devices that were not heard within signEvery before, or have left since.
func (d *directory) quiet(signs []sign) (quiet []sign) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, s := range signs {
		e, at := d.entries[s.device.ID], s.at.UnixMilli()
		if e == nil || e.last <= at-signEvery.Milliseconds() || e.left() && e.last < at {
			quiet = append(quiet, s)
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
