package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/provision"
)

const tagProvisioning = "Provisioning"

// ProvisioningKey is a provisioning key on the wire, without its secret.
type ProvisioningKey struct {
	ID             string     `json:"id" format:"uuid" example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string     `json:"name" example:"lamps of March"`
	Prefix         string     `json:"prefix" doc:"How the key begins." example:"hp_3q2-7wAB"`
	OrganizationID *string    `json:"organization_id" doc:"The organization that gets the devices; null: its maker's own." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	DeviceType     string     `json:"device_type" doc:"The type of its devices." example:"lamp"`
	Tags           []string   `json:"tags" nullable:"false" doc:"The tags of its devices." example:"[\"hall\"]"`
	MaxDevices     *int64     `json:"max_devices" doc:"How many devices it makes; null: any number." example:"1000"`
	DeviceCount    int64      `json:"device_count" doc:"How many devices it has made, deleted ones too." example:"12"`
	CreatedBy      string     `json:"created_by" format:"uuid" doc:"The user who made it." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	CreatedAt      rest.Time  `json:"created_at"`
	ExpiresAt      *rest.Time `json:"expires_at" doc:"null: never."`
}

// CreatedProvisioningKey is a provisioning key with its secret.
type CreatedProvisioningKey struct {
	ProvisioningKey
	Key string `json:"key" doc:"Shown only in this answer." example:"hp_3q2-7wAB…"`
}

// NewProvisioningKey is a provisioning key to make.
type NewProvisioningKey struct {
	Name           string                         `json:"name" minLength:"1" maxLength:"100" example:"lamps of March"`
	OrganizationID rest.Optional[string]          `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"The organization that gets the devices, which takes an owner or admin of it; your own, if nothing is said."`
	DeviceType     string                         `json:"device_type" minLength:"1" maxLength:"64" doc:"The type of its devices." example:"lamp"`
	Tags           rest.Optional[rest.ShortTexts] `json:"tags,omitempty" maxItems:"50" doc:"The tags of its devices."`
	MaxDevices     rest.Optional[int64]           `json:"max_devices,omitempty" minimum:"1" maximum:"10000000" doc:"How many devices it makes; any number, if nothing is said." example:"1000"`
	ExpiresAt      rest.Optional[rest.Time]       `json:"expires_at,omitempty" doc:"In the future; never, if nothing is said."`
}

func wireProvisioningKey(k hearth.ProvisioningKey) ProvisioningKey {
	wire := ProvisioningKey{
		ID: k.ID, Name: k.Name, Prefix: k.Prefix, OrganizationID: rest.TextOrNull(k.OrganizationID), DeviceType: k.DeviceType, Tags: k.Tags,
		DeviceCount: k.Devices, CreatedBy: k.UserID, CreatedAt: rest.Time(k.CreatedAt), ExpiresAt: rest.TimeOrNull(k.ExpiresAt),
	}
	if wire.Tags == nil {
		wire.Tags = []string{}
	}
	if k.MaxDevices != 0 {
		wire.MaxDevices = &k.MaxDevices
	}
	return wire
}

func wireCreatedProvisioningKey(k provision.IssuedKey) CreatedProvisioningKey {
	return CreatedProvisioningKey{wireProvisioningKey(k.ProvisioningKey), k.Secret}
}

// ProvisionRequest is a device that asks for its token.
type ProvisionRequest struct {
	Key    string                `json:"key" minLength:"1" maxLength:"128" doc:"The provisioning key." example:"hp_3q2-7wAB…"`
	Serial string                `json:"serial" minLength:"1" maxLength:"64" doc:"What its maker calls the device: 1 to 64 letters, digits, spaces inside and _ . : @ ( ) -" example:"SN-2026-0042"`
	Name   rest.Optional[string] `json:"name,omitempty" minLength:"1" maxLength:"200" doc:"The name of a new device; its serial, if nothing is said."`
	Secret rest.Optional[string] `json:"secret,omitempty" minLength:"1" maxLength:"256" doc:"What the device alone knows, best 16 random bytes or more: the same one proves it later, when it has lost its token."`
}

// ProvisionedDevice is a device with its token.
type ProvisionedDevice struct {
	DeviceID string `json:"device_id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Token    string `json:"token" doc:"Shown only in this answer. It goes into the Authorization header: Bearer hd_…" example:"hd_3q2-7wAB…"`
}

func wireProvisioned(r provision.Result) ProvisionedDevice {
	return ProvisionedDevice{r.DeviceID, r.Token}
}

type provisionOutput struct {
	Status int
	Body   ProvisionedDevice
}

// ClaimCode is a code that makes a device its finder's.
type ClaimCode struct {
	Code      string    `json:"code" doc:"Shown only in this answer. Upper and lower case, dashes and spaces do not matter." example:"7Q4M-0XTZ-K9BD"`
	ExpiresAt rest.Time `json:"expires_at" doc:"15 minutes from now."`
}

func wireClaimCode(c provision.IssuedCode) ClaimCode {
	return ClaimCode{c.Code, rest.Time(c.ExpiresAt)}
}

// Claim is a code that a user has.
type Claim struct {
	Code string `json:"code" minLength:"1" maxLength:"64" doc:"The code. Upper and lower case, dashes and spaces do not matter." example:"7Q4M-0XTZ-K9BD"`
}

// registerProvisioning adds provisioning keys, what devices do with them, and claims.
func (a *API) registerProvisioning() {
	s := a.options.Provisioning
	if s == nil {
		return
	}
	a.registerProvisioningKeys(s)
	op := rest.Operation{
		ID: "provision-device", Method: http.MethodPost, Path: "/provision", Tag: tagProvisioning, Access: rest.ForAnyone, Class: rest.ClassProvision,
		Status: http.StatusCreated, Creates: true, Secret: true,
		Codes:   []hearth.Code{hearth.CodeUnauthenticated, hearth.CodeForbidden, hearth.CodeConflict},
		Summary: "Provision a device",
		Description: "Makes the device of a serial in the key's scope, with a token. No access token is needed: the key is enough, and 401 if it is " +
			"unknown or has expired, 403 if it has made all of its devices. The same serial again is 409, unless it proves the secret that it gave the " +
			"first time: then it gets a new token, and the one before ends. An Idempotency-Key protects the making of a device; the rest is safe to repeat.",
	}
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[ProvisionRequest]) (*provisionOutput, error) {
		if err := a.limitProvisioningKey(ctx, in.Body.Key); err != nil {
			return nil, err
		}
		result, err := s.Provision(ctx, rest.CallerOf(ctx), provision.Request{
			Key: in.Body.Key, Serial: in.Body.Serial, Name: in.Body.Name.Or(""), Secret: in.Body.Secret.Or(""),
		}, rest.Idempotency(ctx, wireProvisioned))
		out := &provisionOutput{Status: http.StatusCreated, Body: wireProvisioned(result)}
		if result.Again {
			out.Status = http.StatusOK
		}
		return out, err
	})
	answers := a.Document().Paths[op.Pattern()].Post.Responses
	again := *answers["201"]
	again.Description = "The device was there and proved its secret: a new token"
	answers["200"] = &again
	rest.Register(a.Router, rest.Operation{
		ID: "create-claim-code", Method: http.MethodPost, Path: "/devices/{id}/claim-codes", Tag: tagProvisioning,
		Access: rest.ForUsers, Key: hearth.KeyDevicesWrite, Status: http.StatusCreated, Creates: true, Secret: true,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Create a claim code",
		Description: "Whoever has the code may make the device their own, once, within 15 minutes. A device has at most 20 at a time.",
	}, func(ctx context.Context, in *struct{ DevicePath }) (*rest.Body[ClaimCode], error) {
		code, err := s.CreateCode(ctx, rest.CallerOf(ctx), in.ID, rest.Idempotency(ctx, wireClaimCode))
		return &rest.Body[ClaimCode]{Body: wireClaimCode(code)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "claim-device", Method: http.MethodPost, Path: "/claims", Tag: tagProvisioning, Access: rest.ForUsers, Key: hearth.KeyDevicesWrite,
		Codes:   []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict, hearth.CodeRateLimited},
		Summary: "Claim a device",
		Description: "The device of the code becomes your own, with its history. Tokens that users made for it end; the provisioned one lives on. " +
			"5 attempts a minute for you and for your address, whatever the other limits are.",
	}, func(ctx context.Context, in *rest.Body[Claim]) (*deviceOutput, error) {
		if err := a.limitClaims(ctx); err != nil {
			return nil, err
		}
		return a.deviceOutput(s.Claim(ctx, rest.CallerOf(ctx), in.Body.Code))
	})
}

func (a *API) registerProvisioningKeys(s *provision.Service) {
	rest.Register(a.Router, rest.Operation{
		ID: "create-provisioning-key", Method: http.MethodPost, Path: "/provisioning-keys", Tag: tagProvisioning, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusCreated, Creates: true, Secret: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Summary: "Create a provisioning key",
		Description: "With the key devices make themselves, by POST /provision. It is shown only in this answer. A key for an organization takes its " +
			"owner or an admin of it. You and each organization have at most 100.",
	}, func(ctx context.Context, in *rest.Body[NewProvisioningKey]) (*rest.Body[CreatedProvisioningKey], error) {
		b := in.Body
		key, err := s.CreateKey(ctx, rest.CallerOf(ctx), provision.NewKey{
			Name: b.Name, OrganizationID: b.OrganizationID.Or(""), DeviceType: b.DeviceType, Tags: b.Tags.Or(nil), MaxDevices: b.MaxDevices.Or(0),
			ExpiresAt: time.Time(b.ExpiresAt.Or(rest.Time{})),
		}, rest.Idempotency(ctx, wireCreatedProvisioningKey))
		return &rest.Body[CreatedProvisioningKey]{Body: wireCreatedProvisioningKey(key)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "list-provisioning-keys", Method: http.MethodGet, Path: "/provisioning-keys", Tag: tagProvisioning, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		ETag: true, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List provisioning keys",
		Description: "Your own and those of the organizations in which you are owner or admin, the newest first, without their secrets; expired ones too.",
	}, func(ctx context.Context, in *struct {
		OrganizationID string `query:"organization_id" maxLength:"64" doc:"Only keys of this organization."`
		rest.PageParams
	}) (*rest.Body[rest.List[ProvisioningKey]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		keys, err := s.Keys(ctx, rest.CallerOf(ctx), in.OrganizationID, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(keys, in.Fields, wireProvisioningKey)
		return &rest.Body[rest.List[ProvisioningKey]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "delete-provisioning-key", Method: http.MethodDelete, Path: "/provisioning-keys/{id}", Tag: tagProvisioning, Access: rest.ForUsers,
		Key: rest.ClosedToKeys, Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete a provisioning key",
		Description: "It provisions nothing from then on. Devices that it made, and their tokens, stay.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64" doc:"The key." example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	}) (*struct{}, error) {
		return nil, s.DeleteKey(ctx, rest.CallerOf(ctx), in.ID)
	})
}

// limitProvisioningKey counts a call against the key.
func (a *API) limitProvisioningKey(ctx context.Context, key string) error {
	sum := sha256.Sum256([]byte(key))
	return a.Take(ctx, rest.ClassProvision, "key:"+hex.EncodeToString(sum[:16]))
}

// limitClaims counts an attempt for the address and for the caller, also where the other limits are off.
func (a *API) limitClaims(ctx context.Context) error {
	caller := rest.CallerOf(ctx)
	for _, key := range []string{rest.AddressKey(caller), caller.Key()} {
		if err := a.Take(ctx, rest.ClassClaims, key); err != nil {
			return err
		}
	}
	return nil
}
