package hearth

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// Limits of webhooks.
const (
	// MaxWebhooks is how many webhooks a user has for themselves, and an organization has.
	MaxWebhooks    = 50
	MaxWebhookName = 100 // characters
	// MaxDeliveryAttempts is how often a delivery is attempted before it fails; OrderedAttempts how many of them keep the next
	// deliveries of the same device waiting.
	MaxDeliveryAttempts = 10
	OrderedAttempts     = 3
	// MaxAttemptText bounds the error and the excerpt of an answer that are kept of an attempt, in bytes.
	MaxAttemptText = 256
	// RotationTTL is how long a secret signs after another took its place.
	RotationTTL = 24 * time.Hour
	// MaxFailing is how long a webhook may fail without a success before it is disabled.
	MaxFailing = 7 * 24 * time.Hour
	// DeliveryTTL is how long a delivery is kept after its end; MaxDeliveries how many of a webhook that have ended are kept.
	DeliveryTTL   = 14 * 24 * time.Hour
	MaxDeliveries = 10_000
	// MaxWaitingDeliveries is how many deliveries of a webhook may wait, roughly; a further one fails.
	MaxWaitingDeliveries = 100_000
)

// WebhookEvent names an event that webhooks are sent.
type WebhookEvent string

// The events. WebhookTest is sent by hand alone.
const (
	WebhookAlarmRaised     WebhookEvent = "alarm.raised"
	WebhookAlarmCleared    WebhookEvent = "alarm.cleared"
	WebhookDeviceCreated   WebhookEvent = "device.created"
	WebhookDeviceDeleted   WebhookEvent = "device.deleted"
	WebhookDeviceOnline    WebhookEvent = "device.online"
	WebhookDeviceOffline   WebhookEvent = "device.offline"
	WebhookCommandEnded    WebhookEvent = "command.ended"
	WebhookExportCompleted WebhookEvent = "export.completed"
	WebhookTest            WebhookEvent = "webhook.test"
)

// WebhookEvents returns the events that a webhook may subscribe to.
func WebhookEvents() []WebhookEvent {
	return []WebhookEvent{
		WebhookAlarmRaised, WebhookAlarmCleared, WebhookDeviceCreated, WebhookDeviceDeleted, WebhookDeviceOnline, WebhookDeviceOffline,
		WebhookCommandEnded, WebhookExportCompleted,
	}
}

// Reasons why the server disabled a webhook.
const (
	WebhookGone    = "gone"    // its receiver answered 410
	WebhookFailing = "failing" // it failed for MaxFailing
)

// Webhook is a URL that is sent events of its scope.
type Webhook struct {
	ID   string
	Name string
	URL  string
	// UserID is who made it: it is theirs, unless OrganizationID names the organization that has it.
	UserID         string
	OrganizationID string
	Events         []WebhookEvent
	Enabled        bool
	// DisabledReason says why the server disabled it; "" if a user did, or it is enabled.
	DisabledReason string
	// Secret and OldSecret are sealed. OldSecret signs too until OldSecretUntil.
	Secret         []byte
	OldSecret      []byte
	OldSecretUntil time.Time
	// FailingSince is the first failed attempt since the last success; zero if there is none.
	FailingSince time.Time
	// Version counts the changes that users see.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Scope returns who has the webhook: it is sent events of that scope.
func (w Webhook) Scope() Scope {
	if w.OrganizationID != "" {
		return OrgScope(w.OrganizationID)
	}
	return UserScope(w.UserID)
}

// Wants reports whether the webhook is sent events of that type without being named.
func (w Webhook) Wants(event WebhookEvent) bool { return w.Enabled && slices.Contains(w.Events, event) }

// Validate checks what users set, all but the URL; locations start with prefix, such as "body.".
func (w Webhook) Validate(prefix string) []FieldError {
	var errs []FieldError
	if message := checkText(w.Name, MaxWebhookName); message != "" {
		errs = append(errs, FieldError{prefix + "name", message})
	}
	known := WebhookEvents()
	switch distinct := slices.Compact(slices.Sorted(slices.Values(w.Events))); {
	case slices.ContainsFunc(w.Events, func(e WebhookEvent) bool { return !slices.Contains(known, e) }):
		errs = append(errs, FieldError{prefix + "events", "has an unknown event"})
	case len(distinct) < len(w.Events):
		errs = append(errs, FieldError{prefix + "events", "has an event twice"})
	}
	return errs
}

// AllowWebhook is the rule of who may see and change a webhook: its user, or the owner and administrators of the organization that
// has it, and admins. CodeNotFound, or CodeForbidden for others of the organization.
func (c Caller) AllowWebhook(w Webhook) error {
	switch {
	case c.IsAdmin(), w.OrganizationID == "" && c.owns(w.UserID):
		return nil
	case w.OrganizationID == "":
		return NotFound("webhook")
	}
	err := c.AllowOrg(w.OrganizationID, MayEditOrg)
	if ErrorCode(err) == CodeNotFound {
		return NotFound("webhook")
	}
	return err
}

// WebhookReach returns the scopes whose webhooks the caller may see; with orgID that organization's alone. CodeNotFound for one that
// the caller may not read, CodeForbidden for one that the caller does not administer.
func (c Caller) WebhookReach(orgID string) (Reach, error) {
	reach, err := c.Reach(orgID)
	if err == nil && orgID != "" {
		err = c.AllowOrg(orgID, MayEditOrg)
	}
	reach.Scopes = slices.DeleteFunc(reach.Scopes, func(s Scope) bool {
		return s != UserScope(c.UserID) && c.AllowOrg(string(s[len(OrgScope("")):]), MayEditOrg) != nil
	})
	return reach, err
}

// WebhookQueue is the OutboxJob.Queue of events for webhooks: they wait in the outbox until they are deliveries.
const WebhookQueue = "webhook"

// WebhookNote makes the jobs by which webhooks are sent an event: they belong into the SideEffects of the write that it comes of.
// deviceID names the device whose events keep their order, "" for none; data is a type of this package. It only computes, and makes
// no job where no webhook is to be sent the event.
type WebhookNote func(at time.Time, deviceID string, data any) ([]OutboxJob, error)

// WebhookNotes is what capabilities see of webhooks.
type WebhookNotes interface {
	// WebhookNote returns the note of an event for the webhooks of a scope that subscribe to it and for those that are named, once
	// each. Named ones that are not of the scope, or not enabled, are left out.
	WebhookNote(ctx context.Context, scope Scope, event WebhookEvent, named ...string) (WebhookNote, error)
}

// NoWebhooks are WebhookNotes where there are no webhooks.
type NoWebhooks struct{}

// WebhookNote implements WebhookNotes.
func (NoWebhooks) WebhookNote(context.Context, Scope, WebhookEvent, ...string) (WebhookNote, error) {
	return func(time.Time, string, any) ([]OutboxJob, error) { return nil, nil }, nil
}

// DeliveryState is what became of a delivery.
type DeliveryState string

// The states.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliverySucceeded DeliveryState = "succeeded"
	DeliveryFailed    DeliveryState = "failed"
)

// DeliveryAttempt is one request of a delivery.
type DeliveryAttempt struct {
	At time.Time
	// Status is of the answer; 0 if there was none.
	Status int
	Took   time.Duration // in milliseconds
	// Error says why it failed; Excerpt is the beginning of the answer.
	Error   string
	Excerpt string
}

// WebhookDelivery is one event on its way to one webhook.
type WebhookDelivery struct {
	// ID is the webhook-id of the requests.
	ID        string
	WebhookID string
	Event     WebhookEvent
	DeviceID  string // "" if it is of none
	// Body is the JSON that is sent, to the byte.
	Body  json.RawMessage
	State DeliveryState
	// Line is what the delivery waits in, one after another; Seq its order there.
	Line string
	Seq  string
	// Tries counts the attempts since the event, or since a user asked for another round. Attempts are the latest ones.
	Tries     int
	Attempts  []DeliveryAttempt
	CreatedAt time.Time
	NextAt    time.Time // when it is attempted next at the earliest; zero once it has ended
	EndedAt   time.Time // zero while it is pending
}

// DeliveryLine is where deliveries of one webhook wait one behind the other. It is there as long as one of them is pending.
type DeliveryLine struct {
	ID        string
	WebhookID string
	// NextAt is when its first delivery is due, or, while a process has it, when that process has lost it.
	NextAt time.Time
}

// DeliveryFilter picks deliveries of a webhook. A zero State picks all.
type DeliveryFilter struct {
	WebhookID string
	State     DeliveryState
}

// DeviceConnection is the connection of a device that webhooks were sent last.
type DeviceConnection struct {
	DeviceID   string
	Connection Connection
}

// WebhookStore keeps webhooks and their deliveries. Every write is atomic and durable when it returns; errors are of the codes named
// here, or CodeUnavailable and CodeStorageFull. Functions that are passed in may run more than once and must only compute; an error of
// theirs is returned and nothing is written. A deleted organization takes its webhooks along.
type WebhookStore interface {
	// CreateWebhook stores a webhook; CodeNotFound if its organization is gone, CodeConflict if its scope has MaxWebhooks.
	CreateWebhook(ctx context.Context, w Webhook, effects SideEffects) error
	// Webhook returns one webhook; CodeNotFound.
	Webhook(ctx context.Context, id string) (Webhook, error)
	// Webhooks lists those within reach by created_at, newest first; the page's sort is "".
	Webhooks(ctx context.Context, reach Reach, page Page) (List[Webhook], error)
	// WebhooksOf returns all of a scope.
	WebhooksOf(ctx context.Context, scope Scope) ([]Webhook, error)
	// UpdateWebhook reads, changes and writes one webhook in one atomic step; change must not touch ID, UserID or OrganizationID. CodeNotFound.
	UpdateWebhook(ctx context.Context, id string, change func(Webhook) (Webhook, error), effects SideEffects) (Webhook, error)
	// DeleteWebhook removes a webhook with its deliveries; CodeNotFound.
	DeleteWebhook(ctx context.Context, id string, check func(Webhook) error, effects SideEffects) error

	// NoteConnections stores which connection of devices webhooks were sent last. With those that differ from before, or of which
	// none is stored, it stores the jobs that jobs, which only computes, returns for their index.
	NoteConnections(ctx context.Context, now []DeviceConnection, jobs func(i int) ([]OutboxJob, error)) error
	// DeviceConnections returns up to limit of them behind a device's id, in order of the ids.
	DeviceConnections(ctx context.Context, after string, limit int) ([]DeviceConnection, error)

	// PendingWebhookEvents returns the oldest limit jobs of WebhookQueue in the outbox; DeleteOutbox removes them.
	PendingWebhookEvents(ctx context.Context, limit int) ([]OutboxJob, error)
	DeleteOutbox(ctx context.Context, ids []string) error
	// CreateDeliveries stores deliveries, all but those whose ID or webhook says that they were stored before or go to none. Their
	// lines are due at once, unless they were there.
	CreateDeliveries(ctx context.Context, deliveries []WebhookDelivery, effects SideEffects) error
	// Delivery returns one delivery of a webhook; CodeNotFound.
	Delivery(ctx context.Context, webhookID, id string) (WebhookDelivery, error)
	// Deliveries lists by created_at, newest first; the page's sort is "".
	Deliveries(ctx context.Context, filter DeliveryFilter, page Page) (List[WebhookDelivery], error)
	// RetryDelivery changes a delivery and makes it wait in a line of its own that is due at NextAt. CodeNotFound.
	RetryDelivery(ctx context.Context, webhookID, id string, change func(WebhookDelivery) (WebhookDelivery, error), effects SideEffects) (WebhookDelivery, error)
	// CountDeliveries returns how many deliveries of a webhook there are, by state.
	CountDeliveries(ctx context.Context, webhookID string) (map[DeliveryState]int64, error)

	// WaitingWebhooks returns the webhooks that have lines, and when the first of each is due.
	WaitingWebhooks(ctx context.Context) (map[string]time.Time, error)
	// DeliveryLines returns up to limit lines of a webhook, those that are due first.
	DeliveryLines(ctx context.Context, webhookID string, limit int) ([]DeliveryLine, error)
	// ClaimLine takes a line over until a time, and reports whether it did: not if its NextAt is another by now.
	ClaimLine(ctx context.Context, line DeliveryLine, until time.Time) (bool, error)
	// FirstDelivery returns the first pending delivery of a line; CodeNotFound.
	FirstDelivery(ctx context.Context, lineID string) (WebhookDelivery, error)
	// EndAttempt stores a delivery after an attempt and has its line go on, in one step, if the line is still as it was claimed: else
	// CodeConflict, and nothing is written. A delivery that is still pending keeps its line waiting until its NextAt, or waits in a new
	// one if its Line is another. more reports whether another delivery of the line is pending: then the line is claimed until that
	// time. A line without pending deliveries goes.
	EndAttempt(ctx context.Context, claimed DeliveryLine, after WebhookDelivery, until time.Time) (more bool, err error)
	// DropLine removes a line without pending deliveries, if it is still as it was claimed.
	DropLine(ctx context.Context, claimed DeliveryLine) error
	// RemoveDeliveries removes up to limit deliveries of a webhook that ended by a time, the oldest first, and returns how many.
	RemoveDeliveries(ctx context.Context, webhookID string, before time.Time, limit int) (int, error)
}
