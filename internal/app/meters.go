package app

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/kv"
	"hearth/internal/mail"
)

// registerMeters adds what Prometheus sees of the parts that know nothing of Prometheus. Every label has one of a few values
// that the program spells out.
func (a *App) registerMeters() {
	registry := a.metrics.Registry
	registry.MustRegister(a.health, newCacheMeter(a.cache), newDeviceMeter(a.store, a.options.Clock))
	if pools, ok := any(a.store).(interface{ Pools() []hearth.Pool }); ok {
		registry.MustRegister(newPoolMeter(pools.Pools))
	}
	counter := func(name, help string, value func() uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	counter("hearth_logs_stored_total", "Logs that this process took in.", a.telemetry.Stored)
	counter("hearth_heartbeats_total", "Heartbeats that this process took in.", a.fleet.Heard)
	if a.config.StoreURL == "" {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_database_bytes", Help: "Size of the database on the disk, what is not yet moved to its place included.",
		}, func() float64 { return float64(a.fileSize("hearth.db") + a.fileSize("hearth.db-wal")) }))
	}
}

// fileSize returns the size of a file of the data directory in bytes.
func (a *App) fileSize(name string) int64 {
	info, err := os.Stat(filepath.Join(a.config.DataDir, name))
	if err != nil {
		return 0 // not there is empty
	}
	return info.Size()
}

// cacheMeter is the counters of the cache's layers.
type cacheMeter struct {
	cache                                                     kv.Cache
	hits, misses, loads, evictions, entries, bytes, available *prometheus.Desc
}

func newCacheMeter(cache kv.Cache) *cacheMeter {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("hearth_cache_"+name, help, []string{"layer"}, nil)
	}
	return &cacheMeter{
		cache:     cache,
		hits:      desc("hits_total", "Answers from a layer of the cache."),
		misses:    desc("misses_total", "Questions that a layer of the cache had no fresh value for."),
		loads:     desc("loads_total", "Values that a layer of the cache had computed."),
		evictions: desc("evictions_total", "Values that made room in a layer of the cache."),
		entries:   desc("entries", "Values in a layer of the cache."),
		bytes:     desc("bytes", "Size of the values in a layer of the cache."),
		available: desc("capacity_bytes", "Bound of the size of a layer of the cache; 0 where it is not known."),
	}
}

// Describe implements prometheus.Collector.
func (m *cacheMeter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.hits, m.misses, m.loads, m.evictions, m.entries, m.bytes, m.available} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *cacheMeter) Collect(ch chan<- prometheus.Metric) {
	for _, l := range m.cache.Stats() {
		put := func(d *prometheus.Desc, kind prometheus.ValueType, value uint64) {
			ch <- prometheus.MustNewConstMetric(d, kind, float64(value), l.Layer)
		}
		put(m.hits, prometheus.CounterValue, l.Hits)
		put(m.misses, prometheus.CounterValue, l.Misses)
		put(m.loads, prometheus.CounterValue, l.Loads)
		put(m.evictions, prometheus.CounterValue, l.Evictions)
		put(m.entries, prometheus.GaugeValue, l.Entries)
		put(m.bytes, prometheus.GaugeValue, l.Bytes)
		put(m.available, prometheus.GaugeValue, l.Capacity)
	}
}

// poolMeter is the use of the store's connections.
type poolMeter struct {
	pools        func() []hearth.Pool
	busy, atMost *prometheus.Desc
}

func newPoolMeter(pools func() []hearth.Pool) *poolMeter {
	by := []string{"pool"}
	return &poolMeter{
		pools:  pools,
		busy:   prometheus.NewDesc("hearth_store_connections_in_use", "Connections to the store that are busy.", by, nil),
		atMost: prometheus.NewDesc("hearth_store_connections_max", "Connections to the store that there may be.", by, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *poolMeter) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.busy
	ch <- m.atMost
}

// Collect implements prometheus.Collector.
func (m *poolMeter) Collect(ch chan<- prometheus.Metric) {
	for _, p := range m.pools() {
		ch <- prometheus.MustNewConstMetric(m.busy, prometheus.GaugeValue, float64(p.InUse), p.Name)
		ch <- prometheus.MustNewConstMetric(m.atMost, prometheus.GaugeValue, float64(p.Max), p.Name)
	}
}

// devicesFresh is how long a count of the fleet is used again: counting walks over all devices.
const devicesFresh = 30 * time.Second

// deviceMeter counts the fleet. Every instance counts the same one: a query takes their maximum.
type deviceMeter struct {
	store interface {
		CountDevices(ctx context.Context, reach hearth.Reach, now time.Time) (hearth.DeviceCounts, error)
	}
	clock hearth.Clock
	desc  *prometheus.Desc

	mu     sync.Mutex
	at     time.Time
	counts hearth.DeviceCounts
}

func newDeviceMeter(store hearth.DeviceStore, clock hearth.Clock) *deviceMeter {
	return &deviceMeter{store: store, clock: clock,
		desc: prometheus.NewDesc("hearth_devices", "Devices of the whole installation: all, those with status active, those online.", []string{"state"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *deviceMeter) Describe(ch chan<- *prometheus.Desc) { ch <- m.desc }

// Collect implements prometheus.Collector. While the store does not answer there is no figure.
func (m *deviceMeter) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) >= devicesFresh {
		ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
		defer cancel()
		counts, err := m.store.CountDevices(ctx, hearth.Reach{All: true}, m.clock.Now())
		if err != nil {
			return
		}
		m.at, m.counts = time.Now(), counts
	}
	for state, n := range map[string]int64{"all": m.counts.Total, "active": m.counts.Active, "online": m.counts.Online} {
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(n), state)
	}
}

// mailMeter counts letters.
type mailMeter struct {
	outcomes *prometheus.CounterVec
	takes    prometheus.Histogram
}

func newMailMeter(registry prometheus.Registerer) mailMeter {
	m := mailMeter{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_mail_messages_total", Help: "Tries to send a letter: sent, failed (it is tried again) or rejected (for good).",
		}, []string{"outcome"}),
		takes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_mail_seconds", Help: "Time of a try to send a letter.", Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
		}),
	}
	registry.MustRegister(m.outcomes, m.takes)
	for _, outcome := range []string{"sent", "failed", "rejected"} {
		m.outcomes.WithLabelValues(outcome)
	}
	return m
}

// sent counts a try.
func (m mailMeter) sent(took time.Duration, err error) {
	outcome := "sent"
	switch {
	case mail.IsRejected(err):
		outcome = "rejected"
	case err != nil:
		outcome = "failed"
	}
	m.outcomes.WithLabelValues(outcome).Inc()
	m.takes.Observe(took.Seconds())
}
