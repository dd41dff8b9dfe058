package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/webhooks"
)

const tagWebhooks = "Webhooks"

// WebhookEvents are the events that a webhook subscribes to.
type WebhookEvents []hearth.WebhookEvent

// Schema names them all.
func (WebhookEvents) Schema(huma.Registry) *huma.Schema {
	all := hearth.WebhookEvents()
	most := len(all)
	event := &huma.Schema{Type: huma.TypeString, Examples: []any{hearth.WebhookDeviceOffline}}
	for _, e := range all {
		event.Enum = append(event.Enum, string(e))
	}
	schema := &huma.Schema{
		Type: huma.TypeArray, Items: event, MaxItems: &most, UniqueItems: true,
		Description: "What is sent. Actions of rules send to a webhook whatever it subscribes to.", Examples: []any{[]any{"device.online", "device.offline"}},
	}
	schema.PrecomputeMessages()
	event.PrecomputeMessages()
	return schema
}

// Webhook is a webhook on the wire.
type Webhook struct {
	ID             string        `json:"id" format:"uuid" example:"0195a1b2-ccc1-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string        `json:"name" example:"Pager"`
	URL            string        `json:"url" example:"https://example.com/hooks/hearth"`
	OrganizationID *string       `json:"organization_id" doc:"The organization that has it; null: it is yours." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	Events         WebhookEvents `json:"events"`
	Enabled        bool          `json:"enabled"`
	DisabledReason *string       `json:"disabled_reason" enum:"gone,failing" doc:"Why the server disabled it. gone: its receiver answered 410. failing: every attempt of a week failed. Null if it did not."`
	FailingSince   *rest.Time    `json:"failing_since" doc:"The first failed attempt since the last success; null if there is none."`
	OldSecretUntil *rest.Time    `json:"old_secret_until" doc:"Until when the secret before the latest rotation signs too; null if none does."`
	Version        int64         `json:"version" doc:"Counts the changes. If-Match is held against it." example:"1"`
	CreatedAt      rest.Time     `json:"created_at"`
	UpdatedAt      rest.Time     `json:"updated_at"`
}

func (a *API) wireWebhook(w hearth.Webhook) Webhook {
	wire := Webhook{
		ID: w.ID, Name: w.Name, URL: w.URL, OrganizationID: rest.TextOrNull(w.OrganizationID), Events: append(WebhookEvents{}, w.Events...), Enabled: w.Enabled,
		DisabledReason: rest.TextOrNull(w.DisabledReason), FailingSince: rest.TimeOrNull(w.FailingSince), Version: w.Version, CreatedAt: rest.Time(w.CreatedAt),
		UpdatedAt: rest.Time(w.UpdatedAt),
	}
	if a.Now().Before(w.OldSecretUntil) {
		wire.OldSecretUntil = rest.TimeOrNull(w.OldSecretUntil)
	}
	return wire
}

// IssuedWebhook is a webhook with its new secret.
type IssuedWebhook struct {
	Webhook
	Secret string `json:"secret" doc:"Signs every request. Shown only in this answer." example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw…"`
}

func (a *API) wireIssued(i webhooks.Issued) IssuedWebhook {
	return IssuedWebhook{a.wireWebhook(i.Webhook), i.Shown}
}

// NewWebhook is a webhook to make.
type NewWebhook struct {
	Name           string                       `json:"name" minLength:"1" maxLength:"100" example:"Pager"`
	URL            string                       `json:"url" minLength:"1" maxLength:"2048" doc:"http or https, without user and fragment. Addresses that are not public are refused, here and again at every request." example:"https://example.com/hooks/hearth"`
	OrganizationID rest.Optional[string]        `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"An organization that you administer: it is sent the organization's events. Without, those of your own devices, commands and exports."`
	Events         rest.Optional[WebhookEvents] `json:"events,omitempty"`
	Enabled        rest.Optional[bool]          `json:"enabled,omitempty" doc:"true, if nothing is said."`
}

// WebhookChange is what to change of a webhook: what is left out stays.
type WebhookChange struct {
	Name    rest.Optional[string]        `json:"name,omitempty" minLength:"1" maxLength:"100"`
	URL     rest.Optional[string]        `json:"url,omitempty" minLength:"1" maxLength:"2048"`
	Events  rest.Optional[WebhookEvents] `json:"events,omitempty" doc:"null: none."`
	Enabled rest.Optional[bool]          `json:"enabled,omitempty" doc:"null: true."`
}

func (c WebhookChange) change() (change webhooks.Change, err error) {
	var problems []hearth.FieldError
	change.Name, change.URL = rest.RequiredOf(c.Name, "name", &problems), rest.RequiredOf(c.URL, "url", &problems)
	change.Events, change.Enabled = (*[]hearth.WebhookEvent)(rest.PatchOf(c.Events, nil)), rest.PatchOf(c.Enabled, true)
	return change, rest.InvalidIf(problems)
}

// WebhookDelivery is an event on its way to a webhook.
type WebhookDelivery struct {
	ID            string            `json:"id" format:"uuid" doc:"The webhook-id of its requests." example:"0195a1b2-ddd1-7e5f-8a9b-0c1d2e3f4a5b"`
	WebhookID     string            `json:"webhook_id" format:"uuid" example:"0195a1b2-ccc1-7e5f-8a9b-0c1d2e3f4a5b"`
	Event         string            `json:"event" example:"device.offline"`
	DeviceID      *string           `json:"device_id" doc:"The device that the event is of; null if it is of none." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	State         string            `json:"state" enum:"pending,succeeded,failed"`
	Attempts      []DeliveryAttempt `json:"attempts" nullable:"false" maxItems:"10" doc:"The latest ones, in order."`
	Payload       AnyJSON           `json:"payload" doc:"The body of its requests."`
	CreatedAt     rest.Time         `json:"created_at" doc:"When the event happened."`
	NextAttemptAt *rest.Time        `json:"next_attempt_at" doc:"When it is attempted next at the earliest; null once it has ended."`
	CompletedAt   *rest.Time        `json:"completed_at" doc:"When it ended; null before."`
}

// DeliveryAttempt is one request to a receiver.
type DeliveryAttempt struct {
	At         rest.Time `json:"at"`
	Status     *int      `json:"status" doc:"Of the receiver's answer; null if there was none." example:"503"`
	DurationMS int64     `json:"duration_ms" example:"120"`
	Error      *string   `json:"error" doc:"Why it failed; null if it did not." example:"the receiver answered 503"`
	Answer     *string   `json:"answer" doc:"The beginning of the receiver's answer; null if it is empty." example:"try again later"`
}

func wireDelivery(d hearth.WebhookDelivery) WebhookDelivery {
	wire := WebhookDelivery{
		ID: d.ID, WebhookID: d.WebhookID, Event: string(d.Event), DeviceID: rest.TextOrNull(d.DeviceID), State: string(d.State),
		Attempts: make([]DeliveryAttempt, len(d.Attempts)), Payload: AnyJSON(d.Body), CreatedAt: rest.Time(d.CreatedAt),
		NextAttemptAt: rest.TimeOrNull(d.NextAt), CompletedAt: rest.TimeOrNull(d.EndedAt),
	}
	for i, a := range d.Attempts {
		wire.Attempts[i] = wireAttempt(a)
	}
	return wire
}

func wireAttempt(a hearth.DeliveryAttempt) DeliveryAttempt {
	wire := DeliveryAttempt{At: rest.Time(a.At), DurationMS: a.Took.Milliseconds(), Error: rest.TextOrNull(a.Error), Answer: rest.TextOrNull(a.Excerpt)}
	if a.Status != 0 {
		wire.Status = &a.Status
	}
	return wire
}

// WebhookPath names a webhook in the path.
type WebhookPath struct {
	ID string `path:"id" maxLength:"64" doc:"The webhook." example:"0195a1b2-ccc1-7e5f-8a9b-0c1d2e3f4a5b"`
}

// WebhookCondition is a change's precondition.
type WebhookCondition struct {
	WebhookPath
	IfMatch string `header:"If-Match" doc:"Entity tags, of which the object must still have one, or *."`
}

func (c WebhookCondition) check() func(hearth.Webhook) error {
	return func(w hearth.Webhook) error { return rest.CheckVersion(c.IfMatch, w.Version) }
}

type webhookOutput struct {
	ETag string `header:"ETag" doc:"Begins with the version."`
	Body Webhook
}

func (a *API) webhookOutput(w hearth.Webhook) *webhookOutput {
	return &webhookOutput{rest.FormatVersion(w.Version), a.wireWebhook(w)}
}

type updateWebhookInput struct {
	WebhookCondition
	Body WebhookChange
}

type listWebhooksInput struct {
	OrganizationID string `query:"organization_id" maxLength:"64" doc:"Only webhooks of this organization."`
	rest.PageParams
}

type listDeliveriesInput struct {
	WebhookPath
	State string `query:"state" enum:"pending,succeeded,failed" doc:"Only deliveries in this state."`
	rest.PageParams
}

type deliveryInput struct {
	WebhookPath
	DeliveryID string `path:"delivery_id" maxLength:"64" doc:"The delivery." example:"0195a1b2-ddd1-7e5f-8a9b-0c1d2e3f4a5b"`
}

// registerWebhooks adds the operations of webhooks.
func (a *API) registerWebhooks() {
	if a.options.Webhooks == nil {
		return
	}
	op := func(id, method, path string, key hearth.KeyScope, summary string) rest.Operation {
		return rest.Operation{
			ID: id, Method: method, Path: "/webhooks" + path, Tag: tagWebhooks, Access: rest.ForUsers, Key: key, Summary: summary,
			Codes: []hearth.Code{hearth.CodeNotFound},
		}
	}
	create := op("create-webhook", http.MethodPost, "", hearth.KeyAlarmsWrite, "Create a webhook")
	create.Status, create.Creates, create.Location, create.Secret = http.StatusCreated, true, true, true
	create.Codes = append(create.Codes, hearth.CodeConflict)
	create.Description = "It is your own, or with `organization_id` the organization's, whose owner and administrators alone may. Events are sent " +
		"as the Standard Webhooks specification says; `secret` is shown only in this answer. `conflict`: there are 50 already."
	rest.Register(a.Router, create, a.createWebhook)

	list := op("list-webhooks", http.MethodGet, "", hearth.KeyAlarmsRead, "List webhooks")
	list.ETag, list.Description = true, "Your own and those of the organizations that you administer, the newest first; all for an admin."
	rest.Register(a.Router, list, a.listWebhooks)

	get := op("get-webhook", http.MethodGet, "/{id}", hearth.KeyAlarmsRead, "Get a webhook")
	get.ETag = true
	rest.Register(a.Router, get, func(ctx context.Context, in *WebhookPath) (*webhookOutput, error) {
		w, err := a.options.Webhooks.Webhook(ctx, rest.CallerOf(ctx), in.ID)
		return a.webhookOutput(w), err
	})

	update := op("update-webhook", http.MethodPatch, "/{id}", hearth.KeyAlarmsWrite, "Change a webhook")
	update.ETag = true
	update.Description = "What is left out stays. While it is not enabled, events are not kept for it, and deliveries that wait fail when they are due. With " +
		"`If-Match`, only if it is still at the version of that entity tag."
	rest.Register(a.Router, update, func(ctx context.Context, in *updateWebhookInput) (*webhookOutput, error) {
		change, err := in.Body.change()
		if err != nil {
			return nil, err
		}
		w, err := a.options.Webhooks.Update(ctx, rest.CallerOf(ctx), in.ID, change, in.check())
		return a.webhookOutput(w), err
	})

	remove := op("delete-webhook", http.MethodDelete, "/{id}", hearth.KeyAlarmsWrite, "Delete a webhook")
	remove.Status = http.StatusNoContent
	remove.Description = "Its deliveries go with it. With `If-Match`, only at that version."
	rest.Register(a.Router, remove, func(ctx context.Context, in *WebhookCondition) (*struct{}, error) {
		return nil, a.options.Webhooks.Delete(ctx, rest.CallerOf(ctx), in.ID, in.check())
	})

	rotate := op("rotate-webhook-secret", http.MethodPost, "/{id}/rotate-secret", hearth.KeyAlarmsWrite, "Rotate the secret of a webhook")
	rotate.Secret, rotate.Description = true, "For 24 hours the secret before signs too: requests carry both signatures."
	rest.Register(a.Router, rotate, func(ctx context.Context, in *WebhookPath) (*rest.Body[IssuedWebhook], error) {
		issued, err := a.options.Webhooks.Rotate(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[IssuedWebhook]{Body: a.wireIssued(issued)}, err
	})

	test := op("test-webhook", http.MethodPost, "/{id}/test", hearth.KeyAlarmsWrite, "Send a test event")
	test.Status, test.Creates = http.StatusAccepted, true
	test.Description = "Sends the event `webhook.test`, also to a webhook that is not enabled, and returns the delivery before it is attempted."
	rest.Register(a.Router, test, func(ctx context.Context, in *WebhookPath) (*rest.Body[WebhookDelivery], error) {
		d, err := a.options.Webhooks.Test(ctx, rest.CallerOf(ctx), in.ID, rest.Idempotency(ctx, wireDelivery))
		return &rest.Body[WebhookDelivery]{Body: wireDelivery(d)}, err
	})

	deliveries := op("list-webhook-deliveries", http.MethodGet, "/{id}/deliveries", hearth.KeyAlarmsRead, "List deliveries of a webhook")
	deliveries.ETag, deliveries.Description = true, "The newest first. A delivery is kept for 14 days after its end, and of a webhook the latest 10,000."
	rest.Register(a.Router, deliveries, a.listDeliveries)

	retry := op("retry-webhook-delivery", http.MethodPost, "/{id}/deliveries/{delivery_id}/retry", hearth.KeyAlarmsWrite, "Retry a delivery")
	retry.Codes = append(retry.Codes, hearth.CodeConflict)
	retry.Description = "It is attempted at once, under the same `webhook-id`, whatever became of it before, and again as often as a new one. " +
		"`conflict`: the webhook is not enabled."
	rest.Register(a.Router, retry, func(ctx context.Context, in *deliveryInput) (*rest.Body[WebhookDelivery], error) {
		d, err := a.options.Webhooks.Retry(ctx, rest.CallerOf(ctx), in.ID, in.DeliveryID)
		return &rest.Body[WebhookDelivery]{Body: wireDelivery(d)}, err
	})
}

func (a *API) createWebhook(ctx context.Context, in *rest.Body[NewWebhook]) (*rest.Created[IssuedWebhook], error) {
	issued, err := a.options.Webhooks.Create(ctx, rest.CallerOf(ctx), webhooks.NewWebhook{
		Name: in.Body.Name, URL: in.Body.URL, OrganizationID: in.Body.OrganizationID.Or(""), Events: in.Body.Events.Or(nil),
		Enabled: in.Body.Enabled.Or(true),
	}, rest.Idempotency(ctx, a.wireIssued))
	return rest.NewCreated("/webhooks/"+issued.ID, a.wireIssued(issued)), err
}

func (a *API) listWebhooks(ctx context.Context, in *listWebhooksInput) (*rest.Body[rest.List[Webhook]], error) {
	page, err := in.Page("")
	if err != nil {
		return nil, err
	}
	found, err := a.options.Webhooks.Webhooks(ctx, rest.CallerOf(ctx), in.OrganizationID, page)
	if err != nil {
		return nil, err
	}
	list, err := rest.ListOf(found, in.Fields, a.wireWebhook)
	return &rest.Body[rest.List[Webhook]]{Body: list}, err
}

func (a *API) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*rest.Body[rest.List[WebhookDelivery]], error) {
	page, err := in.Page("")
	if err != nil {
		return nil, err
	}
	filter := hearth.DeliveryFilter{WebhookID: in.ID, State: hearth.DeliveryState(in.State)}
	found, err := a.options.Webhooks.Deliveries(ctx, rest.CallerOf(ctx), filter, page)
	if err != nil {
		return nil, err
	}
	list, err := rest.ListOf(found, in.Fields, wireDelivery)
	return &rest.Body[rest.List[WebhookDelivery]]{Body: list}, err
}

// EncodeWebhookData returns the contract's JSON of the data of an event for webhooks: what the API returns of the object.
func EncodeWebhookData(at time.Time, data any) (json.RawMessage, error) {
	return EncodeEvent(hearth.Event{At: at, Data: data})
}
