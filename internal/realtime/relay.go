package realtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"hearth"
	"hearth/internal/bus"
)

const (
	// relayTopic is the bus's of events of processes without streams.
	relayTopic = "events"
	// maxRelayed bounds the events that wait to be sent; one beyond it is lost, and logged.
	maxRelayed = 1024
)

// relayed is an event on its way to the process with the streams.
type relayed struct {
	Type     hearth.EventType `json:"type"`
	At       time.Time        `json:"at"`
	Scope    hearth.Scope     `json:"scope,omitempty"`
	DeviceID string           `json:"device_id,omitempty"`
	UserID   string           `json:"user_id,omitempty"`
	// Data is the contract's JSON.
	Data json.RawMessage `json:"data"`
}

// Relay sends the events of a process without streams, such as a worker, to the streams of the server: Node.FollowRelay.
type Relay struct {
	bus    bus.Bus
	encode func(hearth.Event) (json.RawMessage, error)
	log    *slog.Logger
	events chan hearth.Event
}

var _ hearth.Publisher = (*Relay)(nil)

// NewRelay makes a relay. Until Run, events wait.
func NewRelay(b bus.Bus, encode func(hearth.Event) (json.RawMessage, error), log *slog.Logger) *Relay {
	return &Relay{bus: b, encode: encode, log: log, events: make(chan hearth.Event, maxRelayed)}
}

// Publish implements hearth.Publisher; it does not wait.
func (r *Relay) Publish(events ...hearth.Event) {
	for _, event := range events {
		select {
		case r.events <- event:
		default:
			r.log.Warn("an event did not reach the server: too many wait", "event", string(event.Type))
		}
	}
}

// Run sends events until ctx ends, and then what waits.
func (r *Relay) Run(ctx context.Context) {
	for {
		select {
		case event := <-r.events:
			r.send(event)
		case <-ctx.Done():
			for len(r.events) > 0 {
				r.send(<-r.events)
			}
			return
		}
	}
}

func (r *Relay) send(event hearth.Event) {
	data, err := r.encode(event)
	var text []byte
	if err == nil {
		text, err = json.Marshal(relayed{event.Type, event.At, event.Scope, event.DeviceID, event.UserID, data})
	}
	if err == nil {
		err = r.bus.Publish(context.Background(), relayTopic, string(text))
	}
	if err != nil {
		r.log.Warn("an event did not reach the server", "event", string(event.Type), "err", err)
	}
}

// FollowRelay publishes what relays send, until the subscription is closed.
func (n *Node) FollowRelay(b bus.Bus) bus.Subscription {
	return b.Listen(bus.Listener{Topics: []string{relayTopic}, Heard: func(m bus.Message) {
		var event relayed
		if err := json.Unmarshal([]byte(m.Data), &event); err != nil {
			n.options.Logger.Warn("an event of another process cannot be read", "err", err)
			return
		}
		n.Publish(hearth.Event{
			Type: event.Type, At: event.At, Scope: event.Scope, DeviceID: event.DeviceID, UserID: event.UserID, Data: event.Data,
		})
	}})
}
