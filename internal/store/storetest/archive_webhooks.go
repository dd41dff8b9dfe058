package storetest

import (
	"encoding/json"
	"time"

	"hearth"
)

func (g *recordMaker) webhookID(i int) string { return g.id(15, i%max(1, g.n)) }

func (g *recordMaker) webhooks() []hearth.Webhook {
	return each(g.n, func(i int) hearth.Webhook {
		return hearth.Webhook{
			ID: g.webhookID(i), Name: "n", URL: "https://example.com/", UserID: g.userID(i), Secret: g.hash("secret", i), Version: 1,
			CreatedAt: g.at(i), UpdatedAt: g.at(i),
		}
	}, func(i int, w *hearth.Webhook) {
		w.OrganizationID, w.Events, w.Enabled, w.DisabledReason = g.orgID(i), hearth.WebhookEvents(), true, hearth.WebhookGone
		w.OldSecret, w.OldSecretUntil, w.FailingSince = g.hash("old secret", i), g.at(i+1), g.at(i+2)
	})
}

func (g *recordMaker) deliveries() []hearth.WebhookDelivery {
	return each(g.n, func(i int) hearth.WebhookDelivery {
		return hearth.WebhookDelivery{
			ID: g.id(16, i), WebhookID: g.webhookID(i), Event: hearth.WebhookTest, Body: json.RawMessage(`{"a": "<&>"}`), State: hearth.DeliveryPending,
			Line: g.webhookID(i) + "/" + g.id(16, i), Seq: g.id(17, i), CreatedAt: g.at(i), NextAt: g.at(i),
		}
	}, func(i int, d *hearth.WebhookDelivery) {
		d.DeviceID, d.State, d.Tries, d.NextAt, d.EndedAt = g.deviceID(i), hearth.DeliveryFailed, 2, time.Time{}, g.at(i+3)
		d.Attempts = []hearth.DeliveryAttempt{
			{At: g.at(i), Status: 503, Took: 7 * time.Millisecond, Error: "e", Excerpt: "<>"}, {At: g.at(i + 1), Error: "no"},
		}
	})
}

func (g *recordMaker) lines() []hearth.DeliveryLine {
	return each(g.n, func(i int) hearth.DeliveryLine {
		return hearth.DeliveryLine{ID: g.webhookID(i) + "/" + g.id(16, i), WebhookID: g.webhookID(i)}
	}, func(i int, l *hearth.DeliveryLine) { l.NextAt = g.at(i) })
}

func (g *recordMaker) connections() []hearth.DeviceConnection {
	var all []hearth.DeviceConnection
	for i := range g.n {
		all = append(all, hearth.DeviceConnection{DeviceID: g.deviceID(i), Connection: hearth.Online})
	}
	return all
}

type lineWebhook struct {
	ID             string                `json:"id"`
	Scope          hearth.Scope          `json:"scope"`
	Name           string                `json:"name"`
	URL            string                `json:"url"`
	UserID         string                `json:"user_id"`
	OrganizationID string                `json:"organization_id,omitempty"`
	Events         []hearth.WebhookEvent `json:"events"`
	Enabled        bool                  `json:"enabled,omitempty"`
	DisabledReason string                `json:"disabled_reason,omitempty"`
	Secret         []byte                `json:"secret,omitempty"`
	OldSecret      []byte                `json:"old_secret,omitempty"`
	OldSecretUntil time.Time             `json:"old_secret_until,omitzero"`
	FailingSince   time.Time             `json:"failing_since,omitzero"`
	Version        int64                 `json:"version"`
	CreatedAt      time.Time             `json:"created_at,omitzero"`
	UpdatedAt      time.Time             `json:"updated_at,omitzero"`
}

func writeWebhook(w hearth.Webhook) lineWebhook {
	return lineWebhook{
		w.ID, w.Scope(), w.Name, w.URL, w.UserID, w.OrganizationID, w.Events, w.Enabled, w.DisabledReason, w.Secret, w.OldSecret,
		w.OldSecretUntil, w.FailingSince, w.Version, w.CreatedAt, w.UpdatedAt,
	}
}

func readWebhook(w lineWebhook) hearth.Webhook {
	return hearth.Webhook{
		ID: w.ID, Name: w.Name, URL: w.URL, UserID: w.UserID, OrganizationID: w.OrganizationID, Events: w.Events, Enabled: w.Enabled,
		DisabledReason: w.DisabledReason, Secret: w.Secret, OldSecret: w.OldSecret, OldSecretUntil: w.OldSecretUntil,
		FailingSince: w.FailingSince, Version: w.Version, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	}
}

type lineWebhookDelivery struct {
	ID        string               `json:"id"`
	WebhookID string               `json:"webhook_id"`
	Event     hearth.WebhookEvent  `json:"event"`
	DeviceID  string               `json:"device_id,omitempty"`
	Body      lineText             `json:"body,omitempty"` // what is sent, to the byte
	State     hearth.DeliveryState `json:"state"`
	Line      string               `json:"line"`
	Seq       string               `json:"seq"`
	Tries     int                  `json:"tries,omitempty"`
	Attempts  []lineAttempt        `json:"attempts,omitempty"`
	CreatedAt time.Time            `json:"created_at,omitzero"`
	NextAt    time.Time            `json:"next_at,omitzero"`
	EndedAt   time.Time            `json:"ended_at,omitzero"`
}

type lineAttempt struct {
	At      int64  `json:"at"`
	Status  int    `json:"status,omitempty"`
	Took    int64  `json:"took,omitempty"`
	Error   string `json:"error,omitempty"`
	Excerpt string `json:"excerpt,omitempty"`
}

func writeDelivery(d hearth.WebhookDelivery) lineWebhookDelivery {
	line := lineWebhookDelivery{
		d.ID, d.WebhookID, d.Event, d.DeviceID, lineText(d.Body), d.State, d.Line, d.Seq, d.Tries, nil, d.CreatedAt, d.NextAt, d.EndedAt,
	}
	for _, a := range d.Attempts {
		line.Attempts = append(line.Attempts, lineAttempt{a.At.UnixMilli(), a.Status, a.Took.Milliseconds(), a.Error, a.Excerpt})
	}
	return line
}

func readDelivery(l lineWebhookDelivery) hearth.WebhookDelivery {
	d := hearth.WebhookDelivery{
		ID: l.ID, WebhookID: l.WebhookID, Event: l.Event, DeviceID: l.DeviceID, Body: json.RawMessage(l.Body), State: l.State, Line: l.Line,
		Seq: l.Seq, Tries: l.Tries, CreatedAt: l.CreatedAt, NextAt: l.NextAt, EndedAt: l.EndedAt,
	}
	for _, a := range l.Attempts {
		d.Attempts = append(d.Attempts, hearth.DeliveryAttempt{
			At: time.UnixMilli(a.At).UTC(), Status: a.Status, Took: time.Duration(a.Took) * time.Millisecond, Error: a.Error, Excerpt: a.Excerpt,
		})
	}
	return d
}

type lineDeliveryLine struct {
	ID        string    `json:"id"`
	WebhookID string    `json:"webhook_id"`
	NextAt    time.Time `json:"next_at,omitzero"`
}

type lineConnection struct {
	DeviceID   string            `json:"device_id"`
	Connection hearth.Connection `json:"connection"`
}
