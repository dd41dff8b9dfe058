package tsdb

import (
	"context"
	"maps"
	"sync"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// maxRemembered bounds each map that only saves questions.
const maxRemembered = 1 << 18

// deviceMemory is how long it is remembered that a device is there. A device that another process deletes in that time may get logs; they are
// no one's, and go when it is reclaimed.
const deviceMemory = 30 * time.Second

// names remembers keys. Those of scopes and events never change.
type names struct {
	mu     sync.Mutex
	events map[string]int64
	texts  map[int64]string
	scopes map[hearth.Scope]int64
	// homes are the scopes of devices, since the time since.
	homes map[int64]int64
	since time.Time
}

// remember puts what was found into a map, which starts anew when it is full.
func remember[K comparable, V any](into *map[K]V, found map[K]V) {
	if *into == nil || len(*into)+len(found) > maxRemembered {
		*into = make(map[K]V, len(found))
	}
	maps.Copy(*into, found)
}

// lookUp returns what keys stand for, from the map or, where that has none, from ask.
func lookUp[K comparable, V any](n *names, known *map[K]V, keys []K, ask func([]K) (map[K]V, error)) (map[K]V, error) {
	out := make(map[K]V, len(keys))
	var missing []K
	n.mu.Lock()
	for _, key := range keys {
		if v, ok := (*known)[key]; ok {
			out[key] = v
		} else {
			missing = append(missing, key)
		}
	}
	n.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	found, err := ask(missing)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	remember(known, found)
	maps.Copy(out, found)
	return out, nil
}

func (e *Engine) scopeKeys(ctx context.Context, scopes []hearth.Scope) (map[hearth.Scope]int64, error) {
	return lookUp(&e.names, &e.names.scopes, scopes, func(missing []hearth.Scope) (map[hearth.Scope]int64, error) {
		return e.backend.ScopeKeys(ctx, missing)
	})
}

func (e *Engine) eventKeys(ctx context.Context, names []string, create bool) (map[string]int64, error) {
	return lookUp(&e.names, &e.names.events, names, func(missing []string) (map[string]int64, error) {
		return e.backend.EventKeys(ctx, missing, create)
	})
}

// eventName returns the name of an event. It asks the snapshot: a question that holds one must not wait for another.
func (v *view) eventName(key int64) (string, error) {
	n := &v.e.names
	n.mu.Lock()
	name, ok := n.texts[key]
	n.mu.Unlock()
	if ok {
		return name, nil
	}
	found, err := v.s.EventNames(v.ctx, []int64{key})
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	remember(&n.texts, found)
	return found[key], nil
}

// homesOf returns the keys of the scopes of those devices that exist.
func (e *Engine) homesOf(ctx context.Context, devices []int64) (map[int64]int64, error) {
	e.names.refresh(e.options.Clock.Now())
	return lookUp(&e.names, &e.names.homes, devices, func(missing []int64) (map[int64]int64, error) {
		return e.backend.Homes(ctx, missing)
	})
}

// refresh forgets devices that were remembered for too long.
func (n *names) refresh(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.since) > deviceMemory || now.Before(n.since) {
		n.homes, n.since = nil, now
	}
}

// Forget forgets a device: it was deleted, or its scope has changed.
func (e *Engine) Forget(device int64) {
	e.names.mu.Lock()
	defer e.names.mu.Unlock()
	delete(e.names.homes, device)
}

// Resolve returns a batch of the entries, without those of devices that do not exist. Their Seq in the batch is their place in entries.
func (e *Engine) Resolve(ctx context.Context, entries []hearth.LogEntry) (*Batch, error) {
	return e.resolve(ctx, entries, func([]codec.Series) error { return nil })
}

// resolve is Resolve for series that admit agrees to. It is asked before events that are new get keys, and of them all.
func (e *Engine) resolve(ctx context.Context, entries []hearth.LogEntry, admit func([]codec.Series) error) (*Batch, error) {
	e.names.refresh(e.options.Clock.Now())
	batch, devices, events := e.names.resolve(entries, nil, nil)
	if len(devices)+len(events) == 0 {
		return batch, admit(batch.Series)
	}
	homes, err := e.homesOf(ctx, devices)
	if err != nil {
		return nil, err
	}
	for _, device := range devices {
		if _, alive := homes[device]; !alive {
			homes[device] = 0
		}
	}
	keys, err := e.eventKeys(ctx, events, false)
	if err != nil {
		return nil, err
	}
	var fresh []string
	for _, name := range events {
		if keys[name] == 0 {
			fresh = append(fresh, name)
			keys[name] = -int64(len(fresh))
		}
	}
	batch, devices, events = e.names.resolve(entries, homes, keys)
	if len(devices)+len(events) > 0 {
		return e.resolve(ctx, entries, admit) // others were forgotten in between
	}
	if err := admit(batch.Series); err != nil || len(fresh) == 0 {
		return batch, err
	}
	if _, err := e.eventKeys(ctx, fresh, true); err != nil {
		return nil, err
	}
	return e.resolve(ctx, entries, admit)
}

// resolve makes a batch of what is remembered, and of homes (0: there is no such device) and keys; it returns what neither tells.
func (n *names) resolve(
	entries []hearth.LogEntry, homes map[int64]int64, keys map[string]int64,
) (batch *Batch, devices []int64, events []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	batch = &Batch{Entries: make([]codec.Entry, 0, len(entries)), Size: len(entries)}
	merge := codec.NewSeriesMerge(&batch.Series)
	asked, askedEvents := map[int64]bool{}, map[string]bool{}
	var s, last codec.Series
	var at uint32
	var event string
	for i := range entries {
		entry := &entries[i]
		if i == 0 || entry.Device != s.Device {
			var ok bool
			s.Device = entry.Device
			if s.Scope, ok = homes[s.Device]; !ok {
				s.Scope, ok = n.homes[s.Device]
			}
			if !ok && !asked[s.Device] {
				asked[s.Device] = true
				devices = append(devices, s.Device)
			}
		}
		if i == 0 || entry.Event != event {
			var ok bool
			event = entry.Event
			if s.Event, ok = keys[event]; !ok {
				s.Event, ok = n.events[event]
			}
			if !ok && !askedEvents[event] {
				askedEvents[event] = true
				events = append(events, event)
			}
		}
		if s.Scope == 0 || len(devices)+len(events) > 0 {
			continue
		}
		s.Type = entry.Value.ValueType
		if s != last {
			last, at = s, merge.Place(s)
		}
		batch.Entries = append(batch.Entries, codec.Entry{At: entry.At, Seq: uint64(i), Value: entry.Value.Number(), Series: at})
	}
	return batch, devices, events
}
