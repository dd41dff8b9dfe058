package tsdb

import (
	"math"
	"slices"

	"hearth/internal/tsdb/codec"
)

// maxRecount bounds the entries that are summed up at once.
const maxRecount = 1 << 18

// keeper says which logs of a scope stay. A nil keeper keeps all.
type keeper func(s *codec.Series, at int64) bool

// filterChunks rewrites chunks of a scope without the entries that keep refuses, and returns their number; an empty one goes.
func (m *merge) filterChunks(keys []Key, keep keeper) (removed int64, err error) {
	for some := range slices.Chunk(keys, chunksAtOnce) {
		err := m.s.Get(m.ctx, some, MainData, func(d *Doc) error {
			var chunk codec.Chunk
			if err := m.decoder.Decode(&chunk, d.Data[0], nil); err != nil {
				return err
			}
			n := len(chunk.Entries)
			kept := slices.DeleteFunc(chunk.Entries, func(e codec.Entry) bool { return !keep(&chunk.Series[e.Series], e.At) })
			removed += int64(n - len(kept))
			switch len(kept) {
			case n:
			case 0:
				m.Delete = append(m.Delete, d.Key)
			default:
				m.putChunks(d.Key, chunk.Series, kept, []int{len(kept)})
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return removed, nil
}

// chunksOf returns the keys of the chunks of a scope that touch [from, to).
func (m *merge) chunksOf(scope, from, to int64) (keys []Key, err error) {
	v := view{s: m.s, ctx: m.ctx}
	return v.chunkKeys([]int64{scope}, timeRange{from: from, to: to})
}

// keysOf returns the keys of documents of a scope.
func (m *merge) keysOf(table Table, scope int64, major, minor Range, limit int) (keys []Key, err error) {
	query := Query{Table: table, Scopes: []int64{scope}, Major: major, Minor: minor, Limit: limit}
	err = m.s.Find(m.ctx, query, func(d *Doc) error {
		keys = append(keys, d.Key)
		return nil
	})
	return keys, err
}

// replaceDay makes the sums of a day, and its month's, anew from those logs that keep keeps.
func (m *merge) replaceDay(scope, day int64, keep keeper) error {
	if err := m.recountDay(scope, day, keep); err != nil {
		return err
	}
	// What is stored of the day and not made anew goes.
	hours := Range{day * 24, day*24 + 23}
	old, err := m.keysOf(Sums, scope, Range{codec.LevelHour, codec.LevelHour}, hours, 0)
	if err != nil {
		return err
	}
	for _, key := range append(old, sumKey(scope, codec.LevelDay, day)) {
		if m.sums[key] == nil {
			m.Delete = append(m.Delete, key, key.inTable(Cells))
		}
	}
	if old, err = m.keysOf(Days, scope, Range{day, day}, Everything, 0); err != nil {
		return err
	}
	for _, key := range old {
		if m.days[key] == nil {
			m.Delete = append(m.Delete, key)
		}
	}
	return m.replaceMonth(scope, codec.BucketOf(codec.LevelMonth, codec.BucketStart(codec.LevelDay, day)))
}

// recountDay sums up those logs of a day that keep keeps, in place of what is stored.
func (m *merge) recountDay(scope, day int64, keep keeper) error {
	in := timeRange{from: codec.BucketStart(codec.LevelDay, day), to: codec.BucketStart(codec.LevelDay, day+1)}
	keys, err := m.chunksOf(scope, in.from, in.to)
	if err != nil {
		return err
	}
	var part codec.Chunk
	place := codec.NewSeriesMerge(&part.Series)
	flush := func() error {
		if len(part.Entries) == 0 {
			return nil
		}
		part.SortSeries()
		sums := codec.SumUp(part.Series, part.Entries)
		sums.Months = nil
		err := m.addRollups(scope, sums)
		part.Series, part.Entries = part.Series[:0], part.Entries[:0]
		place.Reset()
		return err
	}
	var chunk codec.Chunk
	for _, key := range keys {
		err := m.s.Get(m.ctx, []Key{key}, MainData, func(d *Doc) error { return m.decoder.Decode(&chunk, d.Data[0], nil) })
		if err != nil {
			return err
		}
		for _, e := range in.of(&chunk) {
			s := chunk.Series[e.Series]
			if keep != nil && !keep(&s, e.At) {
				continue
			}
			// Not between logs of one time, whose order the next part would not know.
			if n := len(part.Entries); n >= maxRecount && part.Entries[n-1].At != e.At {
				if err := flush(); err != nil {
					return err
				}
			}
			e.Series = place.Place(s)
			part.Entries = append(part.Entries, e)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for key := range m.sums {
		m.fresh[key] = true
	}
	for key := range m.days {
		m.fresh[key] = true
	}
	return nil
}

// replaceMonth makes the sum of a month anew from those of its days, as they are or will be.
func (m *merge) replaceMonth(scope, month int64) error {
	days := Range{
		codec.BucketOf(codec.LevelDay, codec.BucketStart(codec.LevelMonth, month)), codec.BucketOf(codec.LevelDay, codec.BucketStart(codec.LevelMonth, month+1)) - 1,
	}
	keys, err := m.keysOf(Sums, scope, Range{codec.LevelDay, codec.LevelDay}, days, 0)
	if err != nil {
		return err
	}
	stored := map[Key]*codec.Sum{}
	keys = slices.DeleteFunc(keys, func(k Key) bool { return m.sums[k] != nil || slices.Contains(m.Delete, k) })
	for _, key := range keys {
		stored[key] = &codec.Sum{Bucket: key.Minor}
	}
	if err := m.loadSums(keys, stored); err != nil {
		return err
	}
	total := &codec.Sum{Bucket: month}
	for bucket := days.From; bucket <= days.To; bucket++ {
		key := sumKey(scope, codec.LevelDay, bucket)
		for _, s := range []*codec.Sum{stored[key], m.sums[key]} {
			if s != nil {
				total.Merge(s)
			}
		}
	}
	key := sumKey(scope, codec.LevelMonth, month)
	m.sums[key], m.fresh[key] = total, true
	return nil
}

// dropSums deletes the Sums of a scope from before buckets, by level, and Days from before the second of them; up to limit documents of
// each kind. more says that there are others.
func (m *merge) dropSums(scope int64, before [3]int64, limit int) (more bool, err error) {
	days, err := m.keysOf(Days, scope, Range{math.MinInt64, before[codec.LevelDay] - 1}, Everything, limit)
	if err != nil {
		return false, err
	}
	m.Delete = append(m.Delete, days...)
	more = len(days) == limit
	for level := codec.LevelMonth; level >= codec.LevelHour && !more; level-- {
		sums, err := m.keysOf(Sums, scope, Range{int64(level), int64(level)}, Range{math.MinInt64, before[level] - 1}, limit)
		if err != nil {
			return false, err
		}
		for _, key := range sums {
			m.Delete = append(m.Delete, key, key.inTable(Cells))
		}
		more = len(sums) == limit
	}
	return more, nil
}
