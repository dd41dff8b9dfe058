package sqlite

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"slices"
	"sync"

	"hearth"
	"hearth/internal/tsdb"
)

// eventNames remembers the names of events by key. Rows of log_events never change.
type eventNames struct {
	mu    sync.Mutex
	names map[int64]string
}

// name returns the name of an event.
func (n *eventNames) name(q querier, key int64) (string, error) {
	n.mu.Lock()
	name, ok := n.names[key]
	n.mu.Unlock()
	if ok {
		return name, nil
	}
	if err := q.row(`SELECT name FROM log_events WHERE key=?`, key).Scan(&name); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil || len(n.names) >= maxRemembered {
		n.names = map[int64]string{}
	}
	n.names[key] = name
	return name, nil
}

// logView is what one question sees of the logs, in one snapshot.
type logView struct {
	store *Store
	q     querier
	// from and to bound the question, in Unix milliseconds; nothing from before the horizon is in it.
	from, to int64
	// scopes are those of the reach that have logs.
	scopes []int64
	// devices, if not nil, are the wanted devices by scope.
	devices map[int64]map[int64]bool
	// events, if not nil, are the wanted events.
	events map[int64]bool
	// dead are the deleted devices whose logs are still stored, and deadScopes how many a scope has.
	dead       map[int64]bool
	deadScopes map[int64]int
	tail       []*tailRow
	*viewMemory
	// lastKey is of the chunk that was decoded last, lastChunk.
	lastKey int64
}

// viewMemory is what questions decode into, one after the other.
type viewMemory struct {
	decoder   tsdb.Decoder
	lastChunk tsdb.Chunk
	day       tsdb.Day
	cells     []tsdb.Cell
}

// borrowMemory returns memory for one question; it goes back by returnMemory.
func (s *Store) borrowMemory() *viewMemory {
	if m, ok := s.memory.Get().(*viewMemory); ok {
		return m
	}
	return &viewMemory{}
}

func (v *logView) returnMemory() { v.store.memory.Put(v.viewMemory) }

// The range of times that a log may have.
const (
	firstMilli = -62135596800000
	endMilli   = 253402300800000
)

// logScope says what a view is of.
type logScope struct {
	reach   hearth.Reach
	devices []int64
	events  []string
	span    hearth.Span
}

// openView reads what every question needs. The view is of nothing where from is not before to. A view that is at its end
// returns its memory back by returnMemory; one that failed need not.
func (s *Store) openView(q querier, of logScope) (*logView, error) {
	v := &logView{store: s, q: q, viewMemory: s.borrowMemory(), from: max(firstMilli, of.span.From.UnixMilli()), to: min(endMilli, of.span.To.UnixMilli())}
	var horizon int64
	if err := q.row(`SELECT horizon FROM log_state`).Scan(&horizon); err != nil {
		return nil, err
	}
	v.from = max(v.from, horizon)
	if v.from >= v.to {
		return v, nil
	}
	if err := v.readDead(); err != nil {
		return nil, err
	}
	var err error
	if v.tail, err = s.tailRows(q, v.from, v.to, 0); err != nil {
		return nil, err
	}
	if err := v.readScopes(of.reach); err != nil {
		return nil, err
	}
	if of.devices != nil {
		if err := v.readDevices(of.devices); err != nil {
			return nil, err
		}
	}
	if of.events != nil {
		return v, v.readEvents(of.events)
	}
	return v, nil
}

func (v *logView) readDead() error {
	rows, err := v.q.query(`SELECT device, scope FROM log_dead`)
	if err != nil {
		return err
	}
	for rows.Next() {
		var device, scope int64
		if err := rows.Scan(&device, &scope); err != nil {
			return closed(rows, err)
		}
		if v.dead == nil {
			v.dead, v.deadScopes = map[int64]bool{}, map[int64]int{}
		}
		v.dead[device] = true
		v.deadScopes[scope]++
	}
	return closed(rows, nil)
}

func (v *logView) readScopes(reach hearth.Reach) error {
	if !reach.All {
		for _, scope := range reach.Scopes {
			rows, err := v.q.query(`SELECT key FROM scopes WHERE name=?`, string(scope))
			if err != nil {
				return err
			}
			if err := v.addScopes(rows); err != nil {
				return err
			}
		}
		return nil
	}
	rows, err := v.q.query(`SELECT scope FROM log_counts`)
	if err != nil {
		return err
	}
	if err := v.addScopes(rows); err != nil {
		return err
	}
	// A scope may have logs in the tail alone.
	known := make(map[int64]bool, len(v.scopes))
	for _, scope := range v.scopes {
		known[scope] = true
	}
	for _, row := range v.tail {
		for _, series := range row.chunk.Series {
			if !known[series.Scope] {
				known[series.Scope] = true
				v.scopes = append(v.scopes, series.Scope)
			}
		}
	}
	return nil
}

func (v *logView) addScopes(rows *sql.Rows) error {
	for rows.Next() {
		var key int64
		if err := rows.Scan(&key); err != nil {
			return closed(rows, err)
		}
		v.scopes = append(v.scopes, key)
	}
	return closed(rows, nil)
}

// readDevices finds the scopes of the wanted devices; those that do not exist are of no scope.
func (v *logView) readDevices(devices []int64) error {
	list, err := json.Marshal(devices)
	if err != nil {
		return err
	}
	rows, err := v.q.query(`SELECT key, scope FROM devices WHERE key IN (SELECT value FROM json_each(?))`, string(list))
	if err != nil {
		return err
	}
	v.devices = map[int64]map[int64]bool{}
	for rows.Next() {
		var key, scope int64
		if err := rows.Scan(&key, &scope); err != nil {
			return closed(rows, err)
		}
		if v.devices[scope] == nil {
			v.devices[scope] = map[int64]bool{}
		}
		v.devices[scope][key] = true
	}
	if err := closed(rows, nil); err != nil {
		return err
	}
	kept := v.scopes[:0]
	for _, scope := range v.scopes {
		if v.devices[scope] != nil {
			kept = append(kept, scope)
		}
	}
	v.scopes = kept
	return nil
}

func (v *logView) readEvents(names []string) error {
	v.events = map[int64]bool{}
	for _, name := range names {
		rows, err := v.q.query(`SELECT key FROM log_events WHERE name=?`, name)
		if err != nil {
			return err
		}
		for rows.Next() {
			var key int64
			if err := rows.Scan(&key); err != nil {
				return closed(rows, err)
			}
			v.events[key] = true
		}
		if err := closed(rows, nil); err != nil {
			return err
		}
	}
	return nil
}

// wants reports whether the question is about a series of a scope of the view.
func (v *logView) wants(scope, device, event int64) bool {
	if v.dead[device] || v.events != nil && !v.events[event] {
		return false
	}
	return v.devices == nil || v.devices[scope][device]
}

// tailEntries calls fn for every wanted entry of the tail, row by row; its Series is an index into series.
func (v *logView) tailEntries(fn func(series []tsdb.Series, e *tsdb.Entry)) {
	scopes := make(map[int64]bool, len(v.scopes))
	for _, scope := range v.scopes {
		scopes[scope] = true
	}
	var wanted []bool
	for _, row := range v.tail {
		wanted = wanted[:0]
		some := false
		for _, s := range row.chunk.Series {
			want := scopes[s.Scope] && v.wants(s.Scope, s.Device, s.Event)
			wanted = append(wanted, want)
			some = some || want
		}
		if !some {
			continue
		}
		for i := range row.chunk.Entries {
			if e := &row.chunk.Entries[i]; wanted[e.Series] && e.At >= v.from && e.At < v.to {
				fn(row.chunk.Series, e)
			}
		}
	}
}

// chunkEntries calls fn, in order or in reverse, for the wanted entries of a scope's chunks in the range, until it returns
// false.
func (v *logView) chunkEntries(scope int64, in timeRange, fn func(series []tsdb.Series, e *tsdb.Entry) bool) error {
	return v.chunksIn(scope, in, func(chunk *tsdb.Chunk) bool { return in.each(chunk, fn) })
}

// chunksIn calls fn, in order or in reverse, for the chunks of a scope that touch the range, with their wanted entries,
// until it returns false.
func (v *logView) chunksIn(scope int64, in timeRange, fn func(*tsdb.Chunk) bool) error {
	query := chunkKeysForward
	if in.backward {
		query = chunkKeysBackward
	}
	rows, err := v.q.query(query, scope, in.from, in.to)
	if err != nil {
		return err
	}
	chunks, err := keys(rows)
	if err != nil {
		return err
	}
	for _, key := range chunks {
		if err := v.loadChunk(scope, key); err != nil {
			return err
		}
		if !fn(&v.lastChunk) {
			break
		}
	}
	return nil
}

// loadChunk decodes a chunk into lastChunk, unless it is there.
func (v *logView) loadChunk(scope, key int64) error {
	if key == v.lastKey {
		return nil
	}
	v.lastKey = 0
	var data []byte
	if err := v.q.row(`SELECT data FROM log_chunks WHERE key=?`, key).Scan(&data); err != nil {
		return err
	}
	if err := v.decode(&v.lastChunk, scope, data); err != nil {
		return err
	}
	v.lastKey = key
	return nil
}

// timeRange is a range of Unix milliseconds, from inclusive, to exclusive, and the order in which it is gone through.
type timeRange struct {
	from, to int64
	backward bool
}

// of returns the entries of a chunk in the range.
func (r timeRange) of(chunk *tsdb.Chunk) []tsdb.Entry {
	byTime := func(e tsdb.Entry, at int64) int { return cmp.Compare(e.At, at) }
	first, _ := slices.BinarySearchFunc(chunk.Entries, r.from, byTime)
	end, _ := slices.BinarySearchFunc(chunk.Entries, r.to, byTime)
	return chunk.Entries[first:max(first, end)]
}

// each calls fn for the entries of a chunk in the range until it returns false.
func (r timeRange) each(chunk *tsdb.Chunk, fn func(series []tsdb.Series, e *tsdb.Entry) bool) bool {
	entries := r.of(chunk)
	for i := range entries {
		e := &entries[i]
		if r.backward {
			e = &entries[len(entries)-1-i]
		}
		if !fn(chunk.Series, e) {
			return false
		}
	}
	return true
}

// picky reports whether the question is not about all series of a scope.
func (v *logView) picky(scope int64) bool {
	return v.devices != nil || v.events != nil || v.deadScopes[scope] > 0
}

// decode decodes the wanted entries of a chunk.
func (v *logView) decode(chunk *tsdb.Chunk, scope int64, data []byte) error {
	var keep func(tsdb.Series) bool
	if v.picky(scope) {
		keep = func(s tsdb.Series) bool { return v.wants(scope, s.Device, s.Event) }
	}
	return v.decoder.Decode(chunk, data, keep)
}
