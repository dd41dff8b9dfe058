package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/figures"
	"hearth/internal/meters"
)

// registerMeters adds what Prometheus sees of the parts that know nothing of Prometheus.
func (a *App) registerMeters() {
	registry := a.metrics.Registry
	registry.MustRegister(a.health, meters.Cache(a.cache), meters.Devices(a.store, a.options.Clock), a.backups)
	if pools, ok := any(a.store).(interface{ Pools() []hearth.Pool }); ok {
		registry.MustRegister(meters.Pools(pools.Pools))
	}
	counter := func(name, help string, value func() uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	counter("hearth_logs_stored_total", "Logs that this process stored.", a.telemetry.Stored)
	counter("hearth_heartbeats_total", "Heartbeats that this process received.", a.fleet.Heard)
	if a.config.StoreURL == "" {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_database_bytes", Help: "Size of the database on the disk, its write-ahead log included.",
		}, func() float64 {
			bytes, _ := figures.DatabaseSize(a.config.DataDir)
			return float64(bytes)
		}))
	}
}
