package admin

import (
	"context"
	"net/http"

	"hearth"
	"hearth/internal/api/rest"
)

// Backups are the backups of the server, as administrators list and order them.
type Backups interface {
	// ListBackups returns those that are kept, the newest first.
	ListBackups(ctx context.Context) ([]Backup, error)
	// OrderBackup queues a backup and returns its job, or the job of an earlier order that has not ended.
	OrderBackup(ctx context.Context, caller hearth.Caller) (Job, error)
}

// Backup is an archive that is kept.
type Backup struct {
	Name      string    `json:"name" example:"hearth-20260301t120000z.tar" doc:"What hearth backup verify and restore take."`
	CreatedAt rest.Time `json:"created_at"`
	Bytes     int64     `json:"bytes" example:"73400320"`
	Scheduled bool      `json:"scheduled" doc:"Made by backup_schedule: removed once backup_keep newer ones are kept."`
	Encrypted bool      `json:"encrypted"`
}

// registerBackups adds the backups, for admins.
func (a *administration) registerBackups() {
	s := a.Backups
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "list-backups", Method: http.MethodGet, Path: "/admin/backups", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys,
		Summary: "List the backups", Description: "Those that are kept where `backup_dir` or `blob_url` says, the newest first.",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[rest.List[Backup]], error) {
		backups, err := s.ListBackups(ctx)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(hearth.List[Backup]{Items: backups, Total: -1}, "", func(b Backup) Backup { return b })
		return &rest.Body[rest.List[Backup]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "order-backup", Method: http.MethodPost, Path: "/admin/backups", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys,
		Summary: "Order a backup", Status: http.StatusAccepted,
		Description: "A job of the queue `export` makes it, and the answer is that job. While an ordered backup has not ended, another order is answered " +
			"with its job. An ordered backup is kept until it is deleted where it is stored.",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[Job], error) {
		job, err := s.OrderBackup(ctx, rest.CallerOf(ctx))
		return &rest.Body[Job]{Body: job}, err
	})
}
