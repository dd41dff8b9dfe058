// Package memtsdb is a tsdb.Backend in memory, for models and tests. It is strict where a database may be lenient: what a snapshot
// returned is overwritten as soon as it may no longer be used, and a snapshot that is used where it must not be panics.
package memtsdb

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

var _ tsdb.Backend = (*Store)(nil)

// Store is the backend. Its methods may be called at once from many goroutines. It stays whole when those who use it end: an
// engine that is made anew over the same Store finds everything that was stored.
type Store struct {
	mu         sync.Mutex
	partitions []partition
	rows       map[int64]row
	last       uint64
	horizon    int64

	scopes  map[hearth.Scope]int64
	events  map[string]int64
	devices map[int64]*device

	checkpoints map[string]hearth.Checkpoint
	records     map[string]hearth.IdempotencyRecord
}

// partition holds the documents of a partition. The map is replaced, never changed: a snapshot keeps the one that it began with.
type partition struct {
	docs     map[tsdb.Key]tsdb.Doc
	updating bool
}

type row struct {
	tsdb.TailRow
	data []byte
}

type device struct {
	scope   int64
	deleted bool
	clean   time.Time
	// hidden are the scopes in which the logs of a device that moved, or is moving, are hidden.
	hidden      []int64
	moving      bool
	hiddenClean time.Time
}

func (d *device) hides(scope int64) bool { return slices.Contains(d.hidden, scope) }

// New returns an empty Store of that many partitions.
func New(partitions int) *Store {
	return &Store{
		partitions: make([]partition, partitions), rows: map[int64]row{}, horizon: math.MinInt64,
		scopes: map[hearth.Scope]int64{}, events: map[string]int64{}, devices: map[int64]*device{},
		checkpoints: map[string]hearth.Checkpoint{}, records: map[string]hearth.IdempotencyRecord{},
	}
}

// AddDevice makes a device of a scope and returns its key.
func (s *Store) AddDevice(scope hearth.Scope) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := int64(len(s.devices)) + 1
	s.devices[key] = &device{scope: keyOf(s.scopes, scope)}
	return key
}

// DeleteDevice leaves a grave of a device.
func (s *Store) DeleteDevice(key int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[key].deleted = true
}

// BeginMove hides what a scope may get of a device's logs; it returns the key of the device's scope and of that one.
func (s *Store) BeginMove(key int64, scope hearth.Scope) (from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, to := s.devices[key], keyOf(s.scopes, scope)
	if !d.hides(to) {
		d.hidden = append(d.hidden, to)
	}
	d.moving = true
	return d.scope, to
}

// EndMove gives the device to the scope that BeginMove returned.
func (s *Store) EndMove(key, from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[key]
	d.hidden = append(slices.DeleteFunc(slices.Clone(d.hidden), func(scope int64) bool { return scope == to }), from)
	d.scope, d.moving, d.hiddenClean = to, false, time.Time{}
}

// ImportCheckpoint is the method of hearth.LogStore.
func (s *Store) ImportCheckpoint(_ context.Context, id string) (hearth.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.checkpoints[id]
	if !ok {
		return c, hearth.NotFound("checkpoint")
	}
	return c, nil
}

// keyOf returns the key of a name, which is made if it is new.
func keyOf[N comparable](keys map[N]int64, name N) int64 {
	if keys[name] == 0 {
		keys[name] = int64(len(keys)) + 1
	}
	return keys[name]
}

// Partitions implements tsdb.Backend.
func (s *Store) Partitions() int { return len(s.partitions) }

// Partition implements tsdb.Backend.
func (s *Store) Partition(scope int64) int { return int(scope % int64(len(s.partitions))) }

// Append implements tsdb.Backend.
func (s *Store) Append(ctx context.Context, batch *tsdb.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if batch.Prune != nil {
		if err := batch.Prune(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	record := batch.Effects.Idempotency
	if record != nil {
		if before, ok := s.records[record.Caller+"\x00"+record.Key]; ok {
			if before.Fingerprint != record.Fingerprint {
				return hearth.Errorf(hearth.CodeIdempotencyMismatch, "the key is of another request")
			}
			return &hearth.Replayed{Record: before}
		}
	}
	batch.First = s.last + 1
	s.last += uint64(batch.Size)
	for _, r := range tsdb.Pack([]*tsdb.Batch{batch}, s.Partition, tsdb.NarrowRow) {
		s.rows[r.ID] = row{r.TailRow, r.Data}
	}
	if batch.Checkpoint != nil {
		s.checkpoints[batch.Checkpoint.ID] = *batch.Checkpoint
	}
	if record != nil {
		stored := *record
		if batch.Size > 0 {
			stored.FirstLog = batch.First
		}
		s.records[record.Caller+"\x00"+record.Key] = stored
	}
	return nil
}

// View implements tsdb.Backend.
func (s *Store) View(ctx context.Context, options tsdb.ViewOptions, fn func(tsdb.Snapshot) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wanted := map[int]bool{}
	for _, scope := range options.Scopes {
		wanted[s.Partition(scope)] = true
	}
	if options.Scopes == nil {
		for p := range s.partitions {
			wanted[p] = true
		}
	}
	snap := s.snapshot(slices.Sorted(maps.Keys(wanted)))
	defer snap.end()
	return fn(snap)
}

// Update implements tsdb.Backend.
func (s *Store) Update(ctx context.Context, _ string, p int, fn func(tsdb.Snapshot) (*tsdb.Change, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.partitions[p].updating {
		s.mu.Unlock()
		return tsdb.ErrBusy
	}
	s.partitions[p].updating = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.partitions[p].updating = false
	}()
	snap := s.snapshot([]int{p})
	change, err := fn(snap)
	snap.end()
	if err != nil || change == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply(p, change)
	return nil
}

func (s *Store) apply(p int, change *tsdb.Change) {
	docs := maps.Clone(s.partitions[p].docs)
	if docs == nil {
		docs = map[tsdb.Key]tsdb.Doc{}
	}
	changed := map[tsdb.Key]bool{}
	touch := func(key tsdb.Key) {
		if changed[key] || s.Partition(key.Scope) != p || key.Scope < 1 {
			panic("memtsdb: a change has a document twice, or one of another partition")
		}
		changed[key] = true
	}
	for _, doc := range change.Put {
		touch(doc.Key)
		for i := range doc.Data {
			doc.Data[i] = slices.Clone(doc.Data[i])
		}
		docs[doc.Key] = doc
	}
	for _, key := range change.Delete {
		touch(key)
		delete(docs, key)
	}
	s.partitions[p].docs = docs
	for _, id := range change.Folded {
		r, ok := s.rows[id]
		at := slices.Index(r.Partitions, p)
		if !ok || at < 0 {
			panic("memtsdb: a row is folded twice")
		}
		r.Partitions = slices.Delete(slices.Clone(r.Partitions), at, at+1)
		if s.rows[id] = r; len(r.Partitions) == 0 {
			delete(s.rows, id)
		}
	}
}

// Horizon implements tsdb.Backend.
func (s *Store) Horizon(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.horizon, ctx.Err()
}

// MoveHorizon implements tsdb.Backend.
func (s *Store) MoveHorizon(ctx context.Context, from, to int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.horizon != from {
		return tsdb.ErrBusy
	}
	s.horizon = to
	return ctx.Err()
}

// Homes implements tsdb.Backend.
func (s *Store) Homes(ctx context.Context, devices []int64) (map[int64]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[int64]int64{}
	for _, key := range devices {
		if d := s.devices[key]; d != nil && !d.deleted {
			out[key] = d.scope
		}
	}
	return out, ctx.Err()
}

// ScopeKeys implements tsdb.Backend.
func (s *Store) ScopeKeys(ctx context.Context, scopes []hearth.Scope) (map[hearth.Scope]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[hearth.Scope]int64{}
	for _, scope := range scopes {
		if key := s.scopes[scope]; key != 0 {
			out[scope] = key
		}
	}
	return out, ctx.Err()
}

// EventKeys implements tsdb.Backend.
func (s *Store) EventKeys(ctx context.Context, names []string, create bool) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	for _, name := range names {
		if s.events[name] != 0 || create {
			out[name] = keyOf(s.events, name)
		}
	}
	return out, ctx.Err()
}

// DueGraves implements tsdb.Backend.
func (s *Store) DueGraves(ctx context.Context, clean time.Time, limit int) ([]tsdb.Grave, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []tsdb.Grave
	isDue := func(cleaned time.Time) bool {
		if clean.IsZero() {
			return cleaned.IsZero()
		}
		return !cleaned.IsZero() && cleaned.Before(clean)
	}
	for key, d := range s.devices {
		if len(d.hidden) > 0 && !d.moving && isDue(d.hiddenClean) {
			return gravesOf(key, d), ctx.Err()
		}
		if d.deleted && isDue(d.clean) {
			out = append(out, tsdb.Grave{Device: key, Scope: d.scope})
		}
	}
	slices.SortFunc(out, func(a, b tsdb.Grave) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Device, b.Device))
	})
	if len(out) > 0 {
		first := out[0].Scope
		out = slices.DeleteFunc(out, func(g tsdb.Grave) bool { return g.Scope != first })
	}
	return out[:min(len(out), limit)], ctx.Err()
}

// Cleaned implements tsdb.Backend.
func (s *Store) Cleaned(ctx context.Context, graves []tsdb.Grave, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, grave := range graves {
		switch d := s.devices[grave.Device]; {
		case !grave.Moved:
			d.clean = at
		case !d.moving:
			d.hiddenClean = at
		}
	}
	return ctx.Err()
}

// RemoveGraves implements tsdb.Backend.
func (s *Store) RemoveGraves(ctx context.Context, graves []tsdb.Grave) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, grave := range graves {
		switch d := s.devices[grave.Device]; {
		case !grave.Moved:
			d.clean = removedGrave
		case !d.moving && !d.hiddenClean.IsZero():
			d.hidden = nil
		}
	}
	return ctx.Err()
}

// gravesOf returns the graves of a device that moved.
func gravesOf(key int64, d *device) (out []tsdb.Grave) {
	for _, scope := range d.hidden {
		out = append(out, tsdb.Grave{Device: key, Scope: scope, Moved: true})
	}
	return out
}
