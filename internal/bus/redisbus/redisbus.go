// Package redisbus is the bus of a fleet: publish and subscribe of Redis. A topic is a channel, so that Redis sends an instance what
// its listeners follow, and nothing else.
package redisbus

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/bus"
	"hearth/internal/redisconn"
)

const (
	// step is how many channels one command takes.
	step = 500
	// pause is what passes between two attempts to connect.
	pause = 50 * time.Millisecond
)

// Bus implements bus.Bus over one connection of its own for what it hears, and the shared one for what it publishes.
type Bus struct {
	conn   *redisconn.Conn
	id     string
	prefix string
	hub    *bus.Hub
	cancel context.CancelFunc
	work   sync.WaitGroup

	// wake has the connection take over what changed.
	wake chan struct{}
	mu   sync.Mutex
	// linked is set while a connection takes changes over: topics that begin or end, and those who wait for it.
	linked  bool
	changed map[string]struct{}
	waiting []chan error
}

var _ bus.Bus = (*Bus)(nil)

// New makes an end and begins to hear. Close ends it; conn stays open.
func New(conn *redisconn.Conn) *Bus {
	b := &Bus{
		conn: conn, id: bus.NewID(), prefix: "bus:" + strconv.Itoa(conn.Database()) + ":", wake: make(chan struct{}, 1), changed: map[string]struct{}{},
	}
	b.hub = bus.NewHub(b.reach)
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.work.Go(func() { b.run(ctx) })
	return b
}

// Close ends the hearing. Closing twice is no error.
func (b *Bus) Close() {
	b.cancel()
	b.work.Wait()
}

// Conn returns the connection, for what is stored with the messages.
func (b *Bus) Conn() *redisconn.Conn { return b.conn }

// ID implements bus.Bus.
func (b *Bus) ID() string { return b.id }

// Channel returns the channel of a topic. A script that stores something and publishes it in one step publishes there the ID
// and the data, one after the other.
func (b *Bus) Channel(topic string) string { return b.prefix + topic }

// Publish implements bus.Bus.
func (b *Bus) Publish(ctx context.Context, topic, data string) error {
	_, err := b.publish(ctx, topic, data)
	return err
}

// PublishCounted implements bus.Bus.
func (b *Bus) PublishCounted(ctx context.Context, topic, data string) (processes int, err error) {
	processes, err = b.publish(ctx, topic, data)
	if err != nil || b.conn.Client().Mode() != rueidis.ClientModeCluster {
		return processes, err
	}
	// Each node of a cluster knows its own listeners.
	processes = 0
	for _, node := range b.conn.Client().Nodes() {
		counts, err := node.Do(ctx, node.B().PubsubNumsub().Channel(b.Channel(topic)).Build()).AsIntMap()
		if err != nil {
			return bus.Uncounted, nil //nolint:nilerr // the message was sent
		}
		processes += int(counts[b.Channel(topic)])
	}
	return processes, nil
}

// publish returns how many got the message of the server that it was given to.
func (b *Bus) publish(ctx context.Context, topic, data string) (receivers int, err error) {
	if err := bus.Check(topic, data); err != nil {
		return 0, err
	}
	err = b.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		n, err := client.Do(ctx, client.B().Publish().Channel(b.Channel(topic)).Message(b.id+data).Build()).AsInt64()
		receivers = int(n)
		return err
	})
	return receivers, err
}

// Listen implements bus.Bus.
func (b *Bus) Listen(l bus.Listener) bus.Subscription { return b.hub.Listen(l) }

// reach has the connection take over topics that begin or end, and waits until it has.
func (b *Bus) reach(ctx context.Context, topics []string) error {
	done := make(chan error, 1)
	b.mu.Lock()
	if !b.linked {
		b.mu.Unlock()
		return bus.Unavailable(nil) // the next connection begins with all that is followed then
	}
	for _, topic := range topics {
		b.changed[topic] = struct{}{}
	}
	if ctx.Err() == nil {
		b.waiting = append(b.waiting, done)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run keeps a connection until ctx ends. One that is silent is noticed within 0.9 s.
func (b *Bus) run(ctx context.Context) {
	for ctx.Err() == nil {
		if b.conn.Await(ctx) == nil {
			b.hear(ctx)
			b.unlink()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// unlink takes the link down, and ends all waiting.
func (b *Bus) unlink() {
	b.hub.SetDown()
	b.mu.Lock()
	b.linked = false
	waiting := b.waiting
	b.waiting = nil
	clear(b.changed)
	b.mu.Unlock()
	for _, done := range waiting {
		done <- bus.Unavailable(nil)
	}
}

// hear makes a connection and follows what is followed here, until the connection is lost or ctx ends.
func (b *Bus) hear(ctx context.Context) {
	client, _ := b.conn.Client().Dedicate()
	defer client.Close()
	lost := client.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: b.heard})
	b.mu.Lock()
	b.linked = true
	for _, topic := range b.hub.Topics() {
		b.changed[topic] = struct{}{}
	}
	b.mu.Unlock()
	l := link{client: client, channels: map[string]struct{}{}}
	// Also where nothing is followed, so that a lost connection is noticed.
	if client.Do(ctx, client.B().Ping().Build()).Error() != nil || b.adjust(ctx, l) != nil {
		return
	}
	b.hub.SetUp()
	for {
		select {
		case <-b.wake:
			if err := b.adjust(ctx, l); err != nil {
				return
			}
		case <-lost: //nolint:errcheck // that it was lost is enough
			return
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bus) heard(m rueidis.PubSubMessage) {
	if topic, ok := strings.CutPrefix(m.Channel, b.prefix); ok && len(m.Message) >= bus.IDSize {
		b.hub.Deliver(bus.Message{Topic: topic, From: m.Message[:bus.IDSize], Data: m.Message[bus.IDSize:]})
	}
}

// link is a connection and the channels that it is subscribed to.
type link struct {
	client   rueidis.DedicatedClient
	channels map[string]struct{}
}

// adjust takes over what changed, and says so to those who wait.
func (b *Bus) adjust(ctx context.Context, l link) error {
	b.mu.Lock()
	changed, waiting := b.changed, b.waiting
	b.changed, b.waiting = map[string]struct{}{}, nil
	b.mu.Unlock()
	var begin, end []string
	for topic := range changed {
		channel := b.Channel(topic)
		_, have := l.channels[channel]
		switch wanted := b.hub.Follows(topic); {
		case wanted && !have:
			begin = append(begin, channel)
		case have && !wanted:
			end = append(end, channel)
		}
	}
	err := l.subscribe(ctx, begin, end)
	for _, done := range waiting {
		if err != nil {
			done <- bus.Unavailable(nil)
		} else {
			done <- nil
		}
	}
	return err
}

func (l link) subscribe(ctx context.Context, begin, end []string) error {
	for channels := range slices.Chunk(begin, step) {
		if err := l.client.Do(ctx, l.client.B().Subscribe().Channel(channels...).Build()).Error(); err != nil {
			return err
		}
		for _, channel := range channels {
			l.channels[channel] = struct{}{}
		}
	}
	for channels := range slices.Chunk(end, step) {
		if err := l.client.Do(ctx, l.client.B().Unsubscribe().Channel(channels...).Build()).Error(); err != nil {
			return err
		}
		for _, channel := range channels {
			delete(l.channels, channel)
		}
	}
	return nil
}
