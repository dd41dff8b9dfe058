package admin

import (
	"context"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/observe"
)

// Jobs is the background work, as administrators see and steer it.
type Jobs interface {
	// ListJobs returns a page, newest first.
	ListJobs(ctx context.Context, filter JobFilter, page hearth.Page) (hearth.List[Job], error)
	// Queues counts the jobs of every queue.
	Queues(ctx context.Context) ([]Queue, error)
	// RetryJob makes a job due that is dead or waits; CodeNotFound, CodeConflict.
	RetryJob(ctx context.Context, caller hearth.Caller, id string) (Job, error)
	// DeleteJob removes a job that does not run; CodeNotFound, CodeConflict.
	DeleteJob(ctx context.Context, caller hearth.Caller, id string) error
}

// JobFilter picks jobs; a zero field does not.
type JobFilter struct{ Queue, State string }

// Job is a piece of background work. What it is about stays inside: it may be personal.
type Job struct {
	ID          string      `json:"id" example:"0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"`
	Kind        string      `json:"kind" example:"export.run"`
	Queue       string      `json:"queue" enum:"export,notification,cleanup,channel"`
	State       string      `json:"state" enum:"pending,running,scheduled,retrying,completed,dead"`
	Cancelled   bool        `json:"cancelled" doc:"It was completed by being cancelled."`
	Attempt     int         `json:"attempt" doc:"Attempts begun." example:"1"`
	MaxAttempts int         `json:"max_attempts" example:"8"`
	Progress    JobProgress `json:"progress"`
	LastError   *string     `json:"last_error" doc:"The latest failure; null if there was none."`
	Worker      *string     `json:"worker" doc:"The worker that runs it; null while none does."`
	CreatedAt   rest.Time   `json:"created_at"`
	ScheduledAt rest.Time   `json:"scheduled_at" doc:"The earliest time of the next run."`
	StartedAt   *rest.Time  `json:"started_at" doc:"Of the latest run."`
	FinishedAt  *rest.Time  `json:"finished_at"`
}

// JobProgress is how far a job says it is.
type JobProgress struct {
	Percentage float64 `json:"percentage" example:"42.5"`
	Step       string  `json:"step"`
	Done       int64   `json:"done"`
	Total      int64   `json:"total" doc:"0 while unknown."`
}

// Queue counts the jobs of one queue by state.
type Queue struct {
	Queue     string `json:"queue" enum:"export,notification,cleanup,channel"`
	Pending   int64  `json:"pending"`
	Running   int64  `json:"running"`
	Scheduled int64  `json:"scheduled"`
	Retrying  int64  `json:"retrying"`
	Completed int64  `json:"completed"`
	Dead      int64  `json:"dead" doc:"Failed for good: they wait for an administrator, 30 days."`
}

// Figures are the parts of /admin/metrics that are not of requests.
type Figures struct {
	Cache    CacheFigures    `json:"cache"`
	Process  ProcessFigures  `json:"process"`
	Database DatabaseFigures `json:"database"`
	// Instances is the number of processes in the sums.
	Instances int `json:"instances" doc:"Programs that the figures are sums over, workers included: 1 without Redis." example:"3"`
}

// CacheFigures is how well caching works.
type CacheFigures struct {
	HitRate float64      `json:"hit_rate" doc:"Share of all questions that a layer answered, 0 to 1." example:"0.93"`
	Layers  []CacheLayer `json:"layers" nullable:"false"`
}

// CacheLayer is one layer, the nearest first.
type CacheLayer struct {
	Layer     string  `json:"layer" example:"memory"`
	HitRate   float64 `json:"hit_rate" example:"0.93"`
	Hits      uint64  `json:"hits"`
	Misses    uint64  `json:"misses"`
	Evictions uint64  `json:"evictions"`
	Entries   uint64  `json:"entries"`
	Bytes     uint64  `json:"bytes"`
}

// ProcessFigures is what the processes use together.
type ProcessFigures struct {
	CPU        float64 `json:"cpu" doc:"Processors used: the mean since they were last asked for, at least a second. As all of this, the sum over the processes." example:"0.25"`
	Memory     uint64  `json:"memory" doc:"Resident bytes." example:"88080384"`
	Goroutines int     `json:"goroutines" example:"64"`
}

// DatabaseFigures is the state of the database.
type DatabaseFigures struct {
	Engine    string  `json:"engine" example:"sqlite"`
	State     string  `json:"state" enum:"ok,down"`
	LatencyMS float64 `json:"latency_ms" doc:"Of a question that needs no data." example:"0.2"`
	Bytes     int64   `json:"bytes" doc:"On the disk." example:"73400320"`
	WALBytes  int64   `json:"wal_bytes" doc:"Written, and not yet moved to their place." example:"4194304"`
}

// Metrics is the service at a glance.
type Metrics struct {
	Requests  RequestFigures `json:"requests"`
	LatencyMS LatencyFigures `json:"latency_ms"`
	Routes    []RouteFigures `json:"routes" nullable:"false" doc:"Those that were called, the busiest first."`
	Figures
}

// RequestFigures count the requests since the start of each process.
type RequestFigures struct {
	Total        uint64  `json:"total" example:"12345"`
	PerSecond    float64 `json:"per_second" doc:"The mean of the last minute." example:"18.5"`
	ErrorRate4xx float64 `json:"error_rate_4xx" doc:"Share of all, 0 to 1." example:"0.01"`
	ErrorRate5xx float64 `json:"error_rate_5xx" doc:"Share of all, 0 to 1." example:"0"`
}

// LatencyFigures are quantiles in milliseconds, each right within five percent.
type LatencyFigures struct {
	P50 float64 `json:"p50" example:"0.8"`
	P95 float64 `json:"p95" example:"4.2"`
	P99 float64 `json:"p99" example:"12.5"`
}

// RouteFigures are those of one route, all methods together.
type RouteFigures struct {
	Route     string         `json:"route" example:"/api/v1/devices/{id}"`
	Total     uint64         `json:"total" example:"321"`
	LatencyMS LatencyFigures `json:"latency_ms"`
}

func wireLatency(l observe.Latency) LatencyFigures {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return LatencyFigures{P50: ms(l.P50), P95: ms(l.P95), P99: ms(l.P99)}
}

func wireMetrics(s observe.HTTPSummary, figures Figures) Metrics {
	m := Metrics{
		Requests:  RequestFigures{Total: s.Total, PerSecond: s.PerSecond, ErrorRate4xx: s.ErrorRate4xx, ErrorRate5xx: s.ErrorRate5xx},
		LatencyMS: wireLatency(s.Latency), Routes: make([]RouteFigures, len(s.Routes)), Figures: figures,
	}
	for i, r := range s.Routes {
		m.Routes[i] = RouteFigures{Route: r.Route, Total: r.Total, LatencyMS: wireLatency(r.Latency)}
	}
	return m
}

type listJobsInput struct {
	rest.PageParams
	Queue string `query:"queue" enum:"export,notification,cleanup,channel" doc:"Only those of this queue."`
	State string `query:"state" enum:"pending,running,scheduled,retrying,completed,dead" doc:"Only those in this state."`
}

// registerJobs adds the background work, for admins.
func (a *administration) registerJobs() {
	s := a.Jobs
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "list-jobs", Method: http.MethodGet, Path: "/admin/jobs", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys, ETag: true,
		Summary: "List the background jobs", Description: "The newest first. Completed ones are kept for 7 days, dead ones for 30.",
	}, func(ctx context.Context, in *listJobsInput) (*rest.Body[rest.List[Job]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		jobs, err := s.ListJobs(ctx, JobFilter{Queue: in.Queue, State: in.State}, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(jobs, in.Fields, func(j Job) Job { return j })
		return &rest.Body[rest.List[Job]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "list-queues", Method: http.MethodGet, Path: "/admin/queues", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys, ETag: true,
		Summary: "Count the background jobs",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[rest.List[Queue]], error) {
		queues, err := s.Queues(ctx)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(hearth.List[Queue]{Items: queues, Total: -1}, "", func(q Queue) Queue { return q })
		return &rest.Body[rest.List[Queue]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "retry-job", Method: http.MethodPost, Path: "/admin/jobs/{id}/retry", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys,
		Summary: "Run a background job again", Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Description: "A dead job gets all its attempts again; one that is scheduled or retrying becomes due at once. Any other is a `conflict`.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64"`
	}) (*rest.Body[Job], error) {
		job, err := s.RetryJob(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Job]{Body: job}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "delete-job", Method: http.MethodDelete, Path: "/admin/jobs/{id}", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys,
		Summary: "Delete a background job", Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Description: "A running one is a `conflict`.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64"`
	}) (*struct{}, error) {
		return nil, s.DeleteJob(ctx, rest.CallerOf(ctx), in.ID)
	})
}

// registerMetrics adds the service at a glance, for admins.
func (a *administration) registerMetrics() {
	if a.Figures == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "get-metrics", Method: http.MethodGet, Path: "/admin/metrics", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys,
		Summary: "Get figures of the service", Description: "The figures of all instances and workers together, each since its start; of one that does not answer " +
			"in time there are none. The figures of another instance are at most a second old. Prometheus reads more, on the admin listener of each.",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[Metrics], error) {
		return &rest.Body[Metrics]{Body: wireMetrics(a.Figures(ctx))}, nil
	})
}
