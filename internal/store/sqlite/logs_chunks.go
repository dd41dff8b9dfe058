package sqlite

import (
	"database/sql"
	"errors"
	"math"
	"slices"

	"hearth/internal/tsdb"
)

// chunkMeta is what log_chunks says of a chunk beside its data.
type chunkMeta struct {
	key           int64
	lowAt, lowSeq int64
	entries       int
	minAt, maxAt  int64
	// nextAt and nextSeq are where the next chunk starts; nextAt is math.MaxInt64 if there is none.
	nextAt, nextSeq int64
}

// mergeChunks puts sorted entries of one scope where they belong in its chunks.
func (s *Store) mergeChunks(t *tx, scope int64, series []tsdb.Series, entries []tsdb.Entry) error {
	for len(entries) > 0 {
		meta, err := chunkFor(t, scope, entries[0])
		if err != nil {
			return err
		}
		n := len(entries)
		if meta.nextAt != math.MaxInt64 {
			next := tsdb.Entry{At: meta.nextAt, Seq: uint64(meta.nextSeq)}
			n, _ = slices.BinarySearchFunc(entries, next, tsdb.Entry.Compare)
		}
		if err := s.mergeChunk(t, scope, meta, series, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// chunkFor returns the chunk that covers an entry; its key is 0 if the scope has none yet.
func chunkFor(t *tx, scope int64, e tsdb.Entry) (m chunkMeta, err error) {
	m.nextAt = math.MaxInt64
	// Both by log_chunks_low.
	err = t.row(`SELECT key, low_at, low_seq, entries, min_at, max_at FROM log_chunks
		WHERE scope=? AND (low_at, low_seq)<=(?,?) ORDER BY low_at DESC, low_seq DESC LIMIT 1`,
		scope, e.At, int64(e.Seq)).Scan(&m.key, &m.lowAt, &m.lowSeq, &m.entries, &m.minAt, &m.maxAt)
	if errors.Is(err, sql.ErrNoRows) {
		m.lowAt, err = math.MinInt64, nil
	}
	if err != nil {
		return m, err
	}
	err = t.row(`SELECT low_at, low_seq FROM log_chunks WHERE scope=? AND (low_at, low_seq)>(?,?) ORDER BY low_at, low_seq LIMIT 1`,
		scope, m.lowAt, m.lowSeq).Scan(&m.nextAt, &m.nextSeq)
	if errors.Is(err, sql.ErrNoRows) {
		return m, nil
	}
	return m, err
}

// mergeChunk adds entries to the one chunk that covers them, and splits it when it gets too large.
func (s *Store) mergeChunk(t *tx, scope int64, m chunkMeta, series []tsdb.Series, entries []tsdb.Entry) error {
	limit := s.options.Logs.ChunkRows
	appended := m.key == 0 || entries[0].At > m.maxAt
	if m.key != 0 && appended && m.entries >= limit {
		// The full chunk stays as it is; new ones follow.
		return s.insertChunks(t, scope, series, entries, pieces(len(entries), limit, true))
	}
	all := tsdb.Chunk{Series: unscoped(series), Entries: entries}
	if m.key != 0 {
		var data []byte
		if err := t.row(`SELECT data FROM log_chunks WHERE key=?`, m.key).Scan(&data); err != nil {
			return err
		}
		var old tsdb.Chunk
		if err := t.w.logs.decoder.Decode(&old, data, nil); err != nil {
			return err
		}
		all = mergeEntries(old, all)
	}
	cuts := pieces(len(all.Entries), limit, appended)
	head := all.Entries[:cuts[0]]
	w := t.w.logs
	w.blob = w.encoder.Encode(w.blob[:0], all.Series, head)
	var err error
	if m.key == 0 {
		_, err = t.exec(`INSERT INTO log_chunks(scope, low_at, low_seq, entries, min_at, max_at, data) VALUES(?,?,?,?,?,?,?)`,
			scope, m.lowAt, m.lowSeq, len(head), head[0].At, head[len(head)-1].At, w.blob)
	} else {
		_, err = t.exec(`UPDATE log_chunks SET entries=?, min_at=?, max_at=?, data=? WHERE key=?`,
			len(head), head[0].At, head[len(head)-1].At, w.blob, m.key)
	}
	if err != nil {
		return err
	}
	return s.insertChunks(t, scope, all.Series, all.Entries[cuts[0]:], cuts[1:])
}

// insertChunks stores entries as new chunks of the given sizes, each of which starts where its first entry is.
func (s *Store) insertChunks(t *tx, scope int64, series []tsdb.Series, entries []tsdb.Entry, sizes []int) error {
	w := t.w.logs
	series = unscoped(series)
	for _, size := range sizes {
		piece := entries[:size]
		entries = entries[size:]
		w.blob = w.encoder.Encode(w.blob[:0], series, piece)
		_, err := t.exec(`INSERT INTO log_chunks(scope, low_at, low_seq, entries, min_at, max_at, data) VALUES(?,?,?,?,?,?,?)`,
			scope, piece[0].At, int64(piece[0].Seq), size, piece[0].At, piece[size-1].At, w.blob)
		if err != nil {
			return err
		}
	}
	return nil
}

// pieces returns the sizes of the chunks that n entries are cut into: full ones and a rest where entries come in order of
// time, so that chunks end up full; even ones otherwise, so that there is room.
func pieces(n, limit int, inOrder bool) []int {
	if n <= limit {
		return []int{n}
	}
	size := limit
	if !inOrder {
		count := (n + limit*3/4 - 1) / max(1, limit*3/4)
		size = (n + count - 1) / count
	}
	var sizes []int
	for n > 0 {
		size = min(size, n)
		sizes = append(sizes, size)
		n -= size
	}
	return sizes
}

// unscoped returns the series without their scope, which a chunk's row says once.
func unscoped(series []tsdb.Series) []tsdb.Series {
	if len(series) == 0 || series[0].Scope == 0 && series[len(series)-1].Scope == 0 {
		return series
	}
	out := slices.Clone(series)
	for i := range out {
		out[i].Scope = 0
	}
	return out
}

// mergeEntries merges two sorted chunks.
func mergeEntries(a, b tsdb.Chunk) tsdb.Chunk {
	index := make(map[tsdb.Series]uint32, len(a.Series)+len(b.Series))
	out := tsdb.Chunk{Series: slices.Clone(a.Series), Entries: make([]tsdb.Entry, 0, len(a.Entries)+len(b.Entries))}
	for i, s := range a.Series {
		index[s] = uint32(i)
	}
	to := make([]uint32, len(b.Series))
	for i := range to {
		to[i] = math.MaxUint32
	}
	rank := func(old uint32) uint32 {
		if to[old] == math.MaxUint32 {
			s := b.Series[old]
			at, ok := index[s]
			if !ok {
				at = uint32(len(out.Series))
				out.Series = append(out.Series, s)
				index[s] = at
			}
			to[old] = at
		}
		return to[old]
	}
	i := 0
	for _, e := range b.Entries {
		for i < len(a.Entries) && a.Entries[i].Compare(e) < 0 {
			out.Entries = append(out.Entries, a.Entries[i])
			i++
		}
		e.Series = rank(e.Series)
		out.Entries = append(out.Entries, e)
	}
	out.Entries = append(out.Entries, a.Entries[i:]...)
	return out
}

// The chunks of a scope (1) that may hold logs of [2, 3), in order or in reverse. Served by log_chunks_low: from the last
// chunk that starts before 2.
const (
	chunksOf = ` FROM log_chunks WHERE scope=?1 AND low_at<?3
		AND low_at>=coalesce((SELECT max(low_at) FROM log_chunks WHERE scope=?1 AND low_at<?2), ?2)
		AND max_at>=?2 AND min_at<?3 `
	chunksForward     = `SELECT data` + chunksOf + `ORDER BY low_at, low_seq`
	chunkKeysForward  = `SELECT key` + chunksOf + `ORDER BY low_at, low_seq`
	chunkKeysBackward = `SELECT key` + chunksOf + `ORDER BY low_at DESC, low_seq DESC`
)
