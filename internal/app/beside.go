package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/core/account"
)

// besideField names what seals the events that processes of one data directory tell one another.
const besideField = "live event"

const (
	// maxTold bounds the events that wait to be told; one beyond it is lost, and logged.
	maxTold = 1024
	// tellBatch bounds the events that are told in one write.
	tellBatch = 100
	// hearEvery is the shortest pause between two looks for what was told.
	hearEvery = 50 * time.Millisecond
)

// feed is where processes of one data directory tell one another what happened. Without Redis it is the queue's file.
type feed interface {
	Tell(ctx context.Context, messages ...[]byte) error
	Told(ctx context.Context, after int64) (messages [][]byte, next int64, err error)
	Watch() (changed <-chan struct{}, stop func())
}

// toldEvent is an event on its way to another process.
type toldEvent struct {
	Type     hearth.EventType `json:"type"`
	At       time.Time        `json:"at"`
	Scope    hearth.Scope     `json:"scope,omitempty"`
	DeviceID string           `json:"device_id,omitempty"`
	UserID   string           `json:"user_id,omitempty"`
	// Data is the contract's JSON.
	Data json.RawMessage `json:"data"`
}

// teller tells the server of the same data directory what happens in this worker's process.
type teller struct {
	log    *slog.Logger
	feed   feed
	sealer account.Sealer // nil: nothing is sealed
	events chan hearth.Event
}

var _ hearth.Publisher = (*teller)(nil)

// sendEventsToServer has the events of this process reach the streams of the server beside it. Redis does that otherwise.
func (p *parts) sendEventsToServer(ctx context.Context) {
	to, ok := p.queue.(feed)
	if !ok {
		return
	}
	t := &teller{log: p.Logger, feed: to, sealer: p.sealer(besideField), events: make(chan hearth.Event, maxTold)}
	p.events.add(t)
	ctx = context.WithoutCancel(ctx)
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { t.run(ctx, over) })
	p.stack.Add("events to the server", func(context.Context) error {
		close(over)
		telling.Wait()
		return nil
	})
}

// Publish implements hearth.Publisher.
func (t *teller) Publish(events ...hearth.Event) {
	for _, event := range events {
		select {
		case t.events <- event:
		default:
			t.log.Warn("an event did not reach the server beside this worker: too many wait", "event", string(event.Type))
		}
	}
}

// run tells until it is over and nothing waits.
func (t *teller) run(ctx context.Context, over <-chan struct{}) {
	for {
		select {
		case event := <-t.events:
			t.tell(ctx, event)
		case <-over:
			for len(t.events) > 0 {
				t.tell(ctx, <-t.events)
			}
			return
		}
	}
}

// tell tells of an event, and of those that wait behind it.
func (t *teller) tell(ctx context.Context, event hearth.Event) {
	messages := make([][]byte, 0, 1)
	for {
		message, err := t.encode(event)
		if err != nil {
			t.log.ErrorContext(ctx, "an event cannot be told", "event", string(event.Type), "err", err)
		} else {
			messages = append(messages, message)
		}
		if len(t.events) == 0 || len(messages) >= tellBatch {
			break
		}
		event = <-t.events // nobody else takes them
	}
	if err := t.feed.Tell(ctx, messages...); err != nil {
		t.log.WarnContext(ctx, "events did not reach the server beside this worker", "events", len(messages), "err", err)
	}
}

func (t *teller) encode(event hearth.Event) ([]byte, error) {
	data, err := api.EncodeEvent(event)
	if err != nil {
		return nil, err
	}
	message, err := json.Marshal(toldEvent{event.Type, event.At, event.Scope, event.DeviceID, event.UserID, data})
	if err != nil || t.sealer == nil {
		return message, err
	}
	return t.sealer.Seal(message)
}

// receiveEventsOfWorkers passes on to the streams what workers of the same data directory tell, for as long as the program serves.
func (p *parts) receiveEventsOfWorkers(ctx context.Context) {
	from, ok := p.queue.(feed)
	if !ok {
		return
	}
	changed, stop := from.Watch()
	p.stack.Go(ctx, "events of workers", func(ctx context.Context) {
		defer stop()
		p.hearWorkers(ctx, from, changed)
	})
}

func (p *parts) hearWorkers(ctx context.Context, from feed, changed <-chan struct{}) {
	sealer := p.sealer(besideField)
	place := int64(-1)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		messages, next, err := from.Told(ctx, place)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.Logger.WarnContext(ctx, "what workers tell cannot be read", "err", err)
		default:
			place = next
		}
		for _, message := range messages {
			p.hearWorker(ctx, message, sealer)
		}
		pause.Reset(hearEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		if len(messages) > 0 { // there may be more
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (p *parts) hearWorker(ctx context.Context, message []byte, sealer account.Sealer) {
	var err error
	if sealer != nil {
		message, err = sealer.Open(message)
	}
	var told toldEvent
	if err == nil {
		err = json.Unmarshal(message, &told)
	}
	if err != nil {
		p.Logger.WarnContext(ctx, "an event that a worker told cannot be read", "err", err)
		return
	}
	p.realtime.Publish(hearth.Event{
		Type: told.Type, At: told.At, Scope: told.Scope, DeviceID: told.DeviceID, UserID: told.UserID, Data: told.Data,
	})
}
