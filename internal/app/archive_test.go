package app_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/blob"
	"hearth/internal/config"
	"hearth/internal/core/archive"
	"hearth/internal/importer"
)

func TestRealDataThatWasArchivedComesBackWithEveryFact(t *testing.T) {
	t.Parallel()
	data := realData(t, "opensmarthome")
	f := &factCheck{T: t, want: data.want, ids: map[string]string{}, caller: hearth.Caller{UserID: data.user.ID, Role: data.user.Role}}
	dir := data.config(t).DataDir
	open := func(change func(*config.Config), clock hearth.Clock) (a *app.Program, end func()) {
		t.Helper()
		cfg := apitest.Config(t)
		cfg.DataDir = dir
		change(cfg)
		a = app.NewProgram(t, cfg, func(s *app.Settings) { s.Clock = clock })
		return a, func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	plain := func(*config.Config) {}
	archiving := func(c *config.Config) { c.Retention, c.Archive = 30*24*time.Hour, true }

	// Half an hour after the data's last log; its first month lies in March.
	a, end := open(archiving, func() time.Time { return f.want.LastTimestamp.Add(30 * time.Minute) })
	removed, err := a.Telemetry().CleanUp(t.Context())
	if err != nil || removed == 0 {
		t.Errorf("cleaning up removed %d, %v", removed, err)
	}
	page, err := a.Files().List(t.Context(), blob.ListOptions{Prefix: archive.Prefix})
	if err != nil || len(page.Files) != 2 {
		t.Fatalf("the archive holds %+v, %v", page.Files, err)
	}
	// What retention would take again at once is not let in.
	if _, err := a.Importer().File(t.Context(), importer.Import{File: page.Files[0].Key}); err == nil || !strings.Contains(err.Error(), "HEARTH_RETENTION") {
		t.Errorf("an import against the retention: %v", err)
	}
	end()

	a, end = open(plain, nil)
	defer end()
	left, err := a.Store().CountLogs(t.Context(), hearth.Reach{All: true})
	if err != nil || left == 0 || left >= f.want.Rows {
		t.Errorf("%d logs are left, %v", left, err)
	}
	back := int64(0)
	for i, file := range page.Files {
		name := file.Key
		if i == 0 { // by its path
			name = filepath.Join(dir, "files", filepath.FromSlash(file.Key))
		}
		progress, err := a.Importer().File(t.Context(), importer.Import{File: name})
		if err != nil {
			t.Fatal(err)
		}
		back += progress.Rows
		if again, err := a.Importer().File(t.Context(), importer.Import{File: file.Key}); err != nil || again.Rows != 0 || again.Before != progress.Rows {
			t.Errorf("the same file again: %+v, %v", again, err)
		}
	}
	if left+back != f.want.Rows {
		t.Errorf("%d logs were left and %d came back, of %d", left, back, f.want.Rows)
	}
	f.app = a
	f.whole()
	f.events(data.file)
	f.types()
	f.days()
	f.hours()
	if _, err := a.Importer().File(t.Context(), importer.Import{File: "archive/logs/2026-01/none.parquet"}); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("a file that is not there: %v", err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "import-*")); err != nil || len(files) > 0 {
		t.Errorf("left are %v", files)
	}
}
