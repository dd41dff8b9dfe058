package codec

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawChunk draws a chunk with everything that a log may hold.
func drawChunk(t *rapid.T) Chunk {
	var c Chunk
	taken := make(map[Series]bool)
	for range rapid.IntRange(1, 12).Draw(t, "series") {
		s := Series{
			Scope:  rapid.Int64Range(0, 3).Draw(t, "scope"),
			Device: rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(1, math.MaxInt64)).Draw(t, "device"),
			Event:  rapid.Int64Range(0, 300).Draw(t, "event"),
		}
		if !taken[s] {
			taken[s] = true
			c.Series = append(c.Series, s)
		}
	}
	unit := rapid.SampledFrom([]int64{1, 1000, 60_000}).Draw(t, "unit")
	value := rapid.OneOf(
		rapid.Map(rapid.IntRange(-5000, 5000), func(i int) float64 { return float64(i) / 100 }),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1e300, -1e300, 5e-324, math.MaxFloat64, 1 << 53, 1<<53 + 2, 0.1, 21.5}),
		rapid.Float64Range(-1e300, 1e300),
	)
	for range rapid.IntRange(0, 200).Draw(t, "entries") {
		c.Entries = append(c.Entries, Entry{
			At:     unit * rapid.OneOf(rapid.Int64Range(0, 50), rapid.Int64Range(-62135596800000/60_000, 253402300799999/60_000)).Draw(t, "at"),
			Seq:    rapid.OneOf(rapid.Uint64Range(1, 300), rapid.Uint64()).Draw(t, "seq"),
			Value:  value.Draw(t, "value"),
			Series: uint32(rapid.IntRange(0, len(c.Series)-1).Draw(t, "of")),
		})
	}
	slices.SortFunc(c.Entries, Entry.Compare)
	return c
}

// flat is an entry with its series spelled out, values by their bits.
type flat struct {
	series Series
	at     int64
	seq    uint64
	bits   uint64
}

func flatten(c Chunk, keep func(Series) bool) []flat {
	out := []flat{}
	for _, e := range c.Entries {
		if s := c.Series[e.Series]; keep == nil || keep(s) {
			out = append(out, flat{s, e.At, e.Seq, math.Float64bits(e.Value)})
		}
	}
	return out
}

func TestChunkComesBackBitForBit(t *testing.T) {
	t.Parallel()
	var encoder Encoder
	var decoder Decoder
	var got Chunk
	rapid.Check(t, func(t *rapid.T) {
		want := drawChunk(t)
		data := encoder.Encode(nil, want.Series, want.Entries)
		if err := decoder.Decode(&got, data, nil); err != nil {
			t.Fatalf("decode: %v", err)
		}
		if !slices.Equal(flatten(got, nil), flatten(want, nil)) {
			t.Fatalf("got %v, want %v", flatten(got, nil), flatten(want, nil))
		}
		one := want.Series[0].Device
		keep := func(s Series) bool { return s.Device == one }
		if err := decoder.Decode(&got, data, keep); err != nil {
			t.Fatalf("decode one device: %v", err)
		}
		if !slices.Equal(flatten(got, nil), flatten(want, keep)) {
			t.Fatalf("one device: got %v, want %v", flatten(got, nil), flatten(want, keep))
		}
		if len(want.Entries) == 0 {
			return
		}
		place := rapid.IntRange(0, len(want.Entries)-1)
		first, last := want.Entries[place.Draw(t, "first")].At, want.Entries[place.Draw(t, "last")].At-rapid.Int64Range(0, 1).Draw(t, "before")
		if err := decoder.DecodeRange(&got, data, keep, first, last); err != nil {
			t.Fatalf("decode a range: %v", err)
		}
		want.Entries = slices.DeleteFunc(want.Entries, func(e Entry) bool { return e.At < first || e.At > last })
		if !slices.Equal(flatten(got, nil), flatten(want, keep)) {
			t.Fatalf("%d to %d of one device: got %v, want %v", first, last, flatten(got, nil), flatten(want, keep))
		}
	})
}

func TestChunkTakesRegularReadingsInThreeBytes(t *testing.T) {
	t.Parallel()
	series, entries := regular(1000, 8192)
	data := new(Encoder).Encode(nil, series, entries)
	if per := float64(len(data)) / float64(len(entries)); per > 4 {
		t.Errorf("%.2f bytes an entry, want at most 4", per)
	}
}

// regular returns readings of many devices, each about once a minute, with two decimals.
func regular(devices, n int) ([]Series, []Entry) {
	random := rand.New(rand.NewPCG(1, 2))
	series := make([]Series, devices)
	level := make([]int64, devices)
	for i := range series {
		series[i] = Series{Device: int64(i + 1), Event: 1}
		level[i] = 2000 + random.Int64N(500)
	}
	entries := make([]Entry, n)
	at := int64(1_700_000_000_000)
	for i := range entries {
		d := i % devices
		at += random.Int64N(120)
		level[d] += random.Int64N(21) - 10
		entries[i] = Entry{At: at, Seq: uint64(i + 1), Value: float64(level[d]) / 100, Series: uint32(d)}
	}
	return series, entries
}

func FuzzChunk(f *testing.F) {
	series, entries := regular(7, 60)
	f.Add(new(Encoder).Encode(nil, series, entries))
	f.Add(new(Encoder).Encode(nil, series[:1], nil))
	f.Add([]byte{1, 255, 255, 3, 1, 0, 0, 0, 255, 255, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		var chunk Chunk
		var decoder Decoder
		if err := decoder.Decode(&chunk, data, nil); err != nil {
			return
		}
		if len(chunk.Entries) > MaxChunk {
			t.Fatalf("%d entries", len(chunk.Entries))
		}
		for _, e := range chunk.Entries {
			if int(e.Series) >= len(chunk.Series) || !finite(e.Value) {
				t.Fatalf("entry %+v of %d series", e, len(chunk.Series))
			}
		}
		if !slices.IsSortedFunc(chunk.Entries, func(a, b Entry) int { return int(max(-1, min(1, a.At-b.At))) }) {
			t.Fatal("times go back")
		}
		if len(chunk.Entries) == 0 {
			return
		}
		var part Chunk
		at := chunk.Entries[len(chunk.Entries)/2].At
		err := decoder.DecodeRange(&part, data, func(s Series) bool { return s == chunk.Series[0] }, at, at)
		if err != nil || len(part.Entries) > len(chunk.Entries) {
			t.Fatalf("%d entries of one series at %d: %v", len(part.Entries), at, err)
		}
	})
}

func BenchmarkEncodeChunk(b *testing.B) {
	series, entries := regular(1000, 8192)
	var encoder Encoder
	var data []byte
	for b.Loop() {
		data = encoder.Encode(data[:0], series, entries)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
	b.ReportMetric(float64(len(data))/float64(len(entries)), "B/entry")
}

func BenchmarkDecodeChunk(b *testing.B) {
	series, entries := regular(1000, 8192)
	data := new(Encoder).Encode(nil, series, entries)
	var decoder Decoder
	var chunk Chunk
	for b.Loop() {
		if err := decoder.Decode(&chunk, data, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
}
