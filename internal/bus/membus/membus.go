// Package membus is a bus within one process: for tests of what uses a bus, and the model of its promises.
package membus

import (
	"context"
	"sync"

	"hearth/internal/bus"
)

// Network is what carries the messages between its ends.
type Network struct {
	mu   sync.Mutex
	ends []*Bus
	cut  bool
}

// Bus is one end of a network.
type Bus struct {
	network *Network
	id      string
	hub     *bus.Hub

	mu      sync.Mutex
	waiting []bus.Message
	wake    chan struct{}
	stop    chan struct{}
	once    sync.Once
	work    sync.WaitGroup
}

var _ bus.Bus = (*Bus)(nil)

// Join adds an end. Close ends it.
func (n *Network) Join() *Bus {
	b := &Bus{network: n, id: bus.NewID(), hub: bus.NewHub(nil), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	b.work.Go(b.deliver)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends = append(n.ends, b)
	if !n.cut {
		b.hub.SetUp()
	}
	return b
}

// Cut takes the links of all ends down, and Mend up again.
func (n *Network) Cut() { n.set(true) }

// Mend is Cut's opposite.
func (n *Network) Mend() { n.set(false) }

func (n *Network) set(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	for _, end := range n.ends {
		if cut {
			end.hub.SetDown()
		} else {
			end.hub.SetUp()
		}
	}
}

// Close ends the use: this end hears nothing more.
func (b *Bus) Close() {
	b.once.Do(func() { close(b.stop) })
	b.work.Wait()
	b.hub.SetDown()
}

// ID implements bus.Bus.
func (b *Bus) ID() string { return b.id }

// Listen implements bus.Bus.
func (b *Bus) Listen(l bus.Listener) bus.Subscription { return b.hub.Listen(l) }

// Publish implements bus.Bus.
func (b *Bus) Publish(ctx context.Context, topic, data string) error {
	_, err := b.PublishCounted(ctx, topic, data)
	return err
}

// PublishCounted implements bus.Bus.
func (b *Bus) PublishCounted(_ context.Context, topic, data string) (processes int, err error) {
	if err := bus.Check(topic, data); err != nil {
		return 0, err
	}
	m := bus.Message{Topic: topic, From: b.id, Data: data}
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	if b.network.cut {
		return 0, bus.Unavailable(nil)
	}
	for _, end := range b.network.ends {
		if end.hub.Follows(topic) {
			processes++
			end.take(m)
		}
	}
	return processes, nil
}

func (b *Bus) take(m bus.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, m)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// deliver hands on what waits until the end is closed.
func (b *Bus) deliver() {
	for {
		select {
		case <-b.wake:
		case <-b.stop:
			return
		}
		b.mu.Lock()
		batch := b.waiting
		b.waiting = nil
		b.mu.Unlock()
		for _, m := range batch {
			b.hub.Deliver(m)
		}
	}
}
