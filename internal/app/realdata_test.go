package app_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/core/account"
	"hearth/internal/importer"
)

// facts are what a program that shares nothing with this one counted in a data set.
type facts struct {
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
		Min, Max, Sum, Mean float64
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

// realDataSets are the data sets that tests import.
var realDataSets = map[string]*dataSet{"opensmarthome": {}, "tracebase": {}} // made once a process: an import takes a minute under the race detector

// dataSet is a data set, and a data directory that holds it and an admin.
type dataSet struct {
	once     sync.Once
	file     string
	want     facts
	dir      string
	user     hearth.User
	progress importer.Progress
}

// realData returns a data set that was imported.
func realData(t *testing.T, name string) *dataSet {
	t.Helper()
	d := realDataSets[name]
	d.once.Do(func() { d.make(t, name) })
	if d.progress.Rows == 0 {
		t.Fatalf("the data set %s was not imported: see the test that began to", name)
	}
	return d
}

func (d *dataSet) make(t *testing.T, name string) {
	t.Helper()
	var factsFile string
	d.file, factsFile = dataFiles(t, name)
	text, err := os.ReadFile(factsFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d.want); err != nil {
		t.Fatal(err)
	}
	cfg := apitest.Config(t)
	if d.dir, err = os.MkdirTemp("", "hearth-test"); err != nil { //nolint:usetesting // it outlives the test
		t.Fatal(err)
	}
	cfg.DataDir = d.dir
	a := app.NewProgram(t, cfg)
	d.user = a.CreateUser(t, account.NewUser{Name: "Ann", Email: annsMail, Password: apitest.Password, Role: hearth.RoleAdmin})
	progress, err := a.Importer().File(t.Context(), importer.Import{File: d.file, Columns: importer.DefaultColumns()})
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	d.progress = progress
}

// config returns the settings of a server without rate limits and with a copy of the data directory.
func (d *dataSet) config(t *testing.T) *config.Config {
	t.Helper()
	cfg := apitest.Unlimited(t)
	err := fs.WalkDir(os.DirFS(d.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(cfg.DataDir, name), 0o700)
		}
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(cfg.DataDir, name), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// serve runs a program with a copy of the data directory, and returns its admin.
func (d *dataSet) serve(t *testing.T) (admin *apitest.Client, dir string) {
	t.Helper()
	cfg := d.config(t)
	return apitest.LogIn(t, apitest.Start(t, cfg), annsMail), cfg.DataDir
}

// removeRealData removes the data directories.
func removeRealData() (err error) {
	for _, d := range realDataSets {
		if d.dir != "" {
			err = errors.Join(err, os.RemoveAll(d.dir))
		}
	}
	return err
}

// dataFiles returns the files of a data set: the program's own, or one in shared/data beside the repository.
func dataFiles(t *testing.T, name string) (csv, factsFile string) {
	t.Helper()
	if name == "opensmarthome" {
		return "../demo/data/opensmarthome.csv.gz", "../demo/data/opensmarthome.facts.json"
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if folder := filepath.Join(dir, "shared", "data", name); isDir(folder) {
			return filepath.Join(folder, "visible.csv.gz"), filepath.Join(folder, "facts.json")
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("the data set %s is not beside this repository", name)
	}
	t.Skipf("the data set %s is not beside this repository, and its licence keeps it out", name)
	return "", ""
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
