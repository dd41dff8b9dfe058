package storetest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"hearth"
	"hearth/internal/store/archive"
)

// ArchivePart is a record.Part as tests write and read it: up to record.MaxPart of one kind, the other fields
// being empty. Every field of a record is carried, secrets as the store has them (hashed or sealed).
type ArchivePart struct {
	Counters       []archive.Counters // one
	Users          []hearth.User
	Tries          []ArchivedTries
	PasswordResets []hearth.PasswordReset
	Sessions       []hearth.Session
	RefreshTokens  []ArchivedRefreshToken
	Organizations  []hearth.Organization
	// Members are without Name and Email, which are the users'.
	Members          []hearth.Member
	Invitations      []hearth.Invitation
	APIKeys          []hearth.APIKey
	ProvisioningKeys []hearth.ProvisioningKey
	Devices          []hearth.Device
	DeviceTokens     []hearth.DeviceToken
	Twins            []hearth.Twin
	MQTTSessions     []hearth.MQTTSession
	Provisioned      []hearth.Provisioned
	ClaimCodes       []hearth.ClaimCode
	Notifications    []hearth.Notification
	Settings         []ArchivedSettings
	Channels         []hearth.NotificationChannel
	Digests          []hearth.NotificationDigest
	Watches          []hearth.DeviceWatch
	Commands         []hearth.Command
	Batches          []hearth.CommandBatch
	Rules            []hearth.Rule
	Alarms           []hearth.Alarm
	AlarmWatches     []hearth.Watch
	Unjudged         []hearth.Unjudged
	Uptime           []hearth.Uptime
	Schedules        []hearth.ExportSchedule
	Exports          []hearth.Export
	Webhooks         []hearth.Webhook
	Deliveries       []hearth.WebhookDelivery
	Lines            []hearth.DeliveryLine
	Connections      []hearth.DeviceConnection
	Integrations     []hearth.Integration
	Links            []hearth.IntegrationDevice
	Checkpoints      []hearth.Checkpoint
	Idempotency      []hearth.IdempotencyRecord
	Outbox           []hearth.OutboxJob
	// Audit entries have ChangesText, which the hash is over, and no Changes.
	Audit []hearth.AuditEntry
	// Logs have their Seq. Rollups are not carried: they follow from the logs.
	Logs []hearth.LogEntry
}

// ArchivedTries are the failed logins that are counted under a key.
type ArchivedTries struct {
	Key []byte
	hearth.Tries
}

// ArchivedRefreshToken is a refresh token of a session, spent or not.
type ArchivedRefreshToken struct {
	Hash      []byte
	SessionID string
	Spent     bool
}

// ArchivedSettings are the types of notifications as a user set them, without the defaults in the gaps.
type ArchivedSettings struct {
	UserID      string
	Types       map[hearth.NotificationType]hearth.Delivery
	EmailDigest int
	Quiet       *hearth.QuietHours
}

// archiveKind is how the records of one kind are written and read.
type archiveKind struct {
	name  string
	lines func(*ArchivePart) ([][]byte, error)
	line  func(line []byte, part *ArchivePart) error
}

// Part returns the records as stores take them.
func (p ArchivePart) Part() archive.Part {
	if len(p.Logs) > 0 {
		return archive.Part{Kind: archive.LogsKind, Logs: p.Logs}
	}
	for _, k := range archiveKinds() {
		lines, err := k.lines(&p)
		if err != nil {
			panic(err) // tests' records are JSON
		}
		if len(lines) > 0 {
			return archive.Part{Kind: k.name, Lines: lines}
		}
	}
	return archive.Part{Kind: archive.CountersKind}
}

// ReadPart returns what Part was made of.
func ReadPart(part archive.Part) (ArchivePart, error) {
	p := ArchivePart{Logs: part.Logs}
	for _, k := range archiveKinds() {
		for _, line := range part.Lines {
			if k.name != part.Kind {
				break
			}
			if err := k.line(line, &p); err != nil {
				return p, fmt.Errorf("a line of %s: %w", part.Kind, err)
			}
		}
	}
	return p, nil
}

func archiveKinds() []archiveKind {
	return []archiveKind{
		lines("counters", func(p *ArchivePart) *[]archive.Counters { return &p.Counters },
			func(r archive.Counters) archive.Counters { return r }, func(r archive.Counters) archive.Counters { return r }),
		lines("users", func(p *ArchivePart) *[]hearth.User { return &p.Users },
			func(r hearth.User) lineUser { return lineUser(r) }, func(r lineUser) hearth.User { return hearth.User(r) }),
		lines("login_tries", func(p *ArchivePart) *[]ArchivedTries { return &p.Tries },
			func(r ArchivedTries) lineTries { return lineTries{r.Key, r.Failed, r.LockedUntil, r.UpdatedAt} },
			func(r lineTries) ArchivedTries {
				return ArchivedTries{Key: r.Key, Tries: hearth.Tries{Failed: r.Failed, LockedUntil: r.LockedUntil, UpdatedAt: r.UpdatedAt}}
			}),
		lines("password_resets", func(p *ArchivePart) *[]hearth.PasswordReset { return &p.PasswordResets },
			func(r hearth.PasswordReset) linePasswordReset { return linePasswordReset(r) },
			func(r linePasswordReset) hearth.PasswordReset { return hearth.PasswordReset(r) }),
		lines("sessions", func(p *ArchivePart) *[]hearth.Session { return &p.Sessions },
			func(r hearth.Session) lineSession { return lineSession(r) }, func(r lineSession) hearth.Session { return hearth.Session(r) }),
		lines("refresh_tokens", func(p *ArchivePart) *[]ArchivedRefreshToken { return &p.RefreshTokens },
			func(r ArchivedRefreshToken) lineRefreshToken { return lineRefreshToken(r) },
			func(r lineRefreshToken) ArchivedRefreshToken { return ArchivedRefreshToken(r) }),
		lines("organizations", func(p *ArchivePart) *[]hearth.Organization { return &p.Organizations },
			func(r hearth.Organization) lineOrganization { return lineOrganization(r) },
			func(r lineOrganization) hearth.Organization { return hearth.Organization(r) }),
		lines("members", func(p *ArchivePart) *[]hearth.Member { return &p.Members },
			func(r hearth.Member) lineMember { return lineMember{r.OrganizationID, r.UserID, r.Role, r.JoinedAt} },
			func(r lineMember) hearth.Member {
				return hearth.Member{OrganizationID: r.OrganizationID, UserID: r.UserID, Role: r.Role, JoinedAt: r.JoinedAt}
			}),
		lines("invitations", func(p *ArchivePart) *[]hearth.Invitation { return &p.Invitations },
			func(r hearth.Invitation) lineInvitation { return lineInvitation(r) }, func(r lineInvitation) hearth.Invitation { return hearth.Invitation(r) }),
		lines("api_keys", func(p *ArchivePart) *[]hearth.APIKey { return &p.APIKeys },
			func(r hearth.APIKey) lineAPIKey { return lineAPIKey(r) }, func(r lineAPIKey) hearth.APIKey { return hearth.APIKey(r) }),
		lines("provisioning_keys", func(p *ArchivePart) *[]hearth.ProvisioningKey { return &p.ProvisioningKeys }, writeProvisioningKey,
			readProvisioningKey),
		lines("devices", func(p *ArchivePart) *[]hearth.Device { return &p.Devices }, writeDevice, readDevice),
		lines("device_tokens", func(p *ArchivePart) *[]hearth.DeviceToken { return &p.DeviceTokens },
			func(r hearth.DeviceToken) lineDeviceToken { return lineDeviceToken(r) }, func(r lineDeviceToken) hearth.DeviceToken { return hearth.DeviceToken(r) }),
		lines("device_twins", func(p *ArchivePart) *[]hearth.Twin { return &p.Twins }, writeTwin, readTwin),
		lines("mqtt_sessions", func(p *ArchivePart) *[]hearth.MQTTSession { return &p.MQTTSessions }, writeMQTTSession, readMQTTSession),
		lines("provisioned", func(p *ArchivePart) *[]hearth.Provisioned { return &p.Provisioned },
			func(r hearth.Provisioned) lineProvisioned { return lineProvisioned(r) }, func(r lineProvisioned) hearth.Provisioned { return hearth.Provisioned(r) }),
		lines("claim_codes", func(p *ArchivePart) *[]hearth.ClaimCode { return &p.ClaimCodes },
			func(r hearth.ClaimCode) lineClaimCode { return lineClaimCode(r) }, func(r lineClaimCode) hearth.ClaimCode { return hearth.ClaimCode(r) }),
		lines("notifications", func(p *ArchivePart) *[]hearth.Notification { return &p.Notifications },
			func(r hearth.Notification) lineNotification { return lineNotification(r) },
			func(r lineNotification) hearth.Notification { return hearth.Notification(r) }),
		lines("notification_settings", func(p *ArchivePart) *[]ArchivedSettings { return &p.Settings }, writeSettings, readSettings),
		lines("notification_channels", func(p *ArchivePart) *[]hearth.NotificationChannel { return &p.Channels },
			func(r hearth.NotificationChannel) lineChannel { return lineChannel(r) },
			func(r lineChannel) hearth.NotificationChannel { return hearth.NotificationChannel(r) }),
		lines("notification_digests", func(p *ArchivePart) *[]hearth.NotificationDigest { return &p.Digests }, writeDigest, readDigest),
		lines("device_watches", func(p *ArchivePart) *[]hearth.DeviceWatch { return &p.Watches },
			func(r hearth.DeviceWatch) lineWatch { return lineWatch(r) }, func(r lineWatch) hearth.DeviceWatch { return hearth.DeviceWatch(r) }),
		lines("commands", func(p *ArchivePart) *[]hearth.Command { return &p.Commands }, writeCommand, readCommand),
		lines("commands_in_bulk", func(p *ArchivePart) *[]hearth.CommandBatch { return &p.Batches }, writeBatch, readBatch),
		lines("rules", func(p *ArchivePart) *[]hearth.Rule { return &p.Rules }, writeRule, readRule),
		lines("alarms", func(p *ArchivePart) *[]hearth.Alarm { return &p.Alarms }, writeAlarm, readAlarm),
		lines("alarm_watches", func(p *ArchivePart) *[]hearth.Watch { return &p.AlarmWatches }, writeAlarmWatch, readAlarmWatch),
		lines("alarm_readings", func(p *ArchivePart) *[]hearth.Unjudged { return &p.Unjudged }, writeUnjudged, readUnjudged),
		lines("uptime", func(p *ArchivePart) *[]hearth.Uptime { return &p.Uptime }, writeUptime, readUptime),
		lines("export_schedules", func(p *ArchivePart) *[]hearth.ExportSchedule { return &p.Schedules }, writeSchedule, readSchedule),
		lines("exports", func(p *ArchivePart) *[]hearth.Export { return &p.Exports }, writeExport, readExport),
		lines("webhooks", func(p *ArchivePart) *[]hearth.Webhook { return &p.Webhooks }, writeWebhook, readWebhook),
		lines("webhook_deliveries", func(p *ArchivePart) *[]hearth.WebhookDelivery { return &p.Deliveries }, writeDelivery, readDelivery),
		lines("webhook_lines", func(p *ArchivePart) *[]hearth.DeliveryLine { return &p.Lines },
			func(r hearth.DeliveryLine) lineDeliveryLine { return lineDeliveryLine(r) },
			func(r lineDeliveryLine) hearth.DeliveryLine { return hearth.DeliveryLine(r) }),
		lines("device_connections", func(p *ArchivePart) *[]hearth.DeviceConnection { return &p.Connections },
			func(r hearth.DeviceConnection) lineConnection { return lineConnection(r) },
			func(r lineConnection) hearth.DeviceConnection { return hearth.DeviceConnection(r) }),
		lines("integrations", func(p *ArchivePart) *[]hearth.Integration { return &p.Integrations }, writeIntegration, readIntegration),
		lines("integration_devices", func(p *ArchivePart) *[]hearth.IntegrationDevice { return &p.Links },
			func(r hearth.IntegrationDevice) lineLink { return lineLink(r) }, func(r lineLink) hearth.IntegrationDevice { return hearth.IntegrationDevice(r) }),
		lines("import_checkpoints", func(p *ArchivePart) *[]hearth.Checkpoint { return &p.Checkpoints },
			func(r hearth.Checkpoint) lineCheckpoint { return lineCheckpoint(r) }, func(r lineCheckpoint) hearth.Checkpoint { return hearth.Checkpoint(r) }),
		lines("idempotency", func(p *ArchivePart) *[]hearth.IdempotencyRecord { return &p.Idempotency }, writeIdempotencyRecord, readOnce),
		lines("outbox", func(p *ArchivePart) *[]hearth.OutboxJob { return &p.Outbox },
			func(r hearth.OutboxJob) lineOutboxJob { return lineOutboxJob(r) }, func(r lineOutboxJob) hearth.OutboxJob { return hearth.OutboxJob(r) }),
		lines("audit", func(p *ArchivePart) *[]hearth.AuditEntry { return &p.Audit }, writeAudit, readAudit),
	}
}

// lines makes the kind of R, whose records are written as W.
func lines[R, W any](name string, of func(*ArchivePart) *[]R, to func(R) W, from func(W) R) archiveKind {
	return archiveKind{
		name: name,
		lines: func(p *ArchivePart) (all [][]byte, err error) {
			for _, r := range *of(p) {
				var out bytes.Buffer
				encoder := json.NewEncoder(&out)
				encoder.SetEscapeHTML(false)
				if err := encoder.Encode(to(r)); err != nil {
					return nil, err
				}
				all = append(all, out.Bytes())
			}
			return all, nil
		},
		line: func(line []byte, p *ArchivePart) error {
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			var w W
			err := decoder.Decode(&w)
			*of(p) = append(*of(p), from(w))
			return err
		},
	}
}
