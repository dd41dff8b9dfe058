// Package realtime delivers events to all users who may see them, over WebSocket and SSE, with one replay for both. The
// guarantees: a connection gets each event of its channels once and in order, across reconnects; where that cannot be
// kept, it is notified. Publishing never slows a writer down. A reader that does not read is disconnected.
//
// Both transports are clients of one centrifuge node, so that joining, replay and live delivery meet in one place:
// docs/adr holds the reasons.
package realtime

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

// Node is the realtime side of one process.
type Node struct {
	options        Options
	node           *centrifuge.Node
	broker         Broker
	websocket      *centrifuge.WebsocketHandler
	cursors        cursors
	metrics        *metrics
	publishOptions centrifuge.PublishOptions
	seed           maphash.Seed
	partitions     []*partition
	// rate is the deliveries of the last seconds.
	rate rate
	// connections counts those that are open or opening; sockets holds the WebSockets among them.
	connections atomic.Int64
	sockets     sockets

	started       bool
	drainOnce     sync.Once
	draining      chan struct{}
	closeOnce     sync.Once
	closing       chan struct{}
	work          sync.WaitGroup
	partitionWork sync.WaitGroup
}

var _ hearth.Publisher = (*Node)(nil)

// New makes a node. Start starts it, Close ends it.
func New(options Options) (*Node, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		options: options, cursors: newCursors(options.CursorKey), seed: maphash.MakeSeed(),
		draining: make(chan struct{}), closing: make(chan struct{}),
		publishOptions: centrifuge.PublishOptions{
			HistorySize: options.History.Size, HistoryTTL: options.History.Age, HistoryMetaTTL: 2 * options.History.Age,
		},
	}
	if n.node, err = centrifuge.New(n.config()); err != nil {
		return nil, fmt.Errorf("realtime: make the node: %w", err)
	}
	if options.Broker != nil {
		n.broker, err = options.Broker(n.node)
	} else {
		n.broker = newMemBroker(options.History, options.Clock)
	}
	if err != nil {
		return nil, fmt.Errorf("realtime: make the broker: %w", err)
	}
	if n.metrics, err = newMetrics(options.Registry, n); err != nil {
		return nil, fmt.Errorf("realtime: register the metrics: %w", err)
	}
	n.node.SetBroker(n.broker)
	if options.Presence != nil {
		n.node.SetPresenceManager(options.Presence)
	}
	n.handle()
	n.websocket = n.newWebsocketHandler()
	for range max(2, min(8, runtime.GOMAXPROCS(0))) {
		n.partitions = append(n.partitions, &partition{node: n, wake: make(chan struct{}, 1), lost: map[string]struct{}{}})
	}
	return n, nil
}

// Start lets the node carry events. It is called once, before the first connection.
func (n *Node) Start() error {
	if err := n.node.Run(); err != nil {
		return fmt.Errorf("realtime: start the node: %w", err)
	}
	n.started = true
	for _, p := range n.partitions {
		n.partitionWork.Go(p.run)
	}
	n.work.Go(n.recheckLoop)
	n.work.Go(n.rateLoop)
	return nil
}

func (n *Node) config() centrifuge.Config {
	return centrifuge.Config{
		LogLevel:   centrifuge.LogLevelWarn,
		LogHandler: n.log,
		// An access token that ran out may be refreshed for so long.
		ClientExpiredCloseDelay: 10 * time.Second,
		ClientStaleCloseDelay:   10 * time.Second,
		ClientQueueMaxSize:      n.options.queueBytes,
		// The person's own channel comes on top of those that a client asks for.
		ClientChannelLimit:          n.options.maxChannels + 1,
		ChannelMaxLength:            64,
		RecoveryMaxPublicationLimit: 0,
		Metrics: centrifuge.MetricsConfig{
			MetricsNamespace:      "hearth_centrifuge",
			RegistererGatherer:    takesOnly{n.options.Registry},
			RegisteredClientNames: []string{"js", "go", "dart", "swift", "java", "python", "csharp"},
		},
	}
}

// log logs centrifuge's messages, without what a client sent.
func (n *Node) log(entry centrifuge.LogEntry) {
	level := slog.LevelWarn
	if entry.Level >= centrifuge.LogLevelError {
		level = slog.LevelError
	}
	attrs := make([]any, 0, 6)
	for _, key := range []string{"client", "user", "error"} {
		if value, ok := entry.Fields[key]; ok {
			attrs = append(attrs, key, value)
		}
	}
	n.options.Logger.Log(context.Background(), level, "realtime: "+entry.Message, attrs...)
}

// Drain asks every connection to reconnect, spread over up to Options.Drain so that they do not all come back at once,
// and accepts no new ones. Publishing goes on. It returns when all are gone or ctx ends.
func (n *Node) Drain(ctx context.Context) error {
	n.drainOnce.Do(func() { close(n.draining) })
	clients := make([]*centrifuge.Client, 0, n.node.Hub().NumClients())
	for _, client := range n.node.Hub().Connections() {
		clients = append(clients, client)
	}
	rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	// At most a thousand a second, faster if that takes too long; a few go at once.
	const step = 50 * time.Millisecond
	perStep := max(50, len(clients)*int(step)/int(max(n.options.Drain, step))+1)
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for group := range slices.Chunk(clients, perStep) {
		for _, client := range group {
			client.Disconnect(centrifuge.DisconnectShutdown)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for n.node.Hub().NumClients() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close drains, publishes what waits, and stops everything that the node started. Events that come later are dropped.
func (n *Node) Close(ctx context.Context) error {
	if !n.started {
		return nil
	}
	err := n.Drain(ctx)
	n.closeOnce.Do(func() {
		for _, p := range n.partitions {
			p.close()
		}
		n.partitionWork.Wait()
		close(n.closing)
		n.work.Wait()
		if shutdownErr := n.node.Shutdown(ctx); err == nil {
			err = shutdownErr
		}
		n.sockets.closeAll()
	})
	return err
}

// isDraining reports whether new connections are refused.
func (n *Node) isDraining() bool {
	select {
	case <-n.draining:
		return true
	default:
		return false
	}
}

// admit counts a new connection. CodeUnavailable if there are too many or the node is draining.
func (n *Node) admit() error {
	if n.isDraining() {
		return &hearth.Error{
			Code: hearth.CodeUnavailable, Message: "the service is restarting", RetryAfter: time.Second + n.jitter(),
		}
	}
	if n.connections.Add(1) > int64(n.options.MaxConnections) {
		n.connections.Add(-1)
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many connections are open", RetryAfter: 5 * time.Second}
	}
	return nil
}

// leave counts a connection that has ended.
func (n *Node) leave() { n.connections.Add(-1) }

// jitter returns how much later than a second a client should reconnect: the more there are, the wider the spread.
func (n *Node) jitter() time.Duration {
	spread := min(max(time.Duration(n.connections.Load())*time.Millisecond, 2*time.Second), 30*time.Second)
	return rand.N(spread)
}

// kindOf returns the kind of a channel, for logs and labels.
func kindOf(channel string) string {
	kind, _, _ := strings.Cut(channel, ":")
	return kind
}
