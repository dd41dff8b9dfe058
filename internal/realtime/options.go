package realtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"

	"hearth"
)

// Authenticator turns an access token into its caller. Errors: CodeUnauthenticated, CodeTokenExpired, CodeTokenRevoked,
// CodeUnavailable.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (hearth.Caller, error)
}

// Sessions is an Authenticator with a cheaper check of callers that it authenticated before. Alive returns nil, or the error that
// Authenticate would return, except for the token's expiry and signature.
type Sessions interface {
	Alive(ctx context.Context, caller hearth.Caller) error
}

// Devices finds a device: CodeNotFound, CodeUnavailable.
type Devices interface {
	Device(ctx context.Context, id string) (hearth.Device, error)
}

// Options are what a Node needs and its bounds. A zero bound takes its default.
type Options struct {
	// Users and Devices are required. If Users has Sessions too, open connections are checked with it.
	Users   Authenticator
	Devices Devices
	// Roles returns a user's organizations; nil: Users does.
	Roles func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	// Encode returns the contract's JSON of an event's data. Required; it must not change or keep the event.
	Encode func(hearth.Event) (json.RawMessage, error)
	// Broker makes the broker that instances share; nil keeps everything in this process.
	Broker NewBroker
	// Presence keeps who reads which channel, for all instances; nil keeps it in this process.
	Presence centrifuge.PresenceManager
	// Tickets keeps the tickets that streams are opened with; nil keeps them in this process.
	Tickets Tickets
	// CursorKey signs the positions in SSE ids; instances that share a broker share it. Empty: a random key of this
	// process. At least 32 bytes.
	CursorKey []byte
	// AllowedOrigins may open a WebSocket from a browser, besides the page's own host: "https://app.example", or "*".
	AllowedOrigins []string
	Clock          hearth.Clock
	Logger         *slog.Logger
	// Registry takes the metrics; nil keeps them to itself.
	Registry *prometheus.Registry

	// MaxConnections bounds the open connections of this process (default 100,000).
	MaxConnections int
	// WriteTimeout is how long a write to a client may block before it is disconnected (default 5 s).
	WriteTimeout time.Duration
	// Heartbeat is how often an idle SSE stream gets a comment and a WebSocket a ping (default 15 s, at most 25 s).
	Heartbeat time.Duration
	// Recheck is how often the permissions of each open connection are checked again (default 3 s).
	Recheck time.Duration
	// Drain bounds the time over which Drain spreads the reconnects (default 5 s).
	Drain time.Duration
	// History bounds the replay that the in-process broker keeps.
	History HistoryOptions

	// Bounds that only tests change.

	// maxChannels bounds the channels of one connection (default 100).
	maxChannels int
	// queueSize bounds the events that wait for publishing in each partition (default 65,536: a whole group of heartbeats).
	queueSize int
	// queueBytes bounds what waits for one connection; more disconnects it as slow (default 4 MiB).
	queueBytes int
	// messageRate and messageBurst bound a client's commands: so many a second after a first burst (default 100, 1,000).
	messageRate  float64
	messageBurst int
}

// HistoryOptions bound the replay of the in-process broker. A zero bound takes its default.
type HistoryOptions struct {
	// Age is how long an event can be replayed, and how long a channel without readers keeps its position (default 5 min).
	Age time.Duration
	// Size and Bytes bound the events of one channel (default 1,000 and 256 KiB).
	Size  int
	Bytes int
	// TotalBytes bounds the events of all channels; the oldest are dropped (default 64 MiB). Where channels shrink, the memory for them
	// is up to four times that.
	TotalBytes int
}

// replayBytes bounds the replay of one SSE stream; a larger gap is a reset. It leaves room in the connection's queue.
func (o Options) replayBytes() int { return o.queueBytes / 2 }

func (o Options) withDefaults() (Options, error) {
	if o.Users == nil || o.Devices == nil || o.Encode == nil {
		return o, errors.New("realtime: Users, Devices and Encode are required")
	}
	if n := len(o.CursorKey); n > 0 && n < 32 {
		return o, errors.New("realtime: the cursor key is shorter than 32 bytes")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Tickets == nil {
		o.Tickets = NewMemTickets(o.Clock)
	}
	orInt(&o.MaxConnections, 100_000)
	orInt(&o.maxChannels, 100)
	orInt(&o.queueSize, 65_536)
	orInt(&o.queueBytes, 4<<20)
	orInt(&o.messageBurst, 1000)
	o.messageRate = cmp.Or(o.messageRate, 100)
	orDuration(&o.WriteTimeout, 5*time.Second)
	orDuration(&o.Heartbeat, 15*time.Second)
	orDuration(&o.Recheck, 3*time.Second)
	orDuration(&o.Drain, 5*time.Second)
	orDuration(&o.History.Age, 5*time.Minute)
	orInt(&o.History.Size, 1000)
	orInt(&o.History.Bytes, 256<<10)
	orInt(&o.History.TotalBytes, 64<<20)
	switch {
	case o.Heartbeat > 25*time.Second:
		return o, errors.New("realtime: the heartbeat is rarer than every 25 s")
	case o.MaxConnections < 0, o.maxChannels < 0, o.queueSize < 0, o.queueBytes < 0, o.messageBurst < 0,
		o.messageRate < 0, o.WriteTimeout < 0, o.Heartbeat < 0, o.Recheck < 0, o.Drain < 0, o.History.Age < 0,
		o.History.Size < 0, o.History.Bytes < 0, o.History.TotalBytes < 0:
		return o, errors.New("realtime: a bound is negative")
	}
	return o, nil
}

func orInt(value *int, other int) {
	if *value == 0 {
		*value = other
	}
}

func orDuration(value *time.Duration, other time.Duration) {
	if *value == 0 {
		*value = other
	}
}
