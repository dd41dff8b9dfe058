package telemetry

import (
	"context"
	"slices"
	"strconv"
	"time"

	"hearth"
)

// Batch is what one atomic step stores.
type Batch struct {
	// Devices are device ids, each once.
	Devices []string
	// Entries have the index into Devices as their Device. The batch belongs to Ingest, which changes it.
	Entries []hearth.LogEntry
	// Faults are fields of entries that could not be read, by their order: with one the batch is refused. The Device of an entry whose own
	// could not be read is -1.
	Faults []hearth.LogFault
	// SkipDuplicates leaves out entries whose device, event, time and value, with its type, are stored already or stand before them in the batch.
	SkipDuplicates bool
	// Idempotency keeps the batch from being stored twice; what it creates is an Ingested.
	Idempotency *hearth.IdempotencyRequest
	// Checkpoint is stored with the batch.
	Checkpoint *hearth.Checkpoint
	// Place names an entry in errors, by its index; nil is "body[index]".
	Place func(index int) string
}

// Ingested says what became of a batch.
type Ingested struct {
	// Stored entries are durable; Skipped ones were stored before, and are counted with Batch.SkipDuplicates alone.
	Stored, Skipped int
}

// Ingest stores the whole batch, durably, or nothing. What is wrong with entries, unknown devices and those of others
// included (in the same words), is CodeValidationFailed naming the places; a device that the caller may only read is
// CodeForbidden. To a device every other device is CodeNotFound. A batch that was stored before is *hearth.Replayed.
func (s *Service) Ingest(ctx context.Context, caller hearth.Caller, batch Batch) (Ingested, error) {
	if len(batch.Entries) > hearth.MaxLogBatch {
		return Ingested{}, hearth.Invalid(hearth.FieldError{
			Location: "body", Message: "has more than " + strconv.Itoa(hearth.MaxLogBatch) + " items",
		})
	}
	devices, err := s.options.Directory.Resolve(ctx, caller, batch.Devices)
	if err != nil {
		return Ingested{}, err
	}
	for _, device := range devices {
		switch {
		case device == nil && caller.IsDevice():
			return Ingested{}, hearth.NotFound("device")
		case device != nil && caller.Access(*device)&hearth.MayReport == 0:
			return Ingested{}, hearth.Errorf(hearth.CodeForbidden, "you may not report for one of the devices")
		}
	}
	if err := s.check(batch, devices); err != nil {
		return Ingested{}, err
	}
	var waiting []hearth.Unjudged
	if batch.Checkpoint == nil { // what is imported is history
		if waiting, err = s.options.Alarms.Watched(ctx, devices, batch.Entries); err != nil {
			return Ingested{}, err
		}
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
	if err := s.options.count(ctx, devices, counts); err != nil {
		return Ingested{}, err
	}
	done := appended{devices: devices, sent: counts, counts: counts, entries: batch.Entries, imported: batch.Checkpoint != nil}
	outcome := func(stored int) Ingested { return Ingested{stored, len(batch.Entries) - stored} }
	effects := func(stored int) (effects hearth.SideEffects, err error) {
		if stored > 0 {
			effects.Unjudged = waiting
		}
		effects.Idempotency, err = batch.Idempotency.Record(outcome(stored))
		return effects, err
	}
	if batch.SkipDuplicates {
		done.entries, done.first, err = s.options.Store.AppendNewLogs(ctx, batch.Entries, batch.Checkpoint, effects)
		done.counts = countByDevice(devices, done.entries)
	} else {
		var all hearth.SideEffects
		if all, err = effects(len(batch.Entries)); err == nil {
			done.first, err = s.options.Store.AppendLogs(ctx, batch.Entries, batch.Checkpoint, all)
		}
	}
	if err != nil {
		return Ingested{}, err
	}
	s.options.Alarms.Wake(waiting)
	s.appended(ctx, done)
	return outcome(len(done.entries)), nil
}

// countByDevice returns how many entries, by key, each device has.
func countByDevice(devices []*hearth.Device, entries []hearth.LogEntry) []int {
	byKey := make(map[int64]int, len(devices))
	for i := range entries {
		byKey[entries[i].Device]++
	}
	counts := make([]int, len(devices))
	for i, device := range devices {
		counts[i] = byKey[device.Key]
	}
	return counts
}

// check judges every entry; a device that is not the caller's is nil.
func (s *Service) check(batch Batch, devices []*hearth.Device) error {
	now, faults := s.options.Clock.Now(), batch.Faults
	var fields []hearth.FieldError
	named := 0
	for i, entry := range batch.Entries {
		own := 0
		for own < len(faults) && faults[own].Index == i {
			own++
		}
		wrong := problems(entry, faults[:own], entry.Device >= 0 && devices[entry.Device] == nil, now)
		faults = faults[own:]
		if len(wrong) == 0 {
			continue
		}
		place := "body[" + strconv.Itoa(i) + "]"
		if batch.Place != nil {
			place = batch.Place(i)
		}
		fields = append(fields, located(wrong, place)...)
		if named++; named == hearth.MaxWrongLogs {
			break
		}
	}
	if len(fields) > 0 {
		return hearth.Invalid(fields...)
	}
	return nil
}

// problems returns what is wrong with an entry: the fields that could not be read, and those of the others that are not valid. unknown says
// that its device is not the caller's.
func problems(entry hearth.LogEntry, faults []hearth.LogFault, unknown bool, now time.Time) []hearth.FieldError {
	wrong := entry.Problems(now)
	if unknown {
		wrong = slices.Insert(wrong, 0, hearth.FieldError{Location: "device_id", Message: "is not one of your devices"})
	}
	if len(faults) == 0 {
		return wrong
	}
	unread := make([]hearth.FieldError, 0, len(faults)+len(wrong))
	for _, fault := range faults {
		unread = append(unread, fault.FieldError)
		wrong = slices.DeleteFunc(wrong, func(f hearth.FieldError) bool { return fault.Location == "" || fault.Location == f.Location })
	}
	return append(unread, wrong...)
}

// located names the fields of an entry by its place.
func located(fields []hearth.FieldError, place string) []hearth.FieldError {
	for i := range fields {
		if fields[i].Location != "" {
			fields[i].Location = "." + fields[i].Location
		}
		fields[i].Location = place + fields[i].Location
	}
	return fields
}

// Single is one log of one device. Entry's Device is not looked at.
type Single struct {
	DeviceID string
	Entry    hearth.LogEntry
	// Faults are fields of the log that could not be read: with one it is refused.
	Faults []hearth.LogFault
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
	if wrong := problems(entry, single.Faults, false, s.options.Clock.Now()); len(wrong) > 0 {
		return hearth.Log{}, hearth.Invalid(located(wrong, "body")...)
	}
	if entry.Value == hearth.Number(0) {
		entry.Value = hearth.Number(0) // minus zero would be a second zero
	}
	devices, entries, one := []*hearth.Device{device}, []hearth.LogEntry{entry}, []int{1}
	if err := s.options.count(ctx, devices, one); err != nil {
		return hearth.Log{}, err
	}
	effects := hearth.SideEffects{}
	entries[0].Device = 0
	if effects.Unjudged, err = s.options.Alarms.Watched(ctx, devices, entries); err != nil {
		return hearth.Log{}, err
	}
	entry.Device = device.Key
	entries[0].Device = device.Key
	if single.Idempotency != nil {
		created := logOf(entry, device.ID, 0)
		created.ID = ""
		if effects.Idempotency, err = single.Idempotency.Record(created); err != nil {
			return hearth.Log{}, err
		}
	}
	first, err := s.options.Store.AppendLogs(ctx, entries, nil, effects)
	if err != nil {
		return hearth.Log{}, err
	}
	s.options.Alarms.Wake(effects.Unjudged)
	s.appended(ctx, appended{devices: devices, sent: one, counts: one, entries: entries, first: first})
	return logOf(entry, device.ID, first), nil
}

// appended is what was stored: entries by key, counts by the index of their device.
type appended struct {
	devices []*hearth.Device
	// sent are the numbers of logs that were sent, counts of those that were stored.
	sent, counts []int
	entries      []hearth.LogEntry
	first        uint64
	// imported says that the devices did not send the logs now.
	imported bool
}

// reported returns the devices that sent logs.
func (a *appended) reported() []*hearth.Device {
	if !slices.Contains(a.sent, 0) {
		return a.devices
	}
	var devices []*hearth.Device
	for i, device := range a.devices {
		if a.sent[i] > 0 {
			devices = append(devices, device)
		}
	}
	return devices
}

// appended counts and publishes a write that is durable.
func (s *Service) appended(ctx context.Context, done appended) {
	s.stored.Add(uint64(len(done.entries)))
	scopes := make(map[hearth.Scope]int, 1)
	for i, device := range done.devices {
		if done.counts[i] > 0 {
			scopes[device.Scope()] += done.counts[i]
		}
	}
	if s.options.Reported != nil && !done.imported {
		s.options.Reported(done.reported())
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
