package tsdb

import (
	"context"
	"math"
	"runtime"
	"slices"

	"hearth/internal/tsdb/codec"
)

// merge gathers the change of one partition: entries that come to the documents of its scopes, or days that are counted anew.
type merge struct {
	e   *Engine
	s   Snapshot
	ctx context.Context //nolint:containedctx // it lives no longer than the change
	Change
	encoder codec.Encoder
	decoder codec.Decoder
	// sums and days are what is added to the stored ones, or, if fresh is set, what takes their place.
	sums  map[Key]*codec.Sum
	days  map[Key]*codec.Day
	fresh map[Key]bool
}

func (e *Engine) newMerge(ctx context.Context, s Snapshot) *merge {
	return &merge{e: e, s: s, ctx: ctx, sums: map[Key]*codec.Sum{}, days: map[Key]*codec.Day{}, fresh: map[Key]bool{}}
}

func sumKey(scope int64, level int, bucket int64) Key {
	return Key{Table: Sums, Scope: scope, Major: int64(level), Minor: bucket}
}

// inTable returns the key in another table.
func (k Key) inTable(t Table) Key {
	k.Table = t
	return k
}

// addRollups adds sums of a scope.
func (m *merge) addRollups(scope int64, add *codec.Rollups) error {
	for level, sums := range [][]codec.Sum{add.Hours, add.Days, add.Months} {
		for i := range sums {
			key := sumKey(scope, level, sums[i].Bucket)
			if m.sums[key] == nil {
				m.sums[key] = &codec.Sum{Bucket: sums[i].Bucket}
			}
			m.sums[key].Merge(&sums[i])
		}
	}
	for i := range add.Groups {
		g := &add.Groups[i]
		key := Key{Table: Days, Scope: scope, Major: g.Bucket, Minor: g.Group}
		if m.days[key] == nil {
			m.days[key] = &g.Day
			continue
		}
		data, err := codec.MergeDay(nil, codec.AppendDay(nil, m.days[key]), &g.Day)
		if err != nil {
			return err
		}
		if err := codec.DecodeDay(m.days[key], data, codec.DayParts{Hours: codec.WholeDay, Sketches: true, Changes: true}); err != nil {
			return err
		}
	}
	return nil
}

// finish adds what is stored, and encodes the sums and days.
func (m *merge) finish() (*Change, error) {
	sums := sortedKeys(m.sums)
	if err := m.loadSums(sums, m.sums); err != nil {
		return nil, err
	}
	for _, key := range sums {
		runtime.Gosched() // short requests go first: a fold is long
		m.putSum(key, m.sums[key])
	}
	days := sortedKeys(m.days)
	stored := slices.DeleteFunc(slices.Clone(days), func(k Key) bool { return m.fresh[k] })
	merged := make(map[Key][]byte, len(stored))
	err := m.s.Get(m.ctx, stored, MainData, func(d *Doc) (err error) {
		runtime.Gosched()
		merged[d.Key], err = codec.MergeDay(nil, d.Data[0], m.days[d.Key])
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, key := range days {
		if merged[key] == nil {
			merged[key] = codec.AppendDay(nil, m.days[key])
		}
		m.Put = append(m.Put, Doc{Key: key, Data: [3][]byte{merged[key]}})
	}
	slices.SortFunc(m.Delete, Key.compare)
	m.Delete = slices.Compact(m.Delete)
	return &m.Change, nil
}

func sortedKeys[T any](of map[Key]T) []Key {
	out := make([]Key, 0, len(of))
	for key := range of {
		out = append(out, key)
	}
	slices.SortFunc(out, Key.compare)
	return out
}

// loadSums merges the stored ones of the keys into what is there of them.
func (m *merge) loadSums(keys []Key, into map[Key]*codec.Sum) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return m.fresh[k] })
	if len(keys) == 0 {
		return nil
	}
	stored := make(map[Key]*codec.Sum, len(keys))
	err := m.s.Get(m.ctx, keys, MainData, func(d *Doc) (err error) {
		s := &codec.Sum{Bucket: d.Minor, Entries: d.Entries, MinAt: d.MinAt, MaxAt: d.MaxAt}
		s.Totals, err = codec.DecodeCells(nil, d.Data[0])
		stored[d.Key] = s
		return err
	})
	if err != nil {
		return err
	}
	cells := make([]Key, 0, len(stored))
	for _, key := range keys {
		if stored[key] != nil {
			cells = append(cells, key.inTable(Cells))
		}
	}
	err = m.s.Get(m.ctx, cells, Fields{true, false, true}, func(d *Doc) (err error) {
		s := stored[d.inTable(Sums)]
		if s.Sketches, err = codec.DecodeSketches(d.Data[0]); err == nil {
			s.Cells, err = codec.DecodeCells(nil, d.Data[2])
		}
		return err
	})
	for key, s := range stored {
		s.Merge(into[key])
		*into[key] = *s
	}
	return err
}

// putSum stores a sum; one of nothing is removed.
func (m *merge) putSum(key Key, s *codec.Sum) {
	if s.Entries == 0 {
		m.Delete = append(m.Delete, key, key.inTable(Cells))
		return
	}
	totals := Doc{Key: key, Entries: s.Entries, MinAt: s.MinAt, MaxAt: s.MaxAt}
	totals.Data[0] = codec.AppendCells(nil, s.Totals)
	cells := Doc{Key: key.inTable(Cells)}
	cells.Data[0] = codec.AppendSketches(nil, &s.Sketches)
	cells.Data[1] = []byte{}
	if byDevice := codec.DeviceCells(s.Cells); len(byDevice) < len(s.Cells) {
		cells.Data[1] = codec.AppendCells(nil, byDevice)
	}
	cells.Data[2] = codec.AppendCells(nil, s.Cells)
	m.Put = append(m.Put, totals, cells)
}

// piece is some entries of one scope and the chunk that they belong into; its Key.Scope is 0 if there is none yet.
type piece struct {
	scope   int64
	chunk   Doc
	series  []codec.Series
	entries []codec.Entry
}

// pieces parts sorted entries of one scope by the chunks that they belong into.
func (m *merge) pieces(scope int64, series []codec.Series, entries []codec.Entry) (out []piece, err error) {
	for len(entries) > 0 {
		// Entries that lie far apart are looked for apart, so that a late one does not ask for all chunks since then.
		n := 1
		for n < len(entries) && entries[n].At-entries[n-1].At < 7*codec.DayMillis {
			n++
		}
		var chunks []Doc
		query := Query{
			Table: Chunks, Scopes: []int64{scope}, Major: Range{entries[0].At, entries[n-1].At}, Minor: Everything, Floor: true,
		}
		err := m.s.Find(m.ctx, query, func(d *Doc) error {
			chunks = append(chunks, Doc{Key: d.Key, Entries: d.Entries, MinAt: d.MinAt, MaxAt: d.MaxAt})
			return nil
		})
		if err != nil {
			return nil, err
		}
		for some := entries[:n]; len(some) > 0; {
			p := piece{scope: scope, series: series, chunk: Doc{Key: Key{Table: Chunks, Major: math.MinInt64}}}
			end := len(some)
			// The last chunk that starts at or before the first entry has it, and what comes before the next chunk.
			at, exact := slices.BinarySearchFunc(chunks, some[0], func(d Doc, e codec.Entry) int { return d.low().Compare(e) })
			if exact {
				at++
			}
			if at > 0 {
				p.chunk = chunks[at-1]
			}
			if at < len(chunks) {
				end, _ = slices.BinarySearchFunc(some, chunks[at].low(), codec.Entry.Compare)
			}
			p.entries = some[:end]
			some = some[end:]
			if n := len(out); n > 0 && out[n-1].chunk.Key == p.chunk.Key {
				out[n-1].entries = out[n-1].entries[:len(out[n-1].entries)+end] // they follow one another in entries
				continue
			}
			out = append(out, p)
		}
		entries = entries[n:]
	}
	return out, nil
}

// low returns the first entry that a chunk may hold.
func (d *Doc) low() codec.Entry { return codec.Entry{At: d.Major, Seq: uint64(d.Minor)} }

// addChunks puts pieces into their chunks.
func (m *merge) addChunks(pieces []piece) error {
	limit := m.e.options.ChunkRows
	for some := range slices.Chunk(pieces, chunksAtOnce) {
		of := map[Key]*piece{}
		var keys []Key
		for i := range some {
			p := &some[i]
			key, limit := p.chunk.Key, rowsOf(p.series, p.entries, limit)
			appended := p.entries[0].At > p.chunk.MaxAt
			switch {
			case key.Scope == 0:
				key.Scope = p.scope
				m.putChunks(key, codec.Unscoped(p.series), p.entries, sizes(len(p.entries), limit, true))
			case appended && int(p.chunk.Entries) >= limit:
				// The full chunk stays as it is; new ones follow.
				key.Major, key.Minor = p.entries[0].At, int64(p.entries[0].Seq)
				m.putChunks(key, codec.Unscoped(p.series), p.entries, sizes(len(p.entries), limit, true))
			default:
				of[key] = p
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		n := 0
		err := m.s.Get(m.ctx, keys, MainData, func(d *Doc) error {
			n++
			runtime.Gosched()
			var old codec.Chunk
			if err := m.decoder.Decode(&old, d.Data[0], nil); err != nil {
				return err
			}
			p := of[d.Key]
			all := codec.MergeChunks(old, codec.Chunk{Series: codec.Unscoped(p.series), Entries: p.entries})
			limit := rowsOf(all.Series, all.Entries, limit)
			if p.isScattered(&all) {
				limit = max(1, limit/scatteredShare)
			}
			m.putChunks(d.Key, all.Series, all.Entries, sizes(len(all.Entries), limit, p.entries[0].At > p.chunk.MaxAt))
			return nil
		})
		if err != nil {
			return err
		}
		if n < len(keys) {
			return ErrStale
		}
	}
	return nil
}

// scatteredShare is how much smaller the chunks are into which logs come scattered over the time before.
const scatteredShare = 8

// isScattered reports whether the piece is of a few logs from within the time of its chunk, which all is with them: more will come like
// that, each of which has the chunk stored anew. One whose list of series takes as much as its logs is better left large.
func (p *piece) isScattered(all *codec.Chunk) bool {
	few := 2*scatteredShare*len(p.entries) <= int(p.chunk.Entries) && 4*scatteredShare*len(all.Series) <= len(all.Entries)
	return few && p.entries[len(p.entries)-1].At < p.chunk.MaxAt
}

// putChunks stores entries as chunks of the given sizes: the first by the given key, each other by its first entry's.
func (m *merge) putChunks(key Key, series []codec.Series, entries []codec.Entry, sizes []int) {
	for i, size := range sizes {
		runtime.Gosched()
		piece := entries[:size]
		entries = entries[size:]
		if i > 0 {
			key.Major, key.Minor = piece[0].At, int64(piece[0].Seq)
		}
		m.Put = append(m.Put, Doc{
			Key: key, Entries: int64(size), MinAt: piece[0].At, MaxAt: piece[size-1].At,
			Data: [3][]byte{m.encoder.Encode(nil, series, piece)},
		})
	}
}

// sizes returns the sizes of the chunks that n entries are cut into: full ones and a rest where entries come in order of
// time, so that chunks end up full; even ones otherwise, so that there is room.
func sizes(n, limit int, inOrder bool) []int {
	if n <= limit {
		return []int{n}
	}
	size := limit
	if !inOrder {
		count := (n + limit*3/4 - 1) / max(1, limit*3/4)
		size = (n + count - 1) / count
	}
	var out []int
	for n > 0 {
		size = min(size, n)
		out = append(out, size)
		n -= size
	}
	return out
}
