package record

import (
	"context"
	"time"

	"hearth"
)

var _ hearth.NotificationChannelStore = (*Aggregates)(nil)

// channel is the stored form of hearth.NotificationChannel.
type channel struct {
	ID             string                    `json:"id"`
	UserID         string                    `json:"user_id" bson:"user"`
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
	CreatedAt      time.Time                 `json:"created_at,omitzero" bson:"created"`
	UpdatedAt      time.Time                 `json:"updated_at,omitzero" bson:"updated"`
}

var channels = describe(&Kind[channel]{Schema: Schema{
	Name: "notification_channels", Noun: "notification channel", Of: map[string]string{"user_id": "users"},
	Indexes: []Index{{Fields: []string{"user_id", "created_at", "id"}}, {Fields: []string{"created_at", "id"}}},
	Limit: &Limit{By: "user_id", Most: hearth.MaxNotificationChannels, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "you have %d notification channels: delete one first", hearth.MaxNotificationChannels)
	}},
}})

// digest is the stored form of hearth.NotificationDigest.
type digest struct {
	ID          string       `json:"id"`
	UserID      string       `json:"user_id" bson:"user"`
	ChannelID   string       `json:"channel_id,omitempty" bson:"channel"`
	Items       []digestItem `json:"items,omitempty"`
	Taken       int          `json:"taken,omitempty"`
	Dropped     int          `json:"dropped,omitempty"`
	Round       int64        `json:"round,omitempty"`
	JobID       string       `json:"job_id,omitempty" bson:"job"`
	DueAt       time.Time    `json:"due_at,omitzero" bson:"due"`
	PausedUntil time.Time    `json:"paused_until,omitzero"`
	Known       []string     `json:"known,omitempty"`
}

type digestItem struct {
	ID       string                  `json:"id" bson:"id"`
	Type     hearth.NotificationType `json:"type" bson:"type"`
	Title    string                  `json:"title" bson:"title"`
	Body     string                  `json:"body" bson:"body"`
	Data     map[string]string       `json:"data,omitempty" bson:"data"`
	URL      string                  `json:"url,omitempty" bson:"url"`
	Severity hearth.Severity         `json:"severity,omitempty" bson:"severity"`
	At       int64                   `json:"at" bson:"at"` // Unix milliseconds
	Urgent   bool                    `json:"urgent,omitempty" bson:"urgent"`
	Email    string                  `json:"email,omitempty" bson:"email"`
}

var digests = describe(&Kind[digest]{Schema: Schema{
	Name: "notification_digests", Noun: "digest", Of: map[string]string{"user_id": "users", "channel_id": "notification_channels"},
	Indexes: []Index{{Fields: []string{"due_at", "id"}}},
}})

func asChannel(c channel) hearth.NotificationChannel { return hearth.NotificationChannel(c) }

func storedDigest(d hearth.NotificationDigest) digest {
	r := digest{
		ID: d.ID, UserID: d.UserID, ChannelID: d.ChannelID, Taken: d.Taken, Dropped: d.Dropped, Round: d.Round, JobID: d.JobID, DueAt: d.DueAt,
		PausedUntil: d.PausedUntil, Known: d.Known,
	}
	for _, i := range d.Items {
		r.Items = append(r.Items, digestItem{
			i.ID, i.Type, i.Title, i.Body, i.Data, i.URL, i.Severity, i.At.UnixMilli(), i.Urgent, string(i.Email),
		})
	}
	return r
}

func (r digest) digest() hearth.NotificationDigest {
	d := hearth.NotificationDigest{
		ID: r.ID, UserID: r.UserID, ChannelID: r.ChannelID, Taken: r.Taken, Dropped: r.Dropped, Round: r.Round, JobID: r.JobID, DueAt: r.DueAt,
		PausedUntil: r.PausedUntil, Known: r.Known,
	}
	for _, i := range r.Items {
		item := hearth.DigestItem{
			ID: i.ID, Type: i.Type, Title: i.Title, Body: i.Body, Data: i.Data, URL: i.URL, Severity: i.Severity,
			At: time.UnixMilli(i.At).UTC(), Urgent: i.Urgent,
		}
		if i.Email != "" {
			item.Email = []byte(i.Email)
		}
		d.Items = append(d.Items, item)
	}
	return d
}

// CreateChannel implements hearth.NotificationChannelStore.
func (a *Aggregates) CreateChannel(ctx context.Context, c hearth.NotificationChannel, effects hearth.SideEffects) error {
	w := Write{Name: "CreateChannel", Key: "notification_channels/" + c.UserID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if _, err := users.Get(ctx, tx, c.UserID); err != nil {
			return err
		}
		return channels.Insert(ctx, tx, channel(c))
	})
}

// Channel implements hearth.NotificationChannelStore.
func (a *Aggregates) Channel(ctx context.Context, id string) (hearth.NotificationChannel, error) {
	return get(ctx, a.b, "Channel", channels, asChannel, id)
}

// Channels implements hearth.NotificationChannelStore.
func (a *Aggregates) Channels(ctx context.Context, userID string, page hearth.Page) (hearth.List[hearth.NotificationChannel], error) {
	where := given(Eq("user_id", userID))
	return listing[channel, hearth.NotificationChannel]{"Channels", channels, where, newestFirst, asChannel}.page(ctx, a.b, page)
}

// UpdateChannel implements hearth.NotificationChannelStore.
func (a *Aggregates) UpdateChannel(
	ctx context.Context, id string, change func(hearth.NotificationChannel) (hearth.NotificationChannel, error), effects hearth.SideEffects,
) (hearth.NotificationChannel, error) {
	w := Write{Name: "UpdateChannel", Key: "notification_channel/" + id, Effects: effects}
	stored := func(c hearth.NotificationChannel) channel { return channel(c) }
	return changeOne(ctx, a.b, w, channels, id, asChannel, stored, change)
}

// DeleteChannel implements hearth.NotificationChannelStore.
func (a *Aggregates) DeleteChannel(
	ctx context.Context, id string, check func(hearth.NotificationChannel) error, effects hearth.SideEffects,
) error {
	w := Write{Name: "DeleteChannel", Key: "notification_channel/" + id, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := deleteChecked(ctx, tx, channels, id, asChannel, check); err != nil {
			return err
		}
		return forget(ctx, tx, digests, id)
	})
}

// ChangeDigest implements hearth.NotificationChannelStore.
func (a *Aggregates) ChangeDigest(ctx context.Context, change hearth.DigestChange) error {
	w := Write{Name: "ChangeDigest", Key: "notification_settings/" + change.UserID}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		jobs, err := changeDigest(ctx, tx, change)
		tx.With(hearth.SideEffects{Jobs: jobs})
		return err
	})
}

// changeDigest changes a digest in a step and returns the jobs to store with it. One whose channel is gone is left as it is.
func changeDigest(ctx context.Context, tx Tx, change hearth.DigestChange) ([]hearth.OutboxJob, error) {
	if change.ChannelID != "" {
		_, err := channels.Get(ctx, tx, change.ChannelID)
		if gone, err := absent(err); err != nil || gone {
			return nil, err
		}
		if err := channels.Hold(ctx, tx, change.ChannelID); err != nil {
			return nil, err
		}
	}
	stored, err := digests.Get(ctx, tx, change.ID)
	isNew, err := absent(err)
	if err != nil {
		return nil, err
	}
	if isNew {
		stored = digest{ID: change.ID, UserID: change.UserID, ChannelID: change.ChannelID}
	}
	after, jobs, err := change.Change(stored.digest())
	if err != nil {
		return nil, err
	}
	if isNew {
		return jobs, digests.Insert(ctx, tx, storedDigest(after))
	}
	return jobs, digests.Replace(ctx, tx, storedDigest(after))
}

// OverdueDigests implements hearth.NotificationChannelStore.
func (a *Aggregates) OverdueDigests(ctx context.Context, before time.Time, page hearth.Page) (hearth.List[hearth.NotificationDigest], error) {
	where, order := Filter{Gt("due_at", 0), Lt("due_at", before)}, Order{By: "due_at", Tie: "id"}
	return listing[digest, hearth.NotificationDigest]{"OverdueDigests", digests, where, order, digest.digest}.page(ctx, a.b, page)
}
