// Package meters shows Prometheus the parts that know nothing of Prometheus. Every label has one of a few values that the program
// spells out.
package meters

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/kv"
)

// cacheMeter is the counters of the cache's layers.
type cacheMeter struct {
	cache                                                     kv.Cache
	hits, misses, loads, evictions, entries, bytes, available *prometheus.Desc
}

// Cache returns the counters of a cache.
func Cache(cache kv.Cache) prometheus.Collector {
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

// Pools returns the use of a store's connections.
func Pools(pools func() []hearth.Pool) prometheus.Collector {
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

// devicesFresh is for how long a count is used again: counting walks over all devices.
const devicesFresh = 30 * time.Second

// countTimeout bounds a query of a scrape.
const countTimeout = 2 * time.Second

// deviceMeter counts the devices. Every instance counts the same ones: a query uses their maximum.
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

// Devices returns the numbers of devices in a store.
func Devices(store hearth.DeviceStore, clock hearth.Clock) prometheus.Collector {
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
