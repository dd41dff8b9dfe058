package devices

import (
	"context"
	"errors"
	"slices"
	"time"

	"hearth/internal/groupcommit"

	"hearth"
)

const (
	// maxWaitingBeats bounds the heartbeats that wait for the write under way to end.
	maxWaitingBeats = 1 << 16
	// fewBeats is how many heartbeats of one call share a write with those of others, beatsAtOnce how many of a longer call are one write: a
	// thousand devices keep a store for ten milliseconds or more.
	fewBeats, beatsAtOnce = 32, 200
)

// accepted is a sign of life on its way into the store.
type accepted struct {
	device *hearth.Device
	beat   hearth.Heartbeat
	// answer is what the answer to a heartbeat says; nil for another sign of life, which has no event.
	answer *hearth.Heartbeat
}

// record stores the heartbeats of many calls and publishes them before any call returns: an event of what a caller does
// next follows those of its heartbeats.
func (f *Service) record(group []accepted) error {
	beats, devices := make([]hearth.Heartbeat, len(group)), make([]*hearth.Device, len(group))
	for i := range group {
		devices[i] = group[i].device
		beats[i] = group[i].beat
	}
	stored, err := f.options.Heard(context.Background(), devices, f.directory.lastHeard(devices))
	if err != nil {
		return err
	}
	if err := f.store.RecordHeartbeats(context.Background(), beats); err != nil {
		return err
	}
	stored()
	happened := f.directory.heard(beats)
	f.options.Publisher.Publish(f.events(group)...)
	f.pending.add(happened) // a device that turns online was heard first
	return nil
}

// events counts heartbeats, and returns the events of those whose device has readers.
func (f *Service) events(group []accepted) (events []hearth.Event) {
	counts := make(map[hearth.Scope]int, 1)
	for _, a := range group {
		if a.answer == nil {
			continue
		}
		scope := a.device.Scope()
		counts[scope]++
		if f.options.Followed(scope, a.device.ID) {
			events = append(events, hearth.Event{
				Type: hearth.EventDeviceHeartbeat, At: a.answer.At, Data: *a.answer, Scope: scope, DeviceID: a.device.ID,
			})
		}
	}
	for scope, n := range counts {
		f.rates.Add(scope, n)
	}
	return events
}

// await waits until heartbeats are durable. Those of a long call become so one part after the other; others do not wait for them.
func (f *Service) await(ctx context.Context, beats ...accepted) error {
	committer := f.beats
	if len(beats) > fewBeats {
		committer = f.crowds
	}
	for part := range slices.Chunk(beats, beatsAtOnce) {
		err := committer.Do(ctx, part...)
		if errors.Is(err, groupcommit.ErrFull) {
			err = &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many heartbeats wait", RetryAfter: time.Second}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// beat makes a heartbeat of a device at the time now, with what its answer says.
func (f *Service) beat(device *hearth.Device, status hearth.DeviceStatus, now time.Time) (stored, answer hearth.Heartbeat) {
	stored = hearth.Heartbeat{
		DeviceID: device.ID, Key: device.Key, At: now, Status: status, Until: f.connections.until(device.ID, now), Connection: hearth.Online,
	}
	answer = stored
	answer.DesiredVersion = device.DesiredVersion
	switch {
	case status != "":
	case device.Idle:
		answer.Status = hearth.StatusActive
	default:
		answer.Status = device.Status
	}
	return stored, answer
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
	pending, err := f.options.Pending(ctx, []string{id})
	if err != nil {
		return hearth.Heartbeat{}, err
	}
	stored, answer := f.beat(device, status, f.now())
	answer.PendingCommands = pending[0]
	return answer, f.await(ctx, accepted{device, stored, &answer})
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
func (f *Service) Heartbeats(ctx context.Context, caller hearth.Caller, signs []Sign) (n int, rejected []Rejection, err error) {
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
	pending, err := f.options.Pending(ctx, ids)
	if err != nil {
		return 0, nil, err
	}
	now := f.now()
	beats := make([]accepted, 0, len(signs))
	for i, sign := range signs {
		device := found[i].device
		if code := refuse(caller, device, sign.Status); code != "" {
			rejected = append(rejected, Rejection{i, code})
			continue
		}
		toStore, answer := f.beat(device, sign.Status, now)
		answer.PendingCommands = pending[i]
		beats = append(beats, accepted{device, toStore, &answer})
	}
	if len(beats) == 0 {
		return 0, rejected, nil
	}
	if err := f.await(ctx, beats...); err != nil {
		return 0, nil, err
	}
	return len(beats), rejected, nil
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
