package backup

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/config"
	"hearth/internal/queue"
)

const (
	createKind = "backup.create"
	// createTimeout ends a backup that hangs.
	createTimeout = 6 * time.Hour
	// listFresh is for how long a scrape shows the same list of backups, and listTimeout bounds reading it.
	listFresh   = time.Minute
	listTimeout = 2 * time.Second
)

// ScheduleOptions are what backups of a schedule are made of.
type ScheduleOptions struct {
	Config  *config.Config
	Source  Source
	Files   blob.Store
	Version string
	Clock   hearth.Clock
	Logger  *slog.Logger
}

// Schedule makes the backups of the configuration's schedule while the program serves, and reports the newest backup to
// Prometheus, whichever process made it.
type Schedule struct {
	options  ScheduleOptions
	place    Place
	at, size *prometheus.Desc
	failures prometheus.Counter

	mu     sync.Mutex
	listed time.Time
	newest *File
}

var _ prometheus.Collector = (*Schedule)(nil)

// NewSchedule returns the schedule. Its jobs run where a worker knows its Kinds and Periodic.
func NewSchedule(options ScheduleOptions) *Schedule {
	return &Schedule{
		options: options, place: PlaceOf(options.Config, options.Files),
		at: prometheus.NewDesc("hearth_backup_last_success_timestamp_seconds",
			"When the newest backup was made, in Unix seconds; 0 where there is a schedule and no backup yet.", nil, nil),
		size: prometheus.NewDesc("hearth_backup_last_size_bytes", "Size of the newest backup.", nil, nil),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_backup_failures_total", Help: "Backups of the schedule that failed in this process.",
		}),
	}
}

// Kinds returns the kind of job that makes a backup.
func (s *Schedule) Kinds() []queue.Kind {
	return []queue.Kind{{Name: createKind, Timeout: createTimeout, MaxAttempts: 3, Handler: s.create}}
}

// Periodic returns when backups are made; nothing where there is no schedule.
func (s *Schedule) Periodic() []queue.Periodic {
	schedule := s.options.Config.BackupSchedule
	if schedule.Every == 0 {
		return nil
	}
	return []queue.Periodic{{Name: createKind, Every: schedule.Every, Offset: schedule.Offset, Kind: createKind, Queue: queue.Export}}
}

// ordered is the payload of a job that makes a backup which retention leaves alone.
const ordered = `{"ordered":true}`

// Order returns a job that makes a backup now; of those that have not ended, a queue holds one.
func (s *Schedule) Order() queue.Job {
	return queue.Job{
		ID: queue.NewID(s.options.Clock.Now()), Kind: createKind, Queue: queue.Export, Payload: json.RawMessage(ordered), Unique: createKind + ":ordered",
	}
}

// List returns the backups that are kept, the newest first.
func (s *Schedule) List(ctx context.Context) ([]File, error) { return s.place.List(ctx) }

// create makes a backup and removes those that are too old.
func (s *Schedule) create(ctx context.Context, task *queue.Task) error {
	start := time.Now()
	o := s.options
	var order struct {
		Ordered bool `json:"ordered"`
	}
	if err := json.Unmarshal(task.Job.Payload, &order); err != nil {
		return err
	}
	m := maker{cfg: o.Config, source: o.Source, version: o.Version, clock: o.Clock, progress: func(p Progress) {
		task.Report(queue.Progress{Step: p.Step, Done: p.Records, Total: p.Total})
	}}
	file, manifest, err := m.writeTo(ctx, s.place, !order.Ordered)
	if err != nil {
		s.failures.Inc()
		return err
	}
	s.mu.Lock()
	s.listed = time.Time{}
	s.mu.Unlock()
	removed, err := Prune(ctx, s.place, o.Config.BackupKeep)
	o.Logger.InfoContext(ctx, "backed up", "file", file.Name, "bytes", file.Size, "logs", manifest.Records("logs"),
		"duration", time.Since(start), "removed", removed)
	return err
}

// Describe implements prometheus.Collector.
func (s *Schedule) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.at
	ch <- s.size
	s.failures.Describe(ch)
}

// Collect implements prometheus.Collector. While the place does not answer, it reports what it knew.
func (s *Schedule) Collect(ch chan<- prometheus.Metric) {
	s.failures.Collect(ch)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.options.Clock.Now(); s.listed.IsZero() || now.Sub(s.listed) >= listFresh || now.Before(s.listed) {
		ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
		defer cancel()
		if files, err := s.place.List(ctx); err == nil {
			s.newest, s.listed = nil, now
			if len(files) > 0 {
				s.newest = &files[0]
			}
		}
	}
	at, size := 0.0, 0.0
	if s.newest != nil {
		at, size = float64(s.newest.At.Unix()), float64(s.newest.Size)
	} else if s.options.Config.BackupSchedule.Every == 0 {
		return
	}
	ch <- prometheus.MustNewConstMetric(s.at, prometheus.GaugeValue, at)
	ch <- prometheus.MustNewConstMetric(s.size, prometheus.GaugeValue, size)
}
