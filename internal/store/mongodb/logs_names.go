package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/tsdb"
)

// nameDoc returns the key of a scope ("s:…") or an event ("e:…").
type nameDoc struct {
	Name string `bson:"_id"`
	Key  int64  `bson:"key"`
}

const (
	scopeName = "s:"
	eventName = "e:"
)

// findNames returns the keys of those names that have one.
func (b *logBackend) findNames(ctx context.Context, names []string) (map[string]int64, error) {
	out := make(map[string]int64, len(names))
	return out, chunked(names, func(some []string) error {
		docs, err := findAll[nameDoc](ctx, b.names, bson.D{{Key: "_id", Value: anyOf(some)}})
		for _, d := range docs {
			out[d.Name] = d.Key
		}
		return err
	})
}

// makeNames returns the keys of all names; those without one get theirs.
func (b *logBackend) makeNames(ctx context.Context, names []string) (map[string]int64, error) {
	out, err := b.findNames(ctx, names)
	if err != nil {
		return out, err
	}
	for _, name := range names {
		if out[name] != 0 {
			continue
		}
		key, err := b.store.take(ctx, collNames, 1)
		if err != nil {
			return nil, err
		}
		if _, err = b.names.InsertOne(ctx, nameDoc{name, key}); isDuplicate(err) { // another was first
			found, err := b.findNames(ctx, []string{name})
			if err != nil {
				return nil, err
			}
			key = found[name]
		} else if err != nil {
			return nil, err
		}
		out[name] = key
	}
	return out, nil
}

// keysOf returns the keys of scopes; of all, if missing ones are to be made.
func (b *logBackend) keysOf(ctx context.Context, scopes []hearth.Scope, create bool) (map[hearth.Scope]int64, error) {
	out := make(map[hearth.Scope]int64, len(scopes))
	var names []string
	for _, scope := range scopes {
		if key, ok, _ := b.scopeKeys.Find(scope); ok {
			out[scope] = key
		} else if _, seen := out[scope]; !seen {
			out[scope] = 0
			names = append(names, scopeName+string(scope))
		}
	}
	look := b.findNames
	if create {
		look = b.makeNames
	}
	found, err := look(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		scope := hearth.Scope(name[len(scopeName):])
		if found[name] == 0 {
			delete(out, scope)
			continue
		}
		out[scope] = found[name]
		b.scopeKeys.Set(scope, out[scope])
		b.scopeNames.Set(out[scope], scope)
	}
	return out, nil
}

// ScopeKeys implements tsdb.Backend.
func (b *logBackend) ScopeKeys(ctx context.Context, scopes []hearth.Scope) (keys map[hearth.Scope]int64, err error) {
	err = b.ask(ctx, func(ctx context.Context) error {
		keys, err = b.keysOf(ctx, scopes, false)
		return err
	})
	return keys, err
}

// namesOf returns the names of keys, by the unique index of key.
func (b *logBackend) namesOf(ctx context.Context, keys []int64, fn func(nameDoc)) error {
	return chunked(keys, func(some []int64) error {
		docs, err := findAll[nameDoc](ctx, b.names, bson.D{{Key: "key", Value: anyOf(some)}})
		for _, d := range docs {
			fn(d)
		}
		return err
	})
}

// scopesOf returns the scopes of keys.
func (b *logBackend) scopesOf(ctx context.Context, keys []int64) (scopes []hearth.Scope, err error) {
	var unknown []int64
	for _, key := range keys {
		if scope, ok, _ := b.scopeNames.Find(key); ok {
			scopes = append(scopes, scope)
		} else {
			unknown = append(unknown, key)
		}
	}
	return scopes, b.namesOf(ctx, unknown, func(d nameDoc) {
		scope := hearth.Scope(d.Name[len(scopeName):])
		scopes = append(scopes, scope)
		b.scopeKeys.Set(scope, d.Key)
		b.scopeNames.Set(d.Key, scope)
	})
}

// EventKeys implements tsdb.Backend.
func (b *logBackend) EventKeys(ctx context.Context, names []string, create bool) (map[string]int64, error) {
	wanted := make([]string, len(names))
	for i, name := range names {
		wanted[i] = eventName + name
	}
	out := make(map[string]int64, len(names))
	err := b.ask(ctx, func(ctx context.Context) error {
		look := b.findNames
		if create {
			look = b.makeNames
		}
		found, err := look(ctx, wanted)
		for name, key := range found {
			out[name[len(eventName):]] = key
		}
		return err
	})
	return out, err
}

// EventNames implements tsdb.Snapshot.
func (s *logSnapshot) EventNames(ctx context.Context, keys []int64) (map[int64]string, error) {
	out := make(map[int64]string, len(keys))
	err := s.b.ask(ctx, func(ctx context.Context) error {
		return s.b.namesOf(ctx, keys, func(d nameDoc) { out[d.Key] = d.Name[len(eventName):] })
	})
	return out, err
}

// Homes implements tsdb.Backend.
func (b *logBackend) Homes(ctx context.Context, devices []int64) (map[int64]int64, error) {
	out := make(map[int64]int64, len(devices))
	err := b.ask(ctx, func(ctx context.Context) error {
		return chunked(devices, func(some []int64) error {
			// By the unique index of key.
			docs, err := findAll[struct {
				Key   int64        `bson:"key"`
				Scope hearth.Scope `bson:"scope"`
			}](ctx, b.devices, bson.D{{Key: "key", Value: anyOf(some)}, {Key: "dead", Value: nil}}, only("key", "scope"))
			if err != nil {
				return err
			}
			scopes := make([]hearth.Scope, len(docs))
			for i, d := range docs {
				scopes[i] = d.Scope
			}
			keys, err := b.keysOf(ctx, scopes, true)
			for _, d := range docs {
				out[d.Key] = keys[d.Scope]
			}
			return err
		})
	})
	return out, err
}

// graveDoc is a deleted device as its document remains, until RemoveGraves.
type graveDoc struct {
	Key   int64        `bson:"key"`
	Scope hearth.Scope `bson:"dead"`
}

// isGrave matches the documents of deleted devices, by the partial index of dead.
var isGrave = bson.E{Key: "dead", Value: bson.D{{Key: "$exists", Value: true}}} // never written to

// graves returns those of a view of these scopes, or of all.
func (b *logBackend) graves(ctx context.Context, scopes []int64) ([]tsdb.Grave, error) {
	filter := bson.D{isGrave}
	if scopes != nil {
		names, err := b.scopesOf(ctx, scopes)
		if err != nil || len(names) == 0 {
			return nil, err
		}
		filter = bson.D{{Key: "dead", Value: anyOf(names)}}
	}
	docs, err := findAll[graveDoc](ctx, b.devices, filter, only("key", "dead"))
	if err != nil {
		return nil, err
	}
	return b.asGraves(ctx, docs, false)
}

// gravesMeanwhile looks for the graves while something else is done; the function that it returns waits for them.
func (b *logBackend) gravesMeanwhile(ctx context.Context, scopes []int64) func() ([]tsdb.Grave, error) {
	var found []tsdb.Grave
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		found, err = b.graves(ctx, scopes)
	}()
	return func() ([]tsdb.Grave, error) {
		<-done
		return found, err
	}
}

// asGraves finds the keys of the scopes; create makes missing ones, else the graves of scopes without a key, which have no logs,
// are left out.
func (b *logBackend) asGraves(ctx context.Context, docs []graveDoc, create bool) ([]tsdb.Grave, error) {
	if len(docs) == 0 {
		return nil, nil
	}
	scopes := make([]hearth.Scope, len(docs))
	for i, d := range docs {
		scopes[i] = d.Scope
	}
	keys, err := b.keysOf(ctx, scopes, create)
	if err != nil {
		return nil, err
	}
	out := make([]tsdb.Grave, 0, len(docs))
	for _, d := range docs {
		if key, ok := keys[d.Scope]; ok {
			out = append(out, tsdb.Grave{Device: d.Key, Scope: key})
		}
	}
	return out, nil
}

// DueGraves implements tsdb.Backend.
func (b *logBackend) DueGraves(ctx context.Context, clean time.Time, limit int) (graves []tsdb.Grave, err error) {
	due := bson.E{Key: "clean_at", Value: nil}
	if !clean.IsZero() {
		due.Value = bson.D{{Key: "$lt", Value: clean.UnixMilli()}}
	}
	err = b.ask(ctx, func(ctx context.Context) error {
		docs, err := findAll[graveDoc](ctx, b.devices, bson.D{isGrave, due},
			only("key", "dead").SetSort(bson.D{{Key: "dead", Value: 1}, {Key: "key", Value: 1}}).SetLimit(int64(limit)))
		if err != nil {
			return err
		}
		n := 0
		for n < len(docs) && docs[n].Scope == docs[0].Scope {
			n++
		}
		graves, err = b.asGraves(ctx, docs[:n], true)
		return err
	})
	return graves, err
}

// Cleaned implements tsdb.Backend.
func (b *logBackend) Cleaned(ctx context.Context, devices []int64, at time.Time) error {
	return b.ask(ctx, func(ctx context.Context) error {
		return chunked(devices, func(some []int64) error {
			_, err := b.devices.UpdateMany(ctx, bson.D{{Key: "key", Value: anyOf(some)}, isGrave},
				bson.D{{Key: "$set", Value: bson.D{{Key: "clean_at", Value: at.UnixMilli()}}}})
			return err
		})
	})
}

// RemoveGraves implements tsdb.Backend.
func (b *logBackend) RemoveGraves(ctx context.Context, devices []int64) error {
	return b.ask(ctx, func(ctx context.Context) error {
		return chunked(devices, func(some []int64) error {
			_, err := b.devices.DeleteMany(ctx, bson.D{{Key: "key", Value: anyOf(some)}, isGrave})
			return err
		})
	})
}
