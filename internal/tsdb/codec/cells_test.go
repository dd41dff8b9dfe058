package codec

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
				day.Changes = append(day.Changes, rapid.SampledFrom([]Change{
					numberChange(1, 2, 1), numberChange(2, 1, 1), numberChange(1.5, 1.25, 3), {some: true, Unknown: true},
					{some: true, First: hearth.Boolean(true), Last: hearth.Text("on"), Numbers: true, Head: 1, Tail: 2, Increase: 1},
					{some: true, First: hearth.Text("é"), Last: hearth.Number(2), Numbers: true, Head: 1e-300, Tail: -2, Increase: 1e300},
				}).Draw(t, "change"))
			}
			line.LastAt = rapid.OneOf(rapid.Int64Range(0, DayMillis-1), rapid.Just(int64(UnknownTime))).Draw(t, "last")
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
		if err := DecodeDay(&got, AppendDay(nil, &day), DayParts{Hours: WholeDay, Sketches: true, Changes: true}); err != nil {
			t.Fatal(err)
		}
		for i := range day.Lines {
			day.Lines[i].All = day.Lines[i].Hours
			if got.Lines[i].LastAt != day.Lines[i].LastAt {
				t.Fatalf("the last log of %+v is at %d", day.Lines[i], got.Lines[i].LastAt)
			}
		}
		if diff := gocmp.Diff(day, got, cmpopts.IgnoreUnexported(Day{}, DayLine{}), cmpopts.IgnoreFields(Day{}, "Changes")); len(keys) > 0 && diff != "" {
			t.Fatal(diff)
		}
		if !slices.Equal(day.Changes, got.Changes) {
			t.Fatalf("the changes are %+v, want %+v", got.Changes, day.Changes)
		}
		half := DayParts{Hours: 0xfff000, Sketches: true, Changes: true, Keep: func(device, _ int64) bool { return device%2 == 0 }}
		if err := DecodeDay(&got, AppendDay(nil, &day), half); err != nil {
			t.Fatal(err)
		}
		for i := range got.Lines {
			line := &got.Lines[i]
			at := slices.IndexFunc(day.Lines, func(l DayLine) bool { return l.Device == line.Device && l.Event == line.Event })
			if line.Device%2 != 0 || line.Hours != day.Lines[at].Hours&0xfff000 || !slices.Equal(line.Sketch.Bins, day.Lines[at].Sketch.Bins) ||
				!slices.Equal(got.ChangesOf(line), day.ChangesOf(&day.Lines[at])[day.Lines[at].Size()-line.Size():]) {
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
	day := Day{
		Lines: []DayLine{{Device: 1, Event: 1, Hours: 3}}, Stats: []hearth.Stats{stats, stats},
		Changes: []Change{numberChange(1, 2, 5), {some: true, First: hearth.Text("a"), Last: hearth.Number(1), Numbers: true, Head: 1, Tail: 1}},
	}
	day.Lines[0].Sketch.Add(4)
	f.Add(AppendDay(nil, &day))
	f.Add(firstDay)
	f.Add(AppendCells(nil, []Cell{{1, 2, stats}, {2, 2, stats}}))
	f.Add(AppendSketches(nil, &Sketches{Events: []int64{1}, Sketches: []Sketch{day.Lines[0].Sketch}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var day Day
		if DecodeDay(&day, data, DayParts{Hours: WholeDay, Sketches: true, Changes: true}) == nil {
			for i := range day.Lines {
				day.StatsOf(&day.Lines[i])
			}
			add := summedUp([]logValue{{5, 1, hearth.Number(3)}, {HourMillis, 2, hearth.Number(4)}})
			merged, err := MergeDay(nil, data, &add)
			if err == nil {
				err = DecodeDay(&day, merged, DayParts{Hours: WholeDay, Sketches: true, Changes: true})
			}
			if err != nil {
				t.Fatalf("a day that can be read cannot be merged: %v", err)
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

// firstDay is a day of the first version: of device 1 and event 1, two logs of the first hour, 1 and 2.
var firstDay = append([]byte{1, 2, 1, 1, 4, 2 << 4, 2, 1, 1}, 0)

type logValue struct {
	at  int64
	seq uint64
	v   hearth.Value
}

// summedUp returns the first day of some logs of device 1 and event 1.
func summedUp(logs []logValue) Day {
	slices.SortFunc(logs, func(a, b logValue) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) })
	var chunk Chunk
	place := NewSeriesMerge(&chunk.Series)
	for _, l := range logs {
		at := place.Place(Series{Device: 1, Event: 1, Type: l.v.ValueType})
		chunk.Entries = append(chunk.Entries, Entry{At: l.at, Seq: l.seq, Value: l.v.Number(), Series: at})
	}
	chunk.SortSeries()
	return SumUp(chunk.Series, chunk.Entries).Groups[0].Day
}

func TestADayIsTheSumOfWhatWasMergedIntoIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (logs []logValue) {
			for range rapid.IntRange(1, 8).Draw(t, label) {
				v := rapid.SampledFrom([]hearth.Value{
					hearth.Number(1), hearth.Number(2.5), hearth.Number(-3), hearth.Number(1e200), hearth.Boolean(true), hearth.Boolean(false), hearth.Text("on"),
				}).Draw(t, "value")
				at := rapid.OneOf(rapid.Int64Range(0, 4), rapid.Int64Range(0, 3*HourMillis), rapid.Just(DayMillis-1)).Draw(t, "at")
				logs = append(logs, logValue{at, uint64(rapid.IntRange(1, 1000).Draw(t, "seq")), v})
			}
			return logs
		}
		all := draw("logs")
		first := summedUp(all)
		data := AppendDay(nil, &first)
		for range rapid.IntRange(1, 4).Draw(t, "merges") {
			more := draw("more")
			add := summedUp(more)
			var err error
			if data, err = MergeDay(nil, data, &add); err != nil {
				t.Fatal(err)
			}
			all = append(all, more...)
		}
		var got Day
		if err := DecodeDay(&got, data, DayParts{Hours: WholeDay, Sketches: true, Changes: true}); err != nil {
			t.Fatal(err)
		}
		want := summedUp(all)
		if !SameDays(&got, &want) || got.Lines[0].LastAt != want.Lines[0].LastAt {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		for i := range got.Changes {
			if !got.Changes[i].Unknown && !SameChanges(&got.Changes[i], &want.Changes[i], &want.Stats[i]) {
				t.Fatalf("hour %d: got %+v, want %+v of %+v", i, got.Changes[i], want.Changes[i], all)
			}
		}
	})
}

func TestLogsThatComeInOrderLeaveEveryChangeKnown(t *testing.T) {
	t.Parallel()
	var data []byte
	var all []logValue
	for i := range int64(100) {
		one := []logValue{{i * 20 * 60_000 / 7, uint64(i), hearth.Number(float64(i * 7 % 10))}}
		add := summedUp(one)
		all = append(all, one...)
		var err error
		if data == nil {
			data = AppendDay(nil, &add)
		} else if data, err = MergeDay(nil, data, &add); err != nil {
			t.Fatal(err)
		}
	}
	var got Day
	if err := DecodeDay(&got, data, DayParts{Hours: WholeDay, Changes: true}); err != nil {
		t.Fatal(err)
	}
	want := summedUp(all)
	for i := range got.Changes {
		if !SameChanges(&got.Changes[i], &want.Changes[i], &want.Stats[i]) || got.Changes[i].Unknown {
			t.Fatalf("hour %d: got %+v, want %+v", i, got.Changes[i], want.Changes[i])
		}
	}
}

func TestADayOfTheFirstVersionIsRead(t *testing.T) {
	t.Parallel()
	var got Day
	parts := DayParts{Hours: WholeDay, Sketches: true, Changes: true}
	if err := DecodeDay(&got, firstDay, parts); err != nil || got.Stats[0] != (hearth.Stats{Count: 2, Sum: 3, Min: 1, Max: 2}) || !got.Changes[0].Unknown {
		t.Fatalf("%v, %+v", err, got)
	}
	add := summedUp([]logValue{{HourMillis, 1, hearth.Number(5)}})
	data, err := MergeDay(nil, firstDay, &add)
	if err == nil {
		err = DecodeDay(&got, data, parts)
	}
	if err != nil || !got.Changes[0].Unknown || got.Changes[1] != numberChange(5, 5, 0) || got.Lines[0].LastAt != HourMillis {
		t.Fatalf("%v, %+v", err, got)
	}
}
