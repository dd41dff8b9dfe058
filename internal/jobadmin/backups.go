package jobadmin

import (
	"context"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/api/rest"
	"hearth/internal/backup"
)

// Backups let administrators list backups and order one. All fields are required.
type Backups struct {
	Jobs
	Schedule *backup.Schedule
}

var _ api.Backups = Backups{}

// ListBackups implements api.Backups.
func (b Backups) ListBackups(ctx context.Context) ([]api.Backup, error) {
	files, err := b.Schedule.List(ctx)
	list := make([]api.Backup, len(files))
	for i, f := range files {
		list[i] = api.Backup{Name: f.Name, CreatedAt: rest.Time(f.At), Bytes: f.Size, Scheduled: f.Scheduled, Encrypted: f.Encrypted()}
	}
	return list, err
}

// OrderBackup implements api.Backups.
func (b Backups) OrderBackup(ctx context.Context, caller hearth.Caller) (api.Job, error) {
	job := b.Schedule.Order()
	entry := caller.Entry(b.Clock.Now(), "backup.order", "job:"+job.ID)
	if err := b.Store.Record(ctx, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}); err != nil {
		return api.Job{}, err
	}
	ids, err := b.Queue.Enqueue(ctx, job)
	if err != nil {
		return api.Job{}, err
	}
	job, err = b.Queue.Job(ctx, ids[0])
	return wireJob(job), err
}
