package devices

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth/internal/newid"

	"hearth"
	"hearth/internal/audited"
)

// NewDevice is a device to create. Zero fields get their defaults: StatusActive, DefaultHeartbeatInterval, the caller's own.
type NewDevice struct {
	// ID, if set, is the device's: an import makes devices as they were in another installation.
	ID             string
	Name           string
	Type           string
	Serial         string
	Status         hearth.DeviceStatus
	Tags           []string
	Metadata       json.RawMessage
	Interval       int
	OrganizationID string
}

// Change is what to change of a device: nil fields stay. A pointer to an empty value clears serial, tags and metadata.
type Change struct {
	Name     *string
	Type     *string
	Serial   *string
	Status   *hearth.DeviceStatus
	Tags     *[]string
	Metadata *json.RawMessage
	Interval *int
}

// Create makes a device. Errors: CodeValidationFailed, CodeForbidden, CodeNotFound (the organization),
// CodeConflict (the serial), CodeIdempotencyMismatch, *hearth.Replayed.
func (f *Service) Create(ctx context.Context, caller hearth.Caller, input NewDevice, key *hearth.IdempotencyRequest) (hearth.Device, error) {
	devices, problems, err := f.prepare(caller, []NewDevice{input}, func(int) string { return "body." })
	if err != nil {
		return hearth.Device{}, err
	}
	if len(problems) > 0 {
		return hearth.Device{}, hearth.Invalid(problems...)
	}
	record, err := key.Record(devices[0])
	if err != nil {
		return hearth.Device{}, err
	}
	devices, err = f.create(ctx, caller, devices, record)
	if err != nil {
		return hearth.Device{}, locateSerial(err, func(string) string { return "body.serial" })
	}
	return devices[0], nil
}

// CreateBatch makes up to MaxDeviceBatch devices, all or none; problems name their place, such as "body.items[3].name".
// Errors are Create's.
func (f *Service) CreateBatch(
	ctx context.Context, caller hearth.Caller, inputs []NewDevice, key *hearth.IdempotencyRequest,
) ([]hearth.Device, error) {
	if len(inputs) == 0 || len(inputs) > hearth.MaxDeviceBatch {
		return nil, hearth.Invalid(hearth.FieldError{Location: "body.items", Message: "must have 1 to 1000 items"})
	}
	devices, problems, err := f.prepare(caller, inputs, func(i int) string { return fmt.Sprintf("body.items[%d].", i) })
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, hearth.Invalid(problems...)
	}
	record, err := key.Record(devices)
	if err != nil {
		return nil, err
	}
	devices, err = f.create(ctx, caller, devices, record)
	return devices, locateSerial(err, func(at string) string { return "body." + at })
}

// locateSerial names the serial that is taken as the client knows it.
func locateSerial(err error, rename func(location string) string) error {
	if e, ok := errors.AsType[*hearth.Error](err); ok && e.Code == hearth.CodeConflict && len(e.Fields) == 1 {
		return hearth.SerialTaken(rename(e.Fields[0].Location))
	}
	return err
}

// prepare makes the devices that are to be created, or says what is wrong with them.
func (f *Service) prepare(
	caller hearth.Caller, inputs []NewDevice, prefix func(int) string,
) (devices []hearth.Device, problems []hearth.FieldError, err error) {
	if !caller.IsUser() {
		return nil, nil, hearth.Errorf(hearth.CodeForbidden, "a device may not create devices")
	}
	now := f.now()
	devices = make([]hearth.Device, len(inputs))
	for i, input := range inputs {
		d := hearth.Device{
			ID: cmp.Or(input.ID, newid.New()), Name: input.Name, Type: input.Type, Serial: input.Serial, Status: input.Status, Tags: input.Tags, Interval: input.Interval,
			OwnerID: caller.UserID, OrganizationID: input.OrganizationID, Version: 1, CreatedAt: now, UpdatedAt: now,
		}
		d.Status = cmp.Or(d.Status, hearth.StatusActive)
		d.Interval = cmp.Or(d.Interval, hearth.DefaultHeartbeatInterval)
		metadata, problem := canonicalMetadata(input.Metadata)
		if problem != "" {
			problems = append(problems, hearth.FieldError{Location: prefix(i) + "metadata", Message: problem})
		}
		d.Metadata = metadata
		problems = append(problems, d.Validate(prefix(i))...)
		if err := mayCreate(caller, d); err != nil {
			return nil, nil, err
		}
		devices[i] = d
	}
	return devices, problems, nil
}

// mayCreate is the rule for a new device: a caller who may edit it may create it.
func mayCreate(caller hearth.Caller, d hearth.Device) error {
	if d.OrganizationID == "" && caller.OnlyOrg != "" {
		return hearth.Errorf(hearth.CodeForbidden, "the API key is bound to an organization: name it in organization_id")
	}
	err := caller.Allow(d, hearth.MayEdit)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return hearth.NotFound("organization")
	}
	return err
}

func (f *Service) create(
	ctx context.Context, caller hearth.Caller, devices []hearth.Device, record *hearth.IdempotencyRecord,
) ([]hearth.Device, error) {
	effects := hearth.SideEffects{Idempotency: record}
	for _, d := range devices {
		entry := caller.Entry(d.CreatedAt, "device.create", "device:"+d.ID)
		entry.Changes = changes(hearth.Device{}, d)
		effects.Audit = append(effects.Audit, entry)
	}
	var err error
	if effects.Jobs, err = f.createdJobs(ctx, devices); err != nil {
		return nil, err
	}
	scopes := make([]hearth.Scope, len(devices))
	for i := range devices {
		scopes[i] = devices[i].Scope()
	}
	unlock, err := f.Room(ctx, scopes...)
	if err != nil {
		return nil, err
	}
	defer unlock()
	devices, err = f.store.CreateDevices(ctx, devices, effects)
	if err != nil {
		return nil, err
	}
	f.Created(devices...)
	return devices, nil
}

// Room fails with CodeQuotaExceeded where scopes would have too many devices with those that come, of which each is named by its scope. It
// keeps others from coming to these scopes on this instance until unlock is called.
func (f *Service) Room(ctx context.Context, coming ...hearth.Scope) (unlock func(), err error) {
	if f.options.Quota == 0 {
		return func() {}, nil
	}
	if unlock, err = f.arriving.LockAll(ctx, coming); err != nil {
		return nil, err
	}
	scopes := map[hearth.Scope]int64{}
	for _, scope := range coming {
		scopes[scope]++
	}
	for scope, n := range scopes {
		counts, err := f.store.CountDevices(ctx, hearth.Reach{Scopes: []hearth.Scope{scope}}, f.now())
		if err == nil && counts.Total+n > f.options.Quota {
			err = hearth.QuotaExceeded(hearth.QuotaDevices, f.options.Quota, time.Hour)
		}
		if err != nil {
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

// Created publishes new devices.
func (f *Service) Created(devices ...hearth.Device) {
	events := make([]hearth.Event, len(devices))
	var last hearth.Scope
	for i, d := range devices {
		if scope := d.Scope(); scope != last {
			f.lists.changed(scope)
			last = scope
		}
		events[i] = deviceEvent(hearth.EventDeviceUpdate, d, d.CreatedAt)
	}
	f.options.Publisher.Publish(events...)
}

// createdJobs returns what sends webhooks that devices were created, and has rules watch these.
func (f *Service) createdJobs(ctx context.Context, devices []hearth.Device) (jobs []hearth.OutboxJob, err error) {
	notes := map[hearth.Scope]hearth.WebhookNote{}
	byScope := map[hearth.Scope][]string{}
	for _, d := range devices {
		byScope[d.Scope()] = append(byScope[d.Scope()], d.ID)
		note := notes[d.Scope()]
		if note == nil {
			if note, err = f.options.Webhooks.WebhookNote(ctx, d.Scope(), hearth.WebhookDeviceCreated); err != nil {
				return nil, err
			}
			notes[d.Scope()] = note
		}
		more, err := note(d.CreatedAt, d.ID, d)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, more...)
	}
	for scope, ids := range byScope {
		note, err := f.options.Silence(ctx, scope)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, note(ids...)...)
	}
	return jobs, nil
}

// Device returns one device; CodeNotFound.
func (f *Service) Device(ctx context.Context, caller hearth.Caller, id string) (hearth.Device, error) {
	d, err := f.store.Device(ctx, id)
	if err == nil {
		err = caller.Allow(d, hearth.MayRead)
	}
	if err != nil {
		return hearth.Device{}, err
	}
	return d, nil
}

// Query is a question for a list of devices. Zero fields do not filter.
type Query struct {
	// OrganizationID asks for the devices of that organization alone; CodeNotFound if the caller may not.
	OrganizationID string
	// Filter's Reach and Now are set by the fleet.
	Filter hearth.DeviceFilter
	Page   hearth.Page
}

// Devices lists the devices that the caller may read. Errors: CodeForbidden, CodeNotFound, CodeValidationFailed.
func (f *Service) Devices(ctx context.Context, caller hearth.Caller, query Query) (Listing, error) {
	reach, err := caller.Reach(query.OrganizationID)
	if err != nil {
		return Listing{}, err
	}
	slices.Sort(reach.Scopes)
	now := f.now()
	filter := query.Filter
	filter.Reach, filter.Now = reach, now
	key := pageKey(filter, query.Page)
	if key == "" {
		list, err := f.store.Devices(ctx, filter, query.Page)
		return Listing{List: list}, err
	}
	cached, ok, version := f.lists.find(key, reach)
	if ok {
		return f.overlaid(ctx, cached)
	}
	at := f.directory.changeCount()
	list, err := f.store.Devices(ctx, filter, query.Page)
	if err != nil {
		return Listing{}, err
	}
	f.directory.learn(list.Items, at, now)
	return f.lists.keep(version, key, list), nil
}

// overlaid returns a kept page with what heartbeats have changed since.
func (f *Service) overlaid(ctx context.Context, list Listing) (Listing, error) {
	ids := make([]string, len(list.Items))
	for i := range list.Items {
		ids[i] = list.Items[i].ID
	}
	present, err := f.lookup(ctx, ids)
	if err != nil {
		return list, err
	}
	list.Items = slices.Clone(list.Items) // the kept page is shared
	for i, known := range present {
		d := &list.Items[i]
		if known.device == nil {
			continue
		}
		if known.device.Version == d.Version {
			d.Status, d.Idle = known.device.Status, known.device.Idle
		}
		if known.last > 0 && known.last >= d.LastActiveAt.UnixMilli() {
			d.LastActiveAt, d.OfflineAt = time.UnixMilli(known.last).UTC(), time.Time{}
			if known.until > 0 {
				d.OfflineAt = time.UnixMilli(known.until).UTC()
			}
		}
	}
	return list, nil
}

// Update changes a device. check sees the device first, and its error stops the change: the place of a precondition; it
// may be nil. A change that changes nothing writes nothing. Errors: CodeNotFound, CodeForbidden, CodeValidationFailed,
// CodeConflict (the serial), check's.
func (f *Service) Update(ctx context.Context, caller hearth.Caller, id string, change Change, check func(hearth.Device) error) (hearth.Device, error) {
	now := f.now()
	audit := []hearth.AuditEntry{caller.Entry(now, "device.update", "device:"+id)}
	var unchanged hearth.Device
	var silence hearth.SilenceNote
	if change.Type != nil || change.Tags != nil { // rules may be about other devices then
		known, err := f.one(ctx, id)
		if err != nil {
			return hearth.Device{}, err
		}
		if silence, err = f.options.Silence(ctx, known.Scope()); err != nil {
			return hearth.Device{}, err
		}
	}
	after, err := f.store.UpdateDevice(ctx, id, func(d hearth.Device) (hearth.Device, error) {
		if err := allowEdit(caller, d, check); err != nil {
			return d, err
		}
		after, problems := change.apply(d)
		if len(problems) > 0 {
			return d, hearth.Invalid(problems...)
		}
		audit[0].Changes = changes(d, after)
		if len(audit[0].Changes) == 0 && d.Idle == after.Idle {
			unchanged = d
			return d, audited.ErrUnchanged
		}
		after.UpdatedAt = now
		return after, nil
	}, hearth.SideEffects{Audit: audit, JobsAfter: func() ([]hearth.OutboxJob, error) {
		_, otherType := audit[0].Changes["type"]
		_, otherTags := audit[0].Changes["tags"]
		if otherType || otherTags {
			return silence(id), nil
		}
		return nil, nil
	}})
	if errors.Is(err, audited.ErrUnchanged) {
		return unchanged, nil
	}
	if err != nil {
		return hearth.Device{}, locateSerial(err, func(at string) string { return "body." + at })
	}
	f.directory.updated(&after)
	f.lists.changed(after.Scope())
	f.options.Publisher.Publish(deviceEvent(hearth.EventDeviceUpdate, after, now))
	return after, nil
}

// allowEdit checks what the caller may know and do first, and then the precondition.
func allowEdit(caller hearth.Caller, d hearth.Device, check func(hearth.Device) error) error {
	if err := caller.Allow(d, hearth.MayEdit); err != nil {
		return err
	}
	if check != nil {
		return check(d)
	}
	return nil
}

// apply returns the changed device, or what is wrong with it.
func (c Change) apply(d hearth.Device) (hearth.Device, []hearth.FieldError) {
	var problems []hearth.FieldError
	if c.Name != nil {
		d.Name = *c.Name
	}
	if c.Type != nil {
		d.Type = *c.Type
	}
	if c.Serial != nil {
		d.Serial = *c.Serial
	}
	if c.Status != nil {
		d.Status, d.Idle = *c.Status, false
	}
	if c.Tags != nil {
		d.Tags = *c.Tags
	}
	if c.Interval != nil {
		d.Interval = *c.Interval
	}
	if c.Metadata != nil {
		metadata, problem := canonicalMetadata(*c.Metadata)
		if problem != "" {
			problems = append(problems, hearth.FieldError{Location: "body.metadata", Message: problem})
		}
		d.Metadata = metadata
	}
	return d, append(problems, d.Validate("body.")...)
}

// Delete removes a device with all that hangs on it; check is as in Update. Errors: CodeNotFound, CodeForbidden, check's.
func (f *Service) Delete(ctx context.Context, caller hearth.Caller, id string, check func(hearth.Device) error) error {
	now := f.now()
	audit := []hearth.AuditEntry{caller.Entry(now, "device.delete", "device:"+id)}
	known, err := f.store.Device(ctx, id)
	if err != nil {
		return err
	}
	note, err := f.options.Webhooks.WebhookNote(ctx, known.Scope(), hearth.WebhookDeviceDeleted)
	if err != nil {
		return err
	}
	var gone hearth.Device
	err = f.store.DeleteDevice(ctx, id, func(d hearth.Device) error {
		gone = d
		audit[0].Changes = changes(d, hearth.Device{})
		if err := allowEdit(caller, d, check); err != nil || d.Scope() == known.Scope() {
			return err
		}
		return hearth.Errorf(hearth.CodeConflict, "the device changes hands at the same time")
	}, hearth.SideEffects{Audit: audit, JobsAfter: func() ([]hearth.OutboxJob, error) { return note(now, gone.ID, gone) }})
	if err != nil {
		return err
	}
	f.directory.removed(id)
	f.TokensEnded(id)
	f.lists.changed(gone.Scope())
	f.options.Publisher.Publish(deviceEvent(hearth.EventDeviceDeleted, gone, now))
	return nil
}

// sizeOf is what the audit has of metadata, which may be large: a copy of each would be kept for as long as the audit is.
func sizeOf(metadata json.RawMessage) any {
	if metadata == nil {
		return nil
	}
	return map[string]int{"bytes": len(metadata)}
}

// changes returns the fields that users set and that differ.
func changes(before, after hearth.Device) audited.Changes {
	out := audited.Changes{}
	out.Note("name", before.Name != after.Name, before.Name, after.Name)
	out.Note("type", before.Type != after.Type, before.Type, after.Type)
	out.Note("serial", before.Serial != after.Serial, before.Serial, after.Serial)
	out.Note("status", before.Status != after.Status, before.Status, after.Status)
	out.Note("tags", !slices.Equal(before.Tags, after.Tags), before.Tags, after.Tags)
	out.Note("metadata", string(before.Metadata) != string(after.Metadata), sizeOf(before.Metadata), sizeOf(after.Metadata))
	out.Note("heartbeat_interval", before.Interval != after.Interval, before.Interval, after.Interval)
	out.Note("organization_id", before.OrganizationID != after.OrganizationID, before.OrganizationID, after.OrganizationID)
	return out
}
