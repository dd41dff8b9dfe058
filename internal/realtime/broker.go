package realtime

import (
	"github.com/centrifugal/centrifuge"
)

// Broker is what carries events to the connections and keeps them for replay: centrifuge's broker, and what hearth asks
// beyond it. Publishing to one channel is never done by two at a time.
type Broker interface {
	centrifuge.Broker
	// Wanted reports whether anybody reads the channel or may come back to a place in it. Publishing to another is no use.
	// channel is only valid during the call.
	Wanted(channel []byte) bool
	// Break makes every place in the channel that was given out so far unplaceable, and has its readers come back: they
	// learn that they missed something.
	Break(channel string) error
	// BreakAll does the same for every channel.
	BreakAll() error
	// ReplaySize returns the bytes of data that a reader at the place would be sent; 0 if the place is unplaceable.
	ReplaySize(channel string, since centrifuge.StreamPosition) int
}

// Sifter is a Broker that has to ask elsewhere who reads a channel: its Wanted is always true, and it is asked about many
// channels at once.
type Sifter interface {
	// Sift tells which of the channels anybody reads or may come back to. Where it fails, the broker sees to it itself that
	// their readers are told of a gap.
	Sift(channels []string) (wanted map[string]bool, err error)
}

// NewBroker makes the broker of a node.
type NewBroker func(*centrifuge.Node) (Broker, error)
