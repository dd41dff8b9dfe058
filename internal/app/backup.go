package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/backup"
	"hearth/internal/blob"
	"hearth/internal/config"
	"hearth/internal/queue"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/sqlite"
)

// The parts of backups that commands name.
type (
	// BackupProgress is how far a backup, a restore or a move has come.
	BackupProgress = backup.Progress
	// BackupManifest says what an archive holds.
	BackupManifest = backup.Manifest
	// BackupFile is an archive that is kept.
	BackupFile = backup.File
)

// refuseHalfRestored fails for a store whose restore has not ended: it must not be served from, and not be written to.
func (a *App) refuseHalfRestored(ctx context.Context) error {
	archiver, ok := any(a.store).(hearth.Archiver)
	if !ok {
		return nil
	}
	return refuseHalfRestored(ctx, archiver)
}

func refuseHalfRestored(ctx context.Context, store interface {
	Restoring(ctx context.Context) (hearth.Restore, error)
}) error {
	mark, err := store.Restoring(ctx)
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("the store is half restored (from %s, begun %s): run the same restore or migrate again, which goes on where it stopped, or empty the store",
		mark.Source, mark.StartedAt.Format(time.RFC3339))
}

// openBackups registers the figures of backups.
func (a *App) openBackups() {
	a.backups = &backupFigures{
		place: a.backupPlace(), scheduled: a.config.BackupSchedule.Every > 0, clock: a.options.Clock,
		at: prometheus.NewDesc("hearth_backup_last_success_timestamp_seconds",
			"When the newest backup was made, in Unix seconds; 0 where there is a schedule and no backup yet.", nil, nil),
		size: prometheus.NewDesc("hearth_backup_last_size_bytes", "Size of the newest backup.", nil, nil),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_backup_failures_total", Help: "Backups of the schedule that failed in this process.",
		}),
	}
	a.metrics.Registry.MustRegister(a.backups, a.backups.failures)
}

func (a *App) backupPlace() backup.Place { return placeOf(a.config, a.files) }

// placeOf returns where the configuration keeps backups.
func placeOf(cfg *config.Config, files blob.Store) backup.Place {
	if cfg.BackupDir != "" {
		return backup.Folder{Path: cfg.BackupDir}
	}
	return backup.Blobs{Store: files}
}

// BackupOrder says where a backup goes.
type BackupOrder struct {
	// File is the path of a new file; "" is a name of the time, in the place that the configuration names.
	File string
	// ToBlob keeps it in the storage of files, whatever the configuration says.
	ToBlob   bool
	Progress func(BackupProgress)

	scheduled bool
}

// CreateBackup archives the store as it is now; servers go on beside it. It returns where the archive is. Nothing is left of
// one that fails.
func (a *App) CreateBackup(ctx context.Context, o BackupOrder) (BackupFile, BackupManifest, error) {
	source, ok := any(a.store).(hearth.Archiver)
	if !ok {
		return BackupFile{}, BackupManifest{}, errors.New("this kind of store cannot be backed up by hearth")
	}
	return backingUp{cfg: a.config, source: source, files: a.files, version: a.options.Version, clock: a.options.Clock}.create(ctx, o)
}

// BackUp is CreateBackup for a command: the process returns way to every other, and writes nothing to a SQLite store, whose
// server would wait for it.
func BackUp(ctx context.Context, r Restoring, version string, o BackupOrder) (_ BackupFile, _ BackupManifest, err error) {
	lowerProcess()
	source, err := r.openSource(ctx)
	if err != nil {
		return BackupFile{}, BackupManifest{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := refuseHalfRestored(ctx, source); err != nil {
		return BackupFile{}, BackupManifest{}, err
	}
	k, err := openKeeper(r.Config)
	if err != nil {
		return BackupFile{}, BackupManifest{}, err
	}
	defer func() { err = errors.Join(err, k.files.Close()) }()
	o.Progress = r.Progress
	return backingUp{cfg: r.Config, source: source, files: k.files, version: version, clock: r.Clock}.create(ctx, o)
}

// readStore is a store that is archived and not written to.
type readStore interface {
	backup.Source
	Restoring(ctx context.Context) (hearth.Restore, error)
	Close() error
}

// openSource opens the configuration's store to archive it.
func (r Restoring) openSource(ctx context.Context) (readStore, error) {
	if r.Config.StoreURL == "" {
		return sqlite.OpenSource(ctx, sqlite.Options{Path: filepath.Join(r.Config.DataDir, "hearth.db"), Clock: r.Clock, Logger: r.Logger})
	}
	return mongodb.Open(ctx, mongodb.Options{URI: r.Config.StoreURL, Clock: r.Clock, Logger: r.Logger})
}

// backingUp is what a backup is made of.
type backingUp struct {
	cfg     *config.Config
	source  backup.Source
	files   blob.Store
	version string
	clock   hearth.Clock
}

func (b backingUp) create(ctx context.Context, o BackupOrder) (BackupFile, BackupManifest, error) {
	var settings bytes.Buffer
	if err := b.cfg.Print(&settings); err != nil {
		return BackupFile{}, BackupManifest{}, err
	}
	options := backup.WriteOptions{
		From: b.source, Program: b.version, Store: storeKind(b.cfg), Settings: settings.String(), Clock: b.clock, Progress: o.Progress,
		Rest: backupRest,
	}
	if len(b.cfg.BackupKeys) > 0 {
		options.Key = b.cfg.BackupKeys[0][:]
	}
	var manifest BackupManifest
	fill := func(w io.Writer) error {
		return gently(func() (err error) {
			manifest, err = backup.Write(ctx, w, options)
			return err
		})
	}
	if o.File != "" {
		size, err := backup.WriteFile(o.File, fill)
		return BackupFile{Name: o.File, Size: size, At: manifest.CreatedAt}, manifest, err
	}
	place := placeOf(b.cfg, b.files)
	if o.ToBlob {
		place = backup.Blobs{Store: b.files}
	}
	file, err := place.Write(ctx, backup.NameOf(b.clock.Now(), o.scheduled, options.Key != nil), fill)
	return file, manifest, err
}

// backupRest is how long a backup rests at most after a part, about as long as it worked on it.
const backupRest = 50 * time.Millisecond

// gently does something that has time beside what people wait for, and waits for it.
func gently(do func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("a backup panicked: %v", p)
			}
		}()
		lowerPriority()
		err = do()
	}()
	<-done
	return err
}

func storeKind(cfg *config.Config) string {
	if cfg.StoreURL == "" {
		return "sqlite"
	}
	kind, _, _ := strings.Cut(cfg.StoreURL, "+")
	kind, _, _ = strings.Cut(kind, ":")
	return kind
}

const (
	backupJob = "backup.create"
	// backupTimeout ends a backup that hangs.
	backupTimeout = 6 * time.Hour
)

func (a *App) backupKinds() []queue.Kind {
	return []queue.Kind{{Name: backupJob, Timeout: backupTimeout, MaxAttempts: 3, Handler: a.runBackup}}
}

func (a *App) backupSchedule() []queue.Periodic {
	s := a.config.BackupSchedule
	if s.Every == 0 {
		return nil
	}
	return []queue.Periodic{{Name: backupJob, Every: s.Every, Offset: s.Offset, Kind: backupJob, Queue: queue.Export}}
}

// runBackup makes the schedule's backup and removes those that are too old.
func (a *App) runBackup(ctx context.Context, task *queue.Task) error {
	start := time.Now()
	file, manifest, err := a.CreateBackup(ctx, BackupOrder{scheduled: true, Progress: func(p BackupProgress) {
		task.Report(queue.Progress{Step: p.Step, Done: p.Records, Total: p.Total})
	}})
	if err != nil {
		a.backups.failures.Inc()
		return err
	}
	a.backups.forget()
	removed, err := backup.Prune(ctx, a.backupPlace(), a.config.BackupKeep)
	a.log.InfoContext(ctx, "backed up", "file", file.Name, "bytes", file.Size, "logs", manifest.Records("logs"),
		"duration", time.Since(start), "removed", removed)
	return err
}

// backupFigures tells Prometheus of the newest backup, whoever made it.
type backupFigures struct {
	place     backup.Place
	scheduled bool
	clock     hearth.Clock
	at, size  *prometheus.Desc
	failures  prometheus.Counter

	mu     sync.Mutex
	looked time.Time
	newest *backup.File
}

const (
	// backupLook is how old what a scrape is told may be, and backupLookTimeout bounds finding out.
	backupLook        = time.Minute
	backupLookTimeout = 2 * time.Second
)

// Describe implements prometheus.Collector.
func (f *backupFigures) Describe(ch chan<- *prometheus.Desc) {
	ch <- f.at
	ch <- f.size
}

// Collect implements prometheus.Collector. While the place does not answer, it tells what it knew.
func (f *backupFigures) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.clock.Now(); f.looked.IsZero() || now.Sub(f.looked) >= backupLook || now.Before(f.looked) {
		ctx, cancel := context.WithTimeout(context.Background(), backupLookTimeout)
		defer cancel()
		if files, err := f.place.List(ctx); err == nil {
			f.newest, f.looked = nil, now
			if len(files) > 0 {
				f.newest = &files[0]
			}
		}
	}
	at, size := 0.0, 0.0
	if f.newest != nil {
		at, size = float64(f.newest.At.Unix()), float64(f.newest.Size)
	} else if !f.scheduled {
		return
	}
	ch <- prometheus.MustNewConstMetric(f.at, prometheus.GaugeValue, at)
	ch <- prometheus.MustNewConstMetric(f.size, prometheus.GaugeValue, size)
}

func (f *backupFigures) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Time{}
}

// keeper is where archives of a configuration are, for commands that need no store.
type keeper struct {
	cfg   *config.Config
	files blob.Store
}

func openKeeper(cfg *config.Config) (*keeper, error) {
	files, err := openFiles(cfg.BlobURL, filepath.Join(cfg.DataDir, "files"))
	return &keeper{cfg, files}, err
}

func (k *keeper) keys() [][]byte {
	var keys [][]byte
	for i := range k.cfg.BackupKeys {
		keys = append(keys, k.cfg.BackupKeys[i][:])
	}
	return keys
}

// ListBackups returns the archives that the configuration's place keeps, the newest first.
func ListBackups(ctx context.Context, cfg *config.Config) (files []BackupFile, err error) {
	k, err := openKeeper(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.files.Close()) }()
	return placeOf(cfg, k.files).List(ctx)
}
