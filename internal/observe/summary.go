package observe

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// HTTPSummary is the requests at a glance, for people; Prometheus has the detail.
type HTTPSummary struct {
	Total uint64 // answered since the start
	// PerSecond is the mean of the last whole minute, or of the time since the start where that is shorter.
	PerSecond float64
	// ErrorRate4xx and ErrorRate5xx are shares of Total, 0 to 1.
	ErrorRate4xx float64
	ErrorRate5xx float64
	Latency      Latency
	// Routes are the ones that were called, the busiest first.
	Routes []RouteSummary
}

// RouteSummary is one route, all methods together.
type RouteSummary struct {
	Route   string
	Total   uint64
	Latency Latency
}

// Latency is quantiles since the start, each right within five percent. Zero where nothing was measured.
type Latency struct{ P50, P95, P99 time.Duration }

// Summary adds the requests up. It costs some microseconds a route; it is not for the hot path.
func (m *HTTPMetrics) Summary() HTTPSummary {
	var (
		summary HTTPSummary
		classes [len(statusClasses)]float64
		all     sparse
		seen    = map[string]bool{}
	)
	m.routes.Range(func(key, value any) bool {
		route, figures := key.(routeKey), value.(*routeMetrics) //nolint:forcetypeassert // nothing else is stored
		for i, counter := range figures.classes {
			var metric dto.Metric
			if counter.Write(&metric) == nil {
				classes[i] += metric.GetCounter().GetValue()
			}
		}
		if seen[route.route] { // the latency is that of the route, whatever the method
			return true
		}
		seen[route.route] = true
		var metric dto.Metric
		if figures.latency.Write(&metric) != nil {
			return true
		}
		buckets := sparseOf(metric.GetHistogram())
		all.add(buckets)
		summary.Routes = append(summary.Routes, RouteSummary{
			Route: route.route, Total: metric.GetHistogram().GetSampleCount(), Latency: buckets.latency(),
		})
		return true
	})
	slices.SortFunc(summary.Routes, func(a, b RouteSummary) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Route, b.Route))
	})
	var total float64
	for _, count := range classes {
		total += count
	}
	summary.Total = uint64(total)
	if total > 0 {
		summary.ErrorRate4xx, summary.ErrorRate5xx = classes[3]/total, classes[4]/total
	}
	summary.Latency = all.latency()
	summary.PerSecond = m.recent.perSecond(time.Now())
	return summary
}

// recentSlots is more than the seconds that a rate looks back, so that a slot is never read while it is started anew.
const (
	recentSlots  = 64
	recentWindow = 60
)

// recentCounter counts events by the second, for the last minute.
type recentCounter struct {
	started int64 // Unix second
	slots   [recentSlots]struct{ second, count atomic.Int64 }
}

// add counts one event. Two events that meet at the first instant of a second may lose one of them: a rate for people
// need not be exact.
func (c *recentCounter) add(now time.Time) {
	second := now.Unix()
	slot := &c.slots[second%recentSlots]
	if before := slot.second.Load(); before != second && slot.second.CompareAndSwap(before, second) {
		slot.count.Store(0)
	}
	slot.count.Add(1)
}

// perSecond gives the mean of the whole seconds before now.
func (c *recentCounter) perSecond(now time.Time) float64 {
	second := now.Unix()
	window := min(recentWindow, second-c.started)
	if window <= 0 {
		return 0
	}
	var sum int64
	for i := range c.slots {
		if age := second - c.slots[i].second.Load(); age >= 1 && age <= window {
			sum += c.slots[i].count.Load()
		}
	}
	return float64(sum) / float64(window)
}
