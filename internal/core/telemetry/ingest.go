package telemetry

import (
	"context"
	"strconv"

	"hearth"
)

// maxFieldErrors is how many wrong fields of a batch are named.
const maxFieldErrors = 20

// Batch is what one atomic step stores.
type Batch struct {
	// Devices are device ids, each once.
	Devices []string
	// Entries have the index into Devices as their Device. The batch belongs to Ingest, which changes it.
	Entries []hearth.LogEntry
	// Idempotency keeps the batch from being stored twice; what it creates is the number of entries, an int.
	Idempotency *hearth.IdempotencyRequest
	// Checkpoint is stored with the batch.
	Checkpoint *hearth.Checkpoint
	// Place names an entry in errors, by its index; nil is "body[index]".
	Place func(index int) string
}

// Ingest stores the whole batch, durably, or nothing. What is wrong with entries, unknown devices and those of others
// included (in the same words), is CodeValidationFailed naming the places; a device that the caller may only read is
// CodeForbidden. To a device every other device is CodeNotFound. A batch that was stored before is *hearth.Replayed.
func (s *Service) Ingest(ctx context.Context, caller hearth.Caller, batch Batch) error {
	if len(batch.Entries) > hearth.MaxLogBatch {
		return hearth.Invalid(hearth.FieldError{
			Location: "body", Message: "has more than " + strconv.Itoa(hearth.MaxLogBatch) + " items",
		})
	}
	devices, err := s.options.Directory.Resolve(ctx, caller, batch.Devices)
	if err != nil {
		return err
	}
	for _, device := range devices {
		switch {
		case device == nil && caller.IsDevice():
			return hearth.NotFound("device")
		case device != nil && caller.Access(*device)&hearth.MayReport == 0:
			return hearth.Errorf(hearth.CodeForbidden, "you may not report for one of the devices")
		}
	}
	if err := s.check(batch, devices); err != nil {
		return err
	}
	counts := make([]int, len(devices))
	for i := range batch.Entries {
		entry := &batch.Entries[i]
		counts[entry.Device]++
		entry.Device = devices[entry.Device].Key
		if entry.Value == hearth.Number(0) {
			entry.Value = hearth.Number(0) // minus zero would be a second zero
		}
	}
	effects := hearth.SideEffects{}
	if effects.Idempotency, err = batch.Idempotency.Record(len(batch.Entries)); err != nil {
		return err
	}
	first, err := s.options.Store.AppendLogs(ctx, batch.Entries, batch.Checkpoint, effects)
	if err != nil {
		return err
	}
	s.appended(ctx, appended{devices: devices, counts: counts, entries: batch.Entries, first: first, imported: batch.Checkpoint != nil})
	return nil
}

// check judges every entry; a device that is not the caller's is nil.
func (s *Service) check(batch Batch, devices []*hearth.Device) error {
	now := s.options.Clock.Now()
	var fields []hearth.FieldError
	for i, entry := range batch.Entries {
		field, message := entry.Problem(now)
		if devices[entry.Device] == nil {
			field, message = "device_id", "is not one of your devices"
		}
		if field == "" {
			continue
		}
		place := "body[" + strconv.Itoa(i) + "]"
		if batch.Place != nil {
			place = batch.Place(i)
		}
		fields = append(fields, hearth.FieldError{Location: place + "." + field, Message: message})
		if len(fields) == maxFieldErrors {
			break
		}
	}
	if len(fields) > 0 {
		return hearth.Invalid(fields...)
	}
	return nil
}

// Single is one log of one device. Entry's Device is not looked at.
type Single struct {
	DeviceID string
	Entry    hearth.LogEntry
	// Idempotency keeps the log from being stored twice; what it creates is a hearth.Log without its ID, which the store's
	// IdempotencyRecord.FirstLog says.
	Idempotency *hearth.IdempotencyRequest
}

// Add stores one log and returns it with its id. CodeNotFound and CodeForbidden as for every device,
// CodeValidationFailed (at "body.…"), *hearth.Replayed.
func (s *Service) Add(ctx context.Context, caller hearth.Caller, single Single) (hearth.Log, error) {
	device, err := s.device(ctx, caller, single.DeviceID, hearth.MayReport)
	if err != nil {
		return hearth.Log{}, err
	}
	entry := single.Entry
	if field, message := entry.Problem(s.options.Clock.Now()); field != "" {
		return hearth.Log{}, hearth.Invalid(hearth.FieldError{Location: "body." + field, Message: message})
	}
	entry.Device = device.Key
	if entry.Value == hearth.Number(0) {
		entry.Value = hearth.Number(0) // minus zero would be a second zero
	}
	effects := hearth.SideEffects{}
	created := logOf(entry, device.ID, 0)
	created.ID = ""
	if effects.Idempotency, err = single.Idempotency.Record(created); err != nil {
		return hearth.Log{}, err
	}
	entries := []hearth.LogEntry{entry}
	first, err := s.options.Store.AppendLogs(ctx, entries, nil, effects)
	if err != nil {
		return hearth.Log{}, err
	}
	s.appended(ctx, appended{devices: []*hearth.Device{device}, counts: []int{1}, entries: entries, first: first})
	return logOf(entry, device.ID, first), nil
}

// appended is what was stored: entries by key, counts by the index of their device.
type appended struct {
	devices []*hearth.Device
	counts  []int
	entries []hearth.LogEntry
	first   uint64
	// imported says that the devices did not send the logs now.
	imported bool
}

// appended counts and publishes a write that is durable.
func (s *Service) appended(ctx context.Context, done appended) {
	s.stored.Add(uint64(len(done.entries)))
	scopes := make(map[hearth.Scope]int, 1)
	reported := make([]*hearth.Device, 0, len(done.devices))
	for i, device := range done.devices {
		if done.counts[i] > 0 {
			scopes[device.Scope()] += done.counts[i]
			reported = append(reported, device)
		}
	}
	if s.options.Reported != nil && !done.imported {
		s.options.Reported(reported)
	}
	reach := hearth.Reach{Scopes: make([]hearth.Scope, 0, len(scopes))}
	for scope, count := range scopes {
		reach.Scopes = append(reach.Scopes, scope)
		s.meter.Add(scope, count)
	}
	if s.options.Listener != nil && len(scopes) > 0 {
		// The write has happened, whatever becomes of its asker.
		s.options.Listener.LogsChanged(context.WithoutCancel(ctx), reach)
	}
	if s.publisher != nil {
		s.publisher.publish(done)
	}
}

// logOf returns an entry as clients see it.
func logOf(entry hearth.LogEntry, deviceID string, seq uint64) hearth.Log {
	return hearth.Log{ID: hearth.LogID(seq), DeviceID: deviceID, Event: entry.Event, Value: entry.Value, At: millis(entry.At)}
}
