package observe

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
)

// maxOperations bounds the operations that have figures of their own; what comes later is counted as "other".
const maxOperations = 256

// storeMetrics counts what the store does.
type storeMetrics struct {
	slow      time.Duration
	latency   *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	slowOnes  *prometheus.CounterVec
	writes    prometheus.Histogram
	waited    prometheus.Histogram
	committed prometheus.Histogram

	operations sync.Map // name → *operation
	count      atomic.Int64
}

// operation is the figures of one operation, looked up once.
type operation struct {
	label   string
	latency prometheus.Observer
	slow    prometheus.Counter
}

var _ hearth.StoreObserver = (*storeMetrics)(nil)

func newStoreMetrics(registry prometheus.Registerer, slow time.Duration) *storeMetrics {
	times := prometheus.ExponentialBuckets(100e-6, 2.5, 14) // 100 µs to 15 s
	m := &storeMetrics{
		slow: slow,
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_store_operation_seconds", Help: "Time of an operation of the store, waits included.",
			Buckets: times, NativeHistogramBucketFactor: nativeGrowth, NativeHistogramMaxBucketNumber: nativeMaxBuckets,
		}, []string{"operation"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_store_failures_total", Help: "Operations of the store that failed, by the code of the failure: not_found and conflict are answers, internal and unavailable are trouble.",
		}, []string{"operation", "code"}),
		slowOnes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_store_slow_operations_total", Help: "Operations of the store that took longer than the setting slow_query.",
		}, []string{"operation"}),
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_store_commit_writes", Help: "Writes that shared a commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_store_commit_wait_seconds", Help: "Time that the first write of a commit waited for the commit before.", Buckets: times,
		}),
		committed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_store_commit_seconds", Help: "Time of a commit, its writes and the sync to the disk included.", Buckets: times,
		}),
	}
	registry.MustRegister(m.latency, m.failures, m.slowOnes, m.writes, m.waited, m.committed)
	return m
}

// Operation implements hearth.StoreObserver.
func (m *storeMetrics) Operation(_ context.Context, name string, took time.Duration, err error) {
	op := m.operation(name)
	op.latency.Observe(took.Seconds())
	if m.slow > 0 && took >= m.slow {
		op.slow.Inc()
	}
	if err != nil {
		m.failures.WithLabelValues(op.label, failure(err)).Inc()
	}
}

// failure returns the label of an error: its code, or what it is instead of a failure.
func failure(err error) string {
	if _, ok := errors.AsType[*hearth.Replayed](err); ok {
		return "replayed"
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled" // no caller waits for the answer any more
	}
	return string(hearth.ErrorCode(err))
}

// Commit implements hearth.StoreObserver.
func (m *storeMetrics) Commit(writes int, waited, took time.Duration) {
	m.writes.Observe(float64(writes))
	m.waited.Observe(waited.Seconds())
	m.committed.Observe(took.Seconds())
}

func (m *storeMetrics) operation(name string) *operation {
	if found, ok := m.operations.Load(name); ok {
		return found.(*operation) //nolint:forcetypeassert // nothing else is stored
	}
	label := name
	if m.count.Add(1) > maxOperations {
		m.count.Add(-1)
		label = otherLabel
	}
	made := &operation{label: label, latency: m.latency.WithLabelValues(label), slow: m.slowOnes.WithLabelValues(label)}
	if label != name { // never stored under its own name, or the map would grow for ever
		return made
	}
	found, twice := m.operations.LoadOrStore(name, made)
	if twice {
		m.count.Add(-1)
	}
	return found.(*operation) //nolint:forcetypeassert // nothing else is stored
}
