package observe

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

var _ prometheus.Collector = (*Health)(nil)

// healthDescs are what Prometheus sees of a Health.
type healthDescs struct{ ready, dependency, latency *prometheus.Desc }

func newHealthDescs() healthDescs {
	by := []string{"dependency"}
	return healthDescs{
		ready:      prometheus.NewDesc("hearth_ready", "1 while the service takes requests, 0 while it drains or misses what it needs.", nil, nil),
		dependency: prometheus.NewDesc("hearth_dependency_up", "1 while the dependency answers, 0 while it does not.", by, nil),
		latency:    prometheus.NewDesc("hearth_dependency_latency_seconds", "Time that the dependency took to answer the last probe.", by, nil),
	}
}

// up returns what Prometheus sees of a state.
func up(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (h *Health) Describe(ch chan<- *prometheus.Desc) {
	ch <- h.descs.ready
	ch <- h.descs.dependency
	ch <- h.descs.latency
}

// Collect implements prometheus.Collector: it asks the dependencies of this configuration, as Report does.
func (h *Health) Collect(ch chan<- prometheus.Metric) {
	report := h.Report(context.Background())
	ch <- prometheus.MustNewConstMetric(h.descs.ready, prometheus.GaugeValue, up(!report.notReady()))
	for name, d := range report.Dependencies {
		if d.State == StateDisabled {
			continue
		}
		ch <- prometheus.MustNewConstMetric(h.descs.dependency, prometheus.GaugeValue, up(d.State == StateOK), name)
		ch <- prometheus.MustNewConstMetric(h.descs.latency, prometheus.GaugeValue, d.LatencyMS/1000, name)
	}
}
