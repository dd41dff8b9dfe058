package record

import (
	"context"
	"slices"
	"time"

	"hearth"
)

var _ hearth.WebhookStore = (*Aggregates)(nil)

// webhook is the stored form of hearth.Webhook.
type webhook struct {
	ID             string                `json:"id"`
	Scope          hearth.Scope          `json:"scope"`
	Name           string                `json:"name"`
	URL            string                `json:"url"`
	UserID         string                `json:"user_id" bson:"user"`
	OrganizationID string                `json:"organization_id,omitempty" bson:"organization"`
	Events         []hearth.WebhookEvent `json:"events"`
	Enabled        bool                  `json:"enabled,omitempty"`
	DisabledReason string                `json:"disabled_reason,omitempty"`
	Secret         []byte                `json:"secret,omitempty"`
	OldSecret      []byte                `json:"old_secret,omitempty"`
	OldSecretUntil time.Time             `json:"old_secret_until,omitzero"`
	FailingSince   time.Time             `json:"failing_since,omitzero"`
	Version        int64                 `json:"version"`
	CreatedAt      time.Time             `json:"created_at,omitzero" bson:"created"`
	UpdatedAt      time.Time             `json:"updated_at,omitzero" bson:"updated"`
}

var webhooks = describe(&Kind[webhook]{Schema: Schema{
	Name: "webhooks", Noun: "webhook", Of: map[string]string{"user_id": "users", "organization_id": "organizations"},
	Indexes: []Index{
		{Fields: []string{"scope", "created_at", "id"}},
		{Fields: []string{"created_at", "id"}},
		{Fields: []string{"organization_id"}},
	},
	Limit: &Limit{By: "scope", Most: hearth.MaxWebhooks, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "there are %d webhooks already: delete one first", hearth.MaxWebhooks)
	}},
}})

// webhookDelivery is the stored form of hearth.WebhookDelivery.
type webhookDelivery struct {
	ID        string               `json:"id"`
	WebhookID string               `json:"webhook_id" bson:"webhook"`
	Event     hearth.WebhookEvent  `json:"event"`
	DeviceID  string               `json:"device_id,omitempty" bson:"device"`
	Body      text                 `json:"body,omitempty"` // what is sent, to the byte
	State     hearth.DeliveryState `json:"state"`
	Line      string               `json:"line"`
	Seq       string               `json:"seq"`
	Tries     int                  `json:"tries,omitempty"`
	Attempts  []attempt            `json:"attempts,omitempty"`
	CreatedAt time.Time            `json:"created_at,omitzero" bson:"created"`
	NextAt    time.Time            `json:"next_at,omitzero" bson:"next"`
	EndedAt   time.Time            `json:"ended_at,omitzero" bson:"ended"`
}

type attempt struct {
	At      int64  `json:"at"` // Unix milliseconds
	Status  int    `json:"status,omitempty"`
	Took    int64  `json:"took,omitempty"` // milliseconds
	Error   string `json:"error,omitempty"`
	Excerpt string `json:"excerpt,omitempty"`
}

var deliveries = describe(&Kind[webhookDelivery]{
	Schema: Schema{
		Name: "webhook_deliveries", Noun: "delivery", Of: map[string]string{"webhook_id": "webhooks"},
		Indexes: []Index{
			{Fields: []string{"webhook_id", "created_at", "id"}},
			{Fields: []string{"webhook_id", "state", "created_at", "id"}},
			{Fields: []string{"webhook_id", "ended_at"}},
			{Fields: []string{"line", "state", "seq"}},
		},
	},
	ExpiresAt: func(d *webhookDelivery) time.Time {
		if d.EndedAt.IsZero() {
			return time.Time{}
		}
		return d.EndedAt.Add(hearth.DeliveryTTL)
	},
})

// deliveryLine is the stored form of hearth.DeliveryLine.
type deliveryLine struct {
	ID        string    `json:"id"`
	WebhookID string    `json:"webhook_id" bson:"webhook"`
	NextAt    time.Time `json:"next_at,omitzero" bson:"next"`
}

var deliveryLines = describe(&Kind[deliveryLine]{Schema: Schema{
	Name: "webhook_lines", Noun: "line of deliveries", Of: map[string]string{"webhook_id": "webhooks"},
	Indexes: []Index{{Fields: []string{"webhook_id", "next_at", "id"}}},
}})

// deviceConnection is the stored form of hearth.DeviceConnection.
type deviceConnection struct {
	DeviceID   string            `json:"device_id"`
	Connection hearth.Connection `json:"connection"`
}

var deviceConnections = describe(&Kind[deviceConnection]{Schema: Schema{
	Name: "device_connections", Noun: "connection", ID: []string{"device_id"}, Of: map[string]string{"device_id": "devices"},
}})

func storedWebhook(w hearth.Webhook) webhook {
	return webhook{
		w.ID, w.Scope(), w.Name, w.URL, w.UserID, w.OrganizationID, w.Events, w.Enabled, w.DisabledReason, w.Secret, w.OldSecret,
		w.OldSecretUntil, w.FailingSince, w.Version, w.CreatedAt, w.UpdatedAt,
	}
}

func (r webhook) webhook() hearth.Webhook {
	return hearth.Webhook{
		ID: r.ID, Name: r.Name, URL: r.URL, UserID: r.UserID, OrganizationID: r.OrganizationID, Events: r.Events, Enabled: r.Enabled,
		DisabledReason: r.DisabledReason, Secret: r.Secret, OldSecret: r.OldSecret, OldSecretUntil: r.OldSecretUntil,
		FailingSince: r.FailingSince, Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

func storedDelivery(d hearth.WebhookDelivery) webhookDelivery {
	r := webhookDelivery{
		ID: d.ID, WebhookID: d.WebhookID, Event: d.Event, DeviceID: d.DeviceID, Body: text(d.Body), State: d.State, Line: d.Line, Seq: d.Seq,
		Tries: d.Tries, CreatedAt: d.CreatedAt, NextAt: d.NextAt, EndedAt: d.EndedAt,
	}
	for _, a := range d.Attempts {
		r.Attempts = append(r.Attempts, attempt{a.At.UnixMilli(), a.Status, a.Took.Milliseconds(), a.Error, a.Excerpt})
	}
	return r
}

func (r webhookDelivery) delivery() hearth.WebhookDelivery {
	d := hearth.WebhookDelivery{
		ID: r.ID, WebhookID: r.WebhookID, Event: r.Event, DeviceID: r.DeviceID, Body: r.Body.json(), State: r.State, Line: r.Line, Seq: r.Seq,
		Tries: r.Tries, CreatedAt: r.CreatedAt, NextAt: r.NextAt, EndedAt: r.EndedAt,
	}
	for _, a := range r.Attempts {
		d.Attempts = append(d.Attempts, hearth.DeliveryAttempt{
			At: time.UnixMilli(a.At).UTC(), Status: a.Status, Took: time.Duration(a.Took) * time.Millisecond, Error: a.Error, Excerpt: a.Excerpt,
		})
	}
	return d
}

// CreateWebhook implements hearth.WebhookStore.
func (a *Aggregates) CreateWebhook(ctx context.Context, w hearth.Webhook, effects hearth.SideEffects) error {
	write := Write{Name: "CreateWebhook", Key: "webhooks/" + string(w.Scope()), Effects: effects}
	return create(ctx, a.b, write, webhooks, storedWebhook(w), w.OrganizationID)
}

// Webhook implements hearth.WebhookStore.
func (a *Aggregates) Webhook(ctx context.Context, id string) (hearth.Webhook, error) {
	return get(ctx, a.b, "Webhook", webhooks, webhook.webhook, id)
}

// Webhooks implements hearth.WebhookStore.
func (a *Aggregates) Webhooks(ctx context.Context, reach hearth.Reach, page hearth.Page) (hearth.List[hearth.Webhook], error) {
	var where Filter
	if !reach.All {
		where = Filter{In("scope", reach.Scopes...)}
	}
	return listing[webhook, hearth.Webhook]{"Webhooks", webhooks, where, newestFirst, webhook.webhook}.page(ctx, a.b, page)
}

// WebhooksOf implements hearth.WebhookStore.
func (a *Aggregates) WebhooksOf(ctx context.Context, scope hearth.Scope) ([]hearth.Webhook, error) {
	return find(ctx, a.b, "WebhooksOf", webhooks, webhook.webhook, Query{Where: Filter{Eq("scope", scope)}})
}

// UpdateWebhook implements hearth.WebhookStore.
func (a *Aggregates) UpdateWebhook(
	ctx context.Context, id string, change func(hearth.Webhook) (hearth.Webhook, error), effects hearth.SideEffects,
) (hearth.Webhook, error) {
	w := Write{Name: "UpdateWebhook", Key: "webhook/" + id, Effects: effects}
	return changeOne(ctx, a.b, w, webhooks, id, webhook.webhook, storedWebhook, change)
}

// DeleteWebhook implements hearth.WebhookStore.
func (a *Aggregates) DeleteWebhook(ctx context.Context, id string, check func(hearth.Webhook) error, effects hearth.SideEffects) error {
	w := Write{Name: "DeleteWebhook", Key: "webhook/" + id, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := deleteChecked(ctx, tx, webhooks, id, webhook.webhook, check); err != nil {
			return err
		}
		return forgetDeliveries(ctx, tx, id)
	})
}

// forgetDeliveries removes the deliveries of a webhook in the step that removes it.
func forgetDeliveries(ctx context.Context, tx Tx, webhookID string) error {
	for _, s := range []*Schema{&deliveries.Schema, &deliveryLines.Schema} {
		if err := tx.DeleteWhere(ctx, s, Filter{Eq("webhook_id", webhookID)}); err != nil {
			return err
		}
	}
	return nil
}

// NoteConnections implements hearth.WebhookStore.
func (a *Aggregates) NoteConnections(ctx context.Context, now []hearth.DeviceConnection, jobs func(i int) ([]hearth.OutboxJob, error)) error {
	return a.b.Update(ctx, Write{Name: "NoteConnections", Key: "device_connections", Long: true}, func(ctx context.Context, tx Tx) error {
		ids := make([]string, len(now))
		for i, c := range now {
			ids[i] = c.DeviceID
		}
		stored, err := deviceConnections.Find(ctx, tx, Query{Where: Filter{In("device_id", ids...)}})
		if err != nil {
			return err
		}
		before := map[string]hearth.Connection{}
		for _, c := range stored {
			before[c.DeviceID] = c.Connection
		}
		var effects hearth.SideEffects
		for i, c := range now {
			last, known := before[c.DeviceID]
			if last == c.Connection {
				continue
			}
			put := deviceConnections.Insert
			if known {
				put = deviceConnections.Replace
			}
			if err := put(ctx, tx, deviceConnection(c)); err != nil {
				return err
			}
			more, err := jobs(i)
			if err != nil {
				return err
			}
			effects.Jobs = append(effects.Jobs, more...)
		}
		tx.With(effects)
		return nil
	})
}

// DeviceConnections implements hearth.WebhookStore.
func (a *Aggregates) DeviceConnections(ctx context.Context, after string, limit int) ([]hearth.DeviceConnection, error) {
	item := func(c deviceConnection) hearth.DeviceConnection { return hearth.DeviceConnection(c) }
	return find(ctx, a.b, "DeviceConnections", deviceConnections, item, Query{
		Where: Filter{Gt("device_id", after)}, Order: Order{By: "device_id"}, Limit: limit,
	})
}

// PendingWebhookEvents implements hearth.WebhookStore.
func (a *Aggregates) PendingWebhookEvents(ctx context.Context, limit int) ([]hearth.OutboxJob, error) {
	return find(ctx, a.b, "PendingWebhookEvents", outbox, asOutboxJob, Query{
		Where: Filter{Eq("queue", hearth.WebhookQueue)}, Order: Order{By: "id"}, Limit: limit,
	})
}

// CreateDeliveries implements hearth.WebhookStore. Of two processes that store the same ones at the same time the one that is later
// does it anew, and finds them stored.
func (a *Aggregates) CreateDeliveries(ctx context.Context, all []hearth.WebhookDelivery, effects hearth.SideEffects) error {
	w := Write{Name: "CreateDeliveries", Effects: effects, Long: true}
	create := func(ctx context.Context, tx Tx) error { return createDeliveries(ctx, tx, all) }
	err := a.b.Update(ctx, w, create)
	for attempts := 0; hearth.ErrorCode(err) == hearth.CodeConflict && attempts < 3; attempts++ {
		err = a.b.Update(ctx, w, create)
	}
	return err
}

func createDeliveries(ctx context.Context, tx Tx, all []hearth.WebhookDelivery) error {
	var ids, hooks, lines []string
	for _, d := range all {
		ids, hooks, lines = append(ids, d.ID), append(hooks, d.WebhookID), append(lines, d.Line)
	}
	stored, err := deliveries.Find(ctx, tx, Query{Where: Filter{In("id", ids...)}})
	if err != nil {
		return err
	}
	there, err := webhooks.Find(ctx, tx, Query{Where: Filter{In("id", hooks...)}})
	if err != nil {
		return err
	}
	waiting, err := deliveryLines.Find(ctx, tx, Query{Where: Filter{In("id", lines...)}})
	if err != nil {
		return err
	}
	has, lives, known := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, d := range stored {
		has[d.ID] = true
	}
	for _, w := range there {
		lives[w.ID] = true
	}
	for _, l := range waiting {
		known[l.ID] = true
	}
	held := map[string]bool{}
	for _, d := range all {
		if has[d.ID] || !lives[d.WebhookID] {
			continue
		}
		has[d.ID] = true
		if err := deliveries.Insert(ctx, tx, storedDelivery(d)); err != nil {
			return err
		}
		if held[d.Line] || d.State != hearth.DeliveryPending {
			continue
		}
		held[d.Line] = true
		// Who works on the line looks for the next delivery in a step of its own, which must not miss this one.
		if known[d.Line] {
			err = deliveryLines.Hold(ctx, tx, d.Line)
		} else {
			err = deliveryLines.Insert(ctx, tx, deliveryLine{d.Line, d.WebhookID, d.NextAt})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Delivery implements hearth.WebhookStore.
func (a *Aggregates) Delivery(ctx context.Context, webhookID, id string) (hearth.WebhookDelivery, error) {
	return first(ctx, a.b, "Delivery", deliveries, webhookDelivery.delivery, Eq("id", id), Eq("webhook_id", webhookID))
}

// Deliveries implements hearth.WebhookStore.
func (a *Aggregates) Deliveries(ctx context.Context, f hearth.DeliveryFilter, page hearth.Page) (hearth.List[hearth.WebhookDelivery], error) {
	where := given(Eq("webhook_id", f.WebhookID), Eq("state", f.State))
	return listing[webhookDelivery, hearth.WebhookDelivery]{"Deliveries", deliveries, where, newestFirst, webhookDelivery.delivery}.page(ctx, a.b, page)
}

// RetryDelivery implements hearth.WebhookStore.
func (a *Aggregates) RetryDelivery(
	ctx context.Context, webhookID, id string, change func(hearth.WebhookDelivery) (hearth.WebhookDelivery, error), effects hearth.SideEffects,
) (hearth.WebhookDelivery, error) {
	w := Write{Name: "RetryDelivery", Key: "webhook_delivery/" + id, Effects: effects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (after hearth.WebhookDelivery, err error) {
		stored, err := deliveries.Get(ctx, tx, id)
		if err == nil && stored.WebhookID != webhookID {
			err = deliveries.NotFound()
		}
		if err != nil {
			return after, err
		}
		if after, err = change(stored.delivery()); err != nil {
			return after, err
		}
		if err := deliveries.Replace(ctx, tx, storedDelivery(after)); err != nil {
			return after, err
		}
		return after, keep(ctx, tx, deliveryLines, deliveryLine{after.Line, webhookID, after.NextAt})
	})
}

// CountDeliveries implements hearth.WebhookStore.
func (a *Aggregates) CountDeliveries(ctx context.Context, webhookID string) (map[hearth.DeliveryState]int64, error) {
	return view(ctx, a.b, "CountDeliveries", func(ctx context.Context, r Reader) (map[hearth.DeliveryState]int64, error) {
		figures, err := r.Figures(ctx, &deliveries.Schema, Filter{Eq("webhook_id", webhookID)}, "state", "", "")
		counts := map[hearth.DeliveryState]int64{}
		for _, f := range figures {
			counts[hearth.DeliveryState(f.Value)] = f.Count
		}
		return counts, err
	})
}

// WaitingWebhooks implements hearth.WebhookStore.
func (a *Aggregates) WaitingWebhooks(ctx context.Context) (map[string]time.Time, error) {
	return view(ctx, a.b, "WaitingWebhooks", func(ctx context.Context, r Reader) (map[string]time.Time, error) {
		figures, err := r.Figures(ctx, &deliveryLines.Schema, nil, "webhook_id", "", "next_at")
		due := make(map[string]time.Time, len(figures))
		for _, f := range figures {
			due[f.Value] = time.UnixMilli(f.Least).UTC()
		}
		return due, err
	})
}

// DeliveryLines implements hearth.WebhookStore.
func (a *Aggregates) DeliveryLines(ctx context.Context, webhookID string, limit int) ([]hearth.DeliveryLine, error) {
	return find(ctx, a.b, "DeliveryLines", deliveryLines, func(l deliveryLine) hearth.DeliveryLine { return hearth.DeliveryLine(l) }, Query{
		Where: Filter{Eq("webhook_id", webhookID)}, Order: Order{By: "next_at", Tie: "id"}, Limit: limit,
	})
}

// claimed returns a line for a step, if it is as it was claimed; CodeConflict.
func claimed(ctx context.Context, tx Tx, line hearth.DeliveryLine) (deliveryLine, error) {
	stored, err := deliveryLines.Get(ctx, tx, line.ID)
	if gone, err := absent(err); err != nil || !gone && stored.NextAt.Equal(line.NextAt) {
		return stored, err
	}
	return stored, hearth.Errorf(hearth.CodeConflict, "another process has the line of deliveries")
}

// ClaimLine implements hearth.WebhookStore.
func (a *Aggregates) ClaimLine(ctx context.Context, line hearth.DeliveryLine, until time.Time) (bool, error) {
	err := a.b.Update(ctx, Write{Name: "ClaimLine"}, func(ctx context.Context, tx Tx) error {
		stored, err := claimed(ctx, tx, line)
		if err != nil {
			return err
		}
		stored.NextAt = until
		return deliveryLines.Replace(ctx, tx, stored)
	})
	if hearth.ErrorCode(err) == hearth.CodeConflict {
		return false, nil
	}
	return err == nil, err
}

// waitingIn returns the first pending deliveries of a line.
func waitingIn(lineID string, limit int) Query {
	return Query{Where: Filter{Eq("line", lineID), Eq("state", hearth.DeliveryPending)}, Order: Order{By: "seq"}, Limit: limit}
}

// FirstDelivery implements hearth.WebhookStore.
func (a *Aggregates) FirstDelivery(ctx context.Context, lineID string) (hearth.WebhookDelivery, error) {
	found, err := find(ctx, a.b, "FirstDelivery", deliveries, webhookDelivery.delivery, waitingIn(lineID, 1))
	if err != nil || len(found) == 0 {
		return hearth.WebhookDelivery{}, orError(err, hearth.NotFound(deliveries.Noun))
	}
	return found[0], nil
}

// EndAttempt implements hearth.WebhookStore.
func (a *Aggregates) EndAttempt(ctx context.Context, held hearth.DeliveryLine, after hearth.WebhookDelivery, until time.Time) (bool, error) {
	return update(ctx, a.b, Write{Name: "EndAttempt"}, func(ctx context.Context, tx Tx) (more bool, err error) {
		line, err := claimed(ctx, tx, held)
		if err != nil {
			return false, err
		}
		stored, err := deliveries.Get(ctx, tx, after.ID)
		gone, err := absent(err)
		if err != nil {
			return false, err
		}
		waits := false
		if !gone && stored.Line == line.ID { // a user may have it retried elsewhere meanwhile
			if err := deliveries.Replace(ctx, tx, storedDelivery(after)); err != nil {
				return false, err
			}
			pending := after.State == hearth.DeliveryPending
			if waits = pending && after.Line == line.ID; pending && !waits {
				if err := keep(ctx, tx, deliveryLines, deliveryLine{after.Line, after.WebhookID, after.NextAt}); err != nil {
					return false, err
				}
			}
		}
		if waits {
			line.NextAt = after.NextAt
			return false, deliveryLines.Replace(ctx, tx, line)
		}
		next, err := deliveries.Find(ctx, tx, waitingIn(line.ID, 2))
		if err != nil {
			return false, err
		}
		if !slices.ContainsFunc(next, func(d webhookDelivery) bool { return d.ID != after.ID }) {
			return false, deliveryLines.Delete(ctx, tx, line.ID)
		}
		line.NextAt = until
		return true, deliveryLines.Replace(ctx, tx, line)
	})
}

// DropLine implements hearth.WebhookStore.
func (a *Aggregates) DropLine(ctx context.Context, held hearth.DeliveryLine) error {
	err := a.b.Update(ctx, Write{Name: "DropLine"}, func(ctx context.Context, tx Tx) error {
		if _, err := claimed(ctx, tx, held); err != nil {
			return err
		}
		waiting, err := deliveries.Find(ctx, tx, waitingIn(held.ID, 1))
		if err != nil || len(waiting) > 0 {
			return err
		}
		return deliveryLines.Delete(ctx, tx, held.ID)
	})
	if hearth.ErrorCode(err) == hearth.CodeConflict {
		return nil
	}
	return err
}

// RemoveDeliveries implements hearth.WebhookStore.
func (a *Aggregates) RemoveDeliveries(ctx context.Context, webhookID string, before time.Time, limit int) (int, error) {
	where := Filter{Eq("webhook_id", webhookID), Gt("ended_at", 0), Lte("ended_at", before)}
	return a.b.Remove(ctx, "RemoveDeliveries", &deliveries.Schema, where, "ended_at", limit)
}
