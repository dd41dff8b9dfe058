package realtime

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

// maxLost bounds the channels with lost events that a partition remembers; beyond it every channel breaks.
const maxLost = 1024

// partition publishes the events of some scopes, in order, in one goroutine.
type partition struct {
	node *Node
	wake chan struct{}

	mu     sync.Mutex
	queue  []queued
	closed bool
	// accepted and done count the queued and the published events; waiting are the callers that wait for done.
	accepted, done uint64
	waiting        []waiter
	// lost are the channels whose events found the queue full; lostAll, that there were too many to remember.
	lost    map[string]struct{}
	lostAll bool
}

type queued struct {
	event hearth.Event
	at    time.Time
}

// waiter waits for the first count events of a partition: reached is closed once they are published.
type waiter struct {
	count   uint64
	reached chan struct{}
}

// Publish implements hearth.Publisher: it queues the events of channels with readers, in a bounded queue, and returns. An
// event that finds the queue full is dropped and counted, and the readers of its channels are notified of the gap.
func (n *Node) Publish(events ...hearth.Event) {
	var now time.Time
	for _, event := range events {
		if !n.wanted(event) {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		p := n.partitions[maphash.String(n.seed, partitionKey(event))%uint64(len(n.partitions))]
		if !p.add(queued{event: event, at: now}) {
			n.metrics.dropped.Inc()
		}
	}
}

// Wanted reports whether events of a device in a scope have readers, or had some a moment ago; where it is not known, they have.
func (n *Node) Wanted(scope hearth.Scope, deviceID string) bool {
	return n.wanted(hearth.Event{Scope: scope, DeviceID: deviceID})
}

// wanted reports whether any of the event's channels has readers.
func (n *Node) wanted(event hearth.Event) bool {
	var space [64]byte
	is := func(prefix, id string) bool {
		return id != "" && n.broker.Wanted(append(append(space[:0], prefix...), id...))
	}
	if event.UserID != "" {
		return is(userPrefix, event.UserID) || is(inboxPrefix, event.UserID)
	}
	return is("", string(event.Scope)) || is(devicePrefix, event.DeviceID)
}

// add queues an event. Reports whether there was room.
func (p *partition) add(q queued) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if len(p.queue) >= p.node.options.queueSize {
		for _, channel := range targets(q.event, nil) {
			p.lost[channel] = struct{}{}
		}
		if len(p.lost) > maxLost {
			clear(p.lost)
			p.lostAll = true
		}
		return false
	}
	p.queue = append(p.queue, q)
	p.accepted++
	select {
	case p.wake <- struct{}{}:
	default: // it is awake already
	}
	return true
}

// depth returns the number of waiting events.
func (p *partition) depth() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

// close lets run end once it has published what waits.
func (p *partition) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run publishes until the partition is closed and empty.
func (p *partition) run() {
	var batch []queued
	for range p.wake {
		for {
			p.mu.Lock()
			batch, p.queue = p.queue, batch[:0]
			closed := p.closed
			p.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			for group := range slices.Chunk(batch, siftStep) {
				p.publishAll(group)
				p.published(len(group))
			}
			clear(batch)
			p.breakLost()
		}
	}
}

// published counts events that were published, or that had no readers, and wakes the callers that waited for them.
func (p *partition) published(count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += uint64(count)
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		reached := w.count <= p.done
		if reached {
			close(w.reached)
		}
		return reached
	})
}

// idle returns a channel that is closed once all accepted events are published; nil if they are.
func (p *partition) idle() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == p.accepted {
		return nil
	}
	w := waiter{count: p.accepted, reached: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	return w.reached
}

// publishWait bounds how long AwaitPublished waits.
const publishWait = 200 * time.Millisecond

// AwaitPublished waits until the events that this instance has accepted have their position among those of all instances, for 200 ms
// at most. A client that is answered afterwards may continue at another instance: its next events follow these for every reader. A
// single process does not need it.
func (n *Node) AwaitPublished(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	for _, p := range n.partitions {
		idle := p.idle()
		if idle == nil {
			continue
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return
		}
	}
}

// siftStep is how many events a Sifter is asked about at once.
const siftStep = 500

// publishAll publishes the events that have readers, in order.
func (p *partition) publishAll(group []queued) {
	wanted := func(channel string) bool { return p.node.broker.Wanted([]byte(channel)) }
	if sifter, ok := p.node.broker.(Sifter); ok {
		var channels []string
		for _, q := range group {
			channels = targets(q.event, channels)
		}
		slices.Sort(channels)
		read, err := sifter.Sift(slices.Compact(channels))
		if err != nil {
			p.node.metrics.dropped.Add(float64(len(group)))
			if hearth.ErrorCode(err) != hearth.CodeUnavailable {
				p.node.options.Logger.Error("events could not be published", "step", "sift", "error", err)
			}
			return
		}
		wanted = func(channel string) bool { return read[channel] }
	}
	for _, q := range group {
		p.publish(q, wanted)
	}
}

// publish encodes an event once and publishes it to each of its channels that has readers.
func (p *partition) publish(q queued, wanted func(channel string) bool) {
	n := p.node
	var space [2]string
	var data []byte
	for _, channel := range targets(q.event, space[:0]) {
		if !wanted(channel) {
			continue
		}
		if data == nil {
			payload, err := n.options.Encode(q.event)
			if err == nil {
				data, err = envelope(q.event.Type, q.event.At, payload)
			}
			if err != nil {
				n.failed(channel, "encode", err)
				return
			}
		}
		if _, err := n.broker.Publish(channel, data, n.publishOptions); err != nil {
			n.failed(channel, "publish", err)
		}
	}
	n.metrics.published.Inc()
	n.metrics.publishLatency.Observe(time.Since(q.at).Seconds())
	if q.event.Type == hearth.EventDeviceDeleted && q.event.DeviceID != "" {
		n.deviceDeleted(q.event.DeviceID)
	}
}

// failed handles an event that could not be published: its readers are notified of the gap.
func (n *Node) failed(channel, step string, err error) {
	n.metrics.dropped.Inc()
	if hearth.ErrorCode(err) != hearth.CodeUnavailable { // an unavailable broker logs that itself, once
		n.options.Logger.Error("an event could not be published", "step", step, "channel", kindOf(channel), "error", err)
	}
	if err := n.broker.Break(channel); err != nil {
		n.options.Logger.Error("a gap could not be announced", "channel", kindOf(channel), "error", err)
	}
}

// breakLost announces the gaps of events that found the queue full. What was dropped was durable before, so a reader that
// reads everything anew from now on has it.
func (p *partition) breakLost() {
	p.mu.Lock()
	all := p.lostAll
	lost := make([]string, 0, len(p.lost))
	for channel := range p.lost {
		lost = append(lost, channel)
	}
	clear(p.lost)
	p.lostAll = false
	p.mu.Unlock()

	var err error
	if all {
		err = p.node.broker.BreakAll()
	}
	for _, channel := range lost {
		if breakErr := p.node.broker.Break(channel); breakErr != nil {
			err = breakErr
		}
	}
	if all || len(lost) > 0 {
		p.node.options.Logger.Warn("the publishing queue was full; readers were notified of the gap", "channels", len(lost), "all", all)
	}
	if err != nil {
		p.node.options.Logger.Error("a gap could not be announced", "error", err)
	}
}

// deviceDeleted unsubscribes all readers of a deleted device's channel, after its last event.
func (n *Node) deviceDeleted(id string) {
	channel := devicePrefix + id
	if n.options.Broker == nil && n.node.Hub().NumSubscribers(channel) == 0 {
		return
	}
	if err := n.node.Unsubscribe("", channel, centrifuge.WithUnsubscribeAllUsers(true),
		centrifuge.WithCustomUnsubscribe(unsubscribeGone)); err != nil {
		n.options.Logger.Error("the readers of a deleted device stay", "error", err)
	}
}
