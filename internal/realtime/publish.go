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

// maxLost bounds the channels that a lane remembers events to be lost of; beyond it every channel breaks.
const maxLost = 1024

// lane publishes the events of some scopes, in order, in one goroutine.
type lane struct {
	node *Node
	wake chan struct{}

	mu     sync.Mutex
	queue  []queued
	closed bool
	// taken and done count the events that came and those that were published; waiting are those who wait for done.
	taken, done uint64
	waiting     []waiter
	// lost are the channels whose events found the queue full; lostAll, that there were too many to remember.
	lost    map[string]struct{}
	lostAll bool
}

type queued struct {
	event hearth.Event
	at    time.Time
}

// waiter waits until the first count events of a lane are published: then reached is closed.
type waiter struct {
	count   uint64
	reached chan struct{}
}

// Publish implements hearth.Publisher: it takes the events that anybody waits for into a bounded queue and returns. An
// event that finds the queue full is counted, and the readers of its channels are told that they missed something.
func (n *Node) Publish(events ...hearth.Event) {
	var now time.Time
	for _, event := range events {
		if !n.wanted(event) {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		l := n.lanes[maphash.String(n.seed, laneKey(event))%uint64(len(n.lanes))]
		if !l.add(queued{event: event, at: now}) {
			n.metrics.dropped.Inc()
		}
	}
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

// add takes an event; it reports whether there was room.
func (l *lane) add(q queued) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if len(l.queue) >= l.node.options.QueueSize {
		for _, channel := range targets(q.event, nil) {
			l.lost[channel] = struct{}{}
		}
		if len(l.lost) > maxLost {
			clear(l.lost)
			l.lostAll = true
		}
		return false
	}
	l.queue = append(l.queue, q)
	l.taken++
	select {
	case l.wake <- struct{}{}:
	default: // it is awake already
	}
	return true
}

// depth returns the number of waiting events.
func (l *lane) depth() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// close lets run end once it has published what waits.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run publishes until the lane is closed and empty.
func (l *lane) run() {
	var batch []queued
	for range l.wake {
		for {
			l.mu.Lock()
			batch, l.queue = l.queue, batch[:0]
			closed := l.closed
			l.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			for group := range slices.Chunk(batch, siftStep) {
				l.publishAll(group)
				l.published(len(group))
			}
			clear(batch)
			l.breakLost()
		}
	}
}

// published counts events that were published, or that nobody wanted, and wakes who waited for them.
func (l *lane) published(count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done += uint64(count)
	l.waiting = slices.DeleteFunc(l.waiting, func(w waiter) bool {
		reached := w.count <= l.done
		if reached {
			close(w.reached)
		}
		return reached
	})
}

// settled returns what is closed once all events that the lane has taken are published; nil if they are.
func (l *lane) settled() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == l.taken {
		return nil
	}
	w := waiter{count: l.taken, reached: make(chan struct{})}
	l.waiting = append(l.waiting, w)
	return w.reached
}

// settleLimit bounds what a caller waits for the publishing of what it did.
const settleLimit = 200 * time.Millisecond

// Settle waits until what was published here before has its place among the events of all instances, for 200 ms at most. An answer
// that is given after that lets its caller go on at another instance: what happens there comes later, for every reader. One
// process alone needs none of it.
func (n *Node) Settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for _, l := range n.lanes {
		settled := l.settled()
		if settled == nil {
			continue
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return
		}
	}
}

// siftStep is how many events a Sifter is asked about at once.
const siftStep = 500

// publishAll publishes events in order, those that anybody reads.
func (l *lane) publishAll(group []queued) {
	wanted := func(channel string) bool { return l.node.broker.Wanted([]byte(channel)) }
	if sifter, ok := l.node.broker.(Sifter); ok {
		var channels []string
		for _, q := range group {
			channels = targets(q.event, channels)
		}
		slices.Sort(channels)
		read, err := sifter.Sift(slices.Compact(channels))
		if err != nil {
			l.node.metrics.dropped.Add(float64(len(group)))
			if hearth.ErrorCode(err) != hearth.CodeUnavailable {
				l.node.options.Logger.Error("events could not be published", "step", "sift", "error", err)
			}
			return
		}
		wanted = func(channel string) bool { return read[channel] }
	}
	for _, q := range group {
		l.publish(q, wanted)
	}
}

// publish encodes an event once and hands it to each of its channels that has readers.
func (l *lane) publish(q queued, wanted func(channel string) bool) {
	n := l.node
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

// failed handles an event that could not be published: its readers are told.
func (n *Node) failed(channel, step string, err error) {
	n.metrics.dropped.Inc()
	if hearth.ErrorCode(err) != hearth.CodeUnavailable { // a broker that is away is told of once, by who knows
		n.options.Logger.Error("an event could not be published", "step", step, "channel", kindOf(channel), "error", err)
	}
	if err := n.broker.Break(channel); err != nil {
		n.options.Logger.Error("a gap could not be announced", "channel", kindOf(channel), "error", err)
	}
}

// breakLost announces the gaps of events that found the queue full. What was dropped was durable before, so a reader that
// reads everything anew from now on has it.
func (l *lane) breakLost() {
	l.mu.Lock()
	all := l.lostAll
	lost := make([]string, 0, len(l.lost))
	for channel := range l.lost {
		lost = append(lost, channel)
	}
	clear(l.lost)
	l.lostAll = false
	l.mu.Unlock()

	var err error
	if all {
		err = l.node.broker.BreakAll()
	}
	for _, channel := range lost {
		if breakErr := l.node.broker.Break(channel); breakErr != nil {
			err = breakErr
		}
	}
	if all || len(lost) > 0 {
		l.node.options.Logger.Warn("the publishing queue was full; readers were told of the gap", "channels", len(lost), "all", all)
	}
	if err != nil {
		l.node.options.Logger.Error("a gap could not be announced", "error", err)
	}
}

// deviceDeleted takes everybody off a deleted device's channel, after its last event.
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
