package mongodb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/tsdb"
)

// logScope says what a question is about.
type logScope struct {
	reach   hearth.Reach
	devices []int64
	events  []string
	span    hearth.Span
}

// logView is what one question sees: the documents of its lanes at certain versions, and the batches that were not folded
// at those. No step that comes later changes what it sees; one that is overtaken twice gets errOvertaken.
type logView struct {
	e *logEngine
	// from and to bound the question, in Unix milliseconds; nothing from before the horizon is in it.
	from, to int64
	// all says that it is about all scopes; else scopes are its.
	all    bool
	scopes []int64
	// devices, if not nil, are the wanted devices that exist, with their scopes.
	devices map[int64]int64
	// events, if not nil, are the wanted events.
	events map[int64]bool
	// dead are the deleted devices whose logs are still stored.
	dead map[int64]bool

	lanes map[int64]*laneState
	tail  []tailBatch
	days  tsdb.Day
	chunk tsdb.Chunk
	dec   tsdb.Decoder
}

// tailBatch is a batch with the lanes whose part of it is not in the documents.
type tailBatch struct {
	*batch
	lanes []int64
}

// maxTries bounds how often a question begins anew; the later tries ask the lanes to hold still.
const (
	freeTries = 3
	maxTries  = 8
	holdTime  = 5 * time.Second
)

// view answers a question from one moment's logs.
func (e *logEngine) view(ctx context.Context, of logScope, answer func(*logView) error) error {
	for try := 0; ; try++ {
		v, err := e.openView(ctx, of)
		if err == nil && v.from < v.to {
			err = answer(v)
		} else if err == nil {
			return nil
		}
		if !errors.Is(err, errOvertaken) || try == maxTries {
			return err
		}
		if try >= freeTries {
			if err := e.hold(ctx, v.laneIDs()); err != nil {
				return err
			}
		}
	}
}

// hold asks that no step begins in the lanes for a while.
func (e *logEngine) hold(ctx context.Context, lanes []int64) error {
	until := e.now().Add(holdTime).UnixMilli()
	_, err := e.lanes.UpdateMany(ctx, bson.M{"_id": in(lanes)}, bson.M{"$max": bson.M{"hold": until}})
	return err
}

// openView reads what every question needs.
func (e *logEngine) openView(ctx context.Context, of logScope) (*logView, error) {
	v := &logView{
		e: e, all: of.reach.All,
		from: max(firstMilli, of.span.From.UnixMilli()), to: min(endMilli, of.span.To.UnixMilli()),
	}
	if v.from >= v.to {
		return v, nil
	}
	if err := v.readScopes(ctx, of); err != nil {
		return v, err
	}
	if !v.all && len(v.scopes) == 0 || v.devices != nil && len(v.devices) == 0 || v.events != nil && len(v.events) == 0 {
		v.to = v.from
		return v, nil
	}
	if err := v.readTail(ctx); err != nil {
		return v, err
	}
	if err := v.readDead(ctx, of.reach); err != nil {
		return v, err
	}
	v.from = max(v.from, v.lanes[allLanes].Horizon)
	return v, nil
}

func (v *logView) readScopes(ctx context.Context, of logScope) error {
	if !v.all {
		var wanted []string
		for _, scope := range of.reach.Scopes {
			wanted = append(wanted, scopeName+string(scope))
		}
		found, err := v.e.findNames(ctx, wanted)
		if err != nil {
			return err
		}
		for _, key := range found {
			v.scopes = append(v.scopes, key)
		}
		slices.Sort(v.scopes)
	}
	if of.devices != nil {
		wanted := make(map[int64]bool, len(of.devices))
		for _, key := range of.devices {
			wanted[key] = true
		}
		homes, err := v.e.homesOf(ctx, wanted)
		if err != nil {
			return err
		}
		v.devices = map[int64]int64{}
		for device, scope := range homes {
			if v.all || slices.Contains(v.scopes, scope) {
				v.devices[device] = scope
			}
		}
		v.all, v.scopes = false, nil
		for _, scope := range v.devices {
			v.scopes = append(v.scopes, scope)
		}
		slices.Sort(v.scopes)
		v.scopes = slices.Compact(v.scopes)
	}
	if of.events != nil {
		var wanted []string
		for _, event := range of.events {
			wanted = append(wanted, eventName+event)
		}
		found, err := v.e.findNames(ctx, wanted)
		if err != nil {
			return err
		}
		v.events = map[int64]bool{}
		for _, key := range found {
			v.events[key] = true
		}
	}
	return nil
}

func (v *logView) laneIDs() (ids []int64) {
	if v.all {
		for lane := range int64(laneCount) {
			ids = append(ids, lane)
		}
		return ids
	}
	for _, scope := range v.scopes {
		ids = append(ids, laneOf(scope))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// readTail reads the lanes' versions and what is not folded at those. That no step ended in between is seen by reading the
// versions again.
func (v *logView) readTail(ctx context.Context) error {
	ids := v.laneIDs()
	before, err := v.e.laneStates(ctx, ids)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		// By the index of open.
		cursor, err := v.e.batches.Find(ctx, bson.M{"open": in(ids), "draft": nil}, projecting("open", "lo", "hi").SetSort(bson.M{"_id": 1}))
		if err != nil {
			return err
		}
		var metas []batchDoc
		if err := cursor.All(ctx, &metas); err != nil {
			return err
		}
		after, err := v.e.laneStates(ctx, ids)
		if err != nil {
			return err
		}
		if sameStates(before, after) {
			v.lanes = after
			return v.loadTail(ctx, metas)
		}
		if try == 50 {
			return errOvertaken
		}
		before = after
	}
}

func (v *logView) loadTail(ctx context.Context, metas []batchDoc) error {
	var ids []int64
	open := map[int64][]int64{}
	for _, m := range metas {
		if m.Hi < v.from || m.Lo >= v.to {
			continue
		}
		for _, lane := range m.Open {
			if state := v.lanes[lane]; state != nil && !slices.Contains(state.Applied, m.First) {
				open[m.First] = append(open[m.First], lane)
			}
		}
		if open[m.First] != nil {
			ids = append(ids, m.First)
		}
	}
	loaded, err := v.e.loadBatches(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		b := loaded[id]
		if b == nil {
			return errOvertaken // folded and removed since
		}
		v.tail = append(v.tail, tailBatch{b, open[id]})
	}
	return nil
}

func (v *logView) readDead(ctx context.Context, reach hearth.Reach) error {
	filter := bson.M{"dead": bson.M{"$exists": true}}
	if !reach.All {
		filter = bson.M{"dead": in(reach.Scopes)}
	}
	// By the partial index of dead.
	cursor, err := v.e.devices.Find(ctx, filter, projecting("key"))
	if err != nil {
		return err
	}
	var docs []struct {
		Key int64 `bson:"key"`
	}
	if err := cursor.All(ctx, &docs); err != nil {
		return err
	}
	v.dead = make(map[int64]bool, len(docs))
	for _, d := range docs {
		v.dead[d.Key] = true
	}
	return nil
}

// wants reports whether the question is about a series of a device in its scopes.
func (v *logView) wants(device, event int64) bool {
	if v.dead[device] || v.events != nil && !v.events[event] {
		return false
	}
	if v.devices == nil {
		return true
	}
	_, ok := v.devices[device]
	return ok
}

// picky reports whether the question is not about all series of its scopes.
func (v *logView) picky() bool { return v.devices != nil || v.events != nil || len(v.dead) > 0 }

// ver returns the version at which the view sees the documents of a scope.
func (v *logView) ver(scope int64) int64 { return v.lanes[laneOf(scope)].Ver }

// scopeFilter restricts a query to the view's scopes.
func (v *logView) scopeFilter(filter bson.M) bson.M {
	switch {
	case v.all:
	case len(v.scopes) == 1:
		filter["scope"] = v.scopes[0]
	default:
		filter["scope"] = in(v.scopes)
	}
	return filter
}

// groups returns the groups of the wanted devices.
func (v *logView) groups() (out []int64) {
	for device := range v.devices {
		out = append(out, device/tsdb.GroupSize)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// blocks returns the blocks of the wanted devices.
func (v *logView) blocks() (out []int64) {
	for device, scope := range v.devices {
		out = append(out, blockOf(scope, device))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tailEntries calls fn for every wanted entry that is in no document.
func (v *logView) tailEntries(fn func(series []tsdb.Series, e *tsdb.Entry)) {
	var wanted []bool
	for _, b := range v.tail {
		wanted = wanted[:0]
		some := false
		for _, s := range b.chunk.Series {
			want := slices.Contains(b.lanes, laneOf(s.Scope)) && v.wants(s.Device, s.Event)
			if want && !v.all {
				_, want = slices.BinarySearch(v.scopes, s.Scope)
			}
			wanted = append(wanted, want)
			some = some || want
		}
		if !some {
			continue
		}
		entries := between(b.chunk.Entries, v.from, v.to)
		for i := range entries {
			if wanted[entries[i].Series] {
				fn(b.chunk.Series, &entries[i])
			}
		}
	}
}

// between returns the sorted entries of [from, to).
func between(entries []tsdb.Entry, from, to int64) []tsdb.Entry {
	byTime := func(e tsdb.Entry, at int64) int { return cmp.Compare(e.At, at) }
	first, _ := slices.BinarySearchFunc(entries, from, byTime)
	end, _ := slices.BinarySearchFunc(entries, to, byTime)
	return entries[first:max(first, end)]
}

// cut is a part of the time line whose logs themselves are wanted.
type cut struct {
	parts    []part
	from, to int64
}

// chunksAtOnce bounds the chunks that one query asks for.
const chunksAtOnce = 64

// eachChunk decodes the wanted entries of the parts that touch [from, to), in any order. What fn gets is overwritten
// afterwards.
func (v *logView) eachChunk(ctx context.Context, cuts []cut, fn func(series []tsdb.Series, entries []tsdb.Entry) error) error {
	var ids []string
	spans := map[string][2]int64{}
	for _, c := range cuts {
		for _, p := range c.parts {
			if p.Hi >= c.from && p.Lo < c.to {
				ids = append(ids, p.ID)
				spans[p.ID] = [2]int64{c.from, c.to}
			}
		}
	}
	var keep func(tsdb.Series) bool
	if v.picky() {
		keep = func(s tsdb.Series) bool { return v.wants(s.Device, s.Event) }
	}
	for some := range slices.Chunk(ids, chunksAtOnce) {
		n := 0
		var failed error
		err := eachDoc(ctx, v.e.chunks, some, func(d *chunkDoc) {
			n++
			if failed == nil {
				failed = v.dec.Decode(&v.chunk, d.Data, keep)
			}
			if failed == nil {
				span := spans[d.ID]
				failed = fn(v.chunk.Series, between(v.chunk.Entries, span[0], span[1]))
			}
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if n < len(some) {
			return errOvertaken // packed and removed since
		}
	}
	return nil
}

// eachDay calls fn for days of groups of devices, with the version that the view sees; nil if it sees none of the day.
func (v *logView) eachDay(ctx context.Context, filter bson.M, settings *options.FindOptionsBuilder, fn func(*dayDoc, *dayState) error) error {
	cursor, err := v.e.days.Find(ctx, v.scopeFilter(filter), settings)
	if err != nil {
		return err
	}
	for cursor.Next(ctx) {
		var doc dayDoc
		err := cursor.Decode(&doc)
		var state *dayState
		if err == nil {
			state, err = doc.at(v.ver(doc.Scope))
		}
		if err == nil {
			err = fn(&doc, state)
		}
		if err != nil {
			return errors.Join(err, cursor.Close(ctx))
		}
	}
	return errors.Join(cursor.Err(), cursor.Close(ctx))
}

// eachSum calls fn for sums of a level, with the version that the view sees.
func (v *logView) eachSum(ctx context.Context, filter bson.M, settings *options.FindOptionsBuilder, fn func(*sumDoc, *sumState) error) error {
	cursor, err := v.e.sums.Find(ctx, filter, settings)
	if err != nil {
		return err
	}
	for cursor.Next(ctx) {
		var doc sumDoc
		err := cursor.Decode(&doc)
		var state *sumState
		if err == nil {
			state, err = doc.at(v.ver(doc.Scope))
		}
		if err == nil && state != nil && state.N > 0 {
			err = fn(&doc, state)
		}
		if err != nil {
			return errors.Join(err, cursor.Close(ctx))
		}
	}
	return errors.Join(cursor.Err(), cursor.Close(ctx))
}
