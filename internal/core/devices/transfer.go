package devices

import (
	"context"
	"errors"
	"slices"

	"hearth"
	"hearth/internal/audited"
)

// Target is who gets a device: an organization, or the user OwnerID.
type Target struct {
	OrganizationID string
	OwnerID        string
}

// Transfer moves a device to another scope, with its logs, tokens and all that hangs on it. The caller must be allowed to edit the
// device before and after. Errors: CodeNotFound (the device, the organization, the user), CodeForbidden, CodeConflict (the serial
// is taken there), CodeValidationFailed.
func (f *Service) Transfer(ctx context.Context, caller hearth.Caller, id string, target Target) (hearth.Device, error) {
	if (target.OrganizationID == "") == (target.OwnerID == "") {
		return hearth.Device{}, hearth.Invalid(hearth.FieldError{Location: "body", Message: "must have either organization_id or owner_id"})
	}
	now := f.now()
	known, err := f.store.Device(ctx, id)
	if err == nil { // before the target's quota says anything
		err = allowEdit(caller, known, nil)
	}
	if err == nil {
		err = mayReceive(caller, target.of(known))
	}
	if err != nil {
		return hearth.Device{}, err
	}
	if scope := target.of(known).Scope(); scope != known.Scope() {
		unlock, err := f.Room(ctx, scope)
		if err != nil {
			return hearth.Device{}, err
		}
		defer unlock()
	}
	left, err := f.options.Webhooks.WebhookNote(ctx, known.Scope(), hearth.WebhookDeviceDeleted)
	if err != nil {
		return hearth.Device{}, err
	}
	arrived, err := f.options.Webhooks.WebhookNote(ctx, target.of(known).Scope(), hearth.WebhookDeviceCreated)
	if err != nil {
		return hearth.Device{}, err
	}
	leftRules, err := f.options.Silence(ctx, known.Scope())
	if err != nil {
		return hearth.Device{}, err
	}
	newRules, err := f.options.Silence(ctx, target.of(known).Scope())
	if err != nil {
		return hearth.Device{}, err
	}
	audit := []hearth.AuditEntry{caller.Entry(now, "device.transfer", "device:"+id)}
	var before, planned hearth.Device
	after, err := f.store.TransferDevice(ctx, id, func(d hearth.Device) (hearth.Device, error) {
		before = d
		if err := allowEdit(caller, d, nil); err != nil {
			return d, err
		}
		after := target.of(d)
		if err := mayReceive(caller, after); err != nil {
			return d, err
		}
		if after.Scope() == d.Scope() {
			return d, audited.ErrUnchanged
		}
		audit[0].Changes = map[string]hearth.Change{"scope": {Before: d.Scope(), After: after.Scope()}}
		if d.Scope() != known.Scope() {
			return d, hearth.Errorf(hearth.CodeConflict, "the device changes hands otherwise at the same time")
		}
		after.UpdatedAt = now
		planned = after
		planned.Version++
		return after, nil
	}, hearth.SideEffects{Audit: audit, JobsAfter: func() ([]hearth.OutboxJob, error) {
		gone, err := left(now, id, before)
		if err != nil {
			return nil, err
		}
		come, err := arrived(now, id, planned)
		return slices.Concat(gone, come, leftRules(id), newRules(id)), err
	}})
	switch {
	case errors.Is(err, audited.ErrUnchanged):
		return before, nil
	case hearth.IsSerialTaken(err):
		return hearth.Device{}, hearth.Errorf(hearth.CodeConflict, "another device there has the serial %s", before.Serial)
	case err != nil:
		return hearth.Device{}, err
	}
	f.Moved(before, after)
	f.TokensEnded(id) // those of users who may not edit it where it is now
	return after, nil
}

// of returns the device as the target has it.
func (t Target) of(d hearth.Device) hearth.Device {
	if d.OrganizationID = t.OrganizationID; t.OwnerID != "" {
		d.OwnerID = t.OwnerID
	}
	return d
}

// mayReceive is the rule of who may bring a device into a scope: who may edit it there.
func mayReceive(caller hearth.Caller, after hearth.Device) error {
	err := mayCreate(caller, after)
	if err != nil && after.OrganizationID == "" {
		return hearth.Errorf(hearth.CodeForbidden, "only an administrator may transfer a device to another user")
	}
	return err
}

// Moved publishes a device that changed hands. Who reads the channel of one that left its scope has to join anew.
func (f *Service) Moved(before, after hearth.Device) {
	f.directory.updated(&after)
	f.lists.changed(before.Scope())
	f.lists.changed(after.Scope())
	arrived := deviceEvent(hearth.EventDeviceUpdate, after, after.UpdatedAt)
	if before.Scope() == after.Scope() {
		f.options.Publisher.Publish(arrived)
		return
	}
	arrived.Arrived = true
	f.options.Publisher.Publish(deviceEvent(hearth.EventDeviceDeleted, before, after.UpdatedAt), arrived)
}
