package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"hearth/internal/app"
	"hearth/internal/jobadmin"
)

type jobsCommand struct {
	List   jobsListCommand   `cmd:"" help:"List jobs, the newest first."`
	Retry  jobsRetryCommand  `cmd:"" help:"Run dead jobs again, or waiting jobs now."`
	Delete jobsDeleteCommand `cmd:"" help:"Delete jobs that do not run."`
}

type jobsListCommand struct {
	Settings
	Queue string `placeholder:"Q" help:"Only those of this queue: export, notification or cleanup."`
	State string `placeholder:"S" help:"Only those in this state: pending, running, scheduled, retrying, completed or dead."`
	Limit int    `default:"50" placeholder:"N" help:"Most jobs to list, 1 to 200 (default: 50)."`
}

type jobsRetryCommand struct {
	Settings
	ID []string `arg:"" help:"Ids of jobs."`
}

type jobsDeleteCommand struct {
	Settings
	ID []string `arg:"" help:"Ids of jobs."`
}

// Run lists jobs.
func (c *jobsListCommand) Run(ctx context.Context, p *Process) error {
	if c.Limit < 1 || c.Limit > 200 {
		return usageError{fmt.Errorf("--limit must be 1 to 200, not %d", c.Limit)}
	}
	return orderJobs(ctx, p, &c.Settings, jobadmin.Order{Action: "list", Queue: c.Queue, State: c.State, Limit: c.Limit})
}

// Run makes jobs due.
func (c *jobsRetryCommand) Run(ctx context.Context, p *Process) error {
	return orderJobs(ctx, p, &c.Settings, jobadmin.Order{Action: "retry", IDs: c.ID})
}

// Run removes jobs.
func (c *jobsDeleteCommand) Run(ctx context.Context, p *Process) error {
	return orderJobs(ctx, p, &c.Settings, jobadmin.Order{Action: "delete", IDs: c.ID})
}

// orderJobs carries out an order and prints the jobs that it is about.
func orderJobs(ctx context.Context, p *Process, s *Settings, order jobadmin.Order) error {
	cfg, err := s.load(p)
	if err != nil {
		return err
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		jobs, err := app.Jobs(ctx, s, order)
		table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
		row(table, "ID", "QUEUE", "KIND", "STATE", "TRIES", "DUE", "LAST ERROR")
		for _, j := range jobs {
			state := string(j.State)
			if order.Action == "delete" {
				state = "deleted"
			}
			line, _, _ := strings.Cut(j.LastError, "\n")
			row(table, j.ID, string(j.Queue), j.Kind, state, strconv.Itoa(j.Attempt)+"/"+strconv.Itoa(j.MaxAttempts),
				j.ScheduledAt.Format(time.RFC3339), strings.ToValidUTF8(line[:min(len(line), 120)], ""))
		}
		if flushErr := table.Flush(); err == nil {
			err = flushErr
		}
		return err
	})
}

func row(w io.Writer, cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }
