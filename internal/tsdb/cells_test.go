package tsdb

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hearth"
)

func drawStats(t *rapid.T) (s hearth.Stats, bound float64) {
	value := rapid.OneOf(
		rapid.Map(rapid.IntRange(-500_000, 500_000), func(i int) float64 { return float64(i) / 1000 }),
		rapid.Float64Range(-1e300, 1e300),
		rapid.SampledFrom([]float64{0, 1e300, -1e300, 5e-324, 1 << 53}),
	)
	for _, v := range rapid.SliceOfN(value, 1, 30).Draw(t, "values") {
		s.Add(v)
	}
	return s, 2 * float64(s.Count*s.Count) * max(math.Abs(s.Min), math.Abs(s.Max)) * 0x1p-52
}

func TestStatsComeBackWithinTheErrorOfAdding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want, bound := drawStats(t)
		cells, err := DecodeCells(nil, AppendCells(nil, []Cell{{Device: 3, Event: 4, Stats: want}}))
		if err != nil || len(cells) != 1 {
			t.Fatalf("%v, %d cells", err, len(cells))
		}
		got := cells[0].Stats
		if got.Count != want.Count || got.Min != want.Min || got.Max != want.Max || math.Abs(got.Sum-want.Sum) > bound {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestASumOfDecimalsIsStoredWithoutTheErrorOfAdding(t *testing.T) {
	t.Parallel()
	var s hearth.Stats
	for range 30 {
		s.Add(0.1)
		s.Add(0.2)
	}
	cells, err := DecodeCells(nil, AppendCells(nil, []Cell{{Stats: s}}))
	if err != nil || cells[0].Sum != 9 {
		t.Fatalf("got %v, %v; want 9 (added one by one: %v)", cells[0].Sum, err, s.Sum)
	}
}

func TestCellsDaysAndSketchesComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type key struct{ device, event int64 }
		keys := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) key {
			return key{rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64Range(0, math.MaxInt64/2)).Draw(t, "device"), rapid.Int64Range(0, 5).Draw(t, "event")}
		}), 0, 8, func(k key) key { return k }).Draw(t, "keys")
		slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.event, b.event)) })
		var day Day
		var sketches Sketches
		var cells []Cell
		for _, k := range keys {
			line := DayLine{Device: k.device, Event: k.event, Hours: rapid.Uint32Range(1, 1<<24-1).Draw(t, "hours"), First: len(day.Stats)}
			for range bits.OnesCount32(line.Hours) {
				day.Stats = append(day.Stats, hearth.Stats{Count: 2, Sum: 3, Min: 1, Max: 2})
			}
			for _, v := range rapid.SliceOfN(rapid.Float64Range(-1e300, 1e300), 1, 20).Draw(t, "values") {
				line.Sketch.Add(v)
			}
			day.Lines = append(day.Lines, line)
			sketches.Of(k.event).Merge(&line.Sketch, 1)
			cells = append(cells, Cell{k.device, k.event, hearth.Stats{Count: 2, Sum: 3, Min: 1, Max: 2}})
		}
		gotCells, err := DecodeCells(nil, AppendCells(nil, cells))
		if err != nil || !slices.Equal(gotCells, cells) {
			t.Fatalf("cells: %v, %v, want %v", gotCells, err, cells)
		}
		var got Day
		if err := DecodeDay(&got, AppendDay(nil, &day), DayParts{Hours: WholeDay, Sketches: true}); err != nil {
			t.Fatal(err)
		}
		for i := range day.Lines {
			day.Lines[i].All = day.Lines[i].Hours
		}
		if diff := gocmp.Diff(day, got, cmpopts.IgnoreUnexported(Day{})); len(keys) > 0 && diff != "" {
			t.Fatal(diff)
		}
		half := DayParts{Hours: 0xfff000, Sketches: true, Keep: func(device, _ int64) bool { return device%2 == 0 }}
		if err := DecodeDay(&got, AppendDay(nil, &day), half); err != nil {
			t.Fatal(err)
		}
		for i := range got.Lines {
			line := &got.Lines[i]
			at := slices.IndexFunc(day.Lines, func(l DayLine) bool { return l.Device == line.Device && l.Event == line.Event })
			if line.Device%2 != 0 || line.Hours != day.Lines[at].Hours&0xfff000 || !slices.Equal(line.Sketch.Bins, day.Lines[at].Sketch.Bins) {
				t.Fatalf("a half of %+v is %+v", day.Lines[at], line)
			}
		}
		gotSketches, err := DecodeSketches(AppendSketches(nil, &sketches))
		if diff := gocmp.Diff(sketches, gotSketches); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func FuzzRollups(f *testing.F) {
	stats := hearth.Stats{Count: 2, Sum: 3, Min: 1, Max: 2}
	day := Day{Lines: []DayLine{{Device: 1, Event: 1, Hours: 3}}, Stats: []hearth.Stats{stats, stats}}
	day.Lines[0].Sketch.Add(4)
	f.Add(AppendDay(nil, &day))
	f.Add(AppendCells(nil, []Cell{{1, 2, stats}, {2, 2, stats}}))
	f.Add(AppendSketches(nil, &Sketches{Events: []int64{1}, Sketches: []hearth.Sketch{day.Lines[0].Sketch}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var day Day
		if DecodeDay(&day, data, DayParts{Hours: WholeDay, Sketches: true}) == nil {
			for i := range day.Lines {
				day.StatsOf(&day.Lines[i])
			}
		}
		if cells, err := DecodeCells(nil, data); err == nil && len(cells) > len(data) {
			t.Fatal("more cells than bytes")
		}
		if s, err := DecodeSketches(data); err == nil && len(s.Events) != len(s.Sketches) {
			t.Fatal("uneven sketches")
		}
	})
}
