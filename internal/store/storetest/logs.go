package storetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
)

// LogStore is what the suite for logs needs: devices to write logs of, and an end.
type LogStore interface {
	hearth.LogStore
	hearth.DeviceStore
	Close() error
}

// LogsHarness says how the suite for logs opens stores.
type LogsHarness struct {
	// Open opens the store of that name, which is of one test's alone, making it if it is not there. It may be opened
	// again after Close.
	Open func(t testing.TB, name string) LogStore
	// Typed says that the store keeps booleans and strings too.
	Typed bool
	// Done, if not nil, is told of a name that is not opened again.
	Done func(name string)
	// Settle, if not nil, does at once a part of what the store otherwise does in the background.
	Settle func(ctx context.Context, s LogStore) error
}

// Logs is the suite for hearth.LogStore.
func Logs(t *testing.T, h LogsHarness) {
	for name, test := range map[string]func(*testing.T, LogStore){
		"numbers entries in the order of a batch":                    logsNumbers,
		"pages through equal timestamps without a gap":               logsPages,
		"stores a batch once":                                        logsOnce,
		"an answer may name the first entry's number":                logsAnswer,
		"an import's checkpoint comes with its rows":                 logsCheckpoint,
		"new logs are those that are not stored yet":                 logsNew,
		"new logs are stored with their side effects, once":          logsNewOnce,
		"new logs that come at once are stored once":                 logsNewConcurrent,
		"entries of a device that is gone are no one's":              logsGone,
		"a deleted device's logs are gone at once":                   logsDeleted,
		"concurrent batches all count":                               logsConcurrent,
		"questions never cross scopes":                               logsScopes,
		"trimming hides at once, for good, and never takes too much": logsTrim,
		"a scan stops when its reader does":                          logsScanStops,
		"refuses what is not finite, and too many":                   logsBounds,
		"groups in the contract's order":                             rollupsOrder,
		"an hour that a range cuts counts in part":                   rollupsCutHour,
		"a group of nothing is left out":                             rollupsEmpty,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := h.Open(t, t.Name())
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, s)
		})
	}
	t.Run("rollups equal the logs, whatever happens", func(t *testing.T) {
		t.Parallel()
		if h.Settle == nil {
			h.Settle = func(context.Context, LogStore) error { return nil }
		}
		logsModel(t, h)
	})
}

// noon is the time around which the suite's logs are: a day that months and hours are far from.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// everything is a span that holds all logs.
var everything = hearth.Span{From: time.UnixMilli(-62135596800000), To: time.UnixMilli(253402300800000)}

func at(offset time.Duration) int64 { return noon.Add(offset).UnixMilli() }

func entry(d hearth.Device, event string, value float64, offset time.Duration) hearth.LogEntry {
	return hearth.LogEntry{Device: d.Key, Event: event, Value: hearth.Number(value), At: at(offset)}
}

func appendLogs(t testing.TB, s LogStore, entries ...hearth.LogEntry) uint64 {
	t.Helper()
	first, err := s.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func scanned(t testing.TB, s LogStore, scan hearth.LogScan) []hearth.LogEntry {
	t.Helper()
	var out []hearth.LogEntry
	for e, err := range s.ScanLogs(t.Context(), scan) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func counted(t testing.TB, s LogStore, reach hearth.Reach, want int64) {
	t.Helper()
	got, err := s.CountLogs(t.Context(), reach)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%d logs are counted, want %d", got, want)
	}
}

func rolledUp(t testing.TB, s LogStore, query hearth.RollupQuery) [][]hearth.Rollup {
	t.Helper()
	out, err := s.Rollups(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func logsNumbers(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	batch := []hearth.LogEntry{entry(d, "b", 2, time.Hour), entry(d, "a", 1, 0), entry(d, "c", -0.5, 0)}
	first := appendLogs(t, s, batch...)
	second := appendLogs(t, s, entry(d, "d", 4, -time.Hour))
	if first == 0 || second < first+3 {
		t.Errorf("batches start at %d and %d", first, second)
	}
	for i := range batch {
		batch[i].Seq = first + uint64(i)
	}
	late := entry(d, "d", 4, -time.Hour)
	late.Seq = second
	got, err := s.Logs(t.Context(), hearth.LogQuery{Device: d.Key, Span: everything, Ascending: true, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, got, []hearth.LogEntry{late, batch[1], batch[2], batch[0]})
	got, err = s.Logs(t.Context(), hearth.LogQuery{Device: d.Key, Span: hearth.Span{From: noon, To: noon.Add(time.Hour)}, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, got, []hearth.LogEntry{batch[2], batch[1]})
	sameDevices(t, scanned(t, s, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything}),
		[]hearth.LogEntry{late, batch[1], batch[2], batch[0]})
}

func logsPages(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	var want []hearth.LogEntry
	for i := range 57 {
		e := entry(d, []string{"x", "y"}[i%2], float64(i), time.Duration(i/10)*time.Minute)
		e.Seq = appendLogs(t, s, e)
		want = append(want, e)
	}
	for _, ascending := range []bool{true, false} {
		if !ascending {
			slices.Reverse(want)
		}
		for _, event := range []string{"", "x", "never"} {
			expect := want
			if event != "" {
				expect = slices.DeleteFunc(slices.Clone(want), func(e hearth.LogEntry) bool { return e.Event != event })
			}
			query := hearth.LogQuery{Device: d.Key, Span: everything, Event: event, Ascending: ascending, Limit: 7}
			var got []hearth.LogEntry
			for {
				page, err := s.Logs(t.Context(), query)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page[:min(7, len(page))]...)
				if len(page) <= 7 {
					break
				}
				query.After = &page[6]
			}
			sameDevices(t, got, expect)
		}
	}
}

func logsOnce(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	all := hearth.Reach{All: true}
	for range 3 {
		_, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0)}, nil, once("f"))
		if err != nil {
			if _, ok := errors.AsType[*hearth.Replayed](err); !ok {
				t.Fatal(err)
			}
		}
	}
	_, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0)}, nil, once("other"))
	wantCode(t, err, hearth.CodeIdempotencyMismatch)
	counted(t, s, all, 1)
	if got := scanned(t, s, hearth.LogScan{Reach: all, Span: everything}); len(got) != 1 {
		t.Errorf("%d logs are stored", len(got))
	}
}

func logsAnswer(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	appendLogs(t, s, entry(d, "a", 1, 0))
	first, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0), entry(d, "a", 2, 0)}, nil, once("f"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0), entry(d, "a", 2, 0)}, nil, once("f"))
	replayed, ok := errors.AsType[*hearth.Replayed](err)
	if !ok || string(replayed.Record.Created) != "first" || replayed.Record.FirstLog != first {
		t.Errorf("got %v %+v, want the first log %d", err, replayed, first)
	}
}

func logsCheckpoint(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	_, err := s.ImportCheckpoint(t.Context(), "file")
	wantCode(t, err, hearth.CodeNotFound)
	for i := range 2 {
		want := hearth.Checkpoint{ID: "file", Rows: int64(i + 1), Mark: []byte{0, byte(i)}}
		if _, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0)}, &want, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		got, err := s.ImportCheckpoint(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		sameDevices(t, got, want)
	}
	// A refused batch leaves its checkpoint as it was.
	_, err = s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0)}, &hearth.Checkpoint{ID: "file", Rows: 99}, once("f"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.AppendLogs(t.Context(), []hearth.LogEntry{entry(d, "a", 1, 0)}, &hearth.Checkpoint{ID: "file", Rows: 100}, once("g"))
	wantCode(t, err, hearth.CodeIdempotencyMismatch)
	got, err := s.ImportCheckpoint(t.Context(), "file")
	if err != nil || got.Rows != 99 {
		t.Errorf("the checkpoint is at %d, %v; want 99", got.Rows, err)
	}
}

func logsGone(t *testing.T, s LogStore) {
	devices := createDevices(t, s, device(1), device(2))
	if err := s.DeleteDevice(t.Context(), devices[0].ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	nobody := entry(devices[1], "a", 1, 0)
	nobody.Device += 1000
	first := appendLogs(t, s, entry(devices[0], "a", 1, 0), entry(devices[1], "a", 2, 0), nobody, entry(devices[1], "a", 3, 0))
	got := scanned(t, s, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything})
	if len(got) != 2 || got[0].Seq != first+1 || got[1].Seq != first+3 {
		t.Errorf("got %+v, want the second and the fourth of a batch from %d on", got, first)
	}
	counted(t, s, hearth.Reach{All: true}, 2)
	appendLogs(t, s, nobody)
	if next := appendLogs(t, s, entry(devices[1], "a", 4, 0)); next <= first+3 {
		t.Errorf("the number %d was given twice", next)
	}
}

func logsDeleted(t *testing.T, s LogStore) {
	devices := createDevices(t, s, device(1), device(2))
	reach := hearth.Reach{Scopes: []hearth.Scope{devices[0].Scope()}}
	for i := range 50 {
		appendLogs(t, s, entry(devices[0], "a", 1000+float64(i), time.Duration(i)*time.Hour), entry(devices[1], "a", float64(i), time.Duration(i)*time.Hour))
	}
	if err := s.DeleteDevice(t.Context(), devices[0].ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		counted(t, s, reach, 50)
		for _, g := range rolledUp(t, s, hearth.RollupQuery{Reach: reach, Span: everything, Groupings: []hearth.Grouping{
			{Sketch: true}, {ByEvent: true, Sketch: true}, {ByDevice: true, Sketch: true},
		}}) {
			if len(g) != 1 || g[0].Count != 50 || g[0].Max != 49 || g[0].Sketch.Count() != 50 {
				t.Errorf("got %+v, want one group of 50 up to 49", g)
			}
		}
		logs, err := s.Logs(t.Context(), hearth.LogQuery{Device: devices[0].Key, Span: everything, Limit: 10})
		if err != nil || len(logs) > 0 {
			t.Errorf("the device still has %v, %v", logs, err)
		}
		if got := scanned(t, s, hearth.LogScan{Reach: reach, Span: everything}); len(got) != 50 {
			t.Errorf("%d logs are scanned, want 50", len(got))
		}
	}
	check()
	for more, steps := true, 0; more; steps++ {
		var err error
		if more, err = s.Reclaim(t.Context()); err != nil || steps > 10_000 {
			t.Fatal("reclaiming does not end", err)
		}
		check()
	}
}

func logsConcurrent(t *testing.T, s LogStore) {
	devices := createDevices(t, s, device(1), device(2), device(3))
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for worker := range 8 {
		wg.Go(func() {
			for i := range 25 {
				batch := []hearth.LogEntry{
					entry(devices[worker%3], "a", 1, time.Duration(i)*time.Minute), entry(devices[i%3], "b", 2, 0),
				}
				first, err := s.AppendLogs(context.Background(), batch, nil, hearth.SideEffects{})
				for hearth.ErrorCode(err) == hearth.CodeRateLimited { // a store on a busy machine folds too slowly: nothing was stored
					first, err = s.AppendLogs(context.Background(), batch, nil, hearth.SideEffects{})
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[first] || seen[first+1] {
					t.Errorf("the number %d was given twice", first)
				}
				seen[first], seen[first+1] = true, true
				mu.Unlock()
				if _, err := s.CountLogs(context.Background(), hearth.Reach{All: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := scanned(t, s, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything})
	for _, e := range got {
		if !seen[e.Seq] {
			t.Errorf("there is a log of the number %d, which was not given", e.Seq)
		}
	}
	if len(got) != 400 {
		t.Errorf("%d logs are stored, want 400", len(got))
	}
	counted(t, s, hearth.Reach{All: true}, 400)
}

func logsScopes(t *testing.T, s LogStore) {
	mine, theirs, org := device(1), device(2), device(3)
	theirs.OwnerID, org.OrganizationID = "u2", "o1"
	devices := createDevices(t, s, mine, theirs, org)
	for i, d := range devices {
		for range i + 1 {
			appendLogs(t, s, entry(d, "a", 1, 0))
		}
	}
	for _, test := range []struct {
		reach hearth.Reach
		want  int64
	}{
		{hearth.Reach{}, 0},
		{hearth.Reach{All: true}, 6},
		{hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u1")}}, 1},
		{hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u2"), hearth.OrgScope("o1")}}, 5},
		{hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("nobody")}}, 0},
	} {
		counted(t, s, test.reach, test.want)
		if got := scanned(t, s, hearth.LogScan{Reach: test.reach, Span: everything}); int64(len(got)) != test.want {
			t.Errorf("%+v scans %d logs, want %d", test.reach, len(got), test.want)
		}
		keys := []int64{devices[0].Key, devices[1].Key, devices[2].Key}
		for _, pick := range [][]int64{nil, keys} {
			groups := rolledUp(t, s, hearth.RollupQuery{Reach: test.reach, Devices: pick, Span: everything, Groupings: []hearth.Grouping{{}}})[0]
			var sum int64
			for _, g := range groups {
				sum += g.Count
			}
			if sum != test.want {
				t.Errorf("%+v sums up %d logs of the devices %v, want %d", test.reach, sum, pick, test.want)
			}
		}
	}
	none := rolledUp(t, s, hearth.RollupQuery{Reach: hearth.Reach{All: true}, Devices: []int64{}, Span: everything, Groupings: []hearth.Grouping{{}}})
	if len(none[0]) > 0 {
		t.Errorf("no devices have %+v", none[0])
	}
}

func logsTrim(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	for i := range 100 {
		appendLogs(t, s, entry(d, "a", float64(i), time.Duration(i-50)*30*time.Minute))
	}
	all := hearth.Reach{All: true}
	var removed int64
	for steps := 0; ; steps++ {
		n, more, err := s.TrimLogs(t.Context(), noon.Add(59*time.Minute))
		if err != nil || steps > 10_000 {
			t.Fatal("trimming does not end", err)
		}
		removed += n
		// From noon on: the hour that the given time is in stays.
		counted(t, s, all, 50)
		got := rolledUp(t, s, hearth.RollupQuery{Reach: all, Span: everything, Groupings: []hearth.Grouping{{Sketch: true}}})[0]
		if len(got) != 1 || got[0].Count != 50 || got[0].Min != 50 || got[0].Sketch.Count() != 50 {
			t.Fatalf("got %+v, want 50 logs from 50 on", got)
		}
		if left := scanned(t, s, hearth.LogScan{Reach: all, Span: everything}); len(left) != 50 || left[0].At != at(0) {
			t.Fatalf("%d logs are left", len(left))
		}
		if !more {
			break
		}
	}
	appendLogs(t, s, entry(d, "a", 1, -48*time.Hour))
	counted(t, s, all, 50)
	if removed > 50 {
		t.Errorf("%d logs were removed, want at most 50", removed)
	}
	for more, steps := true, 0; more; steps++ {
		var err error
		if _, more, err = s.TrimLogs(t.Context(), time.Time{}); err != nil || steps > 10_000 {
			t.Fatal("going back does not end", err)
		}
	}
	counted(t, s, all, 50)
	appendLogs(t, s, entry(d, "a", 1, -48*time.Hour))
	counted(t, s, all, 51)
	if left := scanned(t, s, hearth.LogScan{Reach: all, Span: everything}); len(left) != 51 || left[0].At != at(-48*time.Hour) {
		t.Errorf("%d logs are there after going back", len(left))
	}
}

func logsScanStops(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	for i := range 20 {
		appendLogs(t, s, entry(d, "a", float64(i), time.Duration(i)*time.Minute))
	}
	n := 0
	for _, err := range s.ScanLogs(t.Context(), hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 7 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	failures := 0
	for _, err := range s.ScanLogs(ctx, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything}) {
		if err != nil {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("a cancelled scan gave %d errors, want one", failures)
	}
	counted(t, s, hearth.Reach{All: true}, 20)
}

func logsBounds(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	for _, bad := range [][]hearth.LogEntry{
		{entry(d, "a", 1, 0), entry(d, "a", math.NaN(), 0)},
		{entry(d, "a", math.Inf(-1), 0)},
		make([]hearth.LogEntry, hearth.MaxLogBatch+1),
	} {
		_, err := s.AppendLogs(t.Context(), bad, nil, hearth.SideEffects{})
		wantCode(t, err, hearth.CodeValidationFailed)
	}
	counted(t, s, hearth.Reach{All: true}, 0)
	if _, err := s.AppendLogs(t.Context(), nil, nil, hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
}
