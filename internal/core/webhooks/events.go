package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"hearth"
	"hearth/internal/newid"
)

const (
	// eventKind is the kind of jobs that hold an event.
	eventKind = "webhook.event"
	// eventBatch is how many events become deliveries in one write, eventPoll how often it is looked for them without a signal.
	eventBatch = 100
	eventPoll  = time.Second
	// maxBody bounds what is sent: the data of an event that is larger is left out. A job in the outbox holds it.
	maxBody  = 60 << 10
	timeForm = "2006-01-02T15:04:05.000Z"
	leftOut  = `{"left_out":"the data is larger than 60 KiB"}`
	// countFor is how long it is trusted whether a webhook has room for further deliveries.
	countFor = 10 * time.Second
)

// waiting is the payload of a job of eventKind.
type waiting struct {
	// Seq is the job's id.
	Seq      string              `json:"-"`
	At       time.Time           `json:"at"`
	Event    hearth.WebhookEvent `json:"event"`
	DeviceID string              `json:"device_id,omitempty"`
	Webhooks []string            `json:"webhooks"`
	Body     json.RawMessage     `json:"body"`
}

// WebhookNote implements hearth.WebhookNotes.
func (s *Service) WebhookNote(ctx context.Context, scope hearth.Scope, event hearth.WebhookEvent, named ...string) (hearth.WebhookNote, error) {
	hooks, err := s.o.Store.WebhooksOf(ctx, scope)
	if err != nil {
		return nil, err
	}
	return s.noteTo(subscribers(hooks, event, named...), event), nil
}

// subscribers returns the webhooks that are sent an event: those that subscribe to it and those that are named.
func subscribers(hooks []hearth.Webhook, event hearth.WebhookEvent, named ...string) (ids []string) {
	for _, w := range hooks {
		if w.Wants(event) || w.Enabled && slices.Contains(named, w.ID) {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

// noteTo returns what makes the job by which the webhooks are sent an event.
func (s *Service) noteTo(to []string, event hearth.WebhookEvent) hearth.WebhookNote {
	return func(at time.Time, deviceID string, data any) ([]hearth.OutboxJob, error) {
		if len(to) == 0 {
			return nil, nil
		}
		raw, err := s.o.Encode(at, data)
		if err != nil {
			return nil, fmt.Errorf("encode the event %s: %w", event, err)
		}
		payload, err := encode(waiting{At: at, Event: event, DeviceID: deviceID, Webhooks: to, Body: body(event, at, raw)})
		if err != nil {
			return nil, err
		}
		return []hearth.OutboxJob{{ID: newid.New(), Kind: eventKind, Queue: hearth.WebhookQueue, Payload: payload}}, nil
	}
}

// encode is json.Marshal that leaves the texts of a RawMessage as they are.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// body returns what is sent.
func body(event hearth.WebhookEvent, at time.Time, data json.RawMessage) json.RawMessage {
	out := append([]byte(`{"type":`), strconv.Quote(string(event))...)
	out = at.UTC().AppendFormat(append(out, `,"timestamp":"`...), timeForm)
	out = append(out, `","data":`...)
	if len(out)+len(data) > maxBody {
		data = json.RawMessage(leftOut)
	}
	return append(append(out, data...), '}')
}

// newDelivery returns the delivery of an event to a webhook.
func newDelivery(webhookID string, event waiting) hearth.WebhookDelivery {
	d := hearth.WebhookDelivery{
		ID: deliveryID(event.At, event.Seq, webhookID), WebhookID: webhookID, Event: event.Event, DeviceID: event.DeviceID, Body: event.Body,
		State: hearth.DeliveryPending, Seq: event.Seq, CreatedAt: event.At, NextAt: event.At,
	}
	d.Line = lineOf(webhookID, d.ID)
	if d.DeviceID != "" {
		d.Line = lineOf(webhookID, d.DeviceID)
	}
	return d
}

// follow makes deliveries of events as they come, until the service stops.
func (s *Service) follow(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stopping:
			return
		case <-s.o.Wake:
		case <-timer.C:
		}
		more, err := s.accept(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "events for webhooks could not be made deliveries", "err", err)
		}
		if more {
			timer.Reset(0)
		} else {
			timer.Reset(eventPoll)
		}
	}
}

// accept makes deliveries of some events and reports whether there may be more. A crash in between has it done again, and what is
// stored is not stored twice: the ids follow from the events.
func (s *Service) accept(ctx context.Context) (more bool, err error) {
	jobs, err := s.o.Store.PendingWebhookEvents(ctx, eventBatch)
	if err != nil || len(jobs) == 0 {
		return false, err
	}
	var all []hearth.WebhookDelivery
	ids := make([]string, len(jobs))
	for i, job := range jobs {
		ids[i] = job.ID
		event := waiting{Seq: job.ID}
		if err := json.Unmarshal(job.Payload, &event); err != nil {
			s.o.Logger.ErrorContext(ctx, "an event for webhooks cannot be read and is dropped", "job", job.ID, "err", err)
			continue
		}
		for _, id := range event.Webhooks {
			all = append(all, newDelivery(id, event))
		}
	}
	if err := s.store(ctx, all); err != nil {
		return false, err
	}
	if err := s.o.Store.DeleteOutbox(ctx, ids); err != nil {
		return false, err
	}
	return len(jobs) == eventBatch, nil
}

// store stores new deliveries and has them sent. Those of a webhook with too many that wait have failed.
func (s *Service) store(ctx context.Context, all []hearth.WebhookDelivery) error {
	const part = 200
	full := map[string]bool{}
	for _, d := range all {
		if _, counted := full[d.WebhookID]; counted {
			continue
		}
		isFull, known, version := s.full.Find(d.WebhookID)
		if !known {
			counts, err := s.o.Store.CountDeliveries(ctx, d.WebhookID)
			if err != nil {
				return err
			}
			isFull = counts[hearth.DeliveryPending] >= hearth.MaxWaitingDeliveries
			s.full.Keep(version, d.WebhookID, isFull)
		}
		full[d.WebhookID] = isFull
	}
	for some := range slices.Chunk(all, part) {
		for i := range some {
			if d := &some[i]; full[d.WebhookID] {
				end(d, hearth.DeliveryFailed, hearth.DeliveryAttempt{At: s.now(), Error: "too many deliveries wait"})
			}
		}
		if err := s.o.Store.CreateDeliveries(ctx, some, hearth.SideEffects{}); err != nil {
			return errors.Join(errors.New("store deliveries"), err)
		}
	}
	for id := range full {
		s.couriers.wake(id)
	}
	return nil
}
