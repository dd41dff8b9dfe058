package tsdb

import (
	"context"
	"slices"

	"hearth"
)

// MaxRow is the largest number of logs of one row of the tail.
const MaxRow = 1 << 14

// Batch is what one call stores.
type Batch struct {
	// Series are the series of Entries, with their scopes. The Seq of an entry is its place in the call, from 0 on: its number is First
	// and that. Entries are in any order.
	Series  []Series
	Entries []Entry
	// Size is how many numbers the batch takes: one for each log of the call, also for those of devices that are gone.
	Size       int
	Checkpoint *hearth.Checkpoint
	Effects    hearth.SideEffects
	// Prune, if set, leaves in the batch the logs that are not stored yet: it sets Entries, Size and Effects, and may be called
	// again. Append calls it before it numbers the batch.
	Prune func(ctx context.Context) error

	// First is the number of the call's first log, set by the backend. A batch of logs that have their numbers already, from an
	// archive, has 0 and a Size of 0.
	First uint64
	// Row is the row of the tail that the logs are in, set by Pack; nil if there are no logs.
	Row *Row
}

// TailRow is what a row of the tail says of itself.
type TailRow struct {
	// ID is the lowest number of the row, Last the highest.
	ID   int64
	Last uint64
	// Entries is the number of logs, MinAt and MaxAt the times of the oldest and the newest of them, in Unix milliseconds.
	Entries      int
	MinAt, MaxAt int64
	// Partitions are those in which the row is not folded, in order.
	Partitions []int
}

// Row is a row of the tail. It is never changed.
type Row struct {
	TailRow
	// Data is what is stored: a chunk with scopes.
	Data  []byte
	chunk Chunk
}

// Pack numbers the entries of batches, whose First are set and ascend, and puts them into rows, each batch into one; it sets their Row.
// partition is Backend.Partition.
func Pack(batches []*Batch, partition func(scope int64) int) (rows []*Row) {
	var encoder Encoder
	for start := 0; start < len(batches); {
		end, size := start, 0
		for ; end < len(batches) && (size == 0 || size+len(batches[end].Entries) <= MaxRow); end++ {
			size += len(batches[end].Entries)
		}
		if size > 0 {
			rows = append(rows, packRow(&encoder, batches[start:end], size, partition))
		}
		start = end
	}
	return rows
}

func packRow(encoder *Encoder, batches []*Batch, size int, partition func(scope int64) int) *Row {
	row := &Row{chunk: Chunk{Entries: make([]Entry, 0, size)}}
	merge := newSeriesMerge(&row.chunk.Series)
	for _, batch := range batches {
		if len(batch.Entries) == 0 {
			continue
		}
		batch.Row = row
		to := merge.add(batch.Series)
		for _, e := range batch.Entries {
			e.Seq += batch.First
			e.Series = to[e.Series]
			row.chunk.Entries = append(row.chunk.Entries, e)
			row.Last = max(row.Last, e.Seq)
			if id := int64(e.Seq); row.ID == 0 || id < row.ID {
				row.ID = id
			}
		}
		if batch.Size > 0 {
			row.Last = max(row.Last, batch.First+uint64(batch.Size)-1)
		}
	}
	row.sort()
	row.Data = encoder.Encode(nil, row.chunk.Series, row.chunk.Entries)
	for _, s := range row.chunk.Series {
		if at, found := slices.BinarySearch(row.Partitions, partition(s.Scope)); !found {
			row.Partitions = slices.Insert(row.Partitions, at, partition(s.Scope))
		}
	}
	return row
}

func (r *Row) sort() {
	entries := r.chunk.Entries
	if !slices.IsSortedFunc(entries, Entry.Compare) {
		slices.SortFunc(entries, Entry.Compare)
	}
	r.Entries, r.MinAt, r.MaxAt = len(entries), entries[0].At, entries[len(entries)-1].At
}

// seriesMerge gathers series without doubles.
type seriesMerge struct {
	into  *[]Series
	index map[Series]uint32
}

func newSeriesMerge(into *[]Series) *seriesMerge {
	return &seriesMerge{into, map[Series]uint32{}}
}

// place returns the index of a series, which is added if it is new.
func (m *seriesMerge) place(s Series) uint32 {
	at, ok := m.index[s]
	if !ok {
		at = uint32(len(*m.into))
		*m.into = append(*m.into, s)
		m.index[s] = at
	}
	return at
}

// add returns the indexes of series.
func (m *seriesMerge) add(series []Series) []uint32 {
	to := make([]uint32, len(series))
	for i, s := range series {
		to[i] = m.place(s)
	}
	return to
}
