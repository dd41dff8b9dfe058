package codec

import (
	"math"
	"slices"
)

// Compact returns the chunk without the series that it has no entries of.
func (c *Chunk) Compact() Chunk {
	var out Chunk
	merge := NewSeriesMerge(&out.Series)
	for _, e := range c.Entries {
		e.Series = merge.Place(c.Series[e.Series])
		out.Entries = append(out.Entries, e)
	}
	return out
}

// SortSeries sorts the series and renumbers the entries.
func (c *Chunk) SortSeries() {
	order := make([]uint32, len(c.Series))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int { return c.Series[x].compare(&c.Series[y]) })
	sorted := make([]Series, len(order))
	rank := make([]uint32, len(order))
	for i, old := range order {
		sorted[i] = c.Series[old]
		rank[old] = uint32(i)
	}
	copy(c.Series, sorted)
	for i := range c.Entries {
		c.Entries[i].Series = rank[c.Entries[i].Series]
	}
}

// MergeChunks merges two sorted chunks.
func MergeChunks(a, b Chunk) Chunk {
	out := Chunk{Series: slices.Clone(a.Series), Entries: make([]Entry, 0, len(a.Entries)+len(b.Entries))}
	index := NewSeriesMerge(&out.Series)
	for i, s := range a.Series {
		index.index[s] = uint32(i)
	}
	to := make([]uint32, len(b.Series))
	for i := range to {
		to[i] = math.MaxUint32
	}
	i := 0
	for _, e := range b.Entries {
		for i < len(a.Entries) && a.Entries[i].Compare(e) < 0 {
			out.Entries = append(out.Entries, a.Entries[i])
			i++
		}
		if to[e.Series] == math.MaxUint32 {
			to[e.Series] = index.Place(b.Series[e.Series])
		}
		e.Series = to[e.Series]
		out.Entries = append(out.Entries, e)
	}
	out.Entries = append(out.Entries, a.Entries[i:]...)
	return out
}

// Unscoped returns the series without their scope, which a chunk's key says once.
func Unscoped(series []Series) []Series {
	if len(series) == 0 || series[0].Scope == 0 && series[len(series)-1].Scope == 0 {
		return series
	}
	out := slices.Clone(series)
	for i := range out {
		out[i].Scope = 0
	}
	return out
}

// Anywhere returns the series without its scope: a device has one.
func (s Series) Anywhere() Series {
	s.Scope = 0
	return s
}

// SameLog reports whether two entries of one list of series are of the same device, event, time and value.
func (e *Entry) SameLog(f *Entry) bool {
	return e.Series == f.Series && e.At == f.At && e.Value == f.Value
}

// seriesMerge gathers series without doubles.
type seriesMerge struct {
	into  *[]Series
	index map[Series]uint32
}

// NewSeriesMerge gathers series in a list.
func NewSeriesMerge(into *[]Series) *seriesMerge {
	return &seriesMerge{into, map[Series]uint32{}}
}

// Reset forgets the series.
func (m *seriesMerge) Reset() { clear(m.index) }

// Place returns the index of a series, which is added if it is new.
func (m *seriesMerge) Place(s Series) uint32 {
	at, ok := m.index[s]
	if !ok {
		at = uint32(len(*m.into))
		*m.into = append(*m.into, s)
		m.index[s] = at
	}
	return at
}

// Add returns the indexes of series.
func (m *seriesMerge) Add(series []Series) []uint32 {
	to := make([]uint32, len(series))
	for i, s := range series {
		to[i] = m.Place(s)
	}
	return to
}
