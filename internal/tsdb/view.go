package tsdb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// The range of times that a log may have, in Unix milliseconds.
const (
	firstMilli = -62135596800000
	endMilli   = 253402300800000
)

// Ever is the span of all logs.
func Ever() hearth.Span {
	return hearth.Span{From: time.UnixMilli(firstMilli), To: time.UnixMilli(endMilli)}
}

// subject says what a question is about.
type subject struct {
	operation string
	reach     hearth.Reach
	devices   []int64
	events    []string
	span      hearth.Span
	slow      bool
	// past asks for the tail from before the span as well.
	past bool
}

// view is what one question sees of the logs, at one moment.
type view struct {
	e   *Engine
	s   Snapshot
	ctx context.Context //nolint:containedctx // it lives no longer than the question
	// from and to bound the question, in Unix milliseconds; nothing from before the horizon is in it.
	from, to int64
	// scopes are the wanted ones; nil is all.
	scopes []int64
	// devices and events, if not nil, are the wanted ones.
	devices map[int64]bool
	events  map[int64]bool
	// homes are the scopes of the wanted devices, as far as is known.
	homes map[int64]int64
	// dead are the devices, with a scope, whose logs are hidden there, and deadScopes how many a scope has.
	dead       map[hidden]bool
	deadScopes map[int64]int
	tail       []tailPart
	*viewMemory
	// lastKey is of the chunk that was decoded last, lastChunk, and lastRange what was decoded of it.
	lastKey   Key
	lastRange timeRange
	// lastKeys are those of the range that was gone through last.
	lastKeys chunkRange
}

// hidden is a device whose logs are hidden in a scope.
type hidden struct{ scope, device int64 }

// chunkRange has the keys of the chunks of a scope that touch a range.
type chunkRange struct {
	scope int64
	timeRange
	keys []Key
}

// errMoved says that a wanted device is not where it was taken to be.
var errMoved = errors.New("tsdb: a device has moved")

// tailPart is a row of the tail, with the partitions whose part of it is in no document.
type tailPart struct {
	*Row
	partitions []int
}

// viewMemory is what questions decode into, one after the other.
type viewMemory struct {
	decoder   codec.Decoder
	lastChunk codec.Chunk
	day       codec.Day
	cells     []codec.Cell
}

// maxTries bounds how often a question begins anew because it was overtaken.
const maxTries = 5

// view answers a question from one moment's logs. answer is not called if there is nothing to ask about; it may be called again.
func (e *Engine) view(ctx context.Context, of subject, answer func(*view) error) error {
	for try := 1; ; try++ {
		proto, err := e.resolveSubject(ctx, of)
		if err != nil || proto == nil {
			return err
		}
		err = e.backend.View(ctx, ViewOptions{Operation: of.operation, Scopes: proto.scopes, Slow: of.slow}, func(s Snapshot) error {
			v := *proto
			v.s, v.ctx = s, ctx
			memory, ok := e.memory.Get().(*viewMemory)
			if !ok {
				memory = &viewMemory{}
			}
			v.viewMemory = memory
			defer e.memory.Put(memory)
			if err := v.open(of.past); err != nil || v.from >= v.to {
				return err
			}
			return answer(&v)
		})
		switch {
		case errors.Is(err, errMoved) && try == maxTries:
			return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the device is just moving", RetryAfter: time.Second, Cause: err}
		case try == maxTries:
			return err
		case errors.Is(err, errMoved):
			if err := pause(ctx, try); err != nil {
				return err
			}
		case !errors.Is(err, ErrStale) || of.slow:
			return err
		}
	}
}

// resolveSubject finds the keys of what a question names; nil if it is about nothing.
func (e *Engine) resolveSubject(ctx context.Context, of subject) (*view, error) {
	v := &view{e: e, from: max(firstMilli, of.span.From.UnixMilli()), to: min(endMilli, of.span.To.UnixMilli())}
	if v.from >= v.to {
		return nil, nil
	}
	if !of.reach.All {
		keys, err := e.scopeKeys(ctx, of.reach.Scopes)
		if err != nil || len(keys) == 0 {
			return nil, err
		}
		for _, key := range keys {
			v.scopes = append(v.scopes, key)
		}
	}
	if of.devices != nil {
		homes, err := e.homesOf(ctx, of.devices)
		if err != nil {
			return nil, err
		}
		v.devices, v.homes = map[int64]bool{}, homes
		wanted := v.scopes
		v.scopes = nil
		for device, scope := range homes {
			if of.reach.All || slices.Contains(wanted, scope) {
				v.devices[device] = true
				v.scopes = append(v.scopes, scope)
			}
		}
		if len(v.devices) == 0 {
			return nil, nil
		}
	}
	slices.Sort(v.scopes)
	v.scopes = slices.Compact(v.scopes)
	if of.events != nil {
		keys, err := e.eventKeys(ctx, of.events, false)
		if err != nil || len(keys) == 0 {
			return nil, err
		}
		v.events = map[int64]bool{}
		for _, key := range keys {
			v.events[key] = true
		}
	}
	return v, nil
}

// open reads what every question needs.
func (v *view) open(past bool) (err error) {
	v.from = max(v.from, v.s.Horizon())
	if v.from >= v.to {
		return nil
	}
	for _, grave := range v.s.Graves() {
		if v.dead == nil {
			v.dead, v.deadScopes = map[hidden]bool{}, map[int64]int{}
		}
		if v.devices[grave.Device] && v.homes[grave.Device] == grave.Scope {
			v.e.Forget(grave.Device)
			return errMoved
		}
		v.dead[hidden{grave.Scope, grave.Device}] = true
		v.deadScopes[grave.Scope]++
	}
	from := v.from
	if past {
		from = max(firstMilli, v.s.Horizon())
	}
	v.tail, err = v.e.loadTail(v.ctx, v.s, from, v.to, func([]TailRow) int { return -1 })
	return err
}

// loadTail returns the rows of the tail that touch [from, to): those that pick, which gets all of them, says, or all if that is negative.
func (e *Engine) loadTail(ctx context.Context, s Snapshot, from, to int64, pick func([]TailRow) int) ([]tailPart, error) {
	metas, err := s.Tail(ctx, from, to)
	if err != nil {
		return nil, err
	}
	metas = slices.DeleteFunc(metas, func(m TailRow) bool { return m.MaxAt < from || m.MinAt >= to })
	if n := pick(metas); n >= 0 {
		metas = metas[:n]
	}
	out := make([]tailPart, len(metas))
	places := map[int64]int{}
	var missing []int64
	for i, m := range metas {
		if out[i] = (tailPart{e.tail.find(m.ID), m.Partitions}); out[i].Row == nil {
			missing = append(missing, m.ID)
			places[m.ID] = i
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	var decoder codec.Decoder
	err = s.TailData(ctx, missing, func(id int64, data []byte) error {
		row := &Row{TailRow: metas[places[id]], size: len(data), alone: new(atomic.Int64)}
		if err := decoder.Decode(&row.chunk, data, nil); err != nil {
			return err
		}
		out[places[id]].Row = row
		e.tail.add(row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, part := range out {
		if part.Row == nil {
			return nil, ErrStale
		}
	}
	return out, nil
}

// wants reports whether the question is about a series of the view's scopes.
func (v *view) wants(scope, device, event int64) bool {
	if len(v.dead) > 0 && v.dead[hidden{scope, device}] || v.events != nil && !v.events[event] {
		return false
	}
	return v.devices == nil || v.devices[device]
}

// wantsIn is wants of one scope.
func (v *view) wantsIn(scope int64) func(device, event int64) bool {
	return func(device, event int64) bool { return v.wants(scope, device, event) }
}

func (v *view) wantsEvent(event int64) bool { return v.events == nil || v.events[event] }

// picky reports whether the question is not about all series of a scope.
func (v *view) picky(scope int64) bool {
	return v.devices != nil || v.events != nil || v.deadScopes[scope] > 0
}

// in reports whether the part of the tail is in no document for a scope.
func (p *tailPart) in(b Backend, scope int64) bool {
	return len(p.partitions) > 0 && (b.Partitions() == 1 || slices.Contains(p.partitions, b.Partition(scope)))
}

// tailEntries calls fn for every wanted entry that is in no document; its Series is an index into series.
func (v *view) tailEntries(fn func(series []codec.Series, e *codec.Entry)) {
	v.tailIn(timeRange{from: v.from, to: v.to}, fn)
}

// tailIn is tailEntries for another range of time.
func (v *view) tailIn(in timeRange, fn func(series []codec.Series, e *codec.Entry)) {
	var wanted []bool
	for i := range v.tail {
		part := &v.tail[i]
		wanted = wanted[:0]
		some := false
		for _, s := range part.chunk.Series {
			want := part.in(v.e.backend, s.Scope) && v.wants(s.Scope, s.Device, s.Event)
			if want && v.scopes != nil {
				_, want = slices.BinarySearch(v.scopes, s.Scope)
			}
			wanted = append(wanted, want)
			some = some || want
		}
		if !some {
			continue
		}
		entries := in.of(&part.chunk)
		for j := range entries {
			if wanted[entries[j].Series] {
				fn(part.chunk.Series, &entries[j])
			}
		}
	}
}

// timeRange is a range of Unix milliseconds, from inclusive, to exclusive, and the order in which it is gone through.
type timeRange struct {
	from, to int64
	backward bool
}

// of returns the entries of a chunk in the range.
func (r timeRange) of(chunk *codec.Chunk) []codec.Entry {
	byTime := func(e codec.Entry, at int64) int { return cmp.Compare(e.At, at) }
	first, _ := slices.BinarySearchFunc(chunk.Entries, r.from, byTime)
	end, _ := slices.BinarySearchFunc(chunk.Entries, r.to, byTime)
	return chunk.Entries[first:max(first, end)]
}

// chunksAtOnce bounds the chunks that are read together.
const chunksAtOnce = 64

// chunkKeys returns the keys of the chunks of scopes that touch the range, those of one scope in its order.
func (v *view) chunkKeys(scopes []int64, in timeRange) (keys []Key, err error) {
	if scopes == nil {
		if scopes, err = v.scopesWithLogs(); err != nil || len(scopes) == 0 {
			return nil, err
		}
	}
	query := Query{Table: Chunks, Scopes: scopes, Major: Range{in.from, in.to - 1}, Minor: Everything, Floor: true, Backward: in.backward}
	err = v.s.Find(v.ctx, query, func(d *Doc) error {
		if d.MaxAt >= in.from && d.MinAt < in.to {
			keys = append(keys, d.Key)
		}
		return nil
	})
	return keys, err
}

// eachChunk calls fn with the wanted series and entries, in the range, of scopes' chunks. Chunks of one scope come in its order if there is
// but one scope. What fn gets is overwritten afterwards. An error of fn ends it.
func (v *view) eachChunk(scopes []int64, in timeRange, fn func(scope int64, series []codec.Series, entries []codec.Entry) error) error {
	if len(scopes) != 1 {
		keys, err := v.chunkKeys(scopes, in)
		if err != nil {
			return err
		}
		return v.eachOf(keys, in, fn)
	}
	if v.lastKeys.scope != scopes[0] || v.lastKeys.timeRange != in {
		keys, err := v.chunkKeys(scopes, in)
		if err != nil {
			return err
		}
		v.lastKeys = chunkRange{scopes[0], in, keys}
	}
	for _, key := range v.lastKeys.keys {
		if err := v.loadChunk(key, in); err != nil {
			return err
		}
		if err := fn(key.Scope, v.lastChunk.Series, in.of(&v.lastChunk)); err != nil {
			return err
		}
	}
	return nil
}

// eachOf is eachChunk of chunks with these keys, in any order.
func (v *view) eachOf(keys []Key, in timeRange, fn func(scope int64, series []codec.Series, entries []codec.Entry) error) error {
	v.lastKey = Key{}
	for some := range slices.Chunk(keys, chunksAtOnce) {
		err := v.s.Get(v.ctx, some, MainData, func(d *Doc) error {
			if err := v.decode(d, in); err != nil {
				return err
			}
			return fn(d.Scope, v.lastChunk.Series, in.of(&v.lastChunk))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadChunk decodes the wanted entries of a chunk, at least those in the range, into lastChunk, unless they are there. One that another range
// is wanted of right after the first is decoded whole.
func (v *view) loadChunk(key Key, in timeRange) error {
	if key == v.lastKey {
		if v.lastRange.from <= in.from && in.to <= v.lastRange.to {
			return nil
		}
		in = timeRange{from: firstMilli, to: endMilli}
	}
	v.lastKey, v.lastRange = Key{}, in
	found := false
	err := v.s.Get(v.ctx, []Key{key}, MainData, func(d *Doc) error {
		found = true
		return v.decode(d, in)
	})
	if err == nil && !found {
		err = ErrStale
	}
	if err == nil {
		v.lastKey = key
	}
	return err
}

// decode decodes the wanted entries of a chunk in the range into lastChunk.
func (v *view) decode(d *Doc, in timeRange) error {
	var keep func(codec.Series) bool
	if scope := d.Scope; v.picky(scope) {
		keep = func(s codec.Series) bool { return v.wants(scope, s.Device, s.Event) }
	}
	return v.decoder.DecodeRange(&v.lastChunk, d.Data[0], keep, in.from, in.to-1)
}

// logOf returns an entry as the contract has it.
func (v *view) logOf(series []codec.Series, e *codec.Entry) (hearth.LogEntry, error) {
	s := &series[e.Series]
	name, err := v.eventName(s.Event)
	return hearth.LogEntry{Device: s.Device, Event: name, Value: s.Value(e), At: e.At, Seq: e.Seq}, err
}

func compareLogs(a, b hearth.LogEntry) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
}
