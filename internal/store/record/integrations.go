package record

import (
	"context"
	"time"

	"hearth"
)

var _ hearth.IntegrationStore = (*Aggregates)(nil)

// integration is the stored form of hearth.Integration.
type integration struct {
	ID             string                   `json:"id"`
	Name           string                   `json:"name"`
	Kind           string                   `json:"kind"`
	URL            string                   `json:"url"`
	Username       string                   `json:"username,omitempty"`
	Password       []byte                   `json:"password,omitempty"`
	UserID         string                   `json:"user_id" bson:"user"`
	OrganizationID string                   `json:"organization_id,omitempty" bson:"organization"`
	Dialects       []string                 `json:"dialects"`
	Topics         []string                 `json:"topics,omitempty"`
	TimeZone       string                   `json:"time_zone,omitempty" bson:"zone"`
	Enabled        bool                     `json:"enabled,omitempty"`
	Version        int64                    `json:"version"`
	CreatedAt      time.Time                `json:"created_at,omitzero" bson:"created"`
	UpdatedAt      time.Time                `json:"updated_at,omitzero" bson:"updated"`
	Status         hearth.IntegrationStatus `json:"status"`
	LastError      integrationError         `json:"last_error,omitzero" bson:"error"`
	Counts         integrationCounts        `json:"counts,omitzero"`
}

// integrationError is the stored form of a hearth.DeviceError of an integration.
type integrationError struct {
	Code    hearth.Code `json:"code,omitempty"`
	Message string      `json:"message,omitempty"`
	Topic   string      `json:"topic,omitempty"`
	At      int64       `json:"at,omitempty"` // Unix milliseconds
}

// integrationCounts are the stored form of hearth.IntegrationCounts.
type integrationCounts struct {
	Messages int64 `json:"messages,omitempty"`
	Readings int64 `json:"readings,omitempty"`
	Refused  int64 `json:"refused,omitempty"`
	Devices  int64 `json:"devices,omitempty"`
}

var integrations = describe(&Kind[integration]{Schema: Schema{
	Name: "integrations", Noun: "integration", Of: map[string]string{"user_id": "users", "organization_id": "organizations"},
	Indexes: []Index{{Fields: []string{"created_at", "id"}}, {Fields: []string{"organization_id"}}},
	Limit: &Limit{By: "kind", Most: hearth.MaxIntegrations, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "there are %d integrations already: delete one first", hearth.MaxIntegrations)
	}},
}})

// integrationDevice is the stored form of hearth.IntegrationDevice.
type integrationDevice struct {
	DeviceID      string    `json:"device_id"`
	IntegrationID string    `json:"integration_id" bson:"integration"`
	Dialect       string    `json:"dialect"`
	Address       string    `json:"address"`
	CreatedAt     time.Time `json:"created_at,omitzero" bson:"created"`
}

var integrationDevices = describe(&Kind[integrationDevice]{Schema: Schema{
	Name: "integration_devices", Noun: "device of an integration", ID: []string{"device_id"}, Of: map[string]string{"integration_id": "integrations"},
	Indexes: []Index{{Fields: []string{"integration_id"}}},
	Limit: &Limit{By: "integration_id", Most: hearth.MaxIntegrationDevices, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "the integration has made %d devices already", hearth.MaxIntegrationDevices)
	}},
}})

func storedIntegration(i hearth.Integration) integration {
	r := integration{
		ID: i.ID, Name: i.Name, Kind: i.Kind, URL: i.URL, Username: i.Username, Password: i.Password, UserID: i.UserID,
		OrganizationID: i.OrganizationID, Dialects: i.Dialects, Topics: i.Topics, TimeZone: i.TimeZone, Enabled: i.Enabled, Version: i.Version,
		CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt, Status: i.Status, Counts: integrationCounts(i.Counts),
	}
	if e := i.LastError; e != nil {
		r.LastError = integrationError{e.Code, e.Message, e.Topic, e.At.UnixMilli()}
	}
	return r
}

func (r integration) integration() hearth.Integration {
	i := hearth.Integration{
		ID: r.ID, Name: r.Name, Kind: r.Kind, URL: r.URL, Username: r.Username, Password: r.Password, UserID: r.UserID,
		OrganizationID: r.OrganizationID, Dialects: r.Dialects, Topics: r.Topics, TimeZone: r.TimeZone, Enabled: r.Enabled, Version: r.Version,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Status: r.Status, Counts: hearth.IntegrationCounts(r.Counts),
	}
	if e := r.LastError; e.At != 0 {
		i.LastError = &hearth.DeviceError{Code: e.Code, Message: e.Message, Topic: e.Topic, At: time.UnixMilli(e.At).UTC()}
	}
	return i
}

func asIntegrationDevice(d integrationDevice) hearth.IntegrationDevice {
	return hearth.IntegrationDevice(d)
}

// CreateIntegration implements hearth.IntegrationStore.
func (a *Aggregates) CreateIntegration(ctx context.Context, i hearth.Integration, effects hearth.SideEffects) error {
	w := Write{Name: "CreateIntegration", Key: "integrations", Effects: effects}
	return create(ctx, a.b, w, integrations, storedIntegration(i), i.OrganizationID)
}

// Integration implements hearth.IntegrationStore.
func (a *Aggregates) Integration(ctx context.Context, id string) (hearth.Integration, error) {
	return get(ctx, a.b, "Integration", integrations, integration.integration, id)
}

// Integrations implements hearth.IntegrationStore.
func (a *Aggregates) Integrations(ctx context.Context, page hearth.Page) (hearth.List[hearth.Integration], error) {
	return listing[integration, hearth.Integration]{"Integrations", integrations, nil, newestFirst, integration.integration}.page(ctx, a.b, page)
}

// UpdateIntegration implements hearth.IntegrationStore.
func (a *Aggregates) UpdateIntegration(
	ctx context.Context, id string, change func(hearth.Integration) (hearth.Integration, error), effects hearth.SideEffects,
) (hearth.Integration, error) {
	w := Write{Name: "UpdateIntegration", Key: "integration/" + id, Effects: effects}
	return changeOne(ctx, a.b, w, integrations, id, integration.integration, storedIntegration, change)
}

// DeleteIntegration implements hearth.IntegrationStore.
func (a *Aggregates) DeleteIntegration(ctx context.Context, id string, check func(hearth.Integration) error, effects hearth.SideEffects) error {
	w := Write{Name: "DeleteIntegration", Key: "integration/" + id, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := deleteChecked(ctx, tx, integrations, id, integration.integration, check); err != nil {
			return err
		}
		return integrationDevices.DeleteWhere(ctx, tx, Eq("integration_id", id))
	})
}

// forgetIntegrations removes the integrations of an organization in the step that removes it.
func forgetIntegrations(ctx context.Context, tx Tx, organizationID string) error {
	all, err := integrations.Find(ctx, tx, Query{Where: Filter{Eq("organization_id", organizationID)}})
	if err != nil {
		return err
	}
	for _, i := range all {
		if err := integrationDevices.DeleteWhere(ctx, tx, Eq("integration_id", i.ID)); err != nil {
			return err
		}
	}
	return integrations.DeleteWhere(ctx, tx, Eq("organization_id", organizationID))
}

// IntegrationDevices implements hearth.IntegrationStore.
func (a *Aggregates) IntegrationDevices(ctx context.Context, integrationID string) ([]hearth.IntegrationDevice, error) {
	return find(ctx, a.b, "IntegrationDevices", integrationDevices, asIntegrationDevice, Query{Where: Filter{Eq("integration_id", integrationID)}})
}

// IntegrationDevice implements hearth.IntegrationStore.
func (a *Aggregates) IntegrationDevice(ctx context.Context, deviceID string) (hearth.IntegrationDevice, error) {
	return get(ctx, a.b, "IntegrationDevice", integrationDevices, asIntegrationDevice, deviceID)
}

// AddIntegrationDevice implements hearth.IntegrationStore.
func (a *Aggregates) AddIntegrationDevice(ctx context.Context, d hearth.IntegrationDevice) error {
	w := Write{Name: "AddIntegrationDevice", Key: "integration_devices/" + d.IntegrationID}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := integrations.Hold(ctx, tx, d.IntegrationID); err != nil {
			return err
		}
		_, err := integrationDevices.Get(ctx, tx, d.DeviceID)
		if isNew, err := absent(err); err != nil || !isNew {
			return err
		}
		return integrationDevices.Insert(ctx, tx, integrationDevice(d))
	})
}
