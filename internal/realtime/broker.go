package realtime

import (
	"github.com/centrifugal/centrifuge"
)

// Broker delivers events to the connections and keeps them for replay: centrifuge's broker, and what hearth needs beyond it.
// Only one goroutine at a time publishes to a channel.
type Broker interface {
	centrifuge.Broker
	// Wanted reports whether the channel has readers, or had some that may come back. Publishing to another channel is useless.
	// channel is only valid during the call.
	Wanted(channel []byte) bool
	// Break makes every earlier position in the channel invalid and has its readers reconnect: they are notified of the
	// gap.
	Break(channel string) error
	// BreakAll does the same for every channel.
	BreakAll() error
	// ReplaySize returns the bytes of data that a reader at the position would be sent; 0 if the position is invalid.
	ReplaySize(channel string, since centrifuge.StreamPosition) int
}

// Sifter is a Broker that asks a remote server who reads a channel: its Wanted is always true, and Sift asks about many
// channels at once.
type Sifter interface {
	// Sift returns which of the channels have readers, or had some that may come back. If it fails, the broker itself notifies
	// their readers of the gap.
	Sift(channels []string) (wanted map[string]bool, err error)
}

// NewBroker makes the broker of a node.
type NewBroker func(*centrifuge.Node) (Broker, error)
