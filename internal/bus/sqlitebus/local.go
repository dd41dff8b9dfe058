package sqlitebus

import (
	"sync"

	"hearth/internal/bus"
)

const (
	// maxLocal and maxLocalBytes bound the messages in memory; those beyond go to the file.
	maxLocal      = 4096
	maxLocalBytes = 8 << 20
)

// local holds messages that no other process hears, until this one's listeners hear them.
type local struct {
	// wake is signalled when there are messages.
	wake chan struct{}

	mu       sync.Mutex
	begun    bool
	messages []bus.Message
	bytes    int
}

// begin says that there are listeners.
func (l *local) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = true
}

// add reports whether the message has its place here. Before there are listeners it is heard by none.
func (l *local) add(m bus.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		return true
	}
	if len(l.messages) >= maxLocal || l.bytes+len(m.Data) > maxLocalBytes {
		return false
	}
	l.messages = append(l.messages, m)
	l.bytes += len(m.Data)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns the messages, and forgets them.
func (l *local) take() []bus.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.messages
	l.messages, l.bytes = nil, 0
	return taken
}
