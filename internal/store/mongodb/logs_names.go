package mongodb

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/store/mongodb/steps"
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

// keysOf returns the keys of those names of a kind that have one; of all, if missing ones are to be made.
func keysOf[N ~string](ctx context.Context, b *logBackend, kind string, names []N, create bool) (map[N]int64, error) {
	out := make(map[N]int64, len(names))
	find := func(some []N) error {
		ids := make([]string, len(some))
		for i, name := range some {
			ids[i] = kind + string(name)
		}
		docs, err := steps.FindAll[nameDoc](ctx, b.names, bson.D{{Key: "_id", Value: anyOf(ids)}})
		for _, d := range docs {
			out[N(d.Name[len(kind):])] = d.Key
		}
		return err
	}
	if err := chunked(names, find); err != nil || !create {
		return out, err
	}
	for _, name := range names {
		if out[name] != 0 {
			continue
		}
		key, err := b.store.Take(ctx, collNames, 1)
		if err != nil {
			return nil, err
		}
		if _, err = b.names.InsertOne(ctx, nameDoc{kind + string(name), key}); steps.IsDuplicate(err) { // another was first
			err = find([]N{name})
		} else {
			out[name] = key
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ScopeKeys implements tsdb.Backend.
func (b *logBackend) ScopeKeys(ctx context.Context, scopes []hearth.Scope) (keys map[hearth.Scope]int64, err error) {
	err = b.store.Ask(ctx, func(ctx context.Context) error {
		keys, err = keysOf(ctx, b, scopeName, scopes, false)
		return err
	})
	return keys, err
}

// EventKeys implements tsdb.Backend.
func (b *logBackend) EventKeys(ctx context.Context, names []string, create bool) (keys map[string]int64, err error) {
	err = b.store.Ask(ctx, func(ctx context.Context) error {
		keys, err = keysOf(ctx, b, eventName, names, create)
		return err
	})
	return keys, err
}

// EventNames implements tsdb.Snapshot, by the unique index of key.
func (s *logSnapshot) EventNames(ctx context.Context, keys []int64) (map[int64]string, error) {
	out := make(map[int64]string, len(keys))
	return out, s.b.store.Ask(ctx, func(ctx context.Context) error {
		return chunked(keys, func(some []int64) error {
			docs, err := steps.FindAll[nameDoc](ctx, s.b.names, bson.D{{Key: "key", Value: anyOf(some)}})
			for _, d := range docs {
				out[d.Key] = d.Name[len(eventName):]
			}
			return err
		})
	})
}

// Homes implements tsdb.Backend.
func (b *logBackend) Homes(ctx context.Context, devices []int64) (map[int64]int64, error) {
	out := make(map[int64]int64, len(devices))
	return out, b.store.Ask(ctx, func(ctx context.Context) error {
		return chunked(devices, func(some []int64) error {
			// By the unique index of key.
			docs, err := steps.FindAll[deviceDoc](ctx, b.devices, bson.D{{Key: "key", Value: anyOf(some)}, {Key: "dead", Value: nil}}, only("key", "scope"))
			if err != nil {
				return err
			}
			seen := map[hearth.Scope]bool{}
			var scopes []hearth.Scope
			for _, d := range docs {
				if !seen[d.Scope] {
					seen[d.Scope] = true
					scopes = append(scopes, d.Scope)
				}
			}
			keys, err := keysOf(ctx, b, scopeName, scopes, true)
			for _, d := range docs {
				out[d.Key] = keys[d.Scope]
			}
			return err
		})
	})
}

var (
	// isGrave matches the documents of deleted devices, by the partial index of dead.
	isGrave = bson.E{Key: "dead", Value: bson.D{{Key: "$exists", Value: true}}} // never written to
	// hasHidden matches those of devices that moved or are moving, by the partial index of hidden.
	hasHidden = bson.E{Key: "hidden", Value: bson.D{{Key: "$exists", Value: true}}} // never written to
)

// graves returns those of scopes, or, if these are nil, of partitions.
func (b *logBackend) graves(ctx context.Context, parts []int, scopes []int64) ([]tsdb.Grave, error) {
	dead, moved := isGrave, hasHidden
	if scopes != nil {
		dead, moved = bson.E{Key: "dead", Value: anyOf(scopes)}, bson.E{Key: "hidden", Value: anyOf(scopes)}
	}
	graves, err := b.findGraves(ctx, bson.D{{Key: "$or", Value: bson.A{bson.D{dead}, bson.D{moved}}}}, options.Find())
	return slices.DeleteFunc(graves, func(g tsdb.Grave) bool { return !slices.Contains(parts, b.Partition(g.Scope)) }), err
}

func (b *logBackend) findGraves(ctx context.Context, filter bson.D, settings *options.FindOptionsBuilder) (graves []tsdb.Grave, err error) {
	docs, err := steps.FindAll[deviceDoc](ctx, b.devices, filter,
		settings.SetProjection(bson.D{{Key: "key", Value: 1}, {Key: "dead", Value: 1}, {Key: "hidden", Value: 1}}))
	for _, d := range docs {
		if d.Dead != 0 {
			graves = append(graves, tsdb.Grave{Device: d.Key, Scope: d.Dead})
		}
		for _, scope := range d.Hidden {
			graves = append(graves, tsdb.Grave{Device: d.Key, Scope: scope, Moved: true})
		}
	}
	return graves, err
}

// arrived matches devices that are not just moving.
func (b *logBackend) arrived() bson.E {
	before := b.now().Add(-tsdb.MoveTime).UnixMilli()
	return bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: "moving", Value: nil}}, bson.D{{Key: "moving", Value: bson.D{{Key: "$lt", Value: before}}}},
	}}
}

// DueGraves implements tsdb.Backend. A deleted device that moved before is due for its moves first.
func (b *logBackend) DueGraves(ctx context.Context, clean time.Time, limit int) (graves []tsdb.Grave, err error) {
	due := func(field string) bson.E {
		if clean.IsZero() {
			return bson.E{Key: field, Value: nil}
		}
		return bson.E{Key: field, Value: bson.D{{Key: "$lt", Value: clean.UnixMilli()}}}
	}
	err = b.store.Ask(ctx, func(ctx context.Context) error {
		found, err := b.findGraves(ctx, bson.D{hasHidden, due("moved_clean"), b.arrived()}, options.Find().SetLimit(1))
		graves = slices.DeleteFunc(found, func(g tsdb.Grave) bool { return !g.Moved })
		if err != nil || len(graves) > 0 {
			return err
		}
		found, err = b.findGraves(ctx, bson.D{isGrave, {Key: "hidden", Value: nil}, due("clean_at")},
			options.Find().SetSort(bson.D{{Key: "dead", Value: 1}, {Key: "key", Value: 1}}).SetLimit(int64(limit)))
		graves = slices.DeleteFunc(found, func(g tsdb.Grave) bool { return g.Scope != found[0].Scope })
		return err
	})
	return graves, err
}

// eachKind calls fn with the keys of the devices that were deleted, and of those that moved.
func eachKind(graves []tsdb.Grave, fn func(devices []int64, moved bool) error) error {
	var dead, moved []int64
	for _, g := range graves {
		if g.Moved {
			moved = append(moved, g.Device)
		} else {
			dead = append(dead, g.Device)
		}
	}
	return cmp.Or(chunked(dead, func(some []int64) error { return fn(some, false) }), chunked(moved, func(some []int64) error { return fn(some, true) }))
}

// Cleaned implements tsdb.Backend.
func (b *logBackend) Cleaned(ctx context.Context, graves []tsdb.Grave, at time.Time) error {
	return b.store.Ask(ctx, func(ctx context.Context) error {
		return eachKind(graves, func(some []int64, moved bool) error {
			filter, field := bson.D{{Key: "key", Value: anyOf(some)}, isGrave}, "clean_at"
			if moved {
				filter, field = bson.D{filter[0], hasHidden, b.arrived()}, "moved_clean"
			}
			return b.updateMany(ctx, b.devices, filter, steps.Set(bson.D{{Key: field, Value: at.UnixMilli()}}))
		})
	})
}

// RemoveGraves implements tsdb.Backend.
func (b *logBackend) RemoveGraves(ctx context.Context, graves []tsdb.Grave) error {
	return b.store.Ask(ctx, func(ctx context.Context) error {
		return eachKind(graves, func(some []int64, moved bool) error {
			keys := bson.E{Key: "key", Value: anyOf(some)}
			if moved {
				wasClean := bson.E{Key: "moved_clean", Value: bson.D{{Key: "$exists", Value: true}}}
				return b.updateMany(ctx, b.devices, bson.D{keys, wasClean, b.arrived()},
					bson.D{{Key: "$unset", Value: bson.D{{Key: "hidden", Value: ""}, {Key: "moving", Value: ""}, {Key: "moved_clean", Value: ""}}}})
			}
			_, err := b.store.DeleteAll(ctx, collDevices, bson.D{keys, isGrave})
			return err
		})
	})
}
