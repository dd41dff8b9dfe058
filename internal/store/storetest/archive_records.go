package storetest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"hearth"
	"hearth/internal/store/archive"
)

// Everything returns parts with n records and more of every kind that an archive holds, with every field set in some of them
// and empty in others; the same for the same n. Logs are n a device.
func Everything(n int) []ArchivePart {
	g := &recordMaker{n: n, rng: rand.New(rand.NewPCG(uint64(n), 7))}
	parts := []ArchivePart{
		{}, {Users: g.users()}, {Tries: g.tries()}, {PasswordResets: g.resets()}, {Sessions: g.sessions()}, {RefreshTokens: g.refreshTokens()},
		{Organizations: g.organizations()}, {Members: g.members()}, {Invitations: g.invitations()}, {APIKeys: g.apiKeys()},
		{ProvisioningKeys: g.provisioningKeys()}, {Devices: g.devices()}, {DeviceTokens: g.deviceTokens()}, {Twins: g.twins()}, {MQTTSessions: g.mqttSessions()},
		{Provisioned: g.provisioned()}, {ClaimCodes: g.claimCodes()}, {Notifications: g.notifications()}, {Settings: g.settings()},
		{Channels: g.channels()}, {Digests: g.digests()}, {Watches: g.watches()},
		{Commands: g.commands()}, {Batches: g.batches()}, {Rules: g.rules()}, {Alarms: g.alarms()}, {AlarmWatches: g.alarmWatches()}, {Unjudged: g.unjudged()}, {Uptime: g.uptime()},
		{Schedules: g.schedules()}, {Exports: g.exports()}, {Webhooks: g.webhooks()}, {Deliveries: g.deliveries()},
		{Lines: g.lines()}, {Connections: g.connections()},
		{Integrations: g.integrations()}, {Links: g.links()}, {Checkpoints: g.checkpoints()}, {Idempotency: g.once()}, {Outbox: g.outbox()}, {Audit: g.audit()}, {Logs: g.logs()},
	}
	parts[0].Counters = []archive.Counters{{LastDevice: int64(10*n + 100), LastLog: g.lastLog + 1000}}
	return parts
}

// recordMaker makes records.
type recordMaker struct {
	n       int
	rng     *rand.Rand
	lastLog uint64
}

func (g *recordMaker) id(kind, i int) string {
	return fmt.Sprintf("0195c%03x-0000-7000-8000-%012x", kind, i)
}

func (g *recordMaker) hash(kind string, i int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return sum[:]
}

func (g *recordMaker) at(i int) time.Time {
	return epoch.Add(time.Duration(i)*time.Minute + 123*time.Millisecond)
}

func (g *recordMaker) userID(i int) string   { return g.id(1, i%g.n) }
func (g *recordMaker) orgID(i int) string    { return g.id(2, i%g.n) }
func (g *recordMaker) deviceID(i int) string { return g.id(3, i%g.n) }

// each makes n records, the first of which is bare.
func each[T any](n int, bare func(i int) T, full func(i int, r *T)) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = bare(i)
		if i > 0 {
			full(i, &out[i])
		}
	}
	return out
}

func (g *recordMaker) users() []hearth.User {
	return each(g.n, func(i int) hearth.User {
		return hearth.User{ID: g.userID(i), Name: "Zoë <i> & \"co\"\u2028", Email: fmt.Sprintf("u%d@example.com", i), Role: hearth.RoleUser,
			PasswordHash: g.hash("password", i), CreatedAt: g.at(i), UpdatedAt: g.at(i + 1)}
	}, func(i int, u *hearth.User) {
		u.Role, u.Disabled, u.Epoch, u.LastLoginAt, u.TimeZone = hearth.RoleAdmin, i%2 == 0, int64(i), g.at(i+2), "Asia/Kolkata"
	})
}

func (g *recordMaker) tries() []ArchivedTries {
	return each(g.n, func(i int) ArchivedTries {
		return ArchivedTries{Key: g.hash("tries", i), Tries: hearth.Tries{Failed: i + 1, UpdatedAt: g.at(i)}}
	}, func(i int, r *ArchivedTries) { r.LockedUntil = g.at(i + 9) })
}

func (g *recordMaker) resets() []hearth.PasswordReset {
	return each(g.n, func(i int) hearth.PasswordReset {
		return hearth.PasswordReset{ID: g.id(4, i), UserID: g.userID(i), Hash: g.hash("reset", i), ExpiresAt: g.at(i)}
	}, func(int, *hearth.PasswordReset) {})
}

func (g *recordMaker) sessions() []hearth.Session {
	return each(2*g.n, func(i int) hearth.Session {
		return hearth.Session{ID: g.id(5, i), UserID: g.userID(i), Device: g.hash("from", i), Network: g.hash("network", i), Origin: []byte{0, 's', 0xff, byte(i)},
			CreatedAt: g.at(i), LastUsedAt: g.at(i + 1), ExpiresAt: g.at(i + 10000)}
	}, func(i int, s *hearth.Session) {
		if i%2 == 0 {
			s.EndedAt, s.EndReason = g.at(i+5), hearth.EndLogout
		}
	})
}

func (g *recordMaker) refreshTokens() []ArchivedRefreshToken {
	return each(3*g.n, func(i int) ArchivedRefreshToken {
		return ArchivedRefreshToken{Hash: g.hash("refresh", i), SessionID: g.id(5, i%(2*g.n))}
	}, func(i int, r *ArchivedRefreshToken) { r.Spent = i%3 != 0 })
}

func (g *recordMaker) organizations() []hearth.Organization {
	return each(g.n, func(i int) hearth.Organization {
		return hearth.Organization{ID: g.orgID(i), Name: fmt.Sprintf("Org %d", i), CreatedAt: g.at(i), UpdatedAt: g.at(i + 1)}
	}, func(int, *hearth.Organization) {})
}

func (g *recordMaker) members() []hearth.Member {
	return each(g.n, func(i int) hearth.Member {
		return hearth.Member{OrganizationID: g.orgID(i), UserID: g.userID(i + 1), Role: hearth.OrgOwner, JoinedAt: g.at(i)}
	}, func(i int, m *hearth.Member) { m.Role = []hearth.OrgRole{hearth.OrgViewer, hearth.OrgAdmin}[i%2] })
}

func (g *recordMaker) invitations() []hearth.Invitation {
	return each(g.n, func(i int) hearth.Invitation {
		return hearth.Invitation{ID: g.id(6, i), OrganizationID: g.orgID(i), Email: fmt.Sprintf("i%d@example.com", i), Role: hearth.OrgMember,
			Hash: g.hash("invitation", i), InvitedBy: g.userID(i), CreatedAt: g.at(i), ExpiresAt: g.at(i + 50)}
	}, func(int, *hearth.Invitation) {})
}

func (g *recordMaker) devices() []hearth.Device {
	return each(g.n, func(i int) hearth.Device {
		return hearth.Device{ID: g.deviceID(i), Key: int64(10*i + 3), Name: fmt.Sprintf("Device %d", i), Type: "sensor", Status: hearth.StatusActive,
			Interval: 60, OwnerID: g.userID(i), Version: 1, CreatedAt: g.at(i), UpdatedAt: g.at(i)}
	}, func(i int, d *hearth.Device) {
		d.Tags, d.Metadata = []string{"b", "a", "Küche"}, json.RawMessage(`{"z": 1.50, "a":"<&>"}`)
		d.Serial = fmt.Sprintf("SN %d", i)
		d.Status, d.Idle, d.Version, d.LastActiveAt, d.DesiredVersion = hearth.StatusInactive, i%2 == 0, int64(i+1), g.at(i+7), int64(i)
		d.OfflineAt = g.at(i + 9)
		d.LastError = &hearth.DeviceError{Code: hearth.CodeValidationFailed, Message: "value is \"wrong\"", Topic: "t/ü", At: g.at(i + 8)}
		if i%3 == 0 {
			d.OrganizationID = g.orgID(i)
		}
	})
}

func (g *recordMaker) deviceTokens() []hearth.DeviceToken {
	return each(g.n, func(i int) hearth.DeviceToken {
		return hearth.DeviceToken{ID: g.id(7, i), DeviceID: g.deviceID(i), Hash: g.hash("token", i), CreatedAt: g.at(i)}
	}, func(i int, r *hearth.DeviceToken) {
		r.LastUsedAt, r.Provisioned, r.CreatedBy, r.Gateway = g.at(i+1), i%2 == 0, g.userID(i), i%3 == 0
	})
}

func (g *recordMaker) provisioningKeys() []hearth.ProvisioningKey {
	return each(g.n, func(i int) hearth.ProvisioningKey {
		return hearth.ProvisioningKey{ID: g.id(17, i), UserID: g.userID(i), Name: "factory", Prefix: "hp_a", Hash: g.hash("provisioning key", i),
			DeviceType: "sensor", CreatedAt: g.at(i)}
	}, func(i int, k *hearth.ProvisioningKey) {
		k.OrganizationID, k.Tags, k.MaxDevices, k.Devices, k.ExpiresAt = g.orgID(i), []string{"b", "a"}, 100, int64(i), g.at(i+2)
	})
}

func (g *recordMaker) provisioned() []hearth.Provisioned {
	return each(g.n, func(i int) hearth.Provisioned {
		return hearth.Provisioned{Scope: hearth.UserScope(g.userID(i)), Serial: fmt.Sprintf("SN %d", i), DeviceID: g.deviceID(i)}
	}, func(i int, p *hearth.Provisioned) { p.SecretHash = g.hash("secret", i) })
}

func (g *recordMaker) claimCodes() []hearth.ClaimCode {
	return each(g.n, func(i int) hearth.ClaimCode {
		return hearth.ClaimCode{Hash: g.hash("claim code", i), DeviceID: g.deviceID(i), Scope: hearth.UserScope(g.userID(i)),
			CreatedBy: g.userID(i), CreatedAt: g.at(i), ExpiresAt: g.at(i + 15)}
	}, func(int, *hearth.ClaimCode) {})
}

func (g *recordMaker) mqttSessions() []hearth.MQTTSession {
	return each(g.n, func(i int) hearth.MQTTSession {
		return hearth.MQTTSession{DeviceID: g.deviceID(i), Expiry: time.Duration(i) * time.Second, SavedAt: g.at(i)}
	}, func(_ int, s *hearth.MQTTSession) { s.Filters = map[string]byte{"c": 1, "d": 0} })
}

func (g *recordMaker) twins() []hearth.Twin {
	return each(g.n, func(i int) hearth.Twin {
		return hearth.Twin{DeviceID: g.deviceID(i), Reported: json.RawMessage(`{"on":true}`), ReportedVersion: 1, ReportedAt: g.at(i)}
	}, func(i int, t *hearth.Twin) {
		t.Desired, t.DesiredVersion, t.DesiredAt = json.RawMessage(`{"$set":{"a.b":[null,1.50]},"n":12345678901234567890}`), int64(i), g.at(i+1)
	})
}

func (g *recordMaker) notifications() []hearth.Notification {
	return each(g.n, func(i int) hearth.Notification {
		return hearth.Notification{ID: g.id(8, i), UserID: g.userID(i), Type: hearth.NotifyAccountLocked, Title: "T", Body: "B", CreatedAt: g.at(i)}
	}, func(i int, n *hearth.Notification) {
		n.Data, n.ReadAt = map[string]string{"device_id": g.deviceID(i), "b": "<"}, g.at(i+3)
	})
}

func (g *recordMaker) settings() []ArchivedSettings {
	return each(g.n, func(i int) ArchivedSettings {
		return ArchivedSettings{UserID: g.userID(i), Types: map[hearth.NotificationType]hearth.Delivery{}}
	}, func(_ int, s *ArchivedSettings) {
		s.Types[hearth.NotifyNewSignIn], s.Types[hearth.NotifyDeviceOffline] = hearth.Delivery{InApp: true}, hearth.Delivery{Email: true}
		s.EmailDigest, s.Quiet = 15, &hearth.QuietHours{Start: 22 * 60, End: 7 * 60}
	})
}

func (g *recordMaker) watches() []hearth.DeviceWatch {
	return each(g.n, func(i int) hearth.DeviceWatch {
		return hearth.DeviceWatch{UserID: g.userID(i), DeviceID: g.deviceID(i), Told: hearth.Never}
	}, func(_ int, w *hearth.DeviceWatch) { w.Told = hearth.Offline })
}

func (g *recordMaker) commands() []hearth.Command {
	return each(g.n, func(i int) hearth.Command {
		return hearth.Command{ID: g.id(12, i), DeviceID: g.deviceID(i), Seq: int64(i + 1), Name: "reboot", State: hearth.CommandQueued,
			CreatedBy: g.userID(i), CreatedAt: g.at(i), ExpiresAt: g.at(i + 60)}
	}, func(i int, c *hearth.Command) {
		c.Batch, c.Params, c.Attempts, c.Number, c.SentAt, c.DeliveredAt = g.id(13, i), json.RawMessage(`{"a":1.50,"b":[null,"ü"]}`), i, int64(i), g.at(i+1), g.at(i+2)
		if c.State, c.CompletedAt = hearth.CommandSucceeded, g.at(i+3); i%2 == 0 {
			c.State, c.Error = hearth.CommandFailed, "jammed"
		} else {
			c.Result = json.RawMessage(`7`)
		}
	})
}

func (g *recordMaker) batches() []hearth.CommandBatch {
	return each(g.n, func(i int) hearth.CommandBatch {
		return hearth.CommandBatch{ID: g.id(13, i), Total: 1, Name: "reboot", CreatedBy: g.userID(i), CreatedAt: g.at(i), ExpiresAt: g.at(i + 60)}
	}, func(i int, b *hearth.CommandBatch) {
		b.Total, b.DeviceIDs, b.Params, b.OnlyOrg = 3, []string{g.deviceID(i), g.deviceID(i + 1)}, json.RawMessage(`[]`), g.orgID(i)
	})
}

func (g *recordMaker) apiKeys() []hearth.APIKey {
	return each(g.n, func(i int) hearth.APIKey {
		return hearth.APIKey{ID: g.id(14, i), UserID: g.userID(i), Name: "ci", Prefix: "hk_a", Hash: g.hash("api key", i),
			Scopes: []hearth.KeyScope{hearth.KeyDevicesRead}, CreatedAt: g.at(i)}
	}, func(i int, k *hearth.APIKey) {
		k.Scopes, k.OrganizationID, k.ExpiresAt, k.LastUsedAt = hearth.KeyScopes(), g.orgID(i), g.at(i+2), g.at(i+1)
	})
}

func (g *recordMaker) schedules() []hearth.ExportSchedule {
	return each(g.n, func(i int) hearth.ExportSchedule {
		return hearth.ExportSchedule{ID: g.id(11, i), UserID: g.userID(i), Recurrence: hearth.Recurrence{Every: hearth.Daily, TimeZone: "UTC"},
			Type: hearth.ExportUsage, Format: hearth.FormatJSON, Compression: hearth.CompressGzip, CreatedAt: g.at(i), UpdatedAt: g.at(i)}
	}, func(i int, s *hearth.ExportSchedule) {
		s.CSV = &hearth.ExportCSV{Separator: ";", Decimal: ",", BOM: true, TimeZone: "Europe/Berlin"}
		s.Name, s.Enabled, s.NextAt, s.LastAt, s.LastExport, s.OnlyOrg = "Each week", true, g.at(i+1), g.at(i), g.id(9, i), g.orgID(i)
		s.Recurrence = hearth.Recurrence{Every: hearth.Weekly, Minute: 7, Weekday: time.Saturday, Day: 31, TimeZone: "Europe/Berlin"}
		s.Filters = hearth.ExportFilters{DeviceIDs: []string{g.deviceID(i)}, Events: []string{"e"}, IncludeInactive: true}
		if i%2 == 0 {
			s.Failure = &hearth.ExportFailure{Code: hearth.CodeForbidden, Message: "m"}
		}
	})
}

func (g *recordMaker) exports() []hearth.Export {
	return each(g.n, func(i int) hearth.Export {
		return hearth.Export{ID: g.id(9, i), UserID: g.userID(i), Type: hearth.ExportLogs, Format: hearth.FormatCSV, Compression: hearth.CompressNone,
			Status: hearth.ExportQueued, Reach: hearth.Reach{All: true}, CreatedAt: g.at(i)}
	}, func(i int, e *hearth.Export) {
		e.CSV = &hearth.ExportCSV{Separator: ";", Decimal: ",", BOM: true, TimeZone: "Europe/Berlin"}
		e.From, e.To = time.UnixMilli(0).UTC(), g.at(i) // the epoch is a time like another
		e.Filters = hearth.ExportFilters{DeviceIDs: []string{g.deviceID(i)}, Events: []string{"e"}, IncludeInactive: true}
		e.Reach = hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope(g.userID(i))}}
		e.Notify, e.Job, e.Run, e.File, e.Schedule, e.OnlyOrg = true, "job", "run", "exports/f", g.id(11, i), g.orgID(i)
		e.Progress = hearth.ExportProgress{Step: "writing", Processed: 5, Total: 9}
		e.StartedAt, e.CompletedAt, e.ExpiresAt = g.at(i+1), g.at(i+2), g.at(i+3)
		if i%2 == 0 {
			e.Status, e.Failure = hearth.ExportFailed, &hearth.ExportFailure{Code: hearth.CodeInternal, Message: "m"}
		} else {
			e.Status, e.Result = hearth.ExportCompleted, &hearth.ExportResult{FileName: "f.csv", Size: 7, SHA256: "ab", Records: 5, Downloads: 2}
		}
	})
}

func (g *recordMaker) checkpoints() []hearth.Checkpoint {
	return each(g.n, func(i int) hearth.Checkpoint {
		return hearth.Checkpoint{ID: fmt.Sprintf("import %d", i), Rows: int64(i), Mark: []byte{}}
	}, func(i int, c *hearth.Checkpoint) { c.Mark = []byte{0xff, byte(i)} })
}

func (g *recordMaker) once() []hearth.IdempotencyRecord {
	return each(g.n, func(i int) hearth.IdempotencyRecord {
		return hearth.IdempotencyRecord{Caller: "user:" + g.userID(i), Key: fmt.Sprintf("key %d", i), Fingerprint: "f", Operation: "create-log", Created: []byte{0, 0xfe}, FirstLog: uint64(i + 1),
			CreatedAt: g.at(i), ExpiresAt: g.at(i + 1440)}
	}, func(int, *hearth.IdempotencyRecord) {})
}

func (g *recordMaker) outbox() []hearth.OutboxJob {
	return each(g.n, func(i int) hearth.OutboxJob {
		return hearth.OutboxJob{ID: g.id(10, i), Kind: "test.kind", Queue: "notification", Payload: []byte(`{"a": "<&>"}`)}
	}, func(i int, job *hearth.OutboxJob) { job.Unique, job.RunAt = fmt.Sprintf("u%d", i), g.at(i) })
}

// audit makes a chain; one entry holds a user agent that is no UTF-8, as clients send it.
func (g *recordMaker) audit() []hearth.AuditEntry {
	var head hearth.AuditHead
	entries := make([]hearth.AuditEntry, 3*g.n)
	for i := range entries {
		e := hearth.AuditEntry{At: g.at(i), ActorID: "cli", Action: "user.create", Result: "ok"}
		if i > 0 {
			e.Target, e.IP, e.UserAgent, e.RequestID = "user:"+g.userID(i), "2001:db8::1", "agent \xff\xfe <b>", "r"
			e.Changes = map[string]hearth.Change{"name": {Before: "a\u2028<", After: 1.5}}
		}
		e, err := e.Chained(head)
		if err != nil {
			panic(err) // the changes above are JSON
		}
		e.Changes = nil
		head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
		entries[i] = e
	}
	return entries
}

// logs makes logs of n devices in random order of time, some of the same time, whose values are sums of quarters, so that
// their sums are exact in any order.
func (g *recordMaker) logs() []hearth.LogEntry {
	entries := make([]hearth.LogEntry, 0, g.n*g.n)
	for i := range g.n * g.n {
		g.lastLog += uint64(1 + i%3)
		entries = append(entries, hearth.LogEntry{
			Device: int64(10*(g.rng.IntN(g.n)) + 3), Event: []string{"temperature", "power", "a:b.c-d_E"}[g.rng.IntN(3)],
			Value: g.value(), At: epoch.UnixMilli() + int64(g.rng.IntN(40*24*60))*60_000, Seq: g.lastLog,
		})
	}
	if len(entries) > 3 {
		entries[1].Value, entries[2].At, entries[3].At = hearth.Number(1e300), -62135596800000, 253402300799999
	}
	return entries
}

// value returns a value of any kind.
func (g *recordMaker) value() hearth.Value {
	number := hearth.Number(float64(g.rng.IntN(4000)-2000) / 4)
	switch g.rng.IntN(8) {
	case 0:
		return hearth.Boolean(number.Number() > 0)
	case 1:
		return hearth.Text([]string{"open", "shut", "é\u2028"}[g.rng.IntN(3)])
	}
	return number
}
