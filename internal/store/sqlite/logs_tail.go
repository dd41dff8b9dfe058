package sqlite

import (
	"database/sql"
	"errors"
	"sync"

	"hearth/internal/tsdb"
)

// tailRow is a decoded row of log_tail. It is never changed.
type tailRow struct {
	seq, last uint64
	chunk     tsdb.Chunk
}

func (r *tailRow) minAt() int64 { return r.chunk.Entries[0].At }
func (r *tailRow) maxAt() int64 { return r.chunk.Entries[len(r.chunk.Entries)-1].At }

// tailKey names a row for ever: numbers of committed rows are never used again.
type tailKey struct{ seq, last uint64 }

// tailCache keeps decoded tail rows. Rows do not change, so that whatever snapshot a reader has, a row that it finds by
// its key is right.
type tailCache struct {
	mu      sync.Mutex
	limit   int // entries
	entries int
	rows    map[tailKey]*tailRow
}

func newTailCache(limit int) *tailCache {
	return &tailCache{limit: limit, rows: map[tailKey]*tailRow{}}
}

func (c *tailCache) find(key tailKey) *tailRow {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows[key]
}

func (c *tailCache) add(row *tailRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := tailKey{row.seq, row.last}
	if c.rows[key] != nil {
		return
	}
	if c.entries+len(row.chunk.Entries) > c.limit {
		clear(c.rows)
		c.entries = 0
	}
	c.rows[key] = row
	c.entries += len(row.chunk.Entries)
}

// drop removes rows up to the number last: they were folded.
func (c *tailCache) drop(last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, row := range c.rows {
		if key.last <= last {
			delete(c.rows, key)
			c.entries -= len(row.chunk.Entries)
		}
	}
}

// tailMeta is what log_tail says of a row beside its data.
type tailMeta struct {
	seq, last    int64
	minAt, maxAt int64
}

// querier is a snapshot or a write: what reads rows.
type querier interface {
	query(query string, args ...any) (*sql.Rows, error)
	row(query string, args ...any) rowScanner
}

// tailRows returns the decoded rows whose times touch [from, to), oldest number first, up to a number of entries (0: all).
func (s *Store) tailRows(q querier, from, to int64, upTo int) ([]*tailRow, error) {
	rows, err := q.query(`SELECT seq, last, entries, min_at, max_at FROM log_tail ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	var metas []tailMeta
	total := 0
	for rows.Next() {
		var m tailMeta
		var entries int
		if err := rows.Scan(&m.seq, &m.last, &entries, &m.minAt, &m.maxAt); err != nil {
			return nil, closed(rows, err)
		}
		if m.maxAt >= from && m.minAt < to {
			metas = append(metas, m)
			total += entries
		}
		if upTo > 0 && total >= upTo {
			break
		}
	}
	if err := closed(rows, nil); err != nil {
		return nil, err
	}
	out := make([]*tailRow, 0, len(metas))
	for _, m := range metas {
		row := s.tail.find(tailKey{uint64(m.seq), uint64(m.last)})
		if row == nil {
			if row, err = loadTailRow(q, m); err != nil {
				return nil, err
			}
			s.tail.add(row)
		}
		out = append(out, row)
	}
	return out, nil
}

func loadTailRow(q querier, m tailMeta) (*tailRow, error) {
	var data []byte
	if err := q.row(`SELECT data FROM log_tail WHERE seq=?`, m.seq).Scan(&data); err != nil {
		return nil, err
	}
	row := &tailRow{seq: uint64(m.seq), last: uint64(m.last)}
	var decoder tsdb.Decoder
	if err := decoder.Decode(&row.chunk, data, nil); err != nil {
		return nil, err
	}
	if len(row.chunk.Entries) == 0 {
		return nil, tsdb.ErrCorrupt
	}
	return row, nil
}

// closed ends reading rows: it closes them and joins what went wrong.
func closed(rows *sql.Rows, err error) error {
	return errors.Join(err, rows.Err(), rows.Close())
}
