package observe

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
)

// Exchange is one request and its answer, as the metrics see it.
type Exchange struct {
	// Route is the pattern that matched, such as /api/v1/devices/{id}, never the path: "" where none did.
	Route  string
	Method string
	Status int // of the answer, or StatusClientGone; 0 counts as 500
	// Code is the problem's, one of the contract's, where the answer is one.
	Code hearth.Code
	// Duration runs from the first byte of the request read to the last byte of the answer written.
	Duration time.Duration
	// RequestBytes and ResponseBytes are the sizes of the bodies; a negative one is not known and not counted.
	RequestBytes  int64
	ResponseBytes int64
}

// StatusClientGone stands for the status of a request whose client went before it was answered, as nginx has it in its logs.
const StatusClientGone = 499

// maxRoutes bounds the routes that have figures of their own; what comes later is counted as "other".
const maxRoutes = 256

// otherLabel stands for what has no figure of its own.
const otherLabel = "other"

// The latency buckets. Prometheus reads classic ones, ten percent apart from 100 µs to 10 s, so that an estimated
// quantile is off by less than a bucket, and by less than five percent unless all requests sit at one edge. A scraper of
// native histograms gets those, 4.4 % apart.
const (
	latencyFirst        = 100e-6
	latencyGrowth       = 1.1
	latencyCount        = 122
	nativeGrowth        = 1.05
	nativeMaxBuckets    = 400
	sizeFirst, sizeStep = 64, 4
	sizeCount           = 12
)

// HTTPMetrics counts requests. Its methods may be called from any goroutine and cost well under a microsecond.
type HTTPMetrics struct {
	inFlight      prometheus.Gauge
	requests      *prometheus.CounterVec
	latency       *prometheus.HistogramVec
	problems      *prometheus.CounterVec
	requestBytes  prometheus.Histogram
	responseBytes prometheus.Histogram
	// off is set when nothing is counted.
	off bool

	routes sync.Map // routeKey → *routeMetrics
	names  sync.Map // route → struct{}, at most maxRoutes
	count  atomic.Int64

	recent recentCounter
}

type routeKey struct{ route, method string }

// routeMetrics are the figures of one route and method, looked up once.
type routeMetrics struct {
	latency prometheus.Histogram
	classes [len(statusClasses)]prometheus.Counter
}

// statusClasses are the values of the label status. What was not answered, because the client had gone, is a class of its own: it is no
// failure of the server, and no alert is about it. Never written to.
var statusClasses = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx", "499"}

// The classes that are counted by what they are, by their place in statusClasses.
const (
	classFailed     = 4
	classClientGone = 5
)

func newHTTPMetrics(registry prometheus.Registerer, off bool) *HTTPMetrics {
	sizes := prometheus.ExponentialBuckets(sizeFirst, sizeStep, sizeCount)
	m := &HTTPMetrics{
		off: off, recent: recentCounter{started: time.Now().Unix()},
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hearth_http_requests_in_flight", Help: "Requests under way, streams included.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_http_requests_total", Help: "Requests, by route, method and class of the status; 499: the client went before the answer.",
		}, []string{"route", "method", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_http_request_duration_seconds", Help: "Time to answer a request, by route.",
			Buckets:                        prometheus.ExponentialBuckets(latencyFirst, latencyGrowth, latencyCount),
			NativeHistogramBucketFactor:    nativeGrowth,
			NativeHistogramMaxBucketNumber: nativeMaxBuckets,
		}, []string{"route"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_http_problems_total", Help: "Answers that are a problem, by its code.",
		}, []string{"code"}),
		requestBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_http_request_size_bytes", Help: "Size of request bodies.", Buckets: sizes,
		}),
		responseBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_http_response_size_bytes", Help: "Size of answers as sent.", Buckets: sizes,
		}),
	}
	registry.MustRegister(m.inFlight, m.requests, m.latency, m.problems, m.requestBytes, m.responseBytes)
	return m
}

// Begin counts a request that starts. Each Begin needs one End or, for a stream, whose duration says nothing, one Leave.
func (m *HTTPMetrics) Begin() {
	if !m.off {
		m.inFlight.Inc()
	}
}

// Leave counts a request of Begin as ended and nothing else.
func (m *HTTPMetrics) Leave() {
	if !m.off {
		m.inFlight.Dec()
	}
}

// End counts a request of Begin as ended, with its figures.
func (m *HTTPMetrics) End(e Exchange) {
	if m.off {
		return
	}
	m.inFlight.Dec()
	route := m.route(e.Route, e.Method)
	route.classes[classOf(e.Status)].Inc()
	route.latency.Observe(e.Duration.Seconds())
	m.recent.add(time.Now())
	if e.Code != "" {
		m.problems.WithLabelValues(string(e.Code)).Inc()
	}
	if e.RequestBytes >= 0 {
		m.requestBytes.Observe(float64(e.RequestBytes))
	}
	if e.ResponseBytes >= 0 {
		m.responseBytes.Observe(float64(e.ResponseBytes))
	}
}

func (m *HTTPMetrics) route(route, method string) *routeMetrics {
	key := routeKey{route, method}
	if found, ok := m.routes.Load(key); ok {
		return found.(*routeMetrics) //nolint:forcetypeassert // nothing else is stored
	}
	// Not found: a new pair, or one past the bound, which is never stored under its own name.
	key = routeKey{m.admit(route), methodLabel(method)}
	if found, ok := m.routes.Load(key); ok {
		return found.(*routeMetrics) //nolint:forcetypeassert // nothing else is stored
	}
	made := &routeMetrics{latency: m.latency.WithLabelValues(key.route).(prometheus.Histogram)} //nolint:forcetypeassert // that is what a HistogramVec has
	for i, class := range statusClasses {
		made.classes[i] = m.requests.WithLabelValues(key.route, key.method, class)
	}
	found, _ := m.routes.LoadOrStore(key, made)
	return found.(*routeMetrics) //nolint:forcetypeassert // nothing else is stored
}

// admit returns the label of a route: itself while there is room, "other" after that.
func (m *HTTPMetrics) admit(route string) string {
	if route == "" {
		return otherLabel
	}
	if _, ok := m.names.Load(route); ok {
		return route
	}
	if m.count.Add(1) > maxRoutes {
		m.count.Add(-1)
		return otherLabel
	}
	if _, twice := m.names.LoadOrStore(route, struct{}{}); twice {
		m.count.Add(-1)
	}
	return route
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions:
		return method
	}
	return otherLabel
}

func classOf(status int) int {
	if status == StatusClientGone {
		return classClientGone
	}
	if class := status/100 - 1; class >= 0 && class < classFailed {
		return class
	}
	return classFailed
}
