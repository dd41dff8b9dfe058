package sqlitequeue

import (
	"context"
	"time"

	"hearth/internal/bus"
)

const (
	// topic is the bus's of wake-ups.
	topic = "jobs"
	// wakeEvery is the shortest pause between two wake-ups of other processes.
	wakeEvery = 20 * time.Millisecond
)

// Watch implements queue.Backend.
func (q *Queue) Watch() (<-chan struct{}, func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bus != nil && q.isOpen && q.listening == nil {
		q.listening = q.bus.Listen(bus.Listener{
			Topics: []string{topic}, Heard: func(m bus.Message) {
				if m.From != q.bus.ID() {
					q.watchers.Signal()
				}
			},
			// Something may have come while the bus was not heard.
			Up: func(context.Context) error { q.watchers.Signal(); return nil },
		})
	}
	return q.watchers.Add()
}

// signal wakes the watchers: of this process at once, of others by the bus, which many changes share.
func (q *Queue) signal() {
	q.watchers.Signal()
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// wakeOthers publishes wake-ups until Close, and then the last.
func (q *Queue) wakeOthers() {
	for {
		select {
		case <-q.changed:
			_ = q.bus.Publish(context.Background(), topic, "") // a lost one costs at most the second after which workers look by themselves
		case <-q.closing:
			if len(q.changed) > 0 {
				_ = q.bus.Publish(context.Background(), topic, "")
			}
			return
		}
		select {
		case <-time.After(wakeEvery):
		case <-q.closing:
		}
	}
}
