package tsdb

import (
	"context"
	"slices"
	"sync/atomic"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// MaxRow is the largest number of logs of one row of the tail.
const MaxRow = 1 << 14

// Batch is what one call stores.
type Batch struct {
	// Series are the series of Entries, with their scopes. The Seq of an entry is its place in the call, from 0 on: its number is First
	// and that. Entries are in any order.
	Series  []codec.Series
	Entries []codec.Entry
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
	// Rows are the rows of the tail that the logs are in, set by Pack; none if there are no logs.
	Rows []*Row
}

// TailRow is what a row of the tail says of itself.
type TailRow struct {
	// ID is the lowest number of the row, Last the highest, or a higher one of a log that was not stored.
	ID   int64
	Last uint64
	// Entries is the number of logs, MinAt and MaxAt the times of the oldest and the newest of them, in Unix milliseconds.
	Entries      int
	MinAt, MaxAt int64
	// Partitions are those in which the row is not folded, in order.
	Partitions []int
}

// Row is a row of the tail. What it says never changes.
type Row struct {
	TailRow
	// Data is what is stored: a chunk with scopes.
	Data  []byte
	chunk codec.Chunk
	// size is the length of Data, which not all that have the row keep.
	size int
	// alone is how many documents folding the row alone changes; 0 until docs is called.
	alone *atomic.Int64
}

// Pack numbers the entries of batches, whose First are set and ascend, and puts them into rows; it sets their Rows. partition is
// Backend.Partition. Folding a row changes docs documents at most, such as NarrowRow, for which a batch may be in several rows; 0: each batch
// is in one.
func Pack(batches []*Batch, partition func(scope int64) int, docs int) (rows []*Row) {
	var encoder codec.Encoder
	for start := 0; start < len(batches); {
		end, size := start, 0
		for ; end < len(batches) && (size == 0 || size+len(batches[end].Entries) <= MaxRow); end++ {
			size += len(batches[end].Entries)
		}
		if size > 0 {
			rows = append(rows, packRows(&encoder, batches[start:end], size, partition, docs)...)
		}
		start = end
	}
	return rows
}

func packRows(encoder *codec.Encoder, batches []*Batch, size int, partition func(scope int64) int, docs int) (rows []*Row) {
	all := codec.Chunk{Entries: make([]codec.Entry, 0, size)}
	merge := codec.NewSeriesMerge(&all.Series)
	last := uint64(0)
	for _, batch := range batches {
		if len(batch.Entries) == 0 {
			continue
		}
		to := merge.Add(batch.Series)
		for _, e := range batch.Entries {
			e.Seq += batch.First
			e.Series = to[e.Series]
			all.Entries = append(all.Entries, e)
			last = max(last, e.Seq)
		}
		if batch.Size > 0 {
			last = max(last, batch.First+uint64(batch.Size)-1)
		}
	}
	if !slices.IsSortedFunc(all.Entries, codec.Entry.Compare) {
		slices.SortFunc(all.Entries, codec.Entry.Compare)
	}
	ends := cuts(all.Series, all.Entries, docs)
	start := 0
	for _, end := range ends {
		piece := codec.Chunk{Series: all.Series, Entries: all.Entries[start:end:end]}
		if len(ends) > 1 {
			piece = piece.Compact()
		}
		rows = append(rows, newRow(encoder, piece, last, partition))
		start = end
	}
	for _, batch := range batches {
		if len(batch.Entries) > 0 {
			batch.Rows = rows
		}
	}
	return rows
}

// newRow makes a row of a chunk with sorted entries.
func newRow(encoder *codec.Encoder, chunk codec.Chunk, last uint64, partition func(scope int64) int) *Row {
	n := len(chunk.Entries)
	row := &Row{chunk: chunk, alone: new(atomic.Int64)}
	row.TailRow = TailRow{Last: last, Entries: n, MinAt: chunk.Entries[0].At, MaxAt: chunk.Entries[n-1].At}
	for _, e := range chunk.Entries {
		if id := int64(e.Seq); row.ID == 0 || id < row.ID {
			row.ID = id
		}
	}
	row.Data = encoder.Encode(nil, chunk.Series, chunk.Entries)
	row.size = len(row.Data)
	for _, s := range chunk.Series {
		if at, found := slices.BinarySearch(row.Partitions, partition(s.Scope)); !found {
			row.Partitions = slices.Insert(row.Partitions, at, partition(s.Scope))
		}
	}
	return row
}
