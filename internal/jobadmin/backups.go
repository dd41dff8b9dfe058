package jobadmin

import (
	"context"

	"hearth"
	"hearth/internal/api/admin"
	"hearth/internal/api/rest"
	"hearth/internal/backup"
)

// Backups let administrators list backups and order one. All fields are required.
type Backups struct {
	Jobs
	Schedule *backup.Schedule
}

var _ admin.Backups = Backups{}

// ListBackups implements api.Backups.
func (b Backups) ListBackups(ctx context.Context) ([]admin.Backup, error) {
	files, err := b.Schedule.List(ctx)
	list := make([]admin.Backup, len(files))
	for i, f := range files {
		list[i] = admin.Backup{Name: f.Name, CreatedAt: rest.Time(f.At), Bytes: f.Size, Scheduled: f.Scheduled, Encrypted: f.Encrypted()}
	}
	return list, err
}

// OrderBackup implements api.Backups.
func (b Backups) OrderBackup(ctx context.Context, caller hearth.Caller) (admin.Job, error) {
	job := b.Schedule.Order()
	entry := caller.Entry(b.Clock.Now(), "backup.order", "job:"+job.ID)
	if err := b.Store.Record(ctx, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}); err != nil {
		return admin.Job{}, err
	}
	ids, err := b.Queue.Enqueue(ctx, job)
	if err != nil {
		return admin.Job{}, err
	}
	job, err = b.Queue.Job(ctx, ids[0])
	return wireJob(job), err
}
