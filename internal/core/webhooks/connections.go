package webhooks

import (
	"context"
	"slices"
	"sync"
	"time"

	"hearth"
)

const (
	// maxTurned bounds the devices whose connection has changed and was not noted yet; what is beyond it is found by a look at all.
	maxTurned = 100_000
	// notePart is how many of them one write notes, after noteAgain once more if it failed; lookPart how many are compared at once, compareEvery how often all are.
	notePart     = 100
	noteAgain    = time.Second
	lookPart     = 500
	compareEvery = 5 * time.Minute
)

// turned are devices that came online or went offline.
type turned struct {
	mu   sync.Mutex
	ids  map[string]bool
	wake chan struct{}
}

func (t *turned) add(ids ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if len(t.ids) < maxTurned {
			t.ids[id] = true
		}
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take returns up to n of them, and forgets those.
func (t *turned) take(n int) (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.ids {
		if len(ids) == n {
			break
		}
		ids = append(ids, id)
		delete(t.ids, id)
	}
	return ids
}

// DeviceConnection has webhooks sent that a device came online or went offline. It returns at once.
func (s *Service) DeviceConnection(_ context.Context, device hearth.Device) { s.turned.add(device.ID) }

// Watch notes changed connections until ctx ends. What a crash or a failure has missed is found by comparing what webhooks were sent
// last with what is.
func (s *Service) Watch(ctx context.Context) {
	start := s.now()
	compare := time.NewTicker(compareEvery)
	defer compare.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.turned.wake:
			err = s.noteTurned(ctx)
		case <-compare.C:
			err = s.compare(ctx, start)
		}
		if err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "webhooks are not sent yet which devices came online or went offline", "err", err)
		}
	}
}

func (s *Service) noteTurned(ctx context.Context) error {
	for {
		ids := s.turned.take(notePart)
		if len(ids) == 0 {
			return nil
		}
		devices, err := s.o.Devices.DevicesByID(ctx, ids)
		if err == nil {
			err = s.noteConnections(ctx, devices)
		}
		if err != nil {
			time.AfterFunc(noteAgain, func() { s.turned.add(ids...) })
			return err
		}
	}
}

// connectionEvents are the events of connections.
var connectionEvents = map[hearth.Connection]hearth.WebhookEvent{ // never written to
	hearth.Online: hearth.WebhookDeviceOnline, hearth.Offline: hearth.WebhookDeviceOffline,
}

// noteConnections stores the connections of devices with the events of those that webhooks were sent otherwise. Devices of scopes
// without webhooks for them are passed over.
func (s *Service) noteConnections(ctx context.Context, devices []hearth.Device) error {
	now := s.now()
	type subject struct {
		scope hearth.Scope
		event hearth.WebhookEvent
	}
	notes := map[subject]hearth.WebhookNote{} // nil where no webhook is sent either
	var connections []hearth.DeviceConnection
	var of []hearth.Device
	for _, d := range devices {
		connection := d.Connection(now)
		event := connectionEvents[connection]
		if event == "" {
			continue
		}
		about := subject{d.Scope(), event}
		note, known := notes[about]
		if !known {
			hooks, err := s.o.Store.WebhooksOf(ctx, about.scope)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(hooks, wantsConnections) {
				note = s.noteTo(subscribers(hooks, event), event)
			}
			notes[about] = note
		}
		if note != nil {
			connections, of = append(connections, hearth.DeviceConnection{DeviceID: d.ID, Connection: connection}), append(of, d)
		}
	}
	if len(connections) == 0 {
		return nil
	}
	return s.o.Store.NoteConnections(ctx, connections, func(i int) ([]hearth.OutboxJob, error) {
		return notes[subject{of[i].Scope(), connectionEvents[connections[i].Connection]}](now, of[i].ID, of[i])
	})
}

func wantsConnections(w hearth.Webhook) bool {
	return w.Wants(hearth.WebhookDeviceOnline) || w.Wants(hearth.WebhookDeviceOffline)
}

// compare finds devices that came online or went offline unnoticed. That one fell silent counts once this process, which began at
// start, was there long enough to have heard it.
func (s *Service) compare(ctx context.Context, start time.Time) error {
	if !s.o.Leads() {
		return nil
	}
	after := ""
	for {
		sent, err := s.o.Store.DeviceConnections(ctx, after, lookPart)
		if err != nil || len(sent) == 0 {
			return err
		}
		after = sent[len(sent)-1].DeviceID
		was, ids := map[string]hearth.Connection{}, make([]string, len(sent))
		for i, c := range sent {
			ids[i], was[c.DeviceID] = c.DeviceID, c.Connection
		}
		devices, err := s.o.Devices.DevicesByID(ctx, ids)
		if err != nil {
			return err
		}
		now := s.now()
		var missed []hearth.Device
		for _, d := range devices {
			connection := d.Connection(now)
			heard := d
			heard.LastActiveAt = start
			if connection != was[d.ID] && (connection == hearth.Online || heard.Connection(now) == hearth.Offline) {
				missed = append(missed, d)
			}
		}
		for part := range slices.Chunk(missed, notePart) {
			if err := s.noteConnections(ctx, part); err != nil {
				return err
			}
		}
	}
}
