package backup

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hearth"
)

func TestABlockOfLogsReadsBackToTheBit(t *testing.T) {
	t.Parallel()
	value := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) float64 { return float64(rapid.IntRange(-100000, 100000).Draw(t, "whole")) / 100 }),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1e300, -1e300, math.SmallestNonzeroFloat64, 0.1 + 0.2, 1 << 53, 1e22}),
		rapid.Float64Range(-1e9, 1e9),
	)
	at := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.SampledFrom([]int64{-62135596800000, 253402300799999, 60_000, 1}))
	entry := rapid.Custom(func(t *rapid.T) hearth.LogEntry {
		return hearth.LogEntry{
			Device: rapid.SampledFrom([]int64{1, 7, 1 << 40}).Draw(t, "device"), Event: rapid.SampledFrom([]string{"a", "temperature"}).Draw(t, "event"),
			Value: drawTyped(t, value), At: at.Draw(t, "at"),
			Seq: rapid.SampledFrom([]uint64{1, 2, 3, 1 << 62}).Draw(t, "seq"),
		}
	})
	encoder := &logEncoder{}
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(entry, 1, 60).Draw(t, "entries")
		data := encoder.encode(nil, entries)
		got, err := decodeLogs(data)
		if err != nil {
			t.Fatal(err)
		}
		sameBits := cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
		if diff := cmp.Diff(entries, got, sameBits); diff != "" {
			t.Fatalf("the entries differ (-want +got):\n%s", diff)
		}
		// Cut anywhere, it is no block.
		cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		if _, err := decodeLogs(data[:cut]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a block cut to %d of %d bytes gives %v", cut, len(data), err)
		}
	})
}

func FuzzLogBlock(f *testing.F) {
	encoder := &logEncoder{}
	f.Add(encoder.encode(nil, []hearth.LogEntry{{Device: 1, Event: "a", Value: hearth.Number(1.5), At: 60_000, Seq: 1}, {Device: 2, Event: "b", Value: hearth.Number(math.Pi), At: 61_000, Seq: 2}}))
	f.Add([]byte{1, 1, 1, 1, 'a', 1, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := decodeLogs(data)
		if err != nil {
			return
		}
		again, err := decodeLogs(encoder.encode(nil, entries))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
	})
}

// drawTyped draws a value of any kind; most are numbers.
func drawTyped(t *rapid.T, numbers *rapid.Generator[float64]) hearth.Value {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return hearth.Boolean(rapid.Bool().Draw(t, "boolean"))
	case 1:
		return hearth.Text(rapid.StringN(1, 20, -1).Draw(t, "text"))
	}
	return hearth.Number(numbers.Draw(t, "value"))
}
