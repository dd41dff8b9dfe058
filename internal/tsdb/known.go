package tsdb

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"hearth"
	"hearth/internal/keymutex"
	"hearth/internal/tsdb/codec"
)

// knownTime is how old what is known of a scope may be when an event is taken for new. Other processes may have stored some meanwhile.
const knownTime = 30 * time.Second

// maxKnown bounds the events of devices that are remembered, those of one scope excepted.
const maxKnown = 1 << 22

// known is which events devices and scopes have, by scope. It is read from the months and the tail when a device first sends an event, so that
// an append costs no look-up otherwise, and what was deleted counts no more.
type known struct {
	reading keymutex.Mutex[int64]

	mu     sync.Mutex
	scopes map[int64]*knownEvents
	// size is how many events of devices all scopes have.
	size int
}

// knownEvents are those of one scope.
type knownEvents struct {
	read    time.Time
	events  map[int64]bool
	devices map[int64][]int64 // sorted
}

func (k *knownEvents) add(device, event int64) (added bool) {
	k.events[event] = true
	at, found := slices.BinarySearch(k.devices[device], event)
	if !found {
		k.devices[device] = slices.Insert(k.devices[device], at, event)
	}
	return !found
}

// lacks returns those of the series that are not known; series are of one scope.
func (k *knownEvents) lacks(series []codec.Series) (out []codec.Series) {
	var last int64
	var events []int64
	for i, s := range series {
		if i == 0 || s.Device != last {
			last, events = s.Device, k.devices[s.Device]
		}
		if _, found := slices.BinarySearch(events, s.Event); !found {
			out = append(out, s)
		}
	}
	return out
}

// fits returns CodeQuotaExceeded if the scope or a device would have too many events with the new series.
func (k *knownEvents) fits(lacks []codec.Series, o *Options) error {
	perDevice, fresh := map[int64]int{}, map[int64]bool{}
	for _, s := range lacks {
		perDevice[s.Device]++
		if !k.events[s.Event] {
			fresh[s.Event] = true
		}
	}
	for device, count := range perDevice {
		if o.DeviceEvents > 0 && len(k.devices[device])+count > o.DeviceEvents {
			return hearth.QuotaExceeded(hearth.QuotaDeviceEvents, int64(o.DeviceEvents), time.Hour)
		}
	}
	if o.Events > 0 && len(k.events)+len(fresh) > o.Events {
		return hearth.QuotaExceeded(hearth.QuotaEvents, int64(o.Events), time.Hour)
	}
	return nil
}

// admit refuses series with CodeQuotaExceeded if a device or a scope would have more events than it may. Events that have no key yet are
// below 0.
func (e *Engine) admit(ctx context.Context, series []codec.Series) error {
	if e.options.Events == 0 && e.options.DeviceEvents == 0 || e.known.has(series) {
		return nil
	}
	byScope := map[int64][]codec.Series{}
	for _, s := range series {
		s.Type = hearth.ValueType{}
		byScope[s.Scope] = append(byScope[s.Scope], s)
	}
	for scope, of := range byScope {
		slices.SortFunc(of, codec.Series.Compare)
		if err := e.admitTo(ctx, scope, slices.Compact(of)); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether all of the series are known.
func (k *known) has(series []codec.Series) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	var of *knownEvents
	for i := range series {
		if i == 0 || series[i].Scope != series[i-1].Scope {
			if of = k.scopes[series[i].Scope]; of == nil {
				return false
			}
		}
		if _, found := slices.BinarySearch(of.devices[series[i].Device], series[i].Event); !found {
			return false
		}
	}
	return true
}

// admitTo is admit for series of one scope, each event of a device once.
func (e *Engine) admitTo(ctx context.Context, scope int64, series []codec.Series) error {
	for {
		of, err := e.known.take(scope, series, &e.options)
		if of == nil || err != nil {
			return err
		}
		if err := e.readKnown(ctx, scope, of.of); err != nil {
			return err
		}
	}
}

// unread says that a scope's events must be read before new ones are taken; of is what is known, or nil.
type unread struct{ of *knownEvents }

// take adds events that are not known, if there is room.
func (k *known) take(scope int64, series []codec.Series, o *Options) (*unread, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.scopes[scope]
	if of == nil {
		return &unread{}, nil
	}
	lacks := of.lacks(series)
	if len(lacks) == 0 {
		return nil, nil
	}
	if age := o.Clock.Now().Sub(of.read); age < 0 || age >= knownTime {
		return &unread{of}, nil
	}
	if err := of.fits(lacks, o); err != nil {
		return nil, err
	}
	for _, s := range lacks {
		if s.Event > 0 && of.add(s.Device, s.Event) {
			k.size++
		}
	}
	return nil, nil
}

// readKnown reads a scope's events, unless another call has: then they are not old.
func (e *Engine) readKnown(ctx context.Context, scope int64, old *knownEvents) error {
	unlock, err := e.known.reading.Lock(ctx, scope)
	if err != nil {
		return err
	}
	defer unlock()
	k := &e.known
	k.mu.Lock()
	overtaken := k.scopes[scope] != old
	k.mu.Unlock()
	if overtaken {
		return nil
	}
	found, size, err := e.findKnown(ctx, scope)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(scope)
	for other := range k.scopes {
		if k.size+size <= maxKnown {
			break
		}
		k.forget(other)
	}
	if k.scopes == nil {
		k.scopes = map[int64]*knownEvents{}
	}
	found.read = e.options.Clock.Now()
	k.scopes[scope], k.size = found, k.size+size
	return nil
}

// forget forgets a scope. The caller holds mu.
func (k *known) forget(scope int64) {
	if of := k.scopes[scope]; of != nil {
		for _, events := range of.devices {
			k.size -= len(events)
		}
		delete(k.scopes, scope)
	}
}

func (e *Engine) findKnown(ctx context.Context, scope int64) (found *knownEvents, size int, err error) {
	for try := 1; ; try++ {
		found, size = &knownEvents{events: map[int64]bool{}, devices: map[int64][]int64{}}, 0
		add := func(device, event int64) {
			if found.add(device, event) {
				size++
			}
		}
		err = e.backend.View(ctx, ViewOptions{Operation: "Events", Scopes: []int64{scope}}, func(s Snapshot) error {
			query := Query{
				Table: Cells, Scopes: []int64{scope}, Major: Range{codec.LevelMonth, codec.LevelMonth}, Minor: Everything, Data: Fields{false, false, true},
			}
			if err := s.Find(ctx, query, func(d *Doc) error { return codec.EachCellKey(d.Data[2], add) }); err != nil {
				return err
			}
			tail, err := e.loadTail(ctx, s, firstMilli, endMilli, func([]TailRow) int { return -1 })
			for _, part := range tail {
				for i := range part.chunk.Series {
					if of := &part.chunk.Series[i]; of.Scope == scope {
						add(of.Device, of.Event)
					}
				}
			}
			return err
		})
		if !errors.Is(err, ErrStale) || try == maxTries {
			return found, size, err
		}
	}
}
