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
	// watchEvery is how often deadlines are looked at: the least that "exact to 2 s" leaves room for, and to spare.
	watchEvery = 500 * time.Millisecond
	// newsPart is how many changed devices are read from the store at once.
	newsPart = 500
	// maxTouches bounds the used tokens that wait to be written down.
	maxTouches = 10_000
)

// reasons are why a device is to be published.
type reasons uint8

const (
	// changed: it is not as it was. connected: it was heard here, and was offline. silent: its time to be heard here is over. left: it ended its
	// connection here.
	changed reasons = 1 << iota
	connected
	silent
	left
)

// reasonsByID is what happened to which devices.
type reasonsByID map[string]reasons

// note adds what happened to a device.
func (r *reasonsByID) note(id string, what reasons) {
	if *r == nil {
		*r = reasonsByID{}
	}
	(*r)[id] |= what
}

// pending is what the watching goroutine has yet to publish: what happened to which devices. Several changes of a device
// become one.
type pending struct {
	mu      sync.Mutex
	opened  bool
	devices reasonsByID
	touches map[string]time.Time
	users   map[string]bool // whose rights changed
	wake    chan struct{}
}

func newPending() *pending {
	return &pending{devices: reasonsByID{}, touches: map[string]time.Time{}, users: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// open makes add and touch keep what they get: before, no goroutine publishes it.
func (p *pending) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened = true
}

// add adds what happened at once: of each device it is published at once.
func (p *pending) add(happened reasonsByID) {
	if len(happened) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.opened {
		return
	}
	for id, what := range happened {
		p.devices.note(id, what)
	}
	p.signal()
}

func (p *pending) touch(tokenID string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened && len(p.touches) < maxTouches {
		p.touches[tokenID] = at
		p.signal()
	}
}

func (p *pending) rights(userID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened {
		p.users[userID] = true
		p.signal()
	}
}

func (p *pending) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pending) take() (devices reasonsByID, touches map[string]time.Time, users map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	devices, touches, users = p.devices, p.touches, p.users
	p.devices, p.touches, p.users = reasonsByID{}, map[string]time.Time{}, map[string]bool{}
	return devices, touches, users
}

// watch finds devices that went offline and publishes changed ones, until ctx ends.
func (f *Service) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	last := f.now().UnixMilli()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := f.now().UnixMilli()
			if now < last-maxAhead.Milliseconds() { // the clock was ahead, and was put right
				f.running.Go(func() { f.loadOnline(ctx) })
			}
			last = now
			f.pending.add(f.directory.expire(now))
		case <-f.pending.wake:
		}
		devices, touches, users := f.pending.take()
		for id := range users {
			f.checkConnections(ctx, id)
		}
		ids := slices.Collect(maps.Keys(devices))
		for part := range slices.Chunk(ids, newsPart) {
			f.publish(ctx, part, devices)
		}
		for id, at := range touches {
			if err := f.store.TouchDeviceToken(ctx, id, at); err != nil && ctx.Err() == nil {
				f.options.Logger.WarnContext(ctx, "the last use of a device token was not stored", "err", err)
			}
		}
	}
}

// publish reads devices and publishes them as they are now. What cannot be read stays pending. That a device fell silent is
// published by the one process that leads: the others watch it as well, and only note it.
func (f *Service) publish(ctx context.Context, ids []string, why reasonsByID) {
	now := f.now()
	at := f.directory.changeCount()
	devices, err := f.store.DevicesByID(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			f.options.Logger.WarnContext(ctx, "changed devices could not be read and are not published yet", "devices", len(ids), "err", err)
			for _, id := range ids {
				f.pending.keep(id, why[id])
			}
		}
		return
	}
	// With the store's own last sign of life: another process may have heard a device that is silent here.
	f.directory.learn(devices, at, now)
	leads := f.options.Leads()
	events := make([]hearth.Event, 0, len(devices))
	var turned []hearth.Device
	for _, device := range devices {
		what := why[device.ID]
		if what&(connected|silent|left) != 0 && f.directory.correct(device, now) && (leads || what&(connected|left) != 0) {
			turned = append(turned, device)
			what |= changed
		}
		if what&^silent != 0 {
			events = append(events, deviceEvent(hearth.EventDeviceUpdate, device, now))
		}
	}
	f.options.Publisher.Publish(events...)
	for _, device := range turned {
		f.options.OnConnection(ctx, device)
	}
}

// keep puts a device back without a signal: the next tick publishes it.
func (p *pending) keep(id string, what reasons) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.devices[id] |= what
}

// correct sets the published connection to what the store says, and reports whether the change of connection that was
// noticed is true.
func (d *directory) correct(device hearth.Device, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.entries[device.ID]
	online := device.Connection(now) == hearth.Online
	if e == nil || e.online == online {
		return true
	}
	e.online = online
	if online {
		d.arm(e)
	}
	return false
}

func deviceEvent(kind hearth.EventType, device hearth.Device, at time.Time) hearth.Event {
	return hearth.Event{Type: kind, At: at, Data: device, Scope: device.Scope(), DeviceID: device.ID}
}

// loadOnline puts the devices that are online under watch.
func (f *Service) loadOnline(ctx context.Context) {
	now := f.now()
	at := f.directory.changeCount()
	part := make([]hearth.Device, 0, newsPart)
	learn := func() error {
		err := f.putBack(ctx, part, now)
		f.directory.learn(part, at, now)
		part = part[:0]
		return err
	}
	for device, err := range f.store.OnlineDevices(ctx, now) {
		if err == nil {
			if part = append(part, device); len(part) == newsPart {
				err = learn()
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				f.options.Logger.ErrorContext(ctx, "who is online could not be read: devices are watched from their next heartbeat on", "err", err)
			}
			return
		}
	}
	if err := learn(); err != nil && ctx.Err() == nil {
		f.options.Logger.ErrorContext(ctx, "who was heard by a clock that was ahead stays online for as long as it was", "err", err)
	}
	if f.directory.putBack(now.UnixMilli()) {
		f.lists.forget()
	}
}

// maxAhead is how far a sign of life may be ahead of the clock, since the clocks of several instances differ.
const maxAhead = 10 * time.Second

// putBack lets signs of life from after now, which a clock that was ahead has stored, count as of now. The devices are changed.
func (f *Service) putBack(ctx context.Context, devices []hearth.Device, now time.Time) error {
	var beats []hearth.Heartbeat
	for i := range devices {
		d := &devices[i]
		ahead := d.LastActiveAt.Sub(now)
		if ahead <= maxAhead {
			continue
		}
		d.LastActiveAt = now
		if !d.OfflineAt.IsZero() {
			d.OfflineAt = d.OfflineAt.Add(-ahead)
		}
		beats = append(beats, hearth.Heartbeat{Key: d.Key, At: now, Until: d.OfflineAt})
	}
	if len(beats) == 0 {
		return nil
	}
	return f.store.PutBackHeartbeats(ctx, beats)
}

// Deactivate sets devices that were silent for InactiveAfter from active to inactive, and returns their number.
func (f *Service) Deactivate(ctx context.Context) (n int, err error) {
	const part = 100
	now := f.now()
	for {
		idled, err := f.store.IdleDevices(ctx, now.Add(-hearth.InactiveAfter), part)
		if err != nil {
			return n, err
		}
		events := make([]hearth.Event, len(idled))
		for i := range idled {
			f.directory.updated(&idled[i])
			f.lists.changed(idled[i].Scope())
			events[i] = deviceEvent(hearth.EventDeviceUpdate, idled[i], now)
		}
		f.options.Publisher.Publish(events...)
		n += len(idled)
		if len(idled) < part {
			return n, nil
		}
	}
}
