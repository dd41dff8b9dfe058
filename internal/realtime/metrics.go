package realtime

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metrics are what Prometheus sees. Labels are a transport, a code of a known set, or a result: few values each.
type metrics struct {
	messagesIn     prometheus.Counter
	messagesOut    map[string]prometheus.Counter
	disconnects    *prometheus.CounterVec
	replays        *prometheus.CounterVec
	published      prometheus.Counter
	dropped        prometheus.Counter
	publishLatency prometheus.Histogram
	delivery       prometheus.Histogram
	recheck        prometheus.Gauge
	sampled        atomic.Uint64
}

func newMetrics(registry prometheus.Registerer, n *Node) (*metrics, error) {
	buckets := []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}
	out := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hearth_realtime_messages_out_total", Help: "Events written to connections.",
	}, []string{"transport"})
	m := &metrics{
		messagesIn: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_realtime_messages_in_total", Help: "Commands from clients.",
		}),
		messagesOut: map[string]prometheus.Counter{
			transportWebSocket: out.WithLabelValues(transportWebSocket), transportSSE: out.WithLabelValues(transportSSE),
		},
		disconnects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_realtime_disconnects_total", Help: "Connections that ended, by centrifuge's code; 3000 is the client's own wish.",
		}, []string{"transport", "code"}),
		replays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_realtime_replays_total", Help: "Channels that a client came back to: hit, or reset where its place was lost.",
		}, []string{"transport", "result"}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_realtime_published_total", Help: "Events published to channels with readers.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_realtime_dropped_total", Help: "Events that were not published; their readers were notified of a gap.",
		}),
		publishLatency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_realtime_publish_seconds", Help: "From the write to the queues of all connections.", Buckets: buckets,
		}),
		delivery: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hearth_realtime_delivery_seconds", Help: "From the event to its writing to a connection; a sample.", Buckets: buckets,
		}),
		recheck: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hearth_realtime_recheck_seconds", Help: "How long the last check of all open connections took.",
		}),
	}
	collectors := []prometheus.Collector{
		m.messagesIn, out, m.disconnects, m.replays, m.published, m.dropped, m.publishLatency, m.delivery, m.recheck,
	}
	gauge := func(name, help string, labels prometheus.Labels, value func() int) {
		collectors = append(collectors, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(value()) }))
	}
	const connections = "hearth_realtime_connections"
	gauge(connections, "Open connections.", prometheus.Labels{"transport": transportWebSocket}, n.sockets.count)
	gauge(connections, "Open connections.", prometheus.Labels{"transport": transportSSE},
		func() int { return n.Stats().Connections.SSE })
	gauge("hearth_realtime_queue_depth", "Events that wait for publishing.", nil, func() int {
		depth := 0
		for _, p := range n.partitions {
			depth += p.depth()
		}
		return depth
	})
	if broker, ok := n.broker.(*memBroker); ok {
		gauge("hearth_realtime_history_bytes", "Events kept for replay, in bytes of data.", nil,
			func() int { _, bytes := broker.usage(); return bytes })
		gauge("hearth_realtime_history_channels", "Channels that are read, or were lately.", nil,
			func() int { channels, _ := broker.usage(); return channels })
	}
	for _, collector := range collectors {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	// A counter that appears with its first event has no rate for that event.
	for code := range knownCodes {
		m.disconnects.WithLabelValues(transportWebSocket, strconv.FormatUint(uint64(code), 10))
		m.disconnects.WithLabelValues(transportSSE, strconv.FormatUint(uint64(code), 10))
	}
	return m, nil
}

// knownCodes bounds the label: every other code is "other".
var knownCodes = map[uint32]bool{
	centrifuge.DisconnectConnectionClosed.Code: true, centrifuge.DisconnectShutdown.Code: true, centrifuge.DisconnectServerError.Code: true,
	centrifuge.DisconnectExpired.Code: true, centrifuge.DisconnectSlow.Code: true, centrifuge.DisconnectWriteError.Code: true,
	centrifuge.DisconnectInsufficientState.Code: true, centrifuge.DisconnectNoPong.Code: true, centrifuge.DisconnectTooManyRequests.Code: true,
	centrifuge.DisconnectInvalidToken.Code: true, centrifuge.DisconnectBadRequest.Code: true, centrifuge.DisconnectStale.Code: true,
	centrifuge.DisconnectChannelLimit.Code: true, centrifuge.DisconnectPermissionDenied.Code: true,
}

func (m *metrics) disconnected(transport string, code uint32) {
	label := "other"
	if knownCodes[code] {
		label = strconv.FormatUint(uint64(code), 10)
	}
	m.disconnects.WithLabelValues(transport, label).Inc()
}

func (m *metrics) replayed(transport string, hit bool) {
	result := "reset"
	if hit {
		result = "hit"
	}
	m.replays.WithLabelValues(transport, result).Inc()
}

// sampleEvery is how many written events there are to one whose delay is measured.
const sampleEvery = 64

func (m *metrics) wrote(c *conn, data []byte) {
	if c == nil {
		return
	}
	m.messagesOut[c.transport].Inc()
	if m.sampled.Add(1)%sampleEvery != 0 {
		return
	}
	if at, err := time.Parse(timeFormat, string(atOf(data))); err == nil {
		m.delivery.Observe(max(0, time.Since(at).Seconds()))
	}
}

// rate counts deliveries over the last ten whole seconds.
type rate struct {
	now atomic.Int64

	mu      sync.Mutex
	seconds [10]int64
	next    int
	filled  int
}

func (r *rate) add(n int64) { r.now.Add(n) }

func (r *rate) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seconds[r.next] = r.now.Swap(0)
	r.next = (r.next + 1) % len(r.seconds)
	r.filled = min(r.filled+1, len(r.seconds))
}

func (r *rate) perSecond() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filled == 0 {
		return 0
	}
	var sum int64
	for _, n := range r.seconds {
		sum += n
	}
	return float64(sum) / float64(r.filled)
}

func (n *Node) rateLoop() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-n.closing:
			return
		case <-ticker.C:
			n.rate.tick()
		}
	}
}

// Stats are the figures of this process at a moment.
type Stats struct {
	Connections struct{ WebSocket, SSE int }
	// Users and Channels count those with at least one connection.
	Users    int
	Channels int
	// MessagesPerSecond is the deliveries to connections, over the last ten seconds.
	MessagesPerSecond float64
}

// Stats returns the figures.
func (n *Node) Stats() Stats {
	hub := n.node.Hub()
	var stats Stats
	stats.Connections.WebSocket = n.sockets.count()
	stats.Connections.SSE = max(0, int(n.connections.Load())-stats.Connections.WebSocket)
	stats.Users, stats.Channels = hub.NumUsers(), hub.NumChannels()
	stats.MessagesPerSecond = n.rate.perSecond()
	return stats
}

// Readers returns the users with a connection to this process and the channels with a reader, to be united with those of other
// processes. It takes microseconds a connection.
func (n *Node) Readers() (users, channels Distinct) {
	hub := n.node.Hub()
	connections := hub.Connections()
	userIDs := make([]string, 0, len(connections))
	for _, c := range connections {
		userIDs = append(userIDs, c.UserID())
	}
	return DistinctOf(userIDs), DistinctOf(hub.Channels())
}

// ConnectionsOf returns the number of a person's open connections to this process.
func (n *Node) ConnectionsOf(userID string) int { return len(n.node.Hub().UserConnections(userID)) }

// IssueTicket returns a one-use ticket that opens a stream for the owner of the access token, which the caller has authenticated.
func (n *Node) IssueTicket(ctx context.Context, token string) (string, error) {
	return n.options.Tickets.Issue(ctx, token)
}

// takesOnly is a registry that centrifuge adds its metrics to and reads nothing from. Otherwise it would gather all of the
// program's every minute, to send its own to other nodes.
type takesOnly struct{ prometheus.Registerer }

var _ prometheus.Gatherer = takesOnly{}

// Gather returns nothing.
func (takesOnly) Gather() ([]*dto.MetricFamily, error) { return nil, nil }
