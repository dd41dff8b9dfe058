package mongodb

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"hearth"
)

// maxRemembered bounds each map that only saves questions.
const maxRemembered = 1 << 18

// nameDoc returns a scope ("s:…") or an event ("e:…") its short number, for ever.
type nameDoc struct {
	Name string `bson:"_id"`
	Key  int64  `bson:"key"`
}

// names remembers short numbers. They never change, so that nothing has to be forgotten but for space.
type names struct {
	mu     sync.Mutex
	keys   map[string]int64
	events map[int64]string
}

const (
	scopeName = "s:"
	eventName = "e:"
)

func (n *names) key(name string) (int64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key, ok := n.keys[name]
	return key, ok
}

func (n *names) event(key int64) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, ok := n.events[key]
	return name, ok
}

func (n *names) remember(docs ...nameDoc) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.keys == nil || len(n.keys) > maxRemembered {
		n.keys, n.events = map[string]int64{}, map[int64]string{}
	}
	for _, doc := range docs {
		n.keys[doc.Name] = doc.Key
		if doc.Name[:2] == eventName {
			n.events[doc.Key] = doc.Name[2:]
		}
	}
}

// findNames returns the short numbers of those names that have one.
func (e *logEngine) findNames(ctx context.Context, wanted []string) (map[string]int64, error) {
	out := make(map[string]int64, len(wanted))
	var unknown []string
	for _, name := range wanted {
		if key, ok := e.known.key(name); ok {
			out[name] = key
		} else {
			unknown = append(unknown, name)
		}
	}
	err := eachDoc(ctx, e.names, unknown, func(d *nameDoc) {
		out[d.Name] = d.Key
		e.known.remember(*d)
	})
	return out, err
}

// makeNames returns the short numbers of all the names; those without one get theirs.
func (e *logEngine) makeNames(ctx context.Context, wanted []string) (map[string]int64, error) {
	out, err := e.findNames(ctx, wanted)
	if err != nil || len(out) == len(wanted) {
		return out, err
	}
	for _, name := range wanted {
		if _, ok := out[name]; ok {
			continue
		}
		key, err := e.store.take(ctx, collNames, 1)
		if err != nil {
			return nil, err
		}
		if _, err := e.names.InsertOne(ctx, nameDoc{name, key}); err == nil {
			out[name] = key
			e.known.remember(nameDoc{name, key})
			continue
		} else if !mongo.IsDuplicateKeyError(err) {
			return nil, err
		}
		// Another was first.
		found, err := e.findNames(ctx, []string{name})
		if err != nil {
			return nil, err
		}
		out[name] = found[name]
	}
	return out, nil
}

// eventOf returns the name of an event.
func (e *logEngine) eventOf(ctx context.Context, key int64) (string, error) {
	if name, ok := e.known.event(key); ok {
		return name, nil
	}
	var doc nameDoc
	// By the unique index of key.
	if err := e.names.FindOne(ctx, bson.M{"key": key}).Decode(&doc); err != nil {
		return "", err
	}
	e.known.remember(doc)
	return doc.Name[len(eventName):], nil
}

// deviceMemory is how long it is remembered that a device is there, and its scope. A device that is deleted in that time
// by another process may get logs; they are no one's, and go when it is reclaimed (see graveTime).
const deviceMemory = 30 * time.Second

// homes remembers the scopes of devices.
type homes struct {
	mu     sync.Mutex
	since  time.Time
	scopes map[int64]int64
}

func (h *homes) forget(device int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.scopes, device)
}

// homesOf returns the scopes of those devices that exist.
func (e *logEngine) homesOf(ctx context.Context, devices map[int64]bool) (map[int64]int64, error) {
	out := make(map[int64]int64, len(devices))
	now := e.now()
	e.homes.mu.Lock()
	if e.homes.scopes == nil || now.Sub(e.homes.since) > deviceMemory || now.Before(e.homes.since) || len(e.homes.scopes) > maxRemembered {
		e.homes.scopes, e.homes.since = map[int64]int64{}, now
	}
	scopes := e.homes.scopes
	var unknown []int64
	for key := range devices {
		if scope, ok := scopes[key]; ok {
			out[key] = scope
		} else {
			unknown = append(unknown, key)
		}
	}
	e.homes.mu.Unlock()
	if len(unknown) == 0 {
		return out, nil
	}
	found, err := e.scopesOf(ctx, unknown)
	if err != nil {
		return nil, err
	}
	var wanted []string
	seen := map[hearth.Scope]bool{}
	for _, scope := range found {
		if !seen[scope] {
			seen[scope] = true
			wanted = append(wanted, scopeName+string(scope))
		}
	}
	keys, err := e.makeNames(ctx, wanted)
	if err != nil {
		return nil, err
	}
	e.homes.mu.Lock()
	defer e.homes.mu.Unlock()
	for device, scope := range found {
		out[device] = keys[scopeName+string(scope)]
		scopes[device] = out[device]
	}
	return out, nil
}

// scopesOf returns the scopes of those devices that exist, from their documents.
func (e *logEngine) scopesOf(ctx context.Context, keys []int64) (map[int64]hearth.Scope, error) {
	out := make(map[int64]hearth.Scope, len(keys))
	// By the unique index of key.
	cursor, err := e.devices.Find(ctx, bson.M{"key": in(keys), "dead": bson.M{"$exists": false}}, projecting("key", "scope"))
	if err != nil {
		return nil, err
	}
	for cursor.Next(ctx) {
		var doc struct {
			Key   int64        `bson:"key"`
			Scope hearth.Scope `bson:"scope"`
		}
		if err := cursor.Decode(&doc); err != nil {
			return nil, errors.Join(err, cursor.Close(ctx))
		}
		out[doc.Key] = doc.Scope
	}
	return out, errors.Join(cursor.Err(), cursor.Close(ctx))
}
