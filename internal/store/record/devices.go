package record

import (
	"context"
	"slices"
	"time"

	"hearth"
)

// device is a device as it is read. The stores write devices by hand: heartbeats come by the thousand.
type device struct {
	ID             string              `json:"id"`
	Key            int64               `json:"key"`
	Scope          hearth.Scope        `json:"-" db:"scope"`
	Name           string              `json:"name"`
	Type           string              `json:"type"`
	Serial         string              `json:"serial,omitempty"`
	Status         hearth.DeviceStatus `json:"status"`
	Tags           []string            `json:"tags,omitempty"`
	Metadata       text                `json:"metadata,omitempty"` // the JSON as it is stored, to the byte
	Interval       int                 `json:"interval"`
	LastActiveAt   time.Time           `json:"last_active_at,omitzero" bson:"last"`
	OfflineAt      time.Time           `json:"offline_at,omitzero"`
	LastError      text                `json:"last_error,omitempty"`
	OwnerID        string              `json:"owner_id" bson:"owner"`
	OrganizationID string              `json:"organization_id,omitempty" bson:"organization"`
	Idle           bool                `json:"idle,omitempty"`
	DesiredVersion int64               `json:"desired_version,omitempty"`
	Version        int64               `json:"version"`
	CreatedAt      time.Time           `json:"created_at,omitzero" bson:"created"`
	UpdatedAt      time.Time           `json:"updated_at,omitzero" bson:"updated"`
}

var devices = describe(&Kind[device]{Schema: Schema{
	Name: "devices", Noun: "device", View: "device_records", Hidden: "dead",
}})

// deviceToken is the stored form of hearth.DeviceToken.
type deviceToken struct {
	ID          string    `json:"id"`
	DeviceID    string    `json:"device_id" bson:"device"`
	Hash        []byte    `json:"hash,omitempty"`
	CreatedAt   time.Time `json:"created_at,omitzero" bson:"created"`
	CreatedBy   string    `json:"created_by,omitempty"`
	Provisioned bool      `json:"provisioned,omitempty"`
	Gateway     bool      `json:"gateway,omitempty"`
	LastUsedAt  time.Time `json:"last_used_at,omitzero" bson:"used"`
}

var deviceTokens = describe(&Kind[deviceToken]{Schema: Schema{
	Name: "device_tokens", Noun: "device token", Of: map[string]string{"device_id": "devices"},
	Indexes: []Index{
		{Fields: []string{"hash"}, Unique: true},
		{Fields: []string{"device_id", "created_at", "id"}},
		{Fields: []string{"created_by", "device_id"}},
	},
}})

func asDeviceToken(t deviceToken) hearth.DeviceToken { return hearth.DeviceToken(t) }

// holdDevice has a step hold a device, unless check refuses it; CodeNotFound.
func holdDevice(ctx context.Context, tx Tx, id string, check func(hearth.Device) error) (hearth.Device, error) {
	stored, err := devices.Get(ctx, tx, id)
	d := stored.device()
	if err == nil {
		err = check(d)
	}
	if err != nil {
		return d, err
	}
	return d, devices.Hold(ctx, tx, id)
}

func (d device) device() hearth.Device {
	return hearth.Device{
		ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Serial: d.Serial, Status: d.Status, Tags: d.Tags, Metadata: d.Metadata.json(),
		Interval: d.Interval, LastActiveAt: d.LastActiveAt, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, Idle: d.Idle,
		DesiredVersion: d.DesiredVersion, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

// CreateDeviceToken implements hearth.DeviceStore. The step holds the device, so that no two of them count the same tokens.
func (a *Aggregates) CreateDeviceToken(
	ctx context.Context, token hearth.DeviceToken, check func(hearth.Device) error, effects hearth.SideEffects,
) error {
	w := Write{Name: "CreateDeviceToken", Key: "devices/" + token.DeviceID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if _, err := holdDevice(ctx, tx, token.DeviceID, check); err != nil {
			return err
		}
		count, err := deviceTokens.Count(ctx, tx, Eq("device_id", token.DeviceID))
		if err != nil || count >= hearth.MaxDeviceTokens {
			return orError(err, hearth.Errorf(hearth.CodeConflict, "the device has %d tokens: delete one first", hearth.MaxDeviceTokens))
		}
		return deviceTokens.Insert(ctx, tx, deviceToken(token))
	})
}

// lives reports whether the device of a token that was read is there.
func (a *Aggregates) lives(ctx context.Context, r Reader, deviceID string) (bool, error) {
	if !a.b.Orphans() {
		return true, nil
	}
	return devices.Exists(ctx, r, Eq("id", deviceID))
}

// DeviceTokens implements hearth.DeviceStore.
func (a *Aggregates) DeviceTokens(ctx context.Context, deviceID string) ([]hearth.DeviceToken, error) {
	return view(ctx, a.b, "DeviceTokens", func(ctx context.Context, r Reader) (tokens []hearth.DeviceToken, err error) {
		all, err := deviceTokens.Find(ctx, r, Query{Where: Filter{Eq("device_id", deviceID)}, Order: Order{By: "created_at", Tie: "id"}})
		if err != nil || len(all) == 0 {
			return nil, err
		}
		if lives, err := a.lives(ctx, r, deviceID); err != nil || !lives {
			return nil, err
		}
		for _, t := range all {
			tokens = append(tokens, hearth.DeviceToken(t))
		}
		return tokens, nil
	})
}

// DeviceTokenByHash implements hearth.DeviceStore.
func (a *Aggregates) DeviceTokenByHash(ctx context.Context, hash []byte) (hearth.DeviceToken, error) {
	return view(ctx, a.b, "DeviceTokenByHash", func(ctx context.Context, r Reader) (hearth.DeviceToken, error) {
		token, err := deviceTokens.First(ctx, r, Eq("hash", hash))
		if err != nil {
			return hearth.DeviceToken{}, err
		}
		if lives, err := a.lives(ctx, r, token.DeviceID); err != nil || !lives {
			return hearth.DeviceToken{}, orError(err, hearth.NotFound("device token"))
		}
		return hearth.DeviceToken(token), nil
	})
}

// DevicesOfTokens implements hearth.DeviceStore.
func (a *Aggregates) DevicesOfTokens(ctx context.Context, userID string) ([]string, error) {
	return view(ctx, a.b, "DevicesOfTokens", func(ctx context.Context, r Reader) (ids []string, err error) {
		all, err := deviceTokens.Find(ctx, r, Query{Where: Filter{Eq("created_by", userID)}, Order: Order{By: "device_id"}})
		for _, token := range all {
			ids = append(ids, token.DeviceID)
		}
		return slices.Compact(ids), err
	})
}

// DeleteDeviceToken implements hearth.DeviceStore.
func (a *Aggregates) DeleteDeviceToken(ctx context.Context, deviceID, tokenID string, effects hearth.SideEffects) error {
	w := Write{Name: "DeleteDeviceToken", Key: "devices/" + deviceID, Effects: effects}
	ofDevice := func(t hearth.DeviceToken) error { return deviceTokens.FoundIf(t.DeviceID == deviceID) }
	return deleteOne(ctx, a.b, w, deviceTokens, tokenID, asDeviceToken, ofDevice)
}

// TouchDeviceToken implements hearth.DeviceStore.
func (a *Aggregates) TouchDeviceToken(ctx context.Context, tokenID string, at time.Time) error {
	_, err := a.b.Change(ctx, "TouchDeviceToken", &deviceTokens.Schema, Filter{Eq("id", tokenID)}, Changes{Set("last_used_at", at)})
	return err
}
