// Package realdata reads the data sets of real devices that tests import, and what is known of them. Only tests import it.
package realdata

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Set is a data set.
type Set struct {
	// File is the path of its rows, as an import takes them.
	File  string
	Facts Facts
}

// Facts are what a program that shares nothing with this one counted in a data set.
type Facts struct {
	Rows           int64     `json:"rows"`
	Devices        int64     `json:"devices"`
	FirstTimestamp time.Time `json:"first_timestamp"`
	LastTimestamp  time.Time `json:"last_timestamp"`
	Top            []struct {
		Device string `json:"device"`
		Rows   int64  `json:"rows"`
	} `json:"top5_devices"`
	RowsPerEvent   map[string]int64 `json:"rows_per_event"`
	RowsPerType    map[string]int64 `json:"rows_per_type"`
	ValuesPerEvent map[string]struct {
		Min  float64 `json:"min"`
		Max  float64 `json:"max"`
		Sum  float64 `json:"sum"`
		Mean float64 `json:"mean"`
	} `json:"values_per_event"`
	RowsPerDay map[string]struct {
		Total    int64            `json:"total"`
		PerEvent map[string]int64 `json:"per_event"`
	} `json:"rows_per_day"`
	RowsPerHour struct {
		Day     string `json:"day"`
		Devices map[string]struct {
			Counts []int64   `json:"counts"`
			Sums   []float64 `json:"sums"`
		} `json:"devices"`
	} `json:"rows_per_hour"`
}

// Row is a reading of a device. Its strings are valid until the next one is read.
type Row struct {
	Device, Type, Event string
	Value               float64
	At                  time.Time
}

// Read returns a data set: one that the demo has, or one in shared/data next to the repository. It skips the test if the set is not
// there, and fails it in CI.
func Read(tb testing.TB, name string) *Set {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		demo, data := filepath.Join(dir, "internal", "demo", "data", name), filepath.Join(dir, "shared", "data", name)
		switch {
		case isFile(demo + ".csv.gz"):
			return &Set{File: demo + ".csv.gz", Facts: readFacts(tb, demo+".facts.json")}
		case isFile(filepath.Join(data, "visible.csv.gz")):
			return &Set{File: filepath.Join(data, "visible.csv.gz"), Facts: readFacts(tb, filepath.Join(data, "facts.json"))}
		case dir == filepath.Dir(dir):
			if os.Getenv("CI") != "" {
				tb.Fatalf("the data set %s is not next to this repository", name)
			}
			tb.Skipf("the data set %s is not next to this repository, and its licence keeps it out", name)
		}
		dir = filepath.Dir(dir)
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func readFacts(tb testing.TB, path string) (f Facts) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		tb.Fatal(err)
	}
	return f
}

// EachRow calls use with each row of the file, in its order.
func (s *Set) EachRow(tb testing.TB, use func(Row)) {
	tb.Helper()
	file, err := os.Open(s.File)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	rows := csv.NewReader(unzipped)
	rows.ReuseRecord = true
	if _, err := rows.Read(); err != nil { // the names of the columns
		tb.Fatal(err)
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
		value, err := strconv.ParseFloat(row[3], 64)
		if err != nil {
			tb.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, row[4])
		if err != nil {
			tb.Fatal(err)
		}
		use(Row{Device: row[0], Type: row[1], Event: row[2], Value: value, At: at})
	}
}
