package tsdb

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// scattered returns logs of one device at random times of 50 years.
func scattered(n int) *Batch {
	rng := rand.New(rand.NewPCG(1, 2))
	b := &Batch{Series: []codec.Series{{Scope: 1, Device: 1, Event: 1}}, Size: n, First: 100}
	for i := range n {
		b.Entries = append(b.Entries, codec.Entry{At: rng.Int64N(50 * 365 * codec.DayMillis), Seq: uint64(i), Value: float64(i)})
	}
	return b
}

func onePartition(int64) int { return 0 }

func TestScatteredLogsAreManySmallFolds(t *testing.T) {
	batch := scattered(10_000)
	rows := Pack([]*Batch{batch}, onePartition, NarrowRow)
	if len(rows) < 50 || len(batch.Rows) != len(rows) {
		t.Fatalf("10,000 logs of 50 years are %d rows, of which the batch knows %d", len(rows), len(batch.Rows))
	}
	seen, ids := map[uint64]bool{}, map[int64]bool{}
	for _, row := range rows {
		if ids[row.ID] {
			t.Fatalf("two rows have the number %d", row.ID)
		}
		ids[row.ID] = true
		of := newSpread()
		if !of.addRow(row, NarrowRow) {
			t.Errorf("folding a row changes more than %d documents", NarrowRow)
		}
		var decoder codec.Decoder
		var stored codec.Chunk
		if err := decoder.Decode(&stored, row.Data, nil); err != nil {
			t.Fatal(err)
		}
		for _, e := range stored.Entries {
			if seen[e.Seq] = true; e.At < row.MinAt || e.At > row.MaxAt || e.Value != float64(e.Seq-100) {
				t.Fatalf("a row from %d to %d has the log %+v", row.MinAt, row.MaxAt, e)
			}
		}
	}
	if len(seen) != 10_000 {
		t.Errorf("the rows have %d logs, want 10,000", len(seen))
	}
	parts := make([]tailPart, len(rows))
	for i, row := range rows {
		parts[i] = tailPart{Row: row}
	}
	if now, later := slice(parts); len(now) == 0 || len(now) > 3 || len(now)+len(later) != len(rows) {
		t.Errorf("a fold takes %d of %d rows", len(now), len(rows))
	}
}

func TestRowsOfFewDocumentsAreFoldedTogether(t *testing.T) {
	var parts []tailPart
	for i := range 300 {
		batch := &Batch{Series: []codec.Series{{Scope: int64(i % 8), Device: 1, Event: 1}}, Size: 1, First: uint64(i + 1), Entries: []codec.Entry{{At: 1000}}}
		parts = append(parts, tailPart{Row: Pack([]*Batch{batch}, onePartition, NarrowRow)[0]})
	}
	wide := scattered(10_000)
	wide.First = 1000
	parts = append([]tailPart{{Row: Pack([]*Batch{wide}, onePartition, NarrowRow)[0]}, {Row: Pack([]*Batch{scattered(9_000)}, onePartition, 0)[0]}}, parts...)
	now, later := slice(parts)
	if len(now) != 301 || len(later) != 1 {
		t.Errorf("%d rows are folded and %d are not; want all but the one of very many documents", len(now), len(later))
	}
}

func TestOnlyAScopeThatOwesWaits(t *testing.T) {
	e, err := New(stubBackend{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	e.Stored(Pack([]*Batch{scattered(10_000)}, onePartition, NarrowRow)...)
	p := &e.partitions[0]
	if !p.crowded(1, &e.options) {
		t.Error("the scope whose logs need many folds does not wait")
	}
	if p.crowded(2, &e.options) {
		t.Error("another scope waits")
	}
	before := map[int64]bool{}
	for id := range p.debts.rows {
		before[id] = true
	}
	p.debts.settled(before, nil)
	if p.crowded(1, &e.options) || len(p.debts.of)+len(p.debts.rows)+len(p.debts.owing) != 0 {
		t.Error("what is folded is still owed")
	}
}

// Single logs of many devices change the same documents again and again: who posts them has nothing to fold before the tail is worth it.
func TestRowsOfTheSameDocumentsOweThemOnce(t *testing.T) {
	e, err := New(stubBackend{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxTailRows {
		batch := &Batch{Size: 64, First: uint64(64*n + 1)}
		for i := range 64 {
			batch.Series = append(batch.Series, codec.Series{Scope: 1, Device: int64(i * codec.GroupSize), Event: 1})
			batch.Entries = append(batch.Entries, codec.Entry{At: 1000, Series: uint32(i)})
		}
		rows := Pack([]*Batch{batch}, onePartition, NarrowRow)
		rows[0].ID = int64(n + 1)
		e.Stored(rows...)
		if p := &e.partitions[0]; p.crowded(1, &e.options) {
			t.Fatalf("%d documents are owed after %d rows", p.debts.of[1], n+1)
		}
	}
}

// stubBackend has one partition and nothing else.
type stubBackend struct{ Backend }

func (stubBackend) Partitions() int     { return 1 }
func (stubBackend) Partition(int64) int { return 0 }

func TestRememberedRowsOfTextsAreFoldedInSlices(t *testing.T) {
	b := &Batch{Size: 2000, First: 1}
	for i := range b.Size {
		text := hearth.Text(fmt.Sprintf("%06d%s", i, strings.Repeat("x", 250)))
		b.Series = append(b.Series, codec.Series{Scope: 1, Device: 1, Event: 1, Type: text.ValueType})
		b.Entries = append(b.Entries, codec.Entry{At: 1, Seq: uint64(i), Series: uint32(i)})
	}
	cache := tailCache{limit: 64 << 20}
	var parts []tailPart
	for _, row := range Pack([]*Batch{b}, onePartition, NarrowRow) {
		if len(row.Data) > maxRowBytes*5/4 {
			t.Errorf("a row of texts has %d bytes, want about %d", len(row.Data), maxRowBytes)
		}
		cache.add(row)
		parts = append(parts, tailPart{Row: cache.find(row.ID)})
	}
	if now, later := slice(parts); len(now) == 0 || len(now) > maxSlice*bytesADocument/maxRowBytes || len(later) == 0 {
		t.Errorf("a fold takes %d of %d rows", len(now), len(parts))
	}
}
