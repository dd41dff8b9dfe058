package app

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/kv"
	"hearth/internal/observe"
	"hearth/internal/peers"
	"hearth/internal/queue"
)

// jobs returns the queue in the API's words. What changes a job is in the audit first.
type jobs struct {
	queue queue.Queue
	store interface {
		Record(ctx context.Context, effects hearth.SideEffects) error
	}
	clock hearth.Clock
}

var _ api.Jobs = jobs{}

// ListJobs is api.Jobs'.
func (j jobs) ListJobs(ctx context.Context, filter api.JobFilter, page hearth.Page) (hearth.List[api.Job], error) {
	list := hearth.List[api.Job]{Total: -1}
	found, err := j.queue.List(ctx, queue.Filter{
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
	counts, err := j.queue.Counts(ctx)
	list.Total = 0
	for _, c := range counts {
		if (filter.Queue == "" || filter.Queue == string(c.Queue)) && (filter.State == "" || filter.State == string(c.State)) {
			list.Total += c.Jobs
		}
	}
	return list, err
}

// Queues is api.Jobs'.
func (j jobs) Queues(ctx context.Context) ([]api.Queue, error) {
	counts, err := j.queue.Counts(ctx)
	if err != nil {
		return nil, err
	}
	var queues []api.Queue
	for _, name := range queue.Names() {
		q := api.Queue{Queue: string(name)}
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

// RetryJob is api.Jobs'.
func (j jobs) RetryJob(ctx context.Context, caller hearth.Caller, id string) (api.Job, error) {
	if err := j.record(ctx, caller, "job.retry", id); err != nil {
		return api.Job{}, err
	}
	if err := j.queue.Retry(ctx, id); err != nil {
		return api.Job{}, asJob(err)
	}
	job, err := j.queue.Job(ctx, id)
	return wireJob(job), asJob(err)
}

// DeleteJob is api.Jobs'.
func (j jobs) DeleteJob(ctx context.Context, caller hearth.Caller, id string) error {
	if err := j.record(ctx, caller, "job.delete", id); err != nil {
		return err
	}
	return asJob(j.queue.Delete(ctx, id))
}

// record notes who steers which job; CodeNotFound.
func (j jobs) record(ctx context.Context, caller hearth.Caller, action, id string) error {
	job, err := j.queue.Job(ctx, id)
	if err != nil {
		return asJob(err)
	}
	entry := caller.Entry(j.clock.Now(), action, "job:"+id)
	if entry.ActorID == "" {
		entry.ActorID = "cli"
	}
	entry.Changes = map[string]hearth.Change{"kind": {Before: job.Kind}, "state": {Before: string(job.State)}}
	return j.store.Record(ctx, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
}

// asJob says of what is missing that it is a job.
func asJob(err error) error {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return hearth.NotFound("job")
	}
	return err
}

func wireJob(j queue.Job) api.Job {
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	at := func(t time.Time) *api.Time {
		if t.IsZero() {
			return nil
		}
		wire := api.Time(t)
		return &wire
	}
	return api.Job{
		ID: j.ID, Kind: j.Kind, Queue: string(j.Queue), State: string(j.State), Cancelled: j.Cancelled, Attempt: j.Attempt,
		MaxAttempts: j.MaxAttempts, LastError: optional(j.LastError), Worker: optional(j.Worker),
		Progress: api.JobProgress{
			Percentage: j.Progress.Percentage(), Step: j.Progress.Step, Done: j.Progress.Done, Total: j.Progress.Total,
		},
		CreatedAt: api.Time(j.CreatedAt), ScheduledAt: api.Time(j.ScheduledAt), StartedAt: at(j.StartedAt), FinishedAt: at(j.FinishedAt),
	}
}

// engine names the database.
func (a *App) engine() string {
	if a.config.StoreURL == "" {
		return "sqlite"
	}
	return "mongodb"
}

// use is what a process did and uses.
type use struct {
	HTTP    observe.HTTPFigures
	Cache   []kv.LayerStats
	Process api.ProcessFigures
}

// openFigures returns what the metrics tell: of all processes together, and of the database that they share.
func (a *App) openFigures() func(context.Context) (observe.HTTPSummary, api.Figures) {
	question := peers.NewQuestion(a.peers, "use", func(struct{}) use {
		return use{HTTP: a.metrics.HTTP.Figures(), Cache: a.cache.Stats(), Process: a.cpu.process()}
	})
	return func(ctx context.Context) (observe.HTTPSummary, api.Figures) {
		requests, f := sumUse(question.Ask(ctx, struct{}{}))
		report := a.health.Report(ctx).Dependencies["database"]
		f.Database = api.DatabaseFigures{Engine: a.engine(), State: report.State, LatencyMS: report.LatencyMS}
		if f.Database.State != observe.StateOK {
			f.Database.State = observe.StateDown
		}
		f.Database.WALBytes = a.fileSize("hearth.db-wal")
		f.Database.Bytes = a.fileSize("hearth.db") + f.Database.WALBytes
		return requests, f
	}
}

// sumUse adds up what processes did and use.
func sumUse(each []use) (observe.HTTPSummary, api.Figures) {
	f := api.Figures{Instances: len(each)}
	var requests []observe.HTTPFigures
	var layers []kv.LayerStats // the nearest first: every process has the same ones
	for _, one := range each {
		requests = append(requests, one.HTTP)
		f.Process.CPU += one.Process.CPU
		f.Process.Memory += one.Process.Memory
		f.Process.Goroutines += one.Process.Goroutines
		for _, layer := range one.Cache {
			i := slices.IndexFunc(layers, func(l kv.LayerStats) bool { return l.Layer == layer.Layer })
			if i < 0 {
				layers = append(layers, layer)
				continue
			}
			layers[i].Hits += layer.Hits
			layers[i].Misses += layer.Misses
			layers[i].Evictions += layer.Evictions
			layers[i].Entries += layer.Entries
			layers[i].Bytes += layer.Bytes
		}
	}
	f.Cache = cacheFigures(layers)
	return observe.SumHTTP(requests...), f
}

func cacheFigures(layers []kv.LayerStats) api.CacheFigures {
	rate := func(hits, misses uint64) float64 {
		if hits+misses == 0 {
			return 0
		}
		return float64(hits) / float64(hits+misses)
	}
	f := api.CacheFigures{Layers: []api.CacheLayer{}}
	var hits uint64
	for _, l := range layers {
		hits += l.Hits
		f.Layers = append(f.Layers, api.CacheLayer{
			Layer: l.Layer, HitRate: rate(l.Hits, l.Misses), Hits: l.Hits, Misses: l.Misses, Evictions: l.Evictions, Entries: l.Entries, Bytes: l.Bytes,
		})
	}
	if n := len(layers); n > 0 { // what the last layer missed, none had
		f.HitRate = rate(hits, layers[n-1].Misses)
	}
	return f
}

// cpuMeter knows how many processors were in use since it was asked before.
type cpuMeter struct {
	mu   sync.Mutex
	at   time.Time
	used time.Duration
	mean float64
}

func (m *cpuMeter) process() api.ProcessFigures {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // of oneself it cannot fail
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	m.mu.Lock()
	if past := time.Since(m.at); m.at.IsZero() || past >= time.Second {
		if !m.at.IsZero() {
			m.mean = (used - m.used).Seconds() / past.Seconds()
		}
		m.at, m.used = time.Now(), used
	}
	mean := m.mean
	m.mu.Unlock()
	return api.ProcessFigures{CPU: mean, Memory: resident(), Goroutines: runtime.NumGoroutine()}
}

// JobOrder is what the command line asks of the jobs.
type JobOrder struct {
	// Action is list, retry or delete.
	Action string
	// IDs are the jobs to retry or delete.
	IDs []string
	// Queue and State narrow a list; Limit bounds it, 0 is 50.
	Queue string
	State string
	Limit int
}

// Jobs carries out an order beside a running server and returns the jobs that it is about, as they were before a deletion and are
// after a retry. It stops at the first that fails: CodeNotFound, CodeConflict, CodeValidationFailed.
func (a *App) Jobs(ctx context.Context, order JobOrder) ([]queue.Job, error) {
	if order.Queue != "" && !slices.Contains(queue.Names(), queue.Name(order.Queue)) ||
		order.State != "" && !slices.Contains(queue.States(), queue.State(order.State)) {
		return nil, hearth.Errorf(hearth.CodeValidationFailed, "there is no such queue or state")
	}
	if order.Action == "list" {
		page, err := a.queue.List(ctx, queue.Filter{Queue: queue.Name(order.Queue), State: queue.State(order.State), Limit: order.Limit})
		return page.Jobs, err
	}
	steer := jobs{queue: a.queue, store: a.store, clock: a.options.Clock}
	var done []queue.Job
	for _, id := range order.IDs {
		job, err := a.queue.Job(ctx, id)
		if err != nil {
			return done, asJob(err)
		}
		if err := steer.record(ctx, hearth.Caller{}, "job."+order.Action, id); err != nil {
			return done, err
		}
		if order.Action == "delete" {
			err = a.queue.Delete(ctx, id)
		} else if err = a.queue.Retry(ctx, id); err == nil {
			job, err = a.queue.Job(ctx, id)
		}
		if err != nil {
			return done, asJob(err)
		}
		done = append(done, job)
	}
	return done, nil
}
