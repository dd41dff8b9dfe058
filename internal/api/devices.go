package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/devices"
)

const tagDevices = "Devices"

// Metadata is a JSON object of the client's.
type Metadata json.RawMessage

// MarshalJSON returns it as it is.
func (m Metadata) MarshalJSON() ([]byte, error) { return json.RawMessage(m).MarshalJSON() }

// UnmarshalJSON copies it unchanged.
func (m *Metadata) UnmarshalJSON(data []byte) error {
	return (*json.RawMessage)(m).UnmarshalJSON(data)
}

// Schema says so to the OpenAPI.
func (Metadata) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Nullable: true,
		Description: "Any JSON object of up to 8 KiB, 16 levels deep. Keys come back sorted.",
	}
}

// Device is a device on the wire.
type Device struct {
	ID             string       `json:"id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string       `json:"name" example:"Kitchen"`
	Type           string       `json:"type" doc:"Any word that the owner chooses." example:"thermostat"`
	Serial         *string      `json:"serial" doc:"What its maker calls it: unique among the devices of the organization, or of the owner's own; null: none." example:"SN-2026-0042"`
	Status         string       `json:"status" enum:"active,inactive,error" doc:"Set by the owner, by a heartbeat, or to inactive after 24 hours of silence."`
	Connection     string       `json:"connection" enum:"online,offline,never" doc:"offline once three heartbeat intervals pass in silence, or its MQTT connection ends; never before the first heartbeat."`
	Tags           []string     `json:"tags" nullable:"false" example:"[\"ground floor\"]"`
	Metadata       Metadata     `json:"metadata"`
	Interval       int          `json:"heartbeat_interval" doc:"Seconds between heartbeats." example:"60"`
	LastActiveAt   *rest.Time   `json:"last_active_at" doc:"The last heartbeat; null before the first."`
	LastError      *DeviceError `json:"last_error" doc:"The latest thing that the device sent by MQTT and that could not be stored; null: none."`
	OwnerID        string       `json:"owner_id" doc:"Who created the device." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	OrganizationID *string      `json:"organization_id" doc:"The organization that it belongs to; null: the owner's own."`
	Version        int64        `json:"version" doc:"Counts the owner's changes; heartbeats do not count. If-Match is held against it." example:"1"`
	CreatedAt      rest.Time    `json:"created_at"`
	UpdatedAt      rest.Time    `json:"updated_at" doc:"The owner's last change."`
	// Latest is nil unless it was asked for.
	Latest map[string]LatestValue `json:"latest,omitzero" required:"false" doc:"The newest value of each event; only in lists with include=latest."`
}

func (a *API) wireDevice(d hearth.Device) Device {
	return wireDeviceAt(d, a.Now())
}

func wireDeviceAt(d hearth.Device, now time.Time) Device {
	wire := Device{
		ID: d.ID, Name: d.Name, Type: d.Type, Serial: rest.TextOrNull(d.Serial), Status: string(d.Status), Connection: string(d.Connection(now)), Tags: d.Tags,
		Metadata: Metadata(d.Metadata), Interval: d.Interval, LastActiveAt: rest.TimeOrNull(d.LastActiveAt), LastError: wireDeviceError(d.LastError), OwnerID: d.OwnerID,
		OrganizationID: rest.TextOrNull(d.OrganizationID), Version: d.Version, CreatedAt: rest.Time(d.CreatedAt), UpdatedAt: rest.Time(d.UpdatedAt),
	}
	if wire.Tags == nil {
		wire.Tags = []string{}
	}
	return wire
}

// DeviceError is something that a device sent and that can never be stored.
type DeviceError struct {
	Code    string    `json:"code" doc:"As of problems." example:"malformed_body"`
	Message string    `json:"message" example:"the payload is not JSON"`
	Topic   string    `json:"topic" doc:"Where it was sent to." example:"t"`
	At      rest.Time `json:"at"`
}

func wireDeviceError(e *hearth.DeviceError) *DeviceError {
	if e == nil {
		return nil
	}
	return &DeviceError{Code: string(e.Code), Message: e.Message, Topic: e.Topic, At: rest.Time(e.At)}
}

// NewDevice is a device to create.
type NewDevice struct {
	Name           string                         `json:"name" minLength:"1" maxLength:"200" example:"Kitchen"`
	Type           string                         `json:"type" minLength:"1" maxLength:"64" doc:"Any word that the owner chooses." example:"thermostat"`
	Serial         rest.Optional[string]          `json:"serial,omitempty" minLength:"1" maxLength:"64" doc:"A to Z, a to z, 0 to 9, spaces inside and _.:@()-; unique in its scope." example:"SN-2026-0042"`
	Status         rest.Optional[string]          `json:"status,omitempty" enum:"active,inactive,error" doc:"active by default."`
	Tags           rest.Optional[rest.ShortTexts] `json:"tags,omitempty" maxItems:"50" doc:"Up to 50 different texts of up to 64 characters."`
	Metadata       rest.Optional[Metadata]        `json:"metadata,omitempty"`
	Interval       rest.Optional[int]             `json:"heartbeat_interval,omitempty" minimum:"1" maximum:"604800" doc:"Seconds between heartbeats; 60 by default."`
	OrganizationID rest.Optional[string]          `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"Lets the device belong to an organization in which the caller is at least a member."`
}

func (d NewDevice) input() devices.NewDevice {
	return devices.NewDevice{
		Name: d.Name, Type: d.Type, Serial: d.Serial.Or(""), Status: hearth.DeviceStatus(d.Status.Or("")), Tags: d.Tags.Or(nil),
		Metadata: json.RawMessage(d.Metadata.Or(nil)), Interval: d.Interval.Or(0), OrganizationID: d.OrganizationID.Or(""),
	}
}

// DeviceChange is what to change of a device: what is left out stays.
type DeviceChange struct {
	Name     rest.Optional[string]          `json:"name,omitempty" minLength:"1" maxLength:"200" example:"Kitchen"`
	Type     rest.Optional[string]          `json:"type,omitempty" minLength:"1" maxLength:"64" example:"thermostat"`
	Serial   rest.Optional[string]          `json:"serial,omitempty" minLength:"1" maxLength:"64" doc:"null takes it off." example:"SN-2026-0042"`
	Status   rest.Optional[string]          `json:"status,omitempty" enum:"active,inactive,error" doc:"null: active."`
	Tags     rest.Optional[rest.ShortTexts] `json:"tags,omitempty" maxItems:"50" doc:"The whole list; null clears it."`
	Metadata rest.Optional[Metadata]        `json:"metadata,omitempty" doc:"The whole object; null clears it."`
	Interval rest.Optional[int]             `json:"heartbeat_interval,omitempty" minimum:"1" maximum:"604800" doc:"Seconds; null: 60."`
}

func (c DeviceChange) change() (devices.Change, error) {
	var problems []hearth.FieldError
	change := devices.Change{
		Name: rest.RequiredOf(c.Name, "name", &problems), Type: rest.RequiredOf(c.Type, "type", &problems), Serial: rest.PatchOf(c.Serial, ""),
		Status: (*hearth.DeviceStatus)(rest.PatchOf(c.Status, string(hearth.StatusActive))), Tags: (*[]string)(rest.PatchOf(c.Tags, nil)),
		Metadata: (*json.RawMessage)(rest.PatchOf(c.Metadata, nil)), Interval: rest.PatchOf(c.Interval, hearth.DefaultHeartbeatInterval),
	}
	return change, rest.InvalidIf(problems)
}

func (a *API) registerDevices() {
	rest.Register(a.Router, rest.Operation{
		ID: "create-device", Method: http.MethodPost, Path: "/devices", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite, Status: http.StatusCreated,
		Creates: true, Location: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict, hearth.CodeQuotaExceeded}, Summary: "Create a device",
		Description: "The device is the caller's own, or an organization's with `organization_id`.",
	}, a.createDevice)
	rest.Register(a.Router, rest.Operation{
		ID: "create-devices", Method: http.MethodPost, Path: "/devices/batch", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite, Status: http.StatusCreated,
		Creates: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict, hearth.CodeQuotaExceeded}, Summary: "Create up to 1000 devices",
		Description: "All or none: what is wrong is named by index, such as `body.items[3].name`. The answer has them in the same order. The body " +
			"has at most 1 MiB, as every body but a batch of logs.",
	}, a.createDevices)
	rest.Register(a.Router, rest.Operation{
		ID: "list-devices", Method: http.MethodGet, Path: "/devices", Tag: tagDevices, Access: rest.ForUsers, Key: hearth.KeyDevicesRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List devices",
		Description: "The caller's devices and those of their organizations; all devices for an admin. A device must match every filter. A device " +
			"that never sent a heartbeat sorts before all others by `last_active_at`.",
	}, a.listDevices)
	rest.Register(a.Router, rest.Operation{
		ID: "get-device", Method: http.MethodGet, Path: "/devices/{id}", Tag: tagDevices, Access: rest.ForDevices, Key: hearth.KeyDevicesRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get a device", Description: "A device's own token may read that device.",
	}, a.getDevice)
	rest.Register(a.Router, rest.Operation{
		ID: "get-own-device", Method: http.MethodGet, Path: "/devices/me", Tag: tagDevices, Access: rest.ForDevices, Key: rest.ClosedToKeys, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get the device of the token",
		Description: "For devices: the device whose token is used. `not_found` for everyone else.",
	}, a.getOwnDevice)
	rest.Register(a.Router, rest.Operation{
		ID: "update-device", Method: http.MethodPatch, Path: "/devices/{id}", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Change a device",
		Description: "What is left out stays; `null` clears an optional field. With `If-Match`, only if the device is still at the version of that " +
			"entity tag: heartbeats do not count.",
	}, a.updateDevice)
	rest.Register(a.Router, rest.Operation{
		ID: "delete-device", Method: http.MethodDelete, Path: "/devices/{id}", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite, Status: http.StatusNoContent,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete a device",
		Description: "Deletes its tokens, its logs and their rollups too. With `If-Match`, only at that version.",
	}, a.deleteDevice)
	rest.Register(a.Router, rest.Operation{
		ID: "transfer-device", Method: http.MethodPost, Path: "/devices/{id}/transfer", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Summary: "Transfer a device",
		Description: "Moves the device to an organization (`organization_id`) or to a user (`owner_id`: the caller; for an admin anybody), with its logs, " +
			"tokens, twin and commands. The caller must be allowed to edit it here and there. Readers of the former scope get `device-deleted`. 409: its " +
			"serial is taken there.",
	}, a.transferDevice)
	a.registerDeviceTokens()
	a.registerHeartbeats()
}

func (a *API) createDevice(ctx context.Context, in *struct{ Body NewDevice }) (*rest.Created[Device], error) {
	device, err := a.options.Fleet.Create(ctx, rest.CallerOf(ctx), in.Body.input(), rest.Idempotency(ctx, a.wireDevice))
	return rest.NewCreated("/devices/"+device.ID, a.wireDevice(device)), err
}

type createDevicesInput struct {
	Body struct {
		Items []NewDevice `json:"items" minItems:"1" maxItems:"1000"`
	}
}

// CreatedDevices are the devices of one request, in its order.
type CreatedDevices struct {
	Items []Device `json:"items" nullable:"false"`
}

func (a *API) createDevices(ctx context.Context, in *createDevicesInput) (*rest.Body[CreatedDevices], error) {
	wire := func(devices []hearth.Device) CreatedDevices {
		out := CreatedDevices{Items: make([]Device, len(devices))}
		for i, d := range devices {
			out.Items[i] = a.wireDevice(d)
		}
		return out
	}
	inputs := make([]devices.NewDevice, len(in.Body.Items))
	for i, item := range in.Body.Items {
		inputs[i] = item.input()
	}
	devices, err := a.options.Fleet.CreateBatch(ctx, rest.CallerOf(ctx), inputs, rest.Idempotency(ctx, wire))
	return &rest.Body[CreatedDevices]{Body: wire(devices)}, err
}

type listDevicesInput struct {
	Type           string `query:"type" maxLength:"64" doc:"Only devices of this type."`
	Status         string `query:"status" enum:"active,inactive,error" doc:"Only devices of this status."`
	Connection     string `query:"connection" enum:"online,offline,never" doc:"Only devices that are so now."`
	Tag            string `query:"tag" maxLength:"64" doc:"Only devices with this tag."`
	Serial         string `query:"serial" maxLength:"64" doc:"Only devices with this serial."`
	OrganizationID string `query:"organization_id" maxLength:"64" doc:"Only devices of this organization."`
	Query          string `query:"q" maxLength:"200" doc:"Only devices whose name contains this, whatever the case and accents."`
	Sort           string `query:"sort" enum:"name,-name,created_at,-created_at,last_active_at,-last_active_at" default:"-created_at" doc:"The order; with - in front the largest come first."`
	Include        string `query:"include" enum:"latest" doc:"latest: each device comes with the newest value of each of its events, up to 50, by name. An API key needs telemetry:read too."`
	rest.PageParams
}

type listDevicesOutput struct {
	Body rest.List[Device]
}

func (a *API) listDevices(ctx context.Context, in *listDevicesInput) (*listDevicesOutput, error) {
	page, err := in.Page(in.Sort)
	if err != nil {
		return nil, err
	}
	list, err := a.options.Fleet.Devices(ctx, rest.CallerOf(ctx), devices.Query{
		OrganizationID: in.OrganizationID, Page: page, Filter: hearth.DeviceFilter{
			Type: in.Type, Status: hearth.DeviceStatus(in.Status), Connection: hearth.Connection(in.Connection), Tag: in.Tag,
			Serial: in.Serial, Query: in.Query,
		},
	})
	if err != nil {
		return nil, err
	}
	if in.Fields != "" || in.Include != "" {
		wire := a.wireDevice
		if in.Include != "" {
			if !rest.CallerOf(ctx).HasScope(hearth.KeyTelemetryRead) {
				return nil, rest.ErrScope(hearth.KeyTelemetryRead)
			}
			if wire, err = a.wireWithLatest(ctx, list.Items); err != nil {
				return nil, err
			}
		}
		body, err := rest.ListOf(list.List, in.Fields, wire)
		return &listDevicesOutput{Body: body}, err
	}
	body := rest.ListAppendedBy[Device](list.Next.String(), list.Total, len(list.Items), a.appendDevices(list))
	return &listDevicesOutput{Body: body}, nil
}

// fixedDevice is the JSON of a Device without what heartbeats change: status, connection and last_active_at stand between its
// three parts.
type fixedDevice [3][]byte

// appendDevices returns what appends the JSON of a page's devices. Of a cached page the most was encoded before.
func (a *API) appendDevices(list devices.Listing) func(out []byte, i int) []byte {
	now, fixed := a.Now(), devices.Fixed(list, fixDevices)
	return func(out []byte, i int) []byte {
		d, parts := &list.Items[i], &fixed[i]
		out = append(append(out, parts[0]...), d.Status...) // a status and a connection need no escaping
		out = append(append(append(out, `","connection":"`...), d.Connection(now)...), parts[1]...)
		if d.LastActiveAt.IsZero() {
			out = append(out, "null"...)
		} else {
			out = rest.Time(d.LastActiveAt).Append(out)
		}
		return append(out, parts[2]...)
	}
}

// fixDevices splits the JSON of devices. What stands inside of a text has its quotes escaped, and metadata, in which the same
// names may stand, comes after the connection and before last_active_at.
func fixDevices(list []hearth.Device) []fixedDevice {
	fixed := make([]fixedDevice, len(list))
	for i, d := range list {
		d.LastActiveAt = time.Time{}
		data, err := rest.EncodeBody(wireDeviceAt(d, d.CreatedAt))
		if err != nil {
			panic("api: a device can always be encoded: " + err.Error())
		}
		data = bytes.TrimSuffix(data, []byte("\n"))
		before, rest, _ := bytes.Cut(data, []byte(`"status":"`))
		_, rest, _ = bytes.Cut(rest, []byte(`"connection":"never`))
		at := bytes.LastIndex(rest, []byte(`"last_active_at":null`)) + len(`"last_active_at":`)
		fixed[i] = fixedDevice{slices.Concat(before, []byte(`"status":"`)), rest[:at:at], rest[at+len("null"):]}
	}
	return fixed
}

// DevicePath names a device in the path.
type DevicePath struct {
	ID string `path:"id" maxLength:"64" doc:"The device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
}

// DeviceCondition is a change's precondition.
type DeviceCondition struct {
	DevicePath
	IfMatch string `header:"If-Match" doc:"Entity tags, of which the object must still have one, or *."`
}

func (c DeviceCondition) check() func(hearth.Device) error {
	return func(d hearth.Device) error { return rest.CheckVersion(c.IfMatch, d.Version) }
}

type deviceOutput struct {
	ETag string `header:"ETag" doc:"Begins with the version."`
	Body Device
}

func (a *API) deviceOutput(d hearth.Device, err error) (*deviceOutput, error) {
	if err != nil {
		return nil, err
	}
	return &deviceOutput{ETag: rest.FormatVersion(d.Version), Body: a.wireDevice(d)}, nil
}

func (a *API) getDevice(ctx context.Context, in *struct{ DevicePath }) (*deviceOutput, error) {
	return a.deviceOutput(a.options.Fleet.Device(ctx, rest.CallerOf(ctx), in.ID))
}

func (a *API) getOwnDevice(ctx context.Context, _ *struct{}) (*deviceOutput, error) {
	caller := rest.CallerOf(ctx)
	if !caller.IsDevice() {
		return nil, hearth.NotFound("device")
	}
	return a.deviceOutput(a.options.Fleet.Device(ctx, caller, caller.DeviceID))
}

type updateDeviceInput struct {
	DeviceCondition
	Body DeviceChange
}

func (a *API) updateDevice(ctx context.Context, in *updateDeviceInput) (*deviceOutput, error) {
	change, err := in.Body.change()
	if err != nil {
		return nil, err
	}
	return a.deviceOutput(a.options.Fleet.Update(ctx, rest.CallerOf(ctx), in.ID, change, in.check()))
}

func (a *API) deleteDevice(ctx context.Context, in *struct{ DeviceCondition }) (*struct{}, error) {
	return nil, a.options.Fleet.Delete(ctx, rest.CallerOf(ctx), in.ID, in.check())
}

// DeviceTarget is who gets a device: one of the two.
type DeviceTarget struct {
	OrganizationID rest.Optional[string] `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"The organization."`
	OwnerID        rest.Optional[string] `json:"owner_id,omitempty" minLength:"1" maxLength:"64" doc:"The user." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
}

func (a *API) transferDevice(ctx context.Context, in *struct {
	DevicePath
	Body DeviceTarget
}) (*deviceOutput, error) {
	target := devices.Target{OrganizationID: in.Body.OrganizationID.Or(""), OwnerID: in.Body.OwnerID.Or("")}
	return a.deviceOutput(a.options.Fleet.Transfer(ctx, rest.CallerOf(ctx), in.ID, target))
}

// DeviceToken is a device's token on the wire, without its secret.
type DeviceToken struct {
	ID         string     `json:"id" format:"uuid" example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	Gateway    bool       `json:"gateway" doc:"It speaks, over MQTT, for the devices of its device's scope too."`
	CreatedAt  rest.Time  `json:"created_at"`
	CreatedBy  *string    `json:"created_by" doc:"The user who made it, while whose right to edit the device it is good; null for the token of a provisioning key."`
	LastUsedAt *rest.Time `json:"last_used_at" doc:"To the day; null if it was never used."`
}

// NewDeviceToken is a token with its secret.
type NewDeviceToken struct {
	ID        string    `json:"id" format:"uuid" example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	Token     string    `json:"token" doc:"Shown only in this answer. It goes into the Authorization header: Bearer hd_…" example:"hd_3q2-7wAB…"`
	Gateway   bool      `json:"gateway" doc:"It speaks, over MQTT, for the devices of its device's scope too."`
	CreatedAt rest.Time `json:"created_at"`
}

func (a *API) registerDeviceTokens() {
	rest.Register(a.Router, rest.Operation{
		ID: "create-device-token", Method: http.MethodPost, Path: "/devices/{id}/tokens", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite,
		Status: http.StatusCreated, Creates: true, Secret: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Summary: "Create a device token",
		Description: "The token allows the device to send its own heartbeats and logs and to read itself, nothing else. It is shown only in this answer. A device " +
			"has at most 1000. It is refused from when its maker may not edit the device any more. With `gateway`, a connection over MQTT " +
			"makes and serves the devices of its device's scope by their serials; over HTTP it is a token as any other.",
	}, a.createDeviceToken)
	rest.Register(a.Router, rest.Operation{
		ID: "list-device-tokens", Method: http.MethodGet, Path: "/devices/{id}/tokens", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List a device's tokens", Description: "Oldest first, without their secrets.",
	}, a.listDeviceTokens)
	rest.Register(a.Router, rest.Operation{
		ID: "delete-device-token", Method: http.MethodDelete, Path: "/devices/{id}/tokens/{token_id}", Tag: tagDevices,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete a device's token",
		Description: "It is refused from then on, within a second at every instance.",
	}, a.deleteDeviceToken)
}

// deviceTokenRequest is what a token is to be.
type deviceTokenRequest struct {
	Gateway bool `json:"gateway,omitempty" doc:"The token of a gateway: over MQTT it speaks for the devices of its device's scope too."`
}

func (a *API) createDeviceToken(ctx context.Context, in *struct {
	DevicePath
	Body *deviceTokenRequest
}) (*rest.Body[NewDeviceToken], error) {
	wire := func(token devices.IssuedToken) NewDeviceToken {
		return NewDeviceToken{ID: token.ID, Token: token.Secret, Gateway: token.Gateway, CreatedAt: rest.Time(token.CreatedAt)}
	}
	gateway := in.Body != nil && in.Body.Gateway
	token, err := a.options.Fleet.CreateToken(ctx, rest.CallerOf(ctx), in.ID, gateway, rest.Idempotency(ctx, wire))
	return &rest.Body[NewDeviceToken]{Body: wire(token)}, err
}

type listDeviceTokensInput struct {
	DevicePath
	rest.PageParams
}

type listDeviceTokensOutput struct {
	Body rest.List[DeviceToken]
}

func (a *API) listDeviceTokens(ctx context.Context, in *listDeviceTokensInput) (*listDeviceTokensOutput, error) {
	page, err := in.Page("created_at")
	if err != nil {
		return nil, err
	}
	list, err := a.options.Fleet.Tokens(ctx, rest.CallerOf(ctx), in.ID, page)
	if err != nil {
		return nil, err
	}
	body, err := rest.ListOf(list, in.Fields, func(t hearth.DeviceToken) DeviceToken {
		return DeviceToken{ID: t.ID, Gateway: t.Gateway, CreatedAt: rest.Time(t.CreatedAt), CreatedBy: rest.TextOrNull(t.CreatedBy), LastUsedAt: rest.TimeOrNull(t.LastUsedAt.Truncate(24 * time.Hour))}
	})
	return &listDeviceTokensOutput{Body: body}, err
}

func (a *API) deleteDeviceToken(ctx context.Context, in *struct {
	DevicePath
	TokenID string `path:"token_id" maxLength:"64" doc:"The token." example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
}) (*struct{}, error) {
	return nil, a.options.Fleet.DeleteToken(ctx, rest.CallerOf(ctx), in.ID, in.TokenID)
}
