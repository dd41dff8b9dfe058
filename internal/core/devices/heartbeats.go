package devices

import (
	"context"
	"sync"
	"time"

	"hearth"
)

// maxWaitingBeats bounds the heartbeats that wait for the write under way to end.
const maxWaitingBeats = 1 << 16

// collector joins concurrent heartbeats into groups: while one group is written, the next one gathers. Each is
// acknowledged when its group is durable, and told of, group by group, after that.
type collector struct {
	flush func(*group) error
	tell  func(*group)

	mu      sync.Mutex
	waiting *group
	writing bool
	idle    sync.WaitGroup
}

// group is heartbeats on their way into the store together. What is told of each is at the same place.
type group struct {
	beats []hearth.Heartbeat
	told  []hearth.Event
	done  chan struct{}
	err   error
}

// join adds heartbeats to the waiting group and returns it back, or nil when too many wait.
func (c *collector) join(beats []hearth.Heartbeat, told []hearth.Event) *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = &group{done: make(chan struct{})}
	}
	g := c.waiting
	if len(g.beats)+len(beats) > maxWaitingBeats {
		return nil
	}
	g.beats, g.told = append(g.beats, beats...), append(g.told, told...)
	if !c.writing {
		c.writing = true
		c.idle.Go(c.write)
	}
	return g
}

// write writes groups until none waits.
func (c *collector) write() {
	for {
		c.mu.Lock()
		g := c.waiting
		c.waiting = nil
		if g == nil {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if g.err = c.flush(g); g.err == nil {
			c.tell(g) // before the answers: what a caller does after its answer is told of later
		}
		close(g.done)
	}
}

func (c *collector) wait() { c.idle.Wait() }

// record is the collector's flush. The write is of many callers: none of them can cancel it.
func (f *Service) record(g *group) error {
	if err := f.store.RecordHeartbeats(context.Background(), g.beats); err != nil {
		return err
	}
	online, other := f.directory.heard(g.beats)
	f.news.add(online, connected)
	f.news.add(other, changed)
	return nil
}

func (f *Service) tellBeats(g *group) {
	f.rates.AddEvents(g.told)
	f.options.Publisher.Publish(g.told...)
}

// await waits until heartbeats are durable.
func (f *Service) await(ctx context.Context, beats []hearth.Heartbeat, told []hearth.Event) error {
	g := f.collector.join(beats, told)
	if g == nil {
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many heartbeats wait", RetryAfter: time.Second}
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beat makes a heartbeat of a device at the time now, with what its answer says.
func beat(device *hearth.Device, status hearth.DeviceStatus, now time.Time) (stored, answer hearth.Heartbeat) {
	stored = hearth.Heartbeat{DeviceID: device.ID, Key: device.Key, At: now, Status: status, Connection: hearth.Online}
	answer = stored
	switch {
	case status != "":
	case device.Idle:
		answer.Status = hearth.StatusActive
	default:
		answer.Status = device.Status
	}
	return stored, answer
}

func beatEvent(device *hearth.Device, answer hearth.Heartbeat) hearth.Event {
	return hearth.Event{
		Type: hearth.EventDeviceHeartbeat, At: answer.At, Data: answer, Scope: device.Scope(), DeviceID: device.ID,
	}
}

func invalidStatus(location string) *hearth.Error {
	return hearth.Invalid(hearth.FieldError{Location: location, Message: "must be active, inactive or error"})
}

// Heartbeat takes a sign of life of one device, with the status that it reports ("" for none), and returns the answer when
// it is durable. Errors: CodeNotFound, CodeForbidden, CodeValidationFailed, CodeUnavailable.
func (f *Service) Heartbeat(ctx context.Context, caller hearth.Caller, id string, status hearth.DeviceStatus) (hearth.Heartbeat, error) {
	if status != "" && !status.Valid() {
		return hearth.Heartbeat{}, invalidStatus("body.status")
	}
	device, err := f.one(ctx, id)
	if err != nil {
		return hearth.Heartbeat{}, err
	}
	if err := caller.Allow(*device, hearth.MayReport); err != nil {
		return hearth.Heartbeat{}, err
	}
	stored, answer := beat(device, status, f.now())
	return answer, f.await(ctx, []hearth.Heartbeat{stored}, []hearth.Event{beatEvent(device, answer)})
}

// Sign is one sign of life of a batch.
type Sign struct {
	DeviceID string
	Status   hearth.DeviceStatus
}

// Rejection is a sign of life that was not taken, by its place in the batch.
type Rejection struct {
	Index int
	Code  hearth.Code
}

// Heartbeats takes up to MaxHeartbeatBatch signs of life, as many of them as it can, and returns the answer when those are
// durable. Errors: CodeValidationFailed (the batch's size), CodeUnavailable.
func (f *Service) Heartbeats(ctx context.Context, caller hearth.Caller, signs []Sign) (accepted int, rejected []Rejection, err error) {
	if len(signs) == 0 || len(signs) > hearth.MaxHeartbeatBatch {
		return 0, nil, hearth.Invalid(hearth.FieldError{Location: "body.items", Message: "must have 1 to 1000 items"})
	}
	ids := make([]string, len(signs))
	for i := range signs {
		ids[i] = signs[i].DeviceID
	}
	found, err := f.lookup(ctx, ids)
	if err != nil {
		return 0, nil, err
	}
	now := f.now()
	stored := make([]hearth.Heartbeat, 0, len(signs))
	told := make([]hearth.Event, 0, len(signs))
	for i, sign := range signs {
		device := found[i].device
		if code := refuse(caller, device, sign.Status); code != "" {
			rejected = append(rejected, Rejection{i, code})
			continue
		}
		toStore, answer := beat(device, sign.Status, now)
		stored, told = append(stored, toStore), append(told, beatEvent(device, answer))
	}
	if len(stored) == 0 {
		return 0, rejected, nil
	}
	if err := f.await(ctx, stored, told); err != nil {
		return 0, nil, err
	}
	return len(stored), rejected, nil
}

func refuse(caller hearth.Caller, device *hearth.Device, status hearth.DeviceStatus) hearth.Code {
	if device == nil {
		return hearth.CodeNotFound
	}
	if err := caller.Allow(*device, hearth.MayReport); err != nil {
		return hearth.ErrorCode(err)
	}
	if status != "" && !status.Valid() {
		return hearth.CodeValidationFailed
	}
	return ""
}

// HeartbeatRate returns the heartbeats a second of the scopes within reach: the mean of the last ten seconds, as this process
// took them.
func (f *Service) HeartbeatRate(reach hearth.Reach) float64 { return f.rates.PerSecond(reach) }

// Heard returns how many heartbeats this process took in since it started.
func (f *Service) Heard() uint64 { return f.rates.Total() }
