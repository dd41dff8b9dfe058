package meters

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/cause"
	"hearth/internal/queue"
)

// Jobs counts jobs. Its labels are the queues, the states and the kinds that this program knows: a worker runs no other.
type Jobs struct {
	queue queue.Queue
	depth *prometheus.Desc
	waits *prometheus.HistogramVec
	takes *prometheus.HistogramVec
	ended *prometheus.CounterVec
	// latest is what a scrape shows while the queue does not answer.
	mu     sync.Mutex
	latest []queue.Count
}

// NewJobs registers the meter of a queue.
func NewJobs(registry prometheus.Registerer, q queue.Queue) *Jobs {
	byKind := []string{"queue", "kind"}
	buckets := prometheus.ExponentialBuckets(0.001, 4, 12) // 1 ms to 70 min
	f := &Jobs{
		queue: q,
		depth: prometheus.NewDesc("hearth_jobs", "Jobs in the queue by state: dead ones wait for an administrator.", []string{"queue", "state"}, nil),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_job_wait_seconds", Help: "Time from when a job was due to when it ran.", Buckets: buckets,
		}, byKind),
		takes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_job_duration_seconds", Help: "Time that a run of a job took.", Buckets: buckets,
		}, byKind),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_job_runs_total", Help: "Runs of jobs by what became of them: completed, cancelled, retrying, dead or handed_back.",
		}, []string{"queue", "kind", "outcome"}),
	}
	registry.MustRegister(f, f.waits, f.takes, f.ended)
	return f
}

// Observe counts what happened to a job: queue.WorkerOptions has it.
func (f *Jobs) Observe(e queue.Event) {
	name, kind := string(e.Job.Queue), e.Job.Kind
	outcome := string(e.Job.State)
	switch {
	case e.Job.State == queue.Running:
		f.waits.WithLabelValues(name, kind).Observe(e.Waited.Seconds())
		return
	case e.Job.Cancelled:
		outcome = "cancelled"
	case e.Job.State == queue.Pending:
		outcome = "handed_back"
	}
	f.takes.WithLabelValues(name, kind).Observe(e.Took.Seconds())
	f.ended.WithLabelValues(name, kind, outcome).Inc()
}

// Describe implements prometheus.Collector.
func (f *Jobs) Describe(ch chan<- *prometheus.Desc) { ch <- f.depth }

// Collect implements prometheus.Collector.
func (f *Jobs) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counts, err := f.queue.Counts(ctx)
	f.mu.Lock()
	if err == nil {
		f.latest = counts
	}
	counts = f.latest
	f.mu.Unlock()
	for _, c := range counts {
		ch <- prometheus.MustNewConstMetric(f.depth, prometheus.GaugeValue, float64(c.Jobs), string(c.Queue), string(c.State))
	}
}

// Traced returns kinds whose runs are traced, each with the cause of its job. begin begins the trace of a run; end records how it ended.
func Traced(kinds []queue.Kind, begin func(ctx context.Context, kind, id, cause string) (traced context.Context, end func(error))) []queue.Kind {
	for i, kind := range kinds {
		kinds[i].Handler = func(ctx context.Context, task *queue.Task) error {
			ctx, end := begin(ctx, kind.Name, task.Job.ID, cause.Of(task.Job.Payload))
			err := kind.Handler(ctx, task)
			end(err)
			return err
		}
	}
	return kinds
}
