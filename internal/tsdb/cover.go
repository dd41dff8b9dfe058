package tsdb

import (
	"cmp"
	"slices"

	"hearth/internal/tsdb/codec"
)

// cover is how a range of time of some scopes is put together: from whole months, days and hours, and the logs of what is left. Nothing
// of the range is in two of them.
type cover struct {
	// scopes are those that it is of; nil is all but those with deleted devices.
	scopes []int64
	dead   bool
	bounds []int64
	// levels hold the used Sums, by level.
	levels [3][]coverRow
	// whole are ranges of whole buckets, by level, of which the Sums were not looked at: there may be none.
	whole [3][]cut
	cuts  []cut
}

type coverRow struct {
	scope, bucket, entries int64
	totals                 []codec.Cell
}

// cut is a range of some scopes: one of which the logs themselves are wanted is a part of an hour.
type cut struct {
	// scopes are sorted.
	scopes []int64
	timeRange
}

type cutKey struct {
	from, to int64
	dead     bool
}

type scopeBucket struct{ scope, bucket int64 }

type coverKey struct {
	top    int
	dead   bool
	bounds *int64
}

// coverDetail is what is looked at to make a cover.
type coverDetail int

const (
	// coverEdges: the Sums at the ends of the range and at bounds.
	coverEdges coverDetail = iota
	// coverCounts: all Sums.
	coverCounts
	// coverTotals: all Sums with their totals.
	coverTotals
)

// coverOf covers the view's range by Sums of at most the level top, none of which spans one of the bounds. A sum is used whole when all its
// logs are within the range, so that a range that ends now needs no logs of this hour.
func (q *rollupQuery) coverOf(top int, dead bool, bounds []int64, detail coverDetail) (*cover, error) {
	key := coverKey{top, dead, firstOf(bounds)}
	if c := q.covers[key]; c != nil {
		return c, nil
	}
	v := q.view
	c := &cover{dead: dead, bounds: bounds}
	for _, class := range v.classes() {
		if class.dead == dead {
			c.scopes = class.scopes
		}
	}
	left := []cut{{scopes: c.scopes, timeRange: timeRange{from: v.from, to: v.to}}}
	for level := top; level >= codec.LevelHour; level-- {
		var next []cut
		for i := range left {
			parts := []timeRange{left[i].timeRange}
			if detail == coverEdges {
				parts = c.edges(level, &left[i])
			}
			for _, part := range parts {
				var err error
				if next, err = c.descend(v, level, &cut{left[i].scopes, part}, next, detail); err != nil {
					return nil, err
				}
			}
		}
		if left = next; level > codec.LevelHour || bounds != nil {
			left = joinCuts(next)
		}
	}
	c.cuts = left
	q.covers[key] = c
	return c, nil
}

// firstOf names bounds, which do not change while a question is answered.
func firstOf(bounds []int64) *int64 {
	if len(bounds) == 0 {
		return nil
	}
	return &bounds[0]
}

// joinCuts joins ranges of the same scopes that follow one another.
func joinCuts(cuts []cut) []cut {
	slices.SortFunc(cuts, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	var out []cut
	for _, c := range cuts {
		if n := len(out); n > 0 && out[n-1].to == c.from && slices.Equal(out[n-1].scopes, c.scopes) {
			out[n-1].to = c.to
			continue
		}
		out = append(out, c)
	}
	return out
}

// spans reports whether one of the bounds is within a bucket, past its start.
func (c *cover) spans(level int, bucket int64) bool {
	if len(c.bounds) < 2 {
		return false
	}
	between := c.bounds[1:]
	at, _ := slices.BinarySearch(between, codec.BucketStart(level, bucket)+1)
	return at < len(between) && between[at] < codec.BucketStart(level, bucket+1)
}

// edges notes those buckets of a level that lie within a range, and between bounds, as whole, and returns what the others have of the range.
func (c *cover) edges(level int, of *cut) (parts []timeRange) {
	from := of.from // of what is neither in parts nor whole
	flush := func(to int64) {
		if from < to {
			c.whole[level] = append(c.whole[level], cut{of.scopes, timeRange{from: from, to: to}})
		}
	}
	edge := func(at int64) {
		bucket := codec.BucketOf(level, at)
		low, high := codec.BucketStart(level, bucket), codec.BucketStart(level, bucket+1)
		if at == low || at < from {
			return
		}
		flush(low)
		parts = append(parts, timeRange{from: max(low, of.from), to: min(high, of.to)})
		from = high
	}
	edge(of.from)
	first, _ := slices.BinarySearch(c.bounds, of.from)
	for _, at := range c.bounds[min(len(c.bounds), max(1, first)):] {
		if at >= of.to {
			break
		}
		edge(at)
	}
	edge(of.to)
	flush(of.to)
	return parts
}

// descend takes the Sums of a level that lie within a range, and adds what they leave of it to next.
func (c *cover) descend(v *view, level int, of *cut, next []cut, detail coverDetail) ([]cut, error) {
	query := Query{
		Table: Sums, Scopes: of.scopes, Major: Range{int64(level), int64(level)},
		Minor: Range{codec.BucketOf(level, of.from), codec.BucketOf(level, of.to-1)}, Data: Fields{detail == coverTotals},
	}
	places := map[int64]int{}
	err := v.s.Find(v.ctx, query, func(d *Doc) error {
		switch {
		case d.MaxAt < of.from || d.MinAt >= of.to || c.skips(v, d.Scope):
		case d.MinAt < of.from || d.MaxAt >= of.to || c.spans(level, d.Minor):
			at, ok := places[d.Minor]
			if !ok {
				at = len(next)
				places[d.Minor] = at
				low, high := max(of.from, codec.BucketStart(level, d.Minor)), min(of.to, codec.BucketStart(level, d.Minor+1))
				next = append(next, cut{timeRange: timeRange{from: low, to: high}})
			}
			next[at].scopes = append(next[at].scopes, d.Scope)
		default:
			row := coverRow{scope: d.Scope, bucket: d.Minor, entries: d.Entries}
			var err error
			if detail == coverTotals {
				row.totals, err = codec.DecodeCells(nil, d.Data[0])
			}
			c.levels[level] = append(c.levels[level], row)
			return err
		}
		return nil
	})
	for _, at := range places {
		slices.Sort(next[at].scopes)
	}
	return next, err
}

// skips reports whether a scope is not the cover's, though it is asked about.
func (c *cover) skips(v *view, scope int64) bool { return !c.dead && v.deadScopes[scope] > 0 }

// used returns the rows of a level; nil says that every row between the ends of runs is one.
func (c *cover) used(level int) map[scopeBucket]bool {
	if len(c.scopes) == 1 {
		return nil
	}
	out := make(map[scopeBucket]bool, len(c.levels[level]))
	for i := range c.levels[level] {
		out[scopeBucket{c.levels[level][i].scope, c.levels[level][i].bucket}] = true
	}
	return out
}

// runs calls fn for each run of used buckets of a level that follow one another.
func (c *cover) runs(level int, fn func(first, last int64) error) error {
	buckets := make([]int64, len(c.levels[level]))
	for i := range buckets {
		buckets[i] = c.levels[level][i].bucket
	}
	return runsOf(buckets, fn)
}

// runsOf calls fn for each run of numbers that follow one another. It sorts them.
func runsOf(numbers []int64, fn func(first, last int64) error) error {
	slices.Sort(numbers)
	for start := 0; start < len(numbers); {
		end := start + 1
		for end < len(numbers) && numbers[end] <= numbers[end-1]+1 {
			end++
		}
		if err := fn(numbers[start], numbers[end-1]); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// joinRanges joins ranges that overlap or follow one another. It sorts them.
func joinRanges(ranges []Range) (out []Range) {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	for _, r := range ranges {
		if n := len(out); n > 0 && r.From <= out[n-1].To+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}
