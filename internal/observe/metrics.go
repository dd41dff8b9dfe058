package observe

import (
	"context"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"hearth"
)

// MetricsOptions say what the metrics are about.
type MetricsOptions struct {
	// Version labels hearth_build_info.
	Version string
	// DataDir, unless empty, is the folder whose disk is watched.
	DataDir string
	// Off leaves out what is counted on the way of requests.
	Off bool
	// SlowOperation is the duration from which an operation of the store counts as slow; zero: none does.
	SlowOperation time.Duration
}

// Metrics is the registry of everything that the program counts.
type Metrics struct {
	// Registry takes the collectors of other packages. Their labels must have few values: never an id, a path or a text
	// that a client chose.
	Registry *prometheus.Registry
	// HTTP counts the requests.
	HTTP *HTTPMetrics
	// Store watches the store.
	Store hearth.StoreObserver
}

// NewMetrics makes a registry with the figures of the process, the Go runtime, the disk and the requests.
func NewMetrics(opts MetricsOptions) *Metrics {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hearth_build_info", Help: "Always 1; the labels name the build.",
		ConstLabels: prometheus.Labels{"version": opts.Version, "go": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if opts.DataDir != "" {
		registry.MustRegister(newDiskCollector(opts.DataDir))
	}
	m := &Metrics{Registry: registry, HTTP: newHTTPMetrics(registry, opts.Off), Store: hearth.NoObserver{}}
	if !opts.Off {
		m.Store = newStoreMetrics(registry, opts.SlowOperation)
	}
	return m
}

// Handler serves the metrics to Prometheus. A collector that fails is reported next to the others' figures.
func (m *Metrics) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(m.Registry, promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		Registry:      m.Registry,
	}))
}

// AdminHandler serves what only the operator may see: /metrics, /debug/pprof/ and the health of h. It asks for
// no password, so it must stand on a listener that is not public.
func AdminHandler(m *Metrics, h *Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	for path, profile := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.Handle("GET /debug/pprof/"+path, unhurried(profile))
	}
	h.Mount(mux)
	return mux
}

// unhurried lifts the listener's timeouts: a profile takes as long as it was asked to.
func unhurried(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Package pprof sets a deadline of its own, from the server's timeout, unless it finds no server.
		r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, nil))
		control := http.NewResponseController(w)
		// A writer that has no deadlines needs none lifted.
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
		h.ServeHTTP(w, r)
	})
}

// diskCollector reports how full the disk of a folder is, asked at each scrape.
type diskCollector struct {
	dir         string
	free, total *prometheus.Desc
}

func newDiskCollector(dir string) *diskCollector {
	return &diskCollector{
		dir:   dir,
		free:  prometheus.NewDesc("hearth_disk_free_bytes", "Bytes that can still be written to the disk of the data directory.", nil, nil),
		total: prometheus.NewDesc("hearth_disk_total_bytes", "Size of the disk of the data directory.", nil, nil),
	}
}

// Describe names the figures.
func (c *diskCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.free
	ch <- c.total
}

// Collect returns the figures of now.
func (c *diskCollector) Collect(ch chan<- prometheus.Metric) {
	var stat unix.Statfs_t
	if err := unix.Statfs(c.dir, &stat); err != nil {
		ch <- prometheus.NewInvalidMetric(c.free, err)
		return
	}
	block := float64(stat.Bsize)
	ch <- prometheus.MustNewConstMetric(c.free, prometheus.GaugeValue, float64(stat.Bavail)*block)
	ch <- prometheus.MustNewConstMetric(c.total, prometheus.GaugeValue, float64(stat.Blocks)*block)
}
