package record

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"hearth"
)

// provisioningKey is the stored form of hearth.ProvisioningKey.
type provisioningKey struct {
	ID             string       `json:"id"`
	Scope          hearth.Scope `json:"scope"`
	UserID         string       `json:"user_id" bson:"user"`
	OrganizationID string       `json:"organization_id,omitempty" bson:"organization"`
	Name           string       `json:"name"`
	Prefix         string       `json:"prefix"`
	Hash           []byte       `json:"hash,omitempty"`
	DeviceType     string       `json:"device_type"`
	Tags           []string     `json:"tags,omitempty"`
	MaxDevices     int64        `json:"max_devices,omitempty"`
	Devices        int64        `json:"devices,omitempty"`
	CreatedAt      time.Time    `json:"created_at,omitzero" bson:"created"`
	ExpiresAt      time.Time    `json:"expires_at,omitzero" bson:"expires"`
}

var provisioningKeys = describe(&Kind[provisioningKey]{Schema: Schema{
	Name: "provisioning_keys", Noun: "provisioning key", Of: map[string]string{"user_id": "users", "organization_id": "organizations"},
	Indexes: []Index{
		{Fields: []string{"hash"}, Unique: true},
		{Fields: []string{"scope", "created_at", "id"}},
		{Fields: []string{"created_at", "id"}},
		{Fields: []string{"organization_id"}},
	},
	Limit: &Limit{By: "scope", Most: hearth.MaxProvisioningKeys, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "there are %d provisioning keys: delete one first", hearth.MaxProvisioningKeys)
	}},
}})

func storedProvisioningKey(k hearth.ProvisioningKey) provisioningKey {
	return provisioningKey{
		k.ID, k.Scope(), k.UserID, k.OrganizationID, k.Name, k.Prefix, k.Hash, k.DeviceType, k.Tags, k.MaxDevices, k.Devices,
		k.CreatedAt, k.ExpiresAt,
	}
}

func (k provisioningKey) key() hearth.ProvisioningKey {
	return hearth.ProvisioningKey{
		ID: k.ID, UserID: k.UserID, OrganizationID: k.OrganizationID, Name: k.Name, Prefix: k.Prefix, Hash: k.Hash, DeviceType: k.DeviceType,
		Tags: k.Tags, MaxDevices: k.MaxDevices, Devices: k.Devices, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt,
	}
}

// provisionedDevice is the stored form of hearth.Provisioned.
type provisionedDevice struct {
	Scope      hearth.Scope `json:"scope"`
	Serial     string       `json:"serial"`
	DeviceID   string       `json:"device_id" bson:"device"`
	SecretHash []byte       `json:"secret_hash,omitempty" bson:"secret"`
}

var provisioned = describe(&Kind[provisionedDevice]{Schema: Schema{
	Name: "provisioned", Noun: "provisioned device", ID: []string{"scope", "serial"}, Of: map[string]string{"device_id": "devices"},
	Indexes: []Index{{Fields: []string{"device_id"}}},
}})

// claimCode is the stored form of hearth.ClaimCode.
type claimCode struct {
	Hash      []byte       `json:"hash"`
	DeviceID  string       `json:"device_id" bson:"device"`
	Scope     hearth.Scope `json:"scope"`
	CreatedBy string       `json:"created_by" bson:"user"`
	CreatedAt time.Time    `json:"created_at,omitzero" bson:"created"`
	ExpiresAt time.Time    `json:"expires_at,omitzero" bson:"expires"`
}

var claimCodes = describe(&Kind[claimCode]{
	Schema: Schema{
		Name: "claim_codes", Noun: "claim code", ID: []string{"hash"}, Of: map[string]string{"device_id": "devices"},
		Indexes: []Index{{Fields: []string{"device_id"}}, {Fields: []string{"expires_at"}}},
	},
	ExpiresAt: func(c *claimCode) time.Time { return c.ExpiresAt },
})

func asClaimCode(c claimCode) hearth.ClaimCode { return hearth.ClaimCode(c) }

// CreateProvisioningKey implements hearth.ProvisioningStore.
func (a *Aggregates) CreateProvisioningKey(ctx context.Context, key hearth.ProvisioningKey, effects hearth.SideEffects) error {
	w := Write{Name: "CreateProvisioningKey", Key: "provisioning_keys/" + string(key.Scope()), Effects: effects}
	return create(ctx, a.b, w, provisioningKeys, storedProvisioningKey(key), key.OrganizationID)
}

// ProvisioningKeys implements hearth.ProvisioningStore.
func (a *Aggregates) ProvisioningKeys(ctx context.Context, reach hearth.Reach, page hearth.Page) (hearth.List[hearth.ProvisioningKey], error) {
	var where Filter
	switch {
	case reach.All:
	case len(reach.Scopes) == 1:
		where = Filter{Eq("scope", reach.Scopes[0])}
	default:
		where = Filter{In("scope", reach.Scopes...)}
	}
	list := listing[provisioningKey, hearth.ProvisioningKey]{"ProvisioningKeys", provisioningKeys, where, newestFirst, provisioningKey.key}
	return list.page(ctx, a.b, page)
}

// DeleteProvisioningKey implements hearth.ProvisioningStore.
func (a *Aggregates) DeleteProvisioningKey(
	ctx context.Context, id string, check func(hearth.ProvisioningKey) error, effects hearth.SideEffects,
) error {
	return deleteOne(ctx, a.b, Write{Name: "DeleteProvisioningKey", Effects: effects}, provisioningKeys, id, provisioningKey.key, check)
}

// halfSeen is how often it is looked again for a serial that is taken: a store without transactions shows the device of another step a moment
// before it shows that the device was provisioned. The pause doubles.
const (
	halfSeen      = 4
	halfSeenPause = 5 * time.Millisecond
)

// Provision implements hearth.ProvisioningStore. The step counts the device in the key's record, so that two never count the same.
func (a *Aggregates) Provision(
	ctx context.Context, keyHash []byte, serial string, decide hearth.DecideProvisioning,
) (d hearth.Device, err error) {
	taken := hearth.SerialTaken("body.serial")
	for attempt := range halfSeen {
		if d, err = a.provision(ctx, keyHash, serial, taken, decide); !errors.Is(err, taken) {
			break
		}
		select {
		case <-ctx.Done():
			return d, ctx.Err()
		case <-time.After(halfSeenPause << attempt):
		}
	}
	return d, err
}

func (a *Aggregates) provision(
	ctx context.Context, keyHash []byte, serial string, taken error, decide hearth.DecideProvisioning,
) (hearth.Device, error) {
	w := Write{Name: "Provision", Key: "provisioning_keys/" + string(keyHash)}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (d hearth.Device, err error) {
		stored, err := provisioningKeys.First(ctx, tx, Eq("hash", keyHash))
		if err != nil {
			return d, err
		}
		maker, err := users.Get(ctx, tx, stored.UserID)
		if err != nil {
			return d, err
		}
		known, made, err := madeBefore(ctx, tx, stored.Scope, serial)
		if err != nil {
			return d, err
		}
		write, err := decide(stored.key(), hearth.User(maker), known)
		tx.With(write.Effects)
		if err != nil {
			return d, err
		}
		if known != nil {
			if err := endProvisionedToken(ctx, tx, made.ID); err != nil {
				return d, err
			}
			write.Token.DeviceID = made.ID
			return made, deviceTokens.Insert(ctx, tx, deviceToken(write.Token))
		}
		if d, err = tx.InsertDevice(ctx, write.Device, taken); err != nil {
			return d, err
		}
		stored.Devices++
		if err := provisioningKeys.Replace(ctx, tx, stored); err != nil {
			return d, err
		}
		if err := keep(ctx, tx, provisioned, provisionedDevice{stored.Scope, serial, d.ID, write.SecretHash}); err != nil {
			return d, err
		}
		return d, deviceTokens.Insert(ctx, tx, deviceToken(write.Token))
	})
}

// madeBefore returns what a serial made in a scope; nil if that is nothing, or is deleted.
func madeBefore(ctx context.Context, tx Tx, scope hearth.Scope, serial string) (*hearth.Provisioned, hearth.Device, error) {
	before, err := provisioned.Get(ctx, tx, string(scope), serial)
	if none, err := absent(err); err != nil || none {
		return nil, hearth.Device{}, err
	}
	made, err := devices.Get(ctx, tx, before.DeviceID)
	if gone, err := absent(err); err != nil || gone {
		return nil, hearth.Device{}, err
	}
	known := hearth.Provisioned(before)
	return &known, made.device(), nil
}

// endProvisionedToken holds a device and removes the token that it was provisioned with.
func endProvisionedToken(ctx context.Context, tx Tx, deviceID string) error {
	if err := devices.Hold(ctx, tx, deviceID); err != nil {
		return err
	}
	return endTokens(ctx, tx, deviceID, true)
}

// endTokens removes the tokens of a device that were, or were not, provisioned.
func endTokens(ctx context.Context, tx Tx, deviceID string, wereProvisioned bool) error {
	tokens, err := deviceTokens.Find(ctx, tx, Query{Where: Filter{Eq("device_id", deviceID)}})
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if t.Provisioned != wereProvisioned {
			continue
		}
		if err := deviceTokens.Delete(ctx, tx, t.ID); err != nil {
			return err
		}
	}
	return nil
}

// CreateClaimCode implements hearth.ProvisioningStore. The step holds the device, so that none is left behind by a claim.
func (a *Aggregates) CreateClaimCode(
	ctx context.Context, code hearth.ClaimCode, check func(hearth.Device) error, effects hearth.SideEffects,
) error {
	w := Write{Name: "CreateClaimCode", Key: "devices/" + code.DeviceID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		d, err := holdDevice(ctx, tx, code.DeviceID, check)
		if err != nil {
			return err
		}
		code.Scope = d.Scope()
		codes, err := claimCodes.Find(ctx, tx, Query{Where: Filter{Eq("device_id", code.DeviceID)}})
		if err != nil {
			return err
		}
		open := 0
		for _, c := range codes {
			if c.ExpiresAt.After(code.CreatedAt) {
				open++
			}
		}
		if open >= hearth.MaxClaimCodes {
			return hearth.Errorf(hearth.CodeConflict, "the device has %d claim codes: wait until one expires", hearth.MaxClaimCodes)
		}
		return claimCodes.Insert(ctx, tx, claimCode(code))
	})
}

// ClaimCode implements hearth.ProvisioningStore.
func (a *Aggregates) ClaimCode(ctx context.Context, hash []byte) (hearth.ClaimCode, error) {
	return get(ctx, a.b, "ClaimCode", claimCodes, asClaimCode, hash)
}

// UseClaimCode is what a claim adds to the transfer of its device: see hearth.ProvisioningStore. The step replaces the device.
func UseClaimCode(ctx context.Context, tx Tx, code hearth.ClaimCode) error {
	codes, err := claimCodes.Find(ctx, tx, Query{Where: Filter{Eq("device_id", code.DeviceID)}})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(codes, func(c claimCode) bool { return bytes.Equal(c.Hash, code.Hash) }) {
		return claimCodes.NotFound()
	}
	for _, c := range codes {
		if err := claimCodes.Delete(ctx, tx, c.Hash); err != nil {
			return err
		}
	}
	return endTokens(ctx, tx, code.DeviceID, false)
}

// DeleteExpiredClaimCodes implements hearth.ProvisioningStore.
func (a *Aggregates) DeleteExpiredClaimCodes(ctx context.Context, now time.Time, limit int) (int, error) {
	return a.b.Remove(ctx, "DeleteExpiredClaimCodes", &claimCodes.Schema, Filter{Lte("expires_at", now)}, "expires_at", limit)
}
