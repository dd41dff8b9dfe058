package app_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/core/account"
	"hearth/internal/importer"
	"hearth/internal/realdata"
)

// realDataSets are the data sets that tests import.
var realDataSets = map[string]*dataSet{"opensmarthome": {}, "tracebase": {}} // made once a process: an import takes a minute under the race detector

// dataSet is a data set, and a data directory that holds it and an admin.
type dataSet struct {
	once     sync.Once
	file     string
	want     realdata.Facts
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
	set := realdata.Read(t, name)
	d.file, d.want = set.File, set.Facts
	cfg := apitest.Config(t)
	var err error
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
