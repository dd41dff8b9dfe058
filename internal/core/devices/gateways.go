package devices

import (
	"cmp"
	"context"
	"slices"

	"hearth"
	"hearth/internal/newid"
)

// ForGateway returns the caller, a device whose token is a gateway's, as the one who speaks for the devices of its scope, wherever it belongs by now.
// CodeNotFound, CodeUnavailable.
func (f *Service) ForGateway(ctx context.Context, caller hearth.Caller) (hearth.Caller, error) {
	gateway, err := f.one(ctx, caller.DeviceID)
	if err != nil {
		return hearth.Caller{}, err
	}
	caller.Gateway = gateway.Scope()
	return caller, nil
}

// BySerial returns the device of that serial in the scope of the caller, which ForGateway has returned; CodeNotFound if there is none. known is the
// id of the device that it was last, "" if that is not known: where it still is, nothing is read.
func (f *Service) BySerial(ctx context.Context, caller hearth.Caller, serial, known string) (*hearth.Device, error) {
	if known != "" {
		device, err := f.one(ctx, known)
		switch {
		case err == nil && device.Serial == serial && device.Scope() == caller.Gateway:
			return device, nil
		case err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound:
			return nil, err
		}
	}
	reach := hearth.Reach{Scopes: []hearth.Scope{caller.Gateway}}
	at, now := f.directory.changeCount(), f.now()
	list, err := f.store.Devices(ctx, hearth.DeviceFilter{Reach: reach, Serial: serial, Now: now}, hearth.Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 || caller.Gateway == "" {
		return nil, hearth.NotFound("device")
	}
	f.directory.learn(list.Items, at, now)
	return &list.Items[0], nil
}

// MakeBehind makes a device of that serial in the scope of the caller, which ForGateway has returned; kind is its type, "" a device's. Errors:
// CodeValidationFailed, CodeConflict (there is one by now), CodeNotFound (the gateway).
func (f *Service) MakeBehind(ctx context.Context, caller hearth.Caller, serial, kind string) (*hearth.Device, error) {
	gateway, err := f.one(ctx, caller.DeviceID)
	if err != nil {
		return nil, err
	}
	now := f.now()
	device := hearth.Device{
		ID: newid.New(), Name: serial, Type: cmp.Or(kind, "device"), Serial: serial, Status: hearth.StatusActive, Interval: hearth.DefaultHeartbeatInterval,
		OwnerID: gateway.OwnerID, OrganizationID: gateway.OrganizationID, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	problems := device.Validate("")
	if serial == "" {
		problems = slices.Insert(problems, 0, hearth.FieldError{Location: "serial", Message: "must not be empty"})
	}
	if len(problems) > 0 {
		return nil, hearth.Invalid(problems...)
	}
	made, err := f.create(ctx, caller, []hearth.Device{device}, nil)
	if err != nil {
		return nil, err
	}
	return &made[0], nil
}
