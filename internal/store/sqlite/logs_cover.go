package sqlite

import (
	"hearth/internal/tsdb"
)

// cover is how a range of time of one scope is put together: from whole months, days and hours, and the logs of what is
// left. Nothing of the range is in two of them.
type cover struct {
	// levels hold the used rows of log_sums, by level.
	levels [3][]coverRow
	// cuts are ranges of cut hours.
	cuts [][2]int64
}

type coverRow struct {
	bucket int64
	totals []tsdb.Cell
}

// coverRange covers [from, to) of a scope by rows of log_sums of at most the level top. A row is used whole when all its logs are within the range, so that a range that ends now needs no logs of this hour.
func (v *logView) coverRange(scope int64, top int) (*cover, error) {
	c := &cover{}
	return c, v.descend(c, scope, top, v.from, v.to)
}

func (v *logView) descend(c *cover, scope int64, level int, from, to int64) error {
	if level < tsdb.LevelHour {
		c.cuts = append(c.cuts, [2]int64{from, to})
		return nil
	}
	// By primary key.
	rows, err := v.q.query(`SELECT bucket, min_at, max_at, totals FROM log_sums WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`,
		scope, level, tsdb.BucketOf(level, from), tsdb.BucketOf(level, to-1))
	if err != nil {
		return err
	}
	var cut []int64
	for rows.Next() {
		var bucket, minAt, maxAt int64
		var data []byte
		if err := rows.Scan(&bucket, &minAt, &maxAt, &data); err != nil {
			return closed(rows, err)
		}
		switch {
		case maxAt < from || minAt >= to:
		case minAt < from || maxAt >= to:
			cut = append(cut, bucket)
		default:
			row := coverRow{bucket: bucket}
			if row.totals, err = tsdb.DecodeCells(nil, data); err != nil {
				return closed(rows, err)
			}
			c.levels[level] = append(c.levels[level], row)
		}
	}
	if err := closed(rows, nil); err != nil {
		return err
	}
	for _, bucket := range cut {
		low, high := max(from, tsdb.BucketStart(level, bucket)), min(to, tsdb.BucketStart(level, bucket+1))
		if err := v.descend(c, scope, level-1, low, high); err != nil {
			return err
		}
	}
	return nil
}

// runs calls fn for each run of buckets of a level that follow one another among the stored ones; a run may be read with
// one range query, because rows between its ends are all used.
func (c *cover) runs(level int, fn func(first, last int64) error) error {
	rows := c.levels[level]
	for start := 0; start < len(rows); {
		end := start + 1
		for end < len(rows) && rows[end].bucket == rows[end-1].bucket+1 {
			end++
		}
		if err := fn(rows[start].bucket, rows[end-1].bucket); err != nil {
			return err
		}
		start = end
	}
	return nil
}
