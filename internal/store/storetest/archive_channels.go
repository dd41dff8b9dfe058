package storetest

import (
	"time"

	"hearth"
)

func (g *recordMaker) channels() []hearth.NotificationChannel {
	return each(g.n, func(i int) hearth.NotificationChannel {
		return hearth.NotificationChannel{
			ID: g.id(19, i), UserID: g.userID(i), Name: "n", Kind: hearth.ChannelNtfy, Address: "https://ntfy.sh/…", Secret: g.hash("channel", i),
			Version: 1, CreatedAt: g.at(i), UpdatedAt: g.at(i),
		}
	}, func(i int, c *hearth.NotificationChannel) {
		c.Types, c.MinSeverity, c.DigestMinutes, c.Enabled = hearth.NotificationTypes(), hearth.SeverityMajor, 15, true
		c.DisabledReason, c.FailingSince, c.LastError = hearth.WebhookGone, g.at(i+2), "<no>"
	})
}

func (g *recordMaker) digests() []hearth.NotificationDigest {
	return each(g.n, func(i int) hearth.NotificationDigest {
		return hearth.NotificationDigest{ID: "email:" + g.userID(i), UserID: g.userID(i)}
	}, func(i int, d *hearth.NotificationDigest) {
		d.ID, d.ChannelID, d.Known = g.id(19, i), g.id(19, i), []string{g.id(20, i)}
		d.Taken, d.Dropped, d.Round, d.JobID, d.DueAt, d.PausedUntil = 1, 2, 3, g.id(21, i), g.at(i), g.at(i+1)
		d.Items = []hearth.DigestItem{
			{ID: g.id(20, i), Type: hearth.NotifyAlarm, Title: "<T>", Body: "B", At: g.at(i)},
			{
				ID: g.id(20, i), Type: hearth.NotifyAlarm, Title: "T", Body: "B", Data: map[string]string{"a": "b"}, URL: "https://h/", At: g.at(i),
				Severity: hearth.SeverityInfo, Urgent: true, Email: []byte(`{"a": "<&>"}`),
			},
		}
	})
}

type lineChannel struct {
	ID             string                    `json:"id"`
	UserID         string                    `json:"user_id"`
	Name           string                    `json:"name"`
	Kind           hearth.ChannelKind        `json:"kind"`
	Address        string                    `json:"address"`
	Secret         []byte                    `json:"secret,omitempty"`
	Types          []hearth.NotificationType `json:"types"`
	MinSeverity    hearth.Severity           `json:"min_severity,omitempty"`
	DigestMinutes  int                       `json:"digest_minutes,omitempty"`
	Enabled        bool                      `json:"enabled,omitempty"`
	DisabledReason string                    `json:"disabled_reason,omitempty"`
	FailingSince   time.Time                 `json:"failing_since,omitzero"`
	LastError      string                    `json:"last_error,omitempty"`
	Version        int64                     `json:"version"`
	CreatedAt      time.Time                 `json:"created_at,omitzero"`
	UpdatedAt      time.Time                 `json:"updated_at,omitzero"`
}

type lineDigest struct {
	ID          string           `json:"id"`
	UserID      string           `json:"user_id"`
	ChannelID   string           `json:"channel_id,omitempty"`
	Items       []lineDigestItem `json:"items,omitempty"`
	Taken       int              `json:"taken,omitempty"`
	Dropped     int              `json:"dropped,omitempty"`
	Round       int64            `json:"round,omitempty"`
	JobID       string           `json:"job_id,omitempty"`
	DueAt       time.Time        `json:"due_at,omitzero"`
	PausedUntil time.Time        `json:"paused_until,omitzero"`
	Known       []string         `json:"known,omitempty"`
}

type lineDigestItem struct {
	ID       string                  `json:"id"`
	Type     hearth.NotificationType `json:"type"`
	Title    string                  `json:"title"`
	Body     string                  `json:"body"`
	Data     map[string]string       `json:"data,omitempty"`
	URL      string                  `json:"url,omitempty"`
	Severity hearth.Severity         `json:"severity,omitempty"`
	At       int64                   `json:"at"`
	Urgent   bool                    `json:"urgent,omitempty"`
	Email    string                  `json:"email,omitempty"`
}

func writeDigest(d hearth.NotificationDigest) lineDigest {
	line := lineDigest{d.ID, d.UserID, d.ChannelID, nil, d.Taken, d.Dropped, d.Round, d.JobID, d.DueAt, d.PausedUntil, d.Known}
	for _, i := range d.Items {
		line.Items = append(line.Items, lineDigestItem{
			i.ID, i.Type, i.Title, i.Body, i.Data, i.URL, i.Severity, i.At.UnixMilli(), i.Urgent, string(i.Email),
		})
	}
	return line
}

func readDigest(l lineDigest) hearth.NotificationDigest {
	d := hearth.NotificationDigest{
		ID: l.ID, UserID: l.UserID, ChannelID: l.ChannelID, Taken: l.Taken, Dropped: l.Dropped, Round: l.Round, JobID: l.JobID, DueAt: l.DueAt,
		PausedUntil: l.PausedUntil, Known: l.Known,
	}
	for _, i := range l.Items {
		item := hearth.DigestItem{
			ID: i.ID, Type: i.Type, Title: i.Title, Body: i.Body, Data: i.Data, URL: i.URL, Severity: i.Severity, At: time.UnixMilli(i.At).UTC(),
			Urgent: i.Urgent,
		}
		if i.Email != "" {
			item.Email = []byte(i.Email)
		}
		d.Items = append(d.Items, item)
	}
	return d
}
