package memtsdb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"hearth/internal/tsdb"
)

// snapshot is one moment of some partitions.
type snapshot struct {
	store      *Store
	partitions []map[tsdb.Key]tsdb.Doc
	rows       []row
	graves     []tsdb.Grave
	horizon    int64
	// busy says that a search is under way, over that the view has ended.
	busy, over bool
}

func (s *Store) snapshot(partitions []int) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := &snapshot{store: s, horizon: s.horizon}
	for _, p := range partitions {
		snap.partitions = append(snap.partitions, s.partitions[p].docs)
	}
	for _, r := range s.rows {
		r.Partitions = slices.DeleteFunc(slices.Clone(r.Partitions), func(p int) bool { return !slices.Contains(partitions, p) })
		if len(r.Partitions) > 0 {
			snap.rows = append(snap.rows, r)
		}
	}
	slices.SortFunc(snap.rows, func(a, b row) int { return cmp.Compare(a.ID, b.ID) })
	for key, d := range s.devices {
		if d.deleted && !d.clean.Equal(removedGrave) && slices.Contains(partitions, s.Partition(d.scope)) {
			snap.graves = append(snap.graves, tsdb.Grave{Device: key, Scope: d.scope})
		}
		for _, grave := range gravesOf(key, d) {
			if slices.Contains(partitions, s.Partition(grave.Scope)) {
				snap.graves = append(snap.graves, grave)
			}
		}
	}
	return snap
}

// use panics unless the snapshot may be used now; it returns what ends the use.
func (s *snapshot) use() (done func()) {
	if s.busy || s.over {
		panic("memtsdb: a snapshot is used inside of a search, or after its end")
	}
	s.busy = true
	return func() { s.busy = false }
}

func (s *snapshot) end() { s.over = true }

func (s *snapshot) Horizon() int64 { return s.horizon }

func (s *snapshot) Graves() []tsdb.Grave { return slices.Clone(s.graves) }

// EventNames implements tsdb.Snapshot.
func (s *snapshot) EventNames(ctx context.Context, keys []int64) (map[int64]string, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	out := map[int64]string{}
	for name, key := range s.store.events {
		if slices.Contains(keys, key) {
			out[key] = name
		}
	}
	return out, ctx.Err()
}

func (s *snapshot) Tail(ctx context.Context, from, to int64) (rows []tsdb.TailRow, _ error) {
	defer s.use()()
	for _, r := range s.rows {
		if r.MaxAt >= from && r.MinAt < to {
			out := r.TailRow
			out.Partitions = slices.Clone(out.Partitions)
			rows = append(rows, out)
		}
	}
	return rows, ctx.Err()
}

func (s *snapshot) TailData(ctx context.Context, ids []int64, fn func(id int64, data []byte) error) error {
	defer s.use()()
	for _, r := range s.rows {
		if !slices.Contains(ids, r.ID) {
			continue
		}
		data := slices.Clone(r.data)
		err := fn(r.ID, data)
		spoil(data)
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *snapshot) Bytes(ctx context.Context, scope int64) (bytes int64, _ error) {
	defer s.use()()
	for _, docs := range s.partitions {
		for key, d := range docs {
			if key.Scope == scope {
				bytes += int64(len(d.Data[0]) + len(d.Data[1]) + len(d.Data[2]))
			}
		}
	}
	return bytes, ctx.Err()
}

func (s *snapshot) Find(ctx context.Context, q tsdb.Query, fn func(*tsdb.Doc) error) error {
	if q.Floor && (q.Table != tsdb.Chunks || q.Minor != tsdb.Everything || q.Scopes == nil) {
		panic("memtsdb: a search for the floor of something else than chunks")
	}
	floors := map[int64]int64{} // by scope, the Major of the floor
	found := s.matching(func(key tsdb.Key) bool {
		if key.Table != q.Table || q.Scopes != nil && !slices.Contains(q.Scopes, key.Scope) || key.Minor < q.Minor.From || key.Minor > q.Minor.To {
			return false
		}
		if at, ok := floors[key.Scope]; q.Floor && key.Major < q.Major.From && (!ok || key.Major > at) {
			floors[key.Scope] = key.Major
		}
		return key.Major <= q.Major.To && (q.Floor || key.Major >= q.Major.From)
	})
	if q.Floor {
		found = slices.DeleteFunc(found, func(d tsdb.Doc) bool { return d.Major < q.Major.From && d.Major != floors[d.Scope] })
	}
	if q.Backward {
		slices.Reverse(found)
	}
	if q.Limit > 0 {
		found = found[:min(q.Limit, len(found))]
	}
	return s.give(ctx, found, q.Data, fn)
}

func (s *snapshot) Get(ctx context.Context, keys []tsdb.Key, data tsdb.Fields, fn func(*tsdb.Doc) error) error {
	wanted := make(map[tsdb.Key]bool, len(keys))
	for _, key := range keys {
		if key.Table != keys[0].Table {
			panic("memtsdb: keys of different tables")
		}
		wanted[key] = true
	}
	return s.give(ctx, s.matching(func(key tsdb.Key) bool { return wanted[key] }), data, fn)
}

// matching returns documents in the order of their keys.
func (s *snapshot) matching(match func(tsdb.Key) bool) (found []tsdb.Doc) {
	for _, docs := range s.partitions {
		for key, doc := range docs {
			if match(key) {
				found = append(found, doc)
			}
		}
	}
	slices.SortFunc(found, func(a, b tsdb.Doc) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
	})
	return found
}

func (s *snapshot) give(ctx context.Context, found []tsdb.Doc, data tsdb.Fields, fn func(*tsdb.Doc) error) error {
	defer s.use()()
	for _, doc := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range doc.Data {
			if doc.Data[i] = slices.Clone(doc.Data[i]); !data[i] {
				doc.Data[i] = nil
			}
		}
		err := fn(&doc)
		for i := range doc.Data {
			spoil(doc.Data[i])
		}
		if errors.Is(err, tsdb.ErrEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// spoil overwrites what may not be used any more.
func spoil(data []byte) {
	for i := range data {
		data[i] = 0xff
	}
}

// removedGrave is the clean time of a device whose grave is removed.
var removedGrave = time.Unix(1<<40, 0) // never written to
