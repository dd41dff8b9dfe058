package hearth

import "time"

// JobSecurity is the kind of the jobs whose payload is a SecurityNotice.
const JobSecurity = "notify.security"

// JobWebhookDisabled is the kind of the jobs whose payload is a WebhookNotice.
const JobWebhookDisabled = "notify.webhook"

// WebhookNotice is the payload of a job: who has a webhook, or the notification channel of ChannelID, is notified that the server
// disabled it.
type WebhookNotice struct {
	WebhookID      string `json:"webhook_id,omitempty"`
	ChannelID      string `json:"channel_id,omitempty"`
	Name           string `json:"name"`
	UserID         string `json:"user_id"`
	OrganizationID string `json:"organization_id,omitempty"`
	// Reason is WebhookGone or WebhookFailing.
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// What a SecurityNotice tells of.
const (
	NoticeNewDevice = "new_device"
	NoticeReused    = "refresh_reused"
	NoticePassword  = "password_changed"
	NoticeEmail     = "email_changed"
	NoticeLocked    = "account_locked"
)

// SecurityNotice is the payload of a job: the user learns what happened to the account.
type SecurityNotice struct {
	UserID string `json:"user_id"`
	// What is one of the Notice constants.
	What string `json:"what"`
	// Origin is the sealed JSON of a NoticeOrigin: jobs lie in the store and the queue, the dead ones for weeks.
	Origin []byte    `json:"origin,omitempty"`
	At     time.Time `json:"at"`
	// Email is where the e-mail goes, if not to the user's address of now: the old one, after a change.
	Email string `json:"email,omitempty"`
}

// NoticeOrigin is where the cause of a notice came from.
type NoticeOrigin struct {
	IP        string `json:"ip"`
	UserAgent string `json:"user_agent"`
}
