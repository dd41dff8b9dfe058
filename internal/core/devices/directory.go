package devices

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"hearth"
)

// directory is what is known of devices without asking the store: who they are, and when each was last heard. It is
// bounded; what made room is read again when it is asked for.
type directory struct {
	mu      sync.RWMutex
	entries map[string]*entry
	limit   int
	// changes counts invalidations: what was read of a device before its last one must not be kept after it.
	changes uint64
	due     deadlines
}

// entry is one device. All its fields are guarded by directory.mu; what device points to never changes.
type entry struct {
	id string
	// device is the device without tags and metadata, as the store had it at readAt; nil when it has to be read again. Its
	// LastActiveAt is of then: last is newer.
	device *hearth.Device
	readAt time.Time
	// changed is the count of changes at this device's last one.
	changed uint64
	// last is the last sign of life (Unix milliseconds), silence how long after it the device is offline (milliseconds),
	// and version the device's that silence is of.
	last    int64
	silence int64
	version int64
	// until is when the device is offline, whatever its silence (Unix milliseconds): of one that keeps a connection. 0: silence decides.
	until int64
	// online is the connection that was published last. armed is the deadline that waits in due, 0 if none does.
	online bool
	armed  int64
}

func newDirectory(limit int) *directory {
	return &directory{entries: map[string]*entry{}, limit: limit}
}

// known is what a lookup found: the zero known is a device that does not exist.
type known struct {
	device      *hearth.Device
	last, until int64 // see entry
}

// peek returns the devices that need no reading; missing are the indexes of the others.
func (d *directory) peek(ids []string, oldest time.Time, out []known) (missing []int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i, id := range ids {
		e := d.entries[id]
		if e == nil || e.device == nil || e.readAt.Before(oldest) {
			missing = append(missing, i)
			continue
		}
		out[i] = known{e.device, e.last, e.until}
	}
	return missing
}

func (d *directory) changeCount() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.changes
}

// learn keeps devices that were read from the store when the count of changes was at.
func (d *directory) learn(devices []hearth.Device, at uint64, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range devices {
		device := &devices[i]
		e := d.entries[device.ID]
		if e == nil {
			d.makeRoom()
			// Which of the changes since were this device's is not known any more.
			e = &entry{id: device.ID, online: device.Connection(now) == hearth.Online, changed: d.changes}
			d.entries[device.ID] = e
		}
		if e.changed <= at {
			slim := *device
			slim.Tags, slim.Metadata = nil, nil
			e.device, e.readAt = &slim, now
		}
		if last := device.LastActiveAt; !last.IsZero() && last.UnixMilli() >= e.last {
			e.last, e.until = last.UnixMilli(), unixMilli(device.OfflineAt)
		}
		d.setInterval(e, device)
		if e.online {
			d.arm(e)
		}
	}
}

// deadline returns when the device is offline.
func (e *entry) deadline() int64 {
	if e.until != 0 {
		return e.until
	}
	return e.last + e.silence
}

// left reports whether the last that was heard of the device is that it ended its connection.
func (e *entry) left() bool { return e.until != 0 && e.until <= e.last }

// unixMilli returns a time as Unix milliseconds; 0 for none.
func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// makeRoom drops an entry when the directory is full; one that is watched only if no other is at hand.
func (d *directory) makeRoom() {
	if len(d.entries) < d.limit {
		return
	}
	looked := 0
	var victim *entry
	for _, e := range d.entries { // in random order
		victim = e
		if looked++; e.armed == 0 || looked == 16 {
			break
		}
	}
	d.drop(victim)
}

func (d *directory) drop(e *entry) {
	delete(d.entries, e.id)
	e.armed = 0 // what waits in due is no longer its deadline
}

func (d *directory) setInterval(e *entry, device *hearth.Device) {
	if device.Version < e.version {
		return
	}
	e.version = device.Version
	e.silence = hearth.OfflineAfter * int64(device.Interval) * 1000
	if e.armed > e.deadline() {
		d.arm(e)
	}
}

// arm makes the entry's deadline wait in due. A deadline that has since moved on is found out when it comes up, so that a
// heartbeat costs nothing here.
func (d *directory) arm(e *entry) {
	deadline := e.deadline()
	if e.armed != 0 && e.armed <= deadline {
		return
	}
	e.armed = deadline
	if len(d.due) > 2*d.limit {
		d.due = slices.DeleteFunc(d.due, func(item deadlineOf) bool { return item.entry.armed != item.at })
		heap.Init(&d.due)
	}
	heap.Push(&d.due, deadlineOf{deadline, e})
}

// updated notes that the owner changed a device.
func (d *directory) updated(device *hearth.Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	if e := d.entries[device.ID]; e != nil {
		e.device, e.changed = nil, d.changes
		d.setInterval(e, device)
	}
}

// forget has every device read again.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	for _, e := range d.entries {
		e.device, e.changed = nil, d.changes
	}
}

// Forget drops everything that was read of devices: another process has written to the store.
func (f *Service) Forget() {
	f.directory.forget()
	f.lists.forget()
}

// changedRemotely notes that another process changed a device, when it was heard last and when it is offline (Unix milliseconds; 0: never, and
// silence decides).
func (d *directory) changedRemotely(id string, last, until, now int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	e := d.entries[id]
	if e == nil {
		return
	}
	e.device, e.changed = nil, d.changes
	if last >= e.last {
		e.last, e.until = last, until
	}
	// What the other process has published is not published again here.
	e.online = e.last > 0 && e.deadline() > now
	if e.online {
		d.arm(e)
	}
}

// ChangedRemotely drops what is kept of a device of that scope, which another process changed; its LastActiveAt and OfflineAt are these. A
// change that is not announced here shows after Options.Shared's second.
func (f *Service) ChangedRemotely(id string, scope hearth.Scope, lastActiveAt, offlineAt time.Time) {
	f.directory.changedRemotely(id, unixMilli(lastActiveAt), unixMilli(offlineAt), f.now().UnixMilli())
	f.lists.changed(scope)
}

// RemovedRemotely drops what is kept of a device of that scope, which another process deleted.
func (f *Service) RemovedRemotely(id string, scope hearth.Scope) {
	f.directory.removed(id)
	f.TokensChanged(id)
	f.lists.changed(scope)
}

// DesiredChanged notes that the twin of a device has a new desired version, written by this process or another. It costs no reading.
func (f *Service) DesiredChanged(id string, version int64) {
	f.directory.mu.Lock()
	defer f.directory.mu.Unlock()
	f.directory.changes++
	e := f.directory.entries[id]
	if e == nil {
		return
	}
	e.changed = f.directory.changes // what is being read now may have the version before
	if e.device != nil && e.device.DesiredVersion < version {
		device := *e.device
		device.DesiredVersion = version
		e.device = &device
	}
}

// removed notes that a device is gone.
func (d *directory) removed(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	if e := d.entries[id]; e != nil {
		d.drop(e)
	}
}

// heard notes durable heartbeats. It returns the devices that came online, that left, and those whose status may have changed.
func (d *directory) heard(beats []hearth.Heartbeat) (happened reasonsByID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range beats {
		beat := &beats[i]
		e := d.entries[beat.DeviceID]
		if e == nil {
			continue
		}
		leaves := false
		if at := beat.At.UnixMilli(); at >= e.last {
			e.last = at
			if until := unixMilli(beat.Until); until != 0 || e.until <= at+e.silence {
				e.until = until
			}
			leaves = e.left()
		} else if e.left() {
			continue // it was heard before it left
		}
		differs := beat.Status != "" && (e.device == nil || e.device.Status != beat.Status)
		if differs || e.device != nil && e.device.Idle {
			// Another write of the status may be under way: the store knows which was last.
			d.changes++
			e.device, e.changed = nil, d.changes
			happened.note(e.id, changed)
		}
		if leaves {
			if e.online {
				e.online = false
				happened.note(e.id, left)
			}
			continue
		}
		if !e.online {
			e.online = true
			happened.note(e.id, connected)
		}
		d.arm(e)
	}
	return happened
}

// putBack lets signs of life that are ahead of the time now (Unix milliseconds) count as of now, and reports whether there were any.
func (d *directory) putBack(now int64) (found bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	for _, e := range d.entries {
		ahead := e.last - now
		if ahead <= maxAhead.Milliseconds() {
			continue
		}
		found = true
		if e.last = now; e.until != 0 {
			e.until -= ahead
		}
		e.device, e.changed = nil, d.changes
		if e.online {
			d.arm(e)
		}
	}
	return found
}

// expire returns the devices that went offline by the time now (Unix milliseconds).
func (d *directory) expire(now int64) (happened reasonsByID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.due) > 0 && d.due[0].at <= now {
		next := heap.Pop(&d.due).(deadlineOf) //nolint:forcetypeassert // nothing else is pushed
		e := next.entry
		if e.armed != next.at {
			continue // dropped, or armed again for an earlier time
		}
		e.armed = 0
		if !e.online {
			continue // it left
		}
		if e.deadline() > now {
			d.arm(e)
			continue
		}
		e.online = false
		happened.note(e.id, silent)
	}
	return happened
}

// lookup returns each id's device, in order, asking the store for what is not known.
func (f *Service) lookup(ctx context.Context, ids []string) ([]known, error) {
	out := make([]known, len(ids))
	now := f.now()
	missing := f.directory.peek(ids, now.Add(-f.trust), out)
	if len(missing) == 0 {
		return out, nil
	}
	asked := make([]string, len(missing))
	for i, place := range missing {
		asked[i] = ids[place]
	}
	at := f.directory.changeCount()
	devices, err := f.store.DevicesByID(ctx, asked)
	if err != nil {
		return nil, err
	}
	f.directory.learn(devices, at, now)
	byID := make(map[string]*hearth.Device, len(devices))
	for i := range devices {
		byID[devices[i].ID] = &devices[i]
	}
	for _, place := range missing {
		if device := byID[ids[place]]; device != nil {
			out[place] = known{device: device}
			if !device.LastActiveAt.IsZero() {
				out[place].last, out[place].until = device.LastActiveAt.UnixMilli(), unixMilli(device.OfflineAt)
			}
		}
	}
	return out, nil
}

// one is lookup for one device; CodeNotFound.
func (f *Service) one(ctx context.Context, id string) (*hearth.Device, error) {
	oldest := f.now().Add(-f.trust)
	f.directory.mu.RLock()
	if e := f.directory.entries[id]; e != nil && e.device != nil && !e.readAt.Before(oldest) {
		device := e.device
		f.directory.mu.RUnlock()
		return device, nil
	}
	f.directory.mu.RUnlock()
	found, err := f.lookup(ctx, []string{id})
	switch {
	case err != nil:
		return nil, err
	case found[0].device == nil:
		return nil, hearth.NotFound("device")
	}
	return found[0].device, nil
}

// Resolve returns each id's device for the caller, in order: nil where there is none or the caller may not read it. The
// devices are shared: they must not be changed, and their Tags, Metadata and LastActiveAt may be missing or old. Known devices
// cost no question to the store.
func (f *Service) Resolve(ctx context.Context, caller hearth.Caller, ids []string) ([]*hearth.Device, error) {
	found, err := f.lookup(ctx, ids)
	if err != nil {
		return nil, err
	}
	devices := make([]*hearth.Device, len(found))
	for i := range found {
		if device := found[i].device; device != nil && caller.Access(*device)&hearth.MayRead != 0 {
			devices[i] = device
		}
	}
	return devices, nil
}

// deadlines is a heap, the earliest first. An entry is in it once for its armed deadline; other items of it are leftovers.
type deadlines []deadlineOf

type deadlineOf struct {
	at    int64
	entry *entry
}

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadlineOf)) } //nolint:forcetypeassert // nothing else is pushed

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = deadlineOf{}
	*d = old[:len(old)-1]
	return last
}
