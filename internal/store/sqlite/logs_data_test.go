package sqlite_test

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// dataDir finds the folder of the real data, which lies beside the checkout.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		data := filepath.Join(dir, "shared", "data")
		if _, err := os.Stat(data); err == nil {
			return data
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("there is no shared/data above the checkout")
		}
		dir = parent
	}
}

// facts are what an independent program counted.
type facts struct {
	Rows         int64            `json:"rows"`
	Devices      int              `json:"devices"`
	RowsPerEvent map[string]int64 `json:"rows_per_event"`
	RowsPerType  map[string]int64 `json:"rows_per_type"`
	Top          []struct {
		Device string `json:"device"`
		Rows   int64  `json:"rows"`
	} `json:"top5_devices"`
	Values map[string]struct {
		Min, Max, Sum, Mean float64
	} `json:"values_per_event"`
	Days map[string]struct {
		Total    int64            `json:"total"`
		PerEvent map[string]int64 `json:"per_event"`
	} `json:"rows_per_day"`
	Hours struct {
		Day     string `json:"day"`
		Devices map[string]struct {
			Counts []int64   `json:"counts"`
			Sums   []float64 `json:"sums"`
		} `json:"devices"`
	} `json:"rows_per_hour"`
}

// imported is a store with one data set in it.
type imported struct {
	*sqlite.Store
	facts facts
	keys  map[string]int64
	types map[int64]string
	reach hearth.Reach
}

func TestTheRealDataGivesTheFactsBack(t *testing.T) {
	t.Parallel()
	for _, name := range dataSets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := importData(t, filepath.Join(dataDir(t), name))
			s.checkTotals(t)
			s.checkDays(t)
			s.checkHours(t)
			// The same again, from the file alone and with nothing left in the tail.
			if err := s.FoldLogs(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.checkTotals(t)
			s.checkDays(t)
			s.checkHours(t)
		})
	}
}

func importData(t *testing.T, dir string) *imported {
	t.Helper()
	s := &imported{keys: map[string]int64{}, types: map[int64]string{}, reach: hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u")}}}
	text, err := os.ReadFile(filepath.Join(dir, "facts.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s.facts); err != nil {
		t.Fatal(err)
	}
	if s.Store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	file, err := os.Open(filepath.Join(dir, "visible.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	rows := csv.NewReader(unzipped)
	rows.ReuseRecord = true
	if _, err := rows.Read(); err != nil {
		t.Fatal(err)
	}
	var batch []hearth.LogEntry
	for {
		row, err := rows.Read()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(batch) == hearth.MaxLogBatch || err != nil {
			if _, err := s.AppendLogs(context.Background(), batch, nil, hearth.SideEffects{}); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
		if err != nil {
			return s
		}
		batch = append(batch, s.entry(t, row))
	}
}

func (s *imported) entry(t *testing.T, row []string) hearth.LogEntry {
	t.Helper()
	key, ok := s.keys[row[0]]
	if !ok {
		name := string([]byte(row[0]))
		created, err := s.CreateDevices(t.Context(), []hearth.Device{{
			ID: name, Name: name, Type: row[1], Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: time.Now(), UpdatedAt: time.Now(),
		}}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		key = created[0].Key
		s.keys[name], s.types[key] = key, created[0].Type
	}
	value, err := strconv.ParseFloat(row[3], 64)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, row[4])
	if err != nil {
		t.Fatal(err)
	}
	return hearth.LogEntry{Device: key, Event: string([]byte(row[2])), Value: hearth.Number(value), At: at.UnixMilli()}
}

func (s *imported) rollups(t *testing.T, query hearth.RollupQuery) [][]hearth.Rollup {
	t.Helper()
	query.Reach = s.reach
	out, err := s.Rollups(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// same reports whether two sums differ by no more than the last digit that the facts give.
func same(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

func (s *imported) checkTotals(t *testing.T) {
	t.Helper()
	if n, err := s.CountLogs(t.Context(), s.reach); err != nil || n != s.facts.Rows {
		t.Errorf("%d logs, %v; want %d", n, err, s.facts.Rows)
	}
	if len(s.keys) != s.facts.Devices {
		t.Errorf("%d devices, want %d", len(s.keys), s.facts.Devices)
	}
	span := hearth.Span{From: time.Unix(0, 0), To: time.Unix(2e9, 0)}
	out := s.rollups(t, hearth.RollupQuery{Span: span, Groupings: []hearth.Grouping{{}, {ByEvent: true}, {ByDevice: true}}})
	if out[0][0].Count != s.facts.Rows {
		t.Errorf("%d logs are summed up, want %d", out[0][0].Count, s.facts.Rows)
	}
	if len(out[1]) != len(s.facts.Values) {
		t.Errorf("%d events, want %d", len(out[1]), len(s.facts.Values))
	}
	for _, r := range out[1] {
		want := s.facts.Values[r.Event]
		if r.Count != s.facts.RowsPerEvent[r.Event] || r.Min != want.Min || r.Max != want.Max || !same(r.Sum, want.Sum) ||
			!same(r.Sum/float64(r.Count), want.Mean) {
			t.Errorf("event %s: %+v, want %d logs, %+v", r.Event, r.Stats, s.facts.RowsPerEvent[r.Event], want)
		}
	}
	types := map[string]int64{}
	counts := map[int64]int64{}
	for _, r := range out[2] {
		types[s.types[r.Device]] += r.Count
		counts[r.Device] = r.Count
	}
	for name, want := range s.facts.RowsPerType {
		if types[name] != want {
			t.Errorf("type %s: %d logs, want %d", name, types[name], want)
		}
	}
	slices.SortFunc(out[2], func(a, b hearth.Rollup) int { return int(b.Count - a.Count) })
	for i, top := range s.facts.Top {
		if counts[s.keys[top.Device]] != top.Rows || out[2][i].Count != top.Rows {
			t.Errorf("%s has %d logs, want %d in place %d", top.Device, counts[s.keys[top.Device]], top.Rows, i)
		}
	}
}

func (s *imported) checkDays(t *testing.T) {
	t.Helper()
	for day, want := range s.facts.Days {
		start, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		out := s.rollups(t, hearth.RollupQuery{
			Span:      hearth.Span{From: start, To: start.AddDate(0, 0, 1)},
			Groupings: []hearth.Grouping{{ByEvent: true}, {Step: hearth.StepMinute}, {ByDevice: true, ByEvent: true, Step: hearth.StepHour}},
		})
		for _, r := range out[0] {
			if r.Count != want.PerEvent[r.Event] {
				t.Errorf("%s %s: %d logs, want %d", day, r.Event, r.Count, want.PerEvent[r.Event])
			}
		}
		for i, groups := range out {
			var total int64
			for _, r := range groups {
				total += r.Count
			}
			if total != want.Total {
				t.Errorf("%s, grouping %d: %d logs, want %d", day, i, total, want.Total)
			}
		}
	}
}

func (s *imported) checkHours(t *testing.T) {
	t.Helper()
	start, err := time.Parse(time.DateOnly, s.facts.Hours.Day)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range s.facts.Hours.Devices {
		// By hours, and by the trend that a person reads, each hour cut out alone as well.
		out := s.rollups(t, hearth.RollupQuery{
			Devices: []int64{s.keys[name]}, Span: hearth.Span{From: start, To: start.AddDate(0, 0, 1)}, Groupings: []hearth.Grouping{{Step: hearth.StepHour}},
		})[0]
		at := 0
		for hour, count := range want.Counts {
			from := start.Add(time.Duration(hour) * time.Hour)
			alone := s.rollups(t, hearth.RollupQuery{
				Devices: []int64{s.keys[name]}, Span: hearth.Span{From: from, To: from.Add(time.Hour)}, Groupings: []hearth.Grouping{{Sketch: true}},
			})[0]
			if count == 0 {
				if len(alone) > 0 {
					t.Errorf("%s, hour %d: %+v, want nothing", name, hour, alone)
				}
				continue
			}
			for _, got := range []hearth.Rollup{out[at], alone[0]} {
				if got.Count != count || !same(got.Sum, want.Sums[hour]) {
					t.Errorf("%s, hour %d: %+v, want %d logs of %v", name, hour, got.Stats, count, want.Sums[hour])
				}
			}
			at++
		}
		if at != len(out) {
			t.Errorf("%s: %d hours, want %d", name, len(out), at)
		}
	}
}
