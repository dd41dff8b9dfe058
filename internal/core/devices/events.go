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

// about is what there is to tell of a device; several things are added up.
type about uint8

const (
	// changed: it is not as it was. connected: it was heard here, and was offline. silent: its time to be heard here is over.
	changed about = 1 << iota
	connected
	silent
)

// news is what the watching goroutine has yet to tell: what happened to which devices. Several changes of a device become
// one.
type news struct {
	mu      sync.Mutex
	opened  bool
	devices map[string]about
	touches map[string]time.Time
	wake    chan struct{}
}

func newNews() *news {
	return &news{devices: map[string]about{}, touches: map[string]time.Time{}, wake: make(chan struct{}, 1)}
}

// open lets news in: before it nobody would take them out.
func (n *news) open() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opened = true
}

func (n *news) add(ids []string, what about) {
	if len(ids) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.opened {
		return
	}
	for _, id := range ids {
		n.devices[id] |= what
	}
	n.signal()
}

func (n *news) touch(tokenID string, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.opened && len(n.touches) < maxTouches {
		n.touches[tokenID] = at
		n.signal()
	}
}

func (n *news) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) take() (devices map[string]about, touches map[string]time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	devices, touches = n.devices, n.touches
	n.devices, n.touches = map[string]about{}, map[string]time.Time{}
	return devices, touches
}

// watch finds out who went offline and tells of changed devices, until ctx ends.
func (f *Service) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.news.add(f.directory.expire(f.now().UnixMilli()), silent)
		case <-f.news.wake:
		}
		devices, touches := f.news.take()
		ids := slices.Collect(maps.Keys(devices))
		for part := range slices.Chunk(ids, newsPart) {
			f.tell(ctx, part, devices)
		}
		for id, at := range touches {
			if err := f.store.TouchDeviceToken(ctx, id, at); err != nil && ctx.Err() == nil {
				f.options.Logger.WarnContext(ctx, "the last use of a device token was not stored", "err", err)
			}
		}
	}
}

// tell reads devices and publishes them as they are now. What cannot be read stays news. That a device fell silent is told by
// the one process that leads: the others watch it as well, and only note it.
func (f *Service) tell(ctx context.Context, ids []string, news map[string]about) {
	now := f.now()
	at := f.directory.changeCount()
	devices, err := f.store.DevicesByID(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			f.options.Logger.WarnContext(ctx, "changed devices cannot be read to tell of them", "devices", len(ids), "err", err)
			for _, id := range ids {
				f.news.keep(id, news[id])
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
		what := news[device.ID]
		if what&(connected|silent) != 0 && f.directory.correct(device, now) && (leads || what&connected != 0) {
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

// keep puts news back without waking anybody: the next tick takes them.
func (n *news) keep(id string, what about) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.devices[id] |= what
}

// correct brings what the world is told in line with the store, and reports whether the change of connection that was
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
	for device, err := range f.store.OnlineDevices(ctx, now) {
		if err != nil {
			if ctx.Err() == nil {
				f.options.Logger.ErrorContext(ctx, "who is online could not be read: devices are watched from their next heartbeat on", "err", err)
			}
			return
		}
		if part = append(part, device); len(part) == newsPart {
			f.directory.learn(part, at, now)
			part = part[:0]
		}
	}
	f.directory.learn(part, at, now)
}

// Deactivate sets devices that were silent for InactiveAfter from active to inactive, and returns their number.
func (f *Service) Deactivate(ctx context.Context) (n int, err error) {
	const part = 500
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
