package mongodb

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hearth"
)

// facts are what a program that shares nothing with this one counted.
type facts struct {
	Rows         int64            `json:"rows"`
	RowsPerEvent map[string]int64 `json:"rows_per_event"`
	Top          []struct {
		Device string `json:"device"`
		Rows   int64  `json:"rows"`
	} `json:"top5_devices"`
	Values map[string]struct{ Min, Max, Sum float64 } `json:"values_per_event"`
	Days   map[string]struct {
		Total int64 `json:"total"`
	} `json:"rows_per_day"`
}

// dataDir finds the folder of the real data, which lies beside the checkout.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		data := filepath.Join(dir, "shared", "data", "opensmarthome")
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

func TestTheRealDataGivesTheFactsBack(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	text, err := os.ReadFile(filepath.Join(dir, "facts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want facts
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, Options{URI: newDatabase(t)})
	keys := importRows(t, s, filepath.Join(dir, "visible.csv.gz"))
	// Whatever waits to be folded, and with nothing left that waits.
	checkFacts(t, s, &want, keys)
	if err := s.FoldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkFacts(t, s, &want, keys)
}

// importRows stores a file's rows and returns its devices' keys.
func importRows(t *testing.T, s *Store, path string) map[string]int64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	rows := csv.NewReader(unzipped)
	if _, err := rows.Read(); err != nil {
		t.Fatal(err)
	}
	keys := map[string]int64{}
	var batch []hearth.LogEntry
	for {
		row, err := rows.Read()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err != nil || len(batch) == hearth.MaxLogBatch {
			if _, err := s.AppendLogs(t.Context(), batch, nil, hearth.SideEffects{}); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
		if err != nil {
			return keys
		}
		if keys[row[0]] == 0 {
			created, err := s.CreateDevices(t.Context(), []hearth.Device{{
				ID: row[0], Name: row[0], Type: row[1], Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: noon, UpdatedAt: noon,
			}}, hearth.SideEffects{})
			if err != nil {
				t.Fatal(err)
			}
			keys[row[0]] = created[0].Key
		}
		value, err := strconv.ParseFloat(row[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, row[4])
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, hearth.LogEntry{Device: keys[row[0]], Event: row[2], Value: hearth.Number(value), At: at.UnixMilli()})
	}
}

func checkFacts(t *testing.T, s *Store, want *facts, keys map[string]int64) {
	t.Helper()
	reach := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u")}}
	if n, err := s.CountLogs(t.Context(), reach); err != nil || n != want.Rows {
		t.Errorf("%d logs, %v; want %d", n, err, want.Rows)
	}
	out, err := s.Rollups(t.Context(), hearth.RollupQuery{
		Reach: reach, Span: everSpan, Groupings: []hearth.Grouping{{ByEvent: true}, {ByDevice: true}, {Step: hearth.StepDay}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range out[0] {
		values := want.Values[r.Event]
		if r.Count != want.RowsPerEvent[r.Event] || r.Min != values.Min || r.Max != values.Max || math.Abs(r.Sum-values.Sum) > 1e-9*math.Abs(values.Sum) {
			t.Errorf("%s: %+v, want %d of %+v", r.Event, r.Stats, want.RowsPerEvent[r.Event], values)
		}
	}
	if len(out[0]) != len(want.RowsPerEvent) {
		t.Errorf("%d events, want %d", len(out[0]), len(want.RowsPerEvent))
	}
	byDevice := map[int64]int64{}
	for _, r := range out[1] {
		byDevice[r.Device] = r.Count
	}
	for _, top := range want.Top {
		if n := byDevice[keys[top.Device]]; n != top.Rows {
			t.Errorf("%s has %d logs, want %d", top.Device, n, top.Rows)
		}
	}
	byDay := map[string]int64{}
	for _, r := range out[2] {
		byDay[time.UnixMilli(r.At).UTC().Format(time.DateOnly)] = r.Count
	}
	for day, counts := range want.Days {
		if byDay[day] != counts.Total {
			t.Errorf("%s has %d logs, want %d", day, byDay[day], counts.Total)
		}
	}
}
