// Package exports writes the data of users into files: logs and reports, written in the background from a consistent snapshot
// to the blob store, in constant memory.
//
// An export is ordered with Create, which leaves a job in the same write; a worker runs it (see Kinds). Each run writes a file
// of its own, and only the run that the export names may finish it: so a run that was lost, cancelled or repeated never
// leaves a second file. Clean takes away what expired and what crashes left.
package exports

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"time"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/queue"
)

// Kinds of jobs: JobRun writes an export's file; JobNotify, which package notify runs, notifies its owner of the end; JobSchedule,
// which comes every minute, orders what schedules have due.
const (
	JobRun      = "export.run"
	JobNotify   = "notify.export"
	JobSchedule = "export.schedule"
)

// Logs are what is exported.
type Logs interface {
	ScanLogs(ctx context.Context, scan hearth.LogScan) iter.Seq2[hearth.LogEntry, error]
	Rollups(ctx context.Context, query hearth.RollupQuery) ([][]hearth.Rollup, error)
	CountLogs(ctx context.Context, reach hearth.Reach) (int64, error)
}

// Devices are what the logs are of.
type Devices interface {
	Devices(ctx context.Context, filter hearth.DeviceFilter, page hearth.Page) (hearth.List[hearth.Device], error)
	DevicesByID(ctx context.Context, ids []string) ([]hearth.Device, error)
	DevicesByKey(ctx context.Context, keys []int64) ([]hearth.Device, error)
}

// Jobs are the queue's side of the work. Errors as in queue.Queue.
type Jobs interface {
	Job(ctx context.Context, id string) (queue.Job, error)
	Cancel(ctx context.Context, id string) error
}

var (
	_ Logs    = hearth.LogStore(nil)
	_ Users   = hearth.UserStore(nil)
	_ Devices = hearth.DeviceStore(nil)
	_ Jobs    = queue.Queue(nil)
)

// Users knows the owners of schedules.
type Users interface {
	// User returns one user; CodeNotFound.
	User(ctx context.Context, id string) (hearth.User, error)
}

// Options are what the service works with. Store, Schedules, Users, Logs, Devices, Jobs and Files are required.
type Options struct {
	Store     hearth.ExportStore
	Schedules hearth.ExportScheduleStore
	Users     Users
	// Roles returns a user's organizations; nil: none has any.
	Roles   func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	Logs    Logs
	Devices Devices
	// Snapshot has all reads of Logs and Devices with fn's context, one after another, see them as of one moment; nil where the store
	// cannot: a report is then of one moment for every 200 devices.
	Snapshot func(ctx context.Context, fn func(context.Context) error) error
	Jobs     Jobs
	// Files keeps the finished files, under "exports/".
	Files blob.Store
	// Webhooks are sent exports that are complete; nil: there are none.
	Webhooks hearth.WebhookNotes
	// Publisher receives progress; nil discards it.
	Publisher hearth.Publisher
	// TTL is how long an export is kept after its end; 0 is hearth.ExportTTL.
	TTL   time.Duration
	Clock hearth.Clock
	// Log records failures in the background; nil discards them.
	Log *slog.Logger
}

func (o Options) validate() (Options, error) {
	if o.Store == nil || o.Schedules == nil || o.Users == nil || o.Logs == nil || o.Devices == nil || o.Jobs == nil || o.Files == nil {
		return o, errors.New("exports: stores, users, logs, devices, jobs and files are needed")
	}
	if o.Roles == nil {
		o.Roles = func(context.Context, string) (map[string]hearth.OrgRole, error) { return nil, nil }
	}
	if o.Snapshot == nil {
		o.Snapshot = func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }
	}
	o.TTL = cmp.Or(o.TTL, hearth.ExportTTL)
	if o.TTL < 0 {
		return o, errors.New("exports: the TTL is negative")
	}
	if o.Webhooks == nil {
		o.Webhooks = hearth.NoWebhooks{}
	}
	if o.Publisher == nil {
		o.Publisher = nobody{}
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return o, nil
}

type nobody struct{}

func (nobody) Publish(...hearth.Event) {}

// Service takes orders, runs them and hands the files out. It may be used from many goroutines.
type Service struct {
	o     Options
	clock hearth.PutBack
}

// New makes the service.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	return &Service{o: options}, nil
}

func (s *Service) now() time.Time { return s.o.Clock.Now() }

// The limits of one job: its time, and its attempts where the failure may pass.
const (
	runTimeout  = 12 * time.Hour
	runAttempts = 4
)

// Kinds returns the jobs that a worker does for this service.
func (s *Service) Kinds() []queue.Kind {
	return []queue.Kind{
		{Name: JobRun, Handler: s.run, Timeout: runTimeout, MaxAttempts: runAttempts},
		{Name: JobSchedule, Handler: s.schedule, Timeout: time.Minute, MaxAttempts: 1},
	}
}

// Periodic returns the jobs that come by themselves.
func (s *Service) Periodic() []queue.Periodic {
	return []queue.Periodic{{Name: JobSchedule, Every: time.Minute, Kind: JobSchedule, Queue: queue.Notification}}
}

// runPayload is the payload of JobRun.
type runPayload struct {
	ExportID string `json:"export_id"`
}

// Notice is the payload of JobNotify.
type Notice struct {
	ExportID string `json:"export_id"`
	UserID   string `json:"user_id"`
	// Status is completed or failed.
	Status hearth.ExportStatus `json:"status"`
	// ForceMail asks for an e-mail whatever the settings say.
	ForceMail bool `json:"force_mail"`
}

// runJob is the work that an order causes.
func runJob(e hearth.Export) (hearth.OutboxJob, error) {
	payload, err := json.Marshal(runPayload{ExportID: e.ID})
	return hearth.OutboxJob{ID: e.Job, Kind: JobRun, Queue: string(queue.Export), Payload: payload, Unique: "export:" + e.ID}, err
}

// notifyJob is the work that an end causes.
func (s *Service) notifyJob(e hearth.Export, status hearth.ExportStatus) (hearth.OutboxJob, error) {
	payload, err := json.Marshal(Notice{ExportID: e.ID, UserID: e.UserID, Status: status, ForceMail: e.Notify})
	return hearth.OutboxJob{ID: queue.NewID(s.now()), Kind: JobNotify, Queue: string(queue.Notification), Payload: payload}, err
}

// publish sends the export's progress to its owner.
func (s *Service) publish(e hearth.Export) {
	s.o.Publisher.Publish(hearth.Event{Type: hearth.EventExportProgress, At: s.now(), Data: e, UserID: e.UserID})
}

// filePrefix is what the keys of an export's files begin with: one file a run.
func filePrefix(id string) string { return "exports/" + id + "." }

// dropFiles removes the export's files, but for the one to keep ("" for none).
func (s *Service) dropFiles(ctx context.Context, id, keep string) error {
	page, err := s.o.Files.List(ctx, blob.ListOptions{Prefix: filePrefix(id)})
	if err != nil {
		return err
	}
	for _, file := range page.Files {
		if file.Key != keep {
			err = errors.Join(err, s.o.Files.Delete(ctx, file.Key))
		}
	}
	return err
}
