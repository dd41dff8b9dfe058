package api

import (
	"cmp"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/integrations"
)

const tagIntegrations = "Integrations"

// IntegrationDialects are the dialects of an integration.
type IntegrationDialects []string

// Schema names them all.
func (IntegrationDialects) Schema(huma.Registry) *huma.Schema {
	one, all := 1, hearth.Dialects()
	most := len(all)
	dialect := &huma.Schema{Type: huma.TypeString, Examples: []any{"tasmota"}}
	for _, name := range all {
		dialect.Enum = append(dialect.Enum, name)
	}
	schema := &huma.Schema{
		Type: huma.TypeArray, Items: dialect, MinItems: &one, MaxItems: &most, UniqueItems: true,
		Description: "What the devices behind the broker speak. `json` reads the topics of the integration.", Examples: []any{[]any{"tasmota", "zigbee2mqtt"}},
	}
	schema.PrecomputeMessages()
	dialect.PrecomputeMessages()
	return schema
}

// Integration is a connection to a broker on the wire.
type Integration struct {
	ID             string              `json:"id" format:"uuid" example:"0195a1b2-eee1-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string              `json:"name" example:"House"`
	Kind           string              `json:"kind" enum:"mqtt" example:"mqtt"`
	URL            string              `json:"url" example:"mqtt://broker.lan:1883"`
	Username       *string             `json:"username" example:"hearth"`
	HasPassword    bool                `json:"has_password" doc:"The password is never shown."`
	OrganizationID *string             `json:"organization_id" doc:"The organization that its devices belong to; null: who made it." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	Dialects       IntegrationDialects `json:"dialects"`
	Topics         []string            `json:"topics" nullable:"false" example:"[\"site/{device}/{event}\"]"`
	TimeZone       string              `json:"time_zone" doc:"Of times that devices send without a zone." example:"Europe/Berlin"`
	Enabled        bool                `json:"enabled"`
	Status         string              `json:"status" enum:"connected,error,off" doc:"off: it is not enabled, or its first attempt to connect has not ended yet." example:"connected"`
	LastError      *DeviceError        `json:"last_error" doc:"The latest failure since the latest change: of the connection, or of a message, whose topic it then has. Null if there was none."`
	Counts         IntegrationCounts   `json:"counts"`
	Version        int64               `json:"version" doc:"Counts the changes. If-Match is held against it." example:"1"`
	CreatedAt      rest.Time           `json:"created_at"`
	UpdatedAt      rest.Time           `json:"updated_at"`
}

// IntegrationCounts are what came over an integration.
type IntegrationCounts struct {
	Messages int64 `json:"messages" doc:"Messages of its dialects, to some seconds ago." example:"4711"`
	Readings int64 `json:"readings" doc:"Logs that were stored of them." example:"9400"`
	Refused  int64 `json:"refused" doc:"Messages that could not be read or stored, wholly or in part." example:"0"`
	Devices  int64 `json:"devices" doc:"Devices that it made." example:"12"`
}

func wireIntegration(i hearth.Integration) Integration {
	wire := Integration{
		ID: i.ID, Name: i.Name, Kind: i.Kind, URL: i.URL, Username: rest.TextOrNull(i.Username), HasPassword: i.Password != nil, OrganizationID: rest.TextOrNull(i.OrganizationID),
		Dialects: i.Dialects, Topics: append([]string{}, i.Topics...), TimeZone: i.TimeZone, Enabled: i.Enabled, Status: string(i.Status),
		LastError: wireDeviceError(i.LastError), Counts: IntegrationCounts(i.Counts), Version: i.Version, CreatedAt: rest.Time(i.CreatedAt), UpdatedAt: rest.Time(i.UpdatedAt),
	}
	wire.TimeZone = cmp.Or(wire.TimeZone, "UTC")
	return wire
}

// NewIntegration is an integration to make.
type NewIntegration struct {
	Name           string                  `json:"name" minLength:"1" maxLength:"100" example:"House"`
	Kind           rest.Optional[string]   `json:"kind,omitempty" doc:"mqtt, if nothing is said." enum:"mqtt" example:"mqtt"`
	URL            string                  `json:"url" minLength:"1" maxLength:"1024" doc:"mqtt:// or mqtts:// and the host, with a port other than 1883 and 8883. Private addresses are allowed." example:"mqtt://broker.lan:1883"`
	Username       rest.Optional[string]   `json:"username,omitempty" maxLength:"1024" example:"hearth"`
	Password       rest.Optional[string]   `json:"password,omitempty" maxLength:"1024" doc:"It is stored encrypted and never shown again."`
	OrganizationID rest.Optional[string]   `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"The organization that its devices belong to. Without, they are yours."`
	Dialects       IntegrationDialects     `json:"dialects"`
	Topics         rest.Optional[[]string] `json:"topics,omitempty" maxItems:"20" doc:"Patterns of the dialect json: {device} is one level, {event} the last ones, + any one. At most 20." example:"[\"site/{device}/{event}\"]"`
	TimeZone       rest.Optional[string]   `json:"time_zone,omitempty" maxLength:"64" doc:"The IANA name of the zone of times that devices send without one; UTC, if nothing is said." example:"Europe/Berlin"`
	Enabled        rest.Optional[bool]     `json:"enabled,omitempty" doc:"true, if nothing is said."`
}

// IntegrationChange is what to change of an integration: what is left out stays.
type IntegrationChange struct {
	Name     rest.Optional[string]              `json:"name,omitempty" minLength:"1" maxLength:"100"`
	URL      rest.Optional[string]              `json:"url,omitempty" minLength:"1" maxLength:"1024"`
	Username rest.Optional[string]              `json:"username,omitempty" maxLength:"1024" doc:"null: none."`
	Password rest.Optional[string]              `json:"password,omitempty" maxLength:"1024" doc:"null: none."`
	Dialects rest.Optional[IntegrationDialects] `json:"dialects,omitempty"`
	Topics   rest.Optional[[]string]            `json:"topics,omitempty" maxItems:"20" doc:"null: none."`
	TimeZone rest.Optional[string]              `json:"time_zone,omitempty" maxLength:"64" doc:"null: UTC."`
	Enabled  rest.Optional[bool]                `json:"enabled,omitempty" doc:"null: true."`
}

func (c IntegrationChange) change() (integrations.Change, error) {
	var problems []hearth.FieldError
	change := integrations.Change{
		Name: rest.RequiredOf(c.Name, "name", &problems), URL: rest.RequiredOf(c.URL, "url", &problems),
		Dialects: (*[]string)(rest.RequiredOf(c.Dialects, "dialects", &problems)), Username: rest.PatchOf(c.Username, ""), Password: rest.PatchOf(c.Password, ""),
		Topics: rest.PatchOf(c.Topics, nil), TimeZone: rest.PatchOf(c.TimeZone, ""), Enabled: rest.PatchOf(c.Enabled, true),
	}
	return change, rest.InvalidIf(problems)
}

// IntegrationPath names an integration in the path.
type IntegrationPath struct {
	ID string `path:"id" maxLength:"64" doc:"The integration." example:"0195a1b2-eee1-7e5f-8a9b-0c1d2e3f4a5b"`
}

// IntegrationCondition is a change's precondition.
type IntegrationCondition struct {
	IntegrationPath
	IfMatch string `header:"If-Match" doc:"Entity tags, of which the object must still have one, or *."`
}

func (c IntegrationCondition) check() func(hearth.Integration) error {
	return func(i hearth.Integration) error { return rest.CheckVersion(c.IfMatch, i.Version) }
}

type integrationOutput struct {
	ETag string `header:"ETag" doc:"Begins with the version."`
	Body Integration
}

func newIntegrationOutput(i hearth.Integration) *integrationOutput {
	return &integrationOutput{rest.FormatVersion(i.Version), wireIntegration(i)}
}

type updateIntegrationInput struct {
	IntegrationCondition
	Body IntegrationChange
}

// registerIntegrations adds the operations of integrations.
func (a *API) registerIntegrations() {
	s := a.options.Integrations
	if s == nil {
		return
	}
	op := func(id, method, path, summary string) rest.Operation {
		return rest.Operation{
			ID: id, Method: method, Path: "/integrations" + path, Tag: tagIntegrations, Access: rest.ForAdmins, Key: rest.ClosedToKeys, Summary: summary,
			Codes: []hearth.Code{hearth.CodeNotFound},
		}
	}
	create := op("create-integration", http.MethodPost, "", "Create an integration")
	create.Status, create.Creates, create.Location = http.StatusCreated, true, true
	create.Codes = append(create.Codes, hearth.CodeConflict)
	create.Description = "Devices that announce themselves at the broker, or report there, appear as devices: of the organization, or yours. Their readings " +
		"become logs, their state the reported one; desired states and commands go back. `conflict`: there are 50 already."
	rest.Register(a.Router, create, a.createIntegration)

	list := op("list-integrations", http.MethodGet, "", "List integrations")
	list.ETag, list.Description = true, "The newest first."
	rest.Register(a.Router, list, a.listIntegrations)

	get := op("get-integration", http.MethodGet, "/{id}", "Get an integration")
	get.ETag = true
	rest.Register(a.Router, get, func(ctx context.Context, in *IntegrationPath) (*integrationOutput, error) {
		i, err := s.Integration(ctx, rest.CallerOf(ctx), in.ID)
		return newIntegrationOutput(i), err
	})

	update := op("update-integration", http.MethodPatch, "/{id}", "Change an integration")
	update.ETag = true
	update.Description = "What is left out stays. It connects anew. With `If-Match`, only if it is still at the version of that entity tag."
	rest.Register(a.Router, update, func(ctx context.Context, in *updateIntegrationInput) (*integrationOutput, error) {
		change, err := in.Body.change()
		if err != nil {
			return nil, err
		}
		i, err := s.Update(ctx, rest.CallerOf(ctx), in.ID, change, in.check())
		return newIntegrationOutput(i), err
	})

	remove := op("delete-integration", http.MethodDelete, "/{id}", "Delete an integration")
	remove.Status = http.StatusNoContent
	remove.Description = "Its devices stay, without a connection. With `If-Match`, only at that version."
	rest.Register(a.Router, remove, func(ctx context.Context, in *IntegrationCondition) (*struct{}, error) {
		return nil, s.Delete(ctx, rest.CallerOf(ctx), in.ID, in.check())
	})
}

func (a *API) createIntegration(ctx context.Context, in *rest.Body[NewIntegration]) (*rest.Created[Integration], error) {
	b := in.Body
	i, err := a.options.Integrations.Create(ctx, rest.CallerOf(ctx), integrations.NewIntegration{
		Name: b.Name, Kind: b.Kind.Or(hearth.IntegrationMQTT), URL: b.URL, Username: b.Username.Or(""), Password: b.Password.Or(""),
		OrganizationID: b.OrganizationID.Or(""), Dialects: b.Dialects, Topics: b.Topics.Or(nil), TimeZone: b.TimeZone.Or(""), Enabled: b.Enabled.Or(true),
	}, rest.Idempotency(ctx, wireIntegration))
	return rest.NewCreated("/integrations/"+i.ID, wireIntegration(i)), err
}

func (a *API) listIntegrations(ctx context.Context, in *struct{ rest.PageParams }) (*rest.Body[rest.List[Integration]], error) {
	page, err := in.Page("")
	if err != nil {
		return nil, err
	}
	found, err := a.options.Integrations.Integrations(ctx, rest.CallerOf(ctx), page)
	if err != nil {
		return nil, err
	}
	list, err := rest.ListOf(found, in.Fields, wireIntegration)
	return &rest.Body[rest.List[Integration]]{Body: list}, err
}
