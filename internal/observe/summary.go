package observe

import (
	"cmp"
	"sort"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// HTTPSummary is the requests at a glance, for the console; Prometheus has the detail.
type HTTPSummary struct {
	Total uint64 // answered since the start, of each process its own
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

// HTTPFigures are the requests of one process, in a form that adds up with others' and travels as JSON.
type HTTPFigures struct {
	// Classes counts the answers by the class of their status, 1xx first.
	Classes [len(statusClasses)]uint64 `json:"classes"`
	// PerSecond is as in HTTPSummary.
	PerSecond float64 `json:"per_second"`
	// Routes are the latencies of each route, all methods together.
	Routes map[string]sparse `json:"routes"`
}

// Figures reads the counts. It costs some microseconds a route; it is not for the hot path.
func (m *HTTPMetrics) Figures() HTTPFigures {
	figures := HTTPFigures{PerSecond: m.recent.perSecond(time.Now()), Routes: map[string]sparse{}}
	m.routes.Range(func(key, value any) bool {
		route, counted := key.(routeKey), value.(*routeMetrics) //nolint:forcetypeassert // nothing else is stored
		for i, counter := range counted.classes {
			var metric dto.Metric
			if counter.Write(&metric) == nil {
				figures.Classes[i] += uint64(metric.GetCounter().GetValue())
			}
		}
		if _, seen := figures.Routes[route.route]; seen { // the latency is that of the route, whatever the method
			return true
		}
		var metric dto.Metric
		if counted.latency.Write(&metric) == nil {
			figures.Routes[route.route] = sparseOf(metric.GetHistogram())
		}
		return true
	})
	return figures
}

// SumHTTP adds the requests of processes up. Quantiles are those of all requests together.
func SumHTTP(each ...HTTPFigures) (summary HTTPSummary) {
	var (
		all     sparse
		refused uint64
		failed  uint64
		routes  = map[string]sparse{}
	)
	for _, figures := range each {
		summary.PerSecond += figures.PerSecond
		for _, n := range figures.Classes {
			summary.Total += n
		}
		refused, failed = refused+figures.Classes[3], failed+figures.Classes[4]
		for name, latency := range figures.Routes {
			if !latency.valid() {
				continue
			}
			all.add(latency)
			if known, again := routes[name]; again { // what was given stays as it is
				var sum sparse
				sum.add(known)
				sum.add(latency)
				latency = sum
			}
			routes[name] = latency
		}
	}
	for name, latency := range routes {
		summary.Routes = append(summary.Routes, RouteSummary{Route: name, Total: latency.total(), Latency: latency.latency()})
	}
	sort.Slice(summary.Routes, func(i, j int) bool {
		a, b := &summary.Routes[i], &summary.Routes[j]
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Route, b.Route)) < 0
	})
	if total := float64(summary.Total); total > 0 {
		summary.ErrorRate4xx, summary.ErrorRate5xx = float64(refused)/total, float64(failed)/total
	}
	summary.Latency = all.latency()
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

// add counts one event. Two events that meet at the first instant of a second may lose one of them: a rate to look at
// need not be exact.
func (c *recentCounter) add(now time.Time) {
	second := now.Unix()
	slot := &c.slots[second%recentSlots]
	if before := slot.second.Load(); before != second && slot.second.CompareAndSwap(before, second) {
		slot.count.Store(0)
	}
	slot.count.Add(1)
}

// perSecond returns the mean of the whole seconds before now.
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
