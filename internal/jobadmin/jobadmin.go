// Package jobadmin lets administrators list, retry and delete background jobs. What changes a job is in the audit first.
package jobadmin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/api/admin"
	"hearth/internal/api/rest"
	"hearth/internal/queue"
)

// Jobs are the background jobs as the API and the command line show them. All fields but Clock are required.
type Jobs struct {
	Queue queue.Queue
	Store interface {
		Record(ctx context.Context, effects hearth.SideEffects) error
	}
	Clock hearth.Clock
}

var _ admin.Jobs = Jobs{}

// ListJobs implements api.Jobs.
func (j Jobs) ListJobs(ctx context.Context, filter admin.JobFilter, page hearth.Page) (hearth.List[admin.Job], error) {
	list := hearth.List[admin.Job]{Total: -1}
	found, err := j.Queue.List(ctx, queue.Filter{
		Queue: queue.Name(filter.Queue), State: queue.State(filter.State), Limit: page.Size(), Before: page.Cursor.ID,
	})
	if err != nil {
		return list, err
	}
	for _, job := range found.Jobs {
		list.Items = append(list.Items, wireJob(job))
	}
	if found.Next != "" {
		list.Next = hearth.Cursor{Sort: page.Sort, ID: found.Next}
	}
	if !page.Count {
		return list, nil
	}
	counts, err := j.Queue.Counts(ctx)
	list.Total = 0
	for _, c := range counts {
		if (filter.Queue == "" || filter.Queue == string(c.Queue)) && (filter.State == "" || filter.State == string(c.State)) {
			list.Total += c.Jobs
		}
	}
	return list, err
}

// Queues implements api.Jobs.
func (j Jobs) Queues(ctx context.Context) ([]admin.Queue, error) {
	counts, err := j.Queue.Counts(ctx)
	if err != nil {
		return nil, err
	}
	var queues []admin.Queue
	for _, name := range queue.Names() {
		q := admin.Queue{Queue: string(name)}
		to := map[queue.State]*int64{
			queue.Pending: &q.Pending, queue.Running: &q.Running, queue.Scheduled: &q.Scheduled, queue.Retrying: &q.Retrying,
			queue.Completed: &q.Completed, queue.Dead: &q.Dead,
		}
		for _, c := range counts {
			if c.Queue == name {
				*to[c.State] = c.Jobs
			}
		}
		queues = append(queues, q)
	}
	return queues, nil
}

// RetryJob implements api.Jobs.
func (j Jobs) RetryJob(ctx context.Context, caller hearth.Caller, id string) (admin.Job, error) {
	if err := j.record(ctx, caller, "job.retry", id); err != nil {
		return admin.Job{}, err
	}
	if err := j.Queue.Retry(ctx, id); err != nil {
		return admin.Job{}, asJob(err)
	}
	job, err := j.Queue.Job(ctx, id)
	return wireJob(job), asJob(err)
}

// DeleteJob implements api.Jobs.
func (j Jobs) DeleteJob(ctx context.Context, caller hearth.Caller, id string) error {
	if err := j.record(ctx, caller, "job.delete", id); err != nil {
		return err
	}
	return asJob(j.Queue.Delete(ctx, id))
}

// record stores an audit entry of who changes which job; CodeNotFound.
func (j Jobs) record(ctx context.Context, caller hearth.Caller, action, id string) error {
	job, err := j.Queue.Job(ctx, id)
	if err != nil {
		return asJob(err)
	}
	entry := caller.Entry(j.Clock.Now(), action, "job:"+id)
	entry.ActorID = cmp.Or(entry.ActorID, "cli")
	entry.Changes = map[string]hearth.Change{"kind": {Before: job.Kind}, "state": {Before: string(job.State)}}
	return j.Store.Record(ctx, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
}

// asJob makes an error of what is not found one of a job.
func asJob(err error) error {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return hearth.NotFound("job")
	}
	return err
}

func wireJob(j queue.Job) admin.Job {
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	at := func(t time.Time) *rest.Time {
		if t.IsZero() {
			return nil
		}
		wire := rest.Time(t)
		return &wire
	}
	return admin.Job{
		ID: j.ID, Kind: j.Kind, Queue: string(j.Queue), State: string(j.State), Cancelled: j.Cancelled, Attempt: j.Attempt,
		MaxAttempts: j.MaxAttempts, LastError: optional(j.LastError), Worker: optional(j.Worker),
		Progress: admin.JobProgress{
			Percentage: j.Progress.Percentage(), Step: j.Progress.Step, Done: j.Progress.Done, Total: j.Progress.Total,
		},
		CreatedAt: rest.Time(j.CreatedAt), ScheduledAt: rest.Time(j.ScheduledAt), StartedAt: at(j.StartedAt), FinishedAt: at(j.FinishedAt),
	}
}

// Order is what the command line asks of the jobs.
type Order struct {
	// Action is list, retry or delete.
	Action string
	// IDs are the jobs to retry or delete.
	IDs []string
	// Queue and State narrow a list; Limit bounds it, 0 is 50.
	Queue string
	State string
	Limit int
}

// Do carries out an order and returns the jobs that it is about, as they were before a deletion and are after a retry; servers
// may run meanwhile. It stops at the first job that fails: CodeNotFound, CodeConflict, CodeValidationFailed.
func (j Jobs) Do(ctx context.Context, order Order) ([]queue.Job, error) {
	if order.Queue != "" && !slices.Contains(queue.Names(), queue.Name(order.Queue)) ||
		order.State != "" && !slices.Contains(queue.States(), queue.State(order.State)) {
		return nil, hearth.Errorf(hearth.CodeValidationFailed, "there is no such queue or state")
	}
	if order.Action == "list" {
		page, err := j.Queue.List(ctx, queue.Filter{Queue: queue.Name(order.Queue), State: queue.State(order.State), Limit: order.Limit})
		return page.Jobs, err
	}
	var done []queue.Job
	for _, id := range order.IDs {
		job, err := j.Queue.Job(ctx, id)
		if err != nil {
			return done, asJob(err)
		}
		if err := j.record(ctx, hearth.Caller{}, "job."+order.Action, id); err != nil {
			return done, err
		}
		if order.Action == "delete" {
			err = j.Queue.Delete(ctx, id)
		} else if err = j.Queue.Retry(ctx, id); err == nil {
			job, err = j.Queue.Job(ctx, id)
		}
		if err != nil {
			return done, asJob(err)
		}
		done = append(done, job)
	}
	return done, nil
}
