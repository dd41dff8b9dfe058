package storetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"hearth"
)

// The records as an archive holds them, one JSON object a line, written down a second time: so that a change of the format shows.

type lineUser struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	Email        string      `json:"email"`
	Role         hearth.Role `json:"role"`
	PasswordHash []byte      `json:"password_hash,omitempty"`
	TimeZone     string      `json:"time_zone,omitempty"`
	Disabled     bool        `json:"disabled,omitempty"`
	Epoch        int64       `json:"epoch,omitempty"`
	CreatedAt    time.Time   `json:"created_at,omitzero"`
	UpdatedAt    time.Time   `json:"updated_at,omitzero"`
	LastLoginAt  time.Time   `json:"last_login_at,omitzero"`
}

type lineTries struct {
	Key         []byte    `json:"key,omitempty"`
	Failed      int       `json:"failed"`
	LockedUntil time.Time `json:"locked_until,omitzero"`
	UpdatedAt   time.Time `json:"updated_at,omitzero"`
}

type linePasswordReset struct {
	ID        string    `json:"id"`
	UserID    string    `json:"user_id"`
	Hash      []byte    `json:"hash,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

type lineSession struct {
	ID         string           `json:"id"`
	UserID     string           `json:"user_id"`
	Device     []byte           `json:"device,omitempty"`
	Network    []byte           `json:"network,omitempty"`
	Origin     []byte           `json:"origin,omitempty"`
	CreatedAt  time.Time        `json:"created_at,omitzero"`
	LastUsedAt time.Time        `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time        `json:"expires_at,omitzero"`
	EndedAt    time.Time        `json:"ended_at,omitzero"`
	EndReason  hearth.EndReason `json:"end_reason,omitempty"`
}

type lineRefreshToken struct {
	Hash      []byte `json:"hash,omitempty"`
	SessionID string `json:"session_id"`
	Spent     bool   `json:"spent,omitempty"`
}

type lineOrganization struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

type lineMember struct {
	OrganizationID string         `json:"organization_id"`
	UserID         string         `json:"user_id"`
	Role           hearth.OrgRole `json:"role"`
	JoinedAt       time.Time      `json:"joined_at,omitzero"`
}

type lineInvitation struct {
	ID             string         `json:"id"`
	OrganizationID string         `json:"organization_id"`
	Email          string         `json:"email"`
	Role           hearth.OrgRole `json:"role"`
	Hash           []byte         `json:"hash,omitempty"`
	InvitedBy      string         `json:"invited_by"`
	CreatedAt      time.Time      `json:"created_at,omitzero"`
	ExpiresAt      time.Time      `json:"expires_at,omitzero"`
}

type lineDevice struct {
	ID             string              `json:"id"`
	Key            int64               `json:"key"`
	Name           string              `json:"name"`
	Type           string              `json:"type"`
	Serial         string              `json:"serial,omitempty"`
	Status         hearth.DeviceStatus `json:"status"`
	Tags           []string            `json:"tags,omitempty"`
	Metadata       lineText            `json:"metadata,omitempty"` // the JSON as it is stored, to the byte
	Interval       int                 `json:"interval"`
	LastActiveAt   time.Time           `json:"last_active_at,omitzero"`
	OfflineAt      time.Time           `json:"offline_at,omitzero"`
	LastError      lineText            `json:"last_error,omitempty"`
	OwnerID        string              `json:"owner_id"`
	OrganizationID string              `json:"organization_id,omitempty"`
	Idle           bool                `json:"idle,omitempty"`
	DesiredVersion int64               `json:"desired_version,omitempty"`
	Version        int64               `json:"version"`
	CreatedAt      time.Time           `json:"created_at,omitzero"`
	UpdatedAt      time.Time           `json:"updated_at,omitzero"`
}

func writeDevice(d hearth.Device) lineDevice {
	line := lineDevice{
		ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Serial: d.Serial, Status: d.Status, Tags: d.Tags, Metadata: lineText(d.Metadata), Interval: d.Interval,
		LastActiveAt: d.LastActiveAt, OfflineAt: d.OfflineAt, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, Idle: d.Idle,
		DesiredVersion: d.DesiredVersion, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if d.LastError != nil {
		text, _ := json.Marshal(d.LastError) //nolint:errchkjson // times of our clock encode
		line.LastError = lineText(text)
	}
	return line
}

func readDevice(d lineDevice) hearth.Device {
	out := hearth.Device{
		ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Serial: d.Serial, Status: d.Status, Tags: d.Tags, Interval: d.Interval,
		LastActiveAt: d.LastActiveAt, OfflineAt: d.OfflineAt, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, Idle: d.Idle,
		DesiredVersion: d.DesiredVersion, Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if d.LastError != "" {
		out.LastError = &hearth.DeviceError{}
		if err := json.Unmarshal([]byte(d.LastError), out.LastError); err != nil {
			out.LastError.Message = err.Error()
		}
	}
	if d.Metadata != "" {
		out.Metadata = json.RawMessage(d.Metadata)
	}
	return out
}

type lineTwin struct {
	DeviceID        string    `json:"device_id"`
	Desired         lineText  `json:"desired,omitempty"` // the JSON as it is stored, to the byte
	Reported        lineText  `json:"reported,omitempty"`
	DesiredVersion  int64     `json:"desired_version,omitempty"`
	ReportedVersion int64     `json:"reported_version,omitempty"`
	DesiredAt       time.Time `json:"desired_at,omitzero"`
	ReportedAt      time.Time `json:"reported_at,omitzero"`
}

func writeTwin(t hearth.Twin) lineTwin {
	return lineTwin{t.DeviceID, lineText(t.Desired), lineText(t.Reported), t.DesiredVersion, t.ReportedVersion, t.DesiredAt, t.ReportedAt}
}

func readTwin(t lineTwin) hearth.Twin {
	out := hearth.Twin{
		DeviceID: t.DeviceID, DesiredVersion: t.DesiredVersion, ReportedVersion: t.ReportedVersion, DesiredAt: t.DesiredAt, ReportedAt: t.ReportedAt,
	}
	if t.Desired != "" {
		out.Desired = json.RawMessage(t.Desired)
	}
	if t.Reported != "" {
		out.Reported = json.RawMessage(t.Reported)
	}
	return out
}

type lineDeviceToken struct {
	ID          string    `json:"id"`
	DeviceID    string    `json:"device_id"`
	Hash        []byte    `json:"hash,omitempty"`
	CreatedAt   time.Time `json:"created_at,omitzero"`
	CreatedBy   string    `json:"created_by,omitempty"`
	Provisioned bool      `json:"provisioned,omitempty"`
	Gateway     bool      `json:"gateway,omitempty"`
	LastUsedAt  time.Time `json:"last_used_at,omitzero"`
}

type lineProvisioned struct {
	Scope      hearth.Scope `json:"scope"`
	Serial     string       `json:"serial"`
	DeviceID   string       `json:"device_id"`
	SecretHash []byte       `json:"secret_hash,omitempty"`
}

type lineClaimCode struct {
	Hash      []byte       `json:"hash"`
	DeviceID  string       `json:"device_id"`
	Scope     hearth.Scope `json:"scope"`
	CreatedBy string       `json:"created_by"`
	CreatedAt time.Time    `json:"created_at,omitzero"`
	ExpiresAt time.Time    `json:"expires_at,omitzero"`
}

type lineProvisioningKey struct {
	ID             string       `json:"id"`
	Scope          hearth.Scope `json:"scope"`
	UserID         string       `json:"user_id"`
	OrganizationID string       `json:"organization_id,omitempty"`
	Name           string       `json:"name"`
	Prefix         string       `json:"prefix"`
	Hash           []byte       `json:"hash,omitempty"`
	DeviceType     string       `json:"device_type"`
	Tags           []string     `json:"tags,omitempty"`
	MaxDevices     int64        `json:"max_devices,omitempty"`
	Devices        int64        `json:"devices,omitempty"`
	CreatedAt      time.Time    `json:"created_at,omitzero"`
	ExpiresAt      time.Time    `json:"expires_at,omitzero"`
}

func writeProvisioningKey(k hearth.ProvisioningKey) lineProvisioningKey {
	return lineProvisioningKey{k.ID, k.Scope(), k.UserID, k.OrganizationID, k.Name, k.Prefix, k.Hash, k.DeviceType, k.Tags, k.MaxDevices,
		k.Devices, k.CreatedAt, k.ExpiresAt}
}

func readProvisioningKey(k lineProvisioningKey) hearth.ProvisioningKey {
	return hearth.ProvisioningKey{ID: k.ID, UserID: k.UserID, OrganizationID: k.OrganizationID, Name: k.Name, Prefix: k.Prefix, Hash: k.Hash,
		DeviceType: k.DeviceType, Tags: k.Tags, MaxDevices: k.MaxDevices, Devices: k.Devices, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
}

type lineNotification struct {
	ID        string                  `json:"id"`
	UserID    string                  `json:"user_id"`
	Type      hearth.NotificationType `json:"type"`
	Title     string                  `json:"title"`
	Body      string                  `json:"body"`
	Data      map[string]string       `json:"data,omitempty"`
	CreatedAt time.Time               `json:"created_at,omitzero"`
	ReadAt    time.Time               `json:"read_at,omitzero"`
}

type lineDelivery struct {
	InApp bool `json:"in_app"`
	Email bool `json:"email"`
}

type lineSettings struct {
	UserID      string                                   `json:"user_id"`
	Types       map[hearth.NotificationType]lineDelivery `json:"types"`
	EmailDigest int                                      `json:"email_digest,omitempty"`
	Quiet       *lineQuiet                               `json:"quiet,omitempty"`
}

type lineQuiet struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

func writeSettings(s ArchivedSettings) lineSettings {
	out := lineSettings{
		UserID: s.UserID, Types: make(map[hearth.NotificationType]lineDelivery, len(s.Types)), EmailDigest: s.EmailDigest, Quiet: (*lineQuiet)(s.Quiet),
	}
	for kind, d := range s.Types {
		out.Types[kind] = lineDelivery(d)
	}
	return out
}

func readSettings(s lineSettings) ArchivedSettings {
	out := ArchivedSettings{
		UserID: s.UserID, Types: make(map[hearth.NotificationType]hearth.Delivery, len(s.Types)), EmailDigest: s.EmailDigest,
		Quiet: (*hearth.QuietHours)(s.Quiet),
	}
	for kind, d := range s.Types {
		out.Types[kind] = hearth.Delivery(d)
	}
	return out
}

type lineWatch struct {
	UserID   string            `json:"user_id"`
	DeviceID string            `json:"device_id"`
	Told     hearth.Connection `json:"told"`
}

type lineExportFilters struct {
	DeviceIDs       []string `json:"device_ids,omitempty"`
	Events          []string `json:"events,omitempty"`
	IncludeInactive bool     `json:"include_inactive,omitempty"`
}

type lineExportReach struct {
	All    bool           `json:"all,omitempty"`
	Scopes []hearth.Scope `json:"scopes,omitempty"`
}

type lineExportProgress struct {
	Step      string `json:"step,omitempty"`
	Processed int64  `json:"processed,omitempty"`
	Total     int64  `json:"total,omitempty"`
}

type lineExportResult struct {
	FileName  string `json:"file_name"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Records   int64  `json:"records"`
	Downloads int64  `json:"downloads"`
}

type lineExportFailure struct {
	Code    hearth.Code `json:"code"`
	Message string      `json:"message"`
}

type lineExportCSV struct {
	Separator string `json:"separator,omitempty"`
	Decimal   string `json:"decimal,omitempty"`
	BOM       bool   `json:"bom,omitempty"`
	TimeZone  string `json:"time_zone,omitempty"`
}

type lineExport struct {
	ID          string                   `json:"id"`
	UserID      string                   `json:"user_id"`
	OnlyOrg     string                   `json:"only_org,omitempty"`
	Type        hearth.ExportType        `json:"type"`
	Format      hearth.ExportFormat      `json:"format"`
	Compression hearth.ExportCompression `json:"compression"`
	CSV         *lineExportCSV           `json:"csv,omitempty"`
	Status      hearth.ExportStatus      `json:"status"`
	From        time.Time                `json:"from,omitzero"`
	To          time.Time                `json:"to,omitzero"`
	Filters     lineExportFilters        `json:"filters"`
	Reach       lineExportReach          `json:"reach"`
	Notify      bool                     `json:"notify,omitempty"`
	Progress    lineExportProgress       `json:"progress"`
	Result      *lineExportResult        `json:"result,omitempty"`
	Failure     *lineExportFailure       `json:"failure,omitempty"`
	Job         string                   `json:"job,omitempty"`
	Run         string                   `json:"run,omitempty"`
	File        string                   `json:"file,omitempty"`
	Schedule    string                   `json:"schedule,omitempty"`
	CreatedAt   time.Time                `json:"created_at,omitzero"`
	StartedAt   time.Time                `json:"started_at,omitzero"`
	CompletedAt time.Time                `json:"completed_at,omitzero"`
	ExpiresAt   time.Time                `json:"expires_at,omitzero"`
}

func writeExport(e hearth.Export) lineExport {
	return lineExport{
		ID: e.ID, UserID: e.UserID, OnlyOrg: e.OnlyOrg, Type: e.Type, Format: e.Format, Compression: e.Compression, CSV: (*lineExportCSV)(e.CSV),
		Status: e.Status, From: e.From, To: e.To,
		Filters: lineExportFilters(e.Filters), Reach: lineExportReach(e.Reach), Notify: e.Notify, Progress: lineExportProgress(e.Progress),
		Result: (*lineExportResult)(e.Result), Failure: (*lineExportFailure)(e.Failure), Job: e.Job, Run: e.Run, File: e.File, Schedule: e.Schedule,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, CompletedAt: e.CompletedAt, ExpiresAt: e.ExpiresAt,
	}
}

func readExport(e lineExport) hearth.Export {
	return hearth.Export{
		ID: e.ID, UserID: e.UserID, OnlyOrg: e.OnlyOrg, Type: e.Type, Format: e.Format, Compression: e.Compression, CSV: (*hearth.ExportCSV)(e.CSV),
		Status: e.Status, From: e.From, To: e.To,
		Filters: hearth.ExportFilters(e.Filters), Reach: hearth.Reach(e.Reach), Notify: e.Notify, Progress: hearth.ExportProgress(e.Progress),
		Result: (*hearth.ExportResult)(e.Result), Failure: (*hearth.ExportFailure)(e.Failure), Job: e.Job, Run: e.Run, File: e.File, Schedule: e.Schedule,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, CompletedAt: e.CompletedAt, ExpiresAt: e.ExpiresAt,
	}
}

type lineRecurrence struct {
	Every    hearth.Every `json:"every"`
	Minute   int          `json:"minute"`
	Weekday  time.Weekday `json:"weekday"`
	Day      int          `json:"day"`
	TimeZone string       `json:"time_zone"`
}

type lineAPIKey struct {
	ID             string            `json:"id"`
	UserID         string            `json:"user_id"`
	Name           string            `json:"name"`
	Prefix         string            `json:"prefix"`
	Hash           []byte            `json:"hash,omitempty"`
	Scopes         []hearth.KeyScope `json:"scopes"`
	OrganizationID string            `json:"organization_id,omitempty"`
	CreatedAt      time.Time         `json:"created_at,omitzero"`
	ExpiresAt      time.Time         `json:"expires_at,omitzero"`
	LastUsedAt     time.Time         `json:"last_used_at,omitzero"`
}

type lineExportSchedule struct {
	ID          string                   `json:"id"`
	UserID      string                   `json:"user_id"`
	OnlyOrg     string                   `json:"only_org,omitempty"`
	Name        string                   `json:"name"`
	Recurrence  lineRecurrence           `json:"recurrence"`
	Type        hearth.ExportType        `json:"type"`
	Format      hearth.ExportFormat      `json:"format"`
	Compression hearth.ExportCompression `json:"compression"`
	CSV         *lineExportCSV           `json:"csv,omitempty"`
	Filters     lineExportFilters        `json:"filters"`
	Enabled     bool                     `json:"enabled,omitempty"`
	NextAt      time.Time                `json:"next_at,omitzero"`
	LastAt      time.Time                `json:"last_at,omitzero"`
	LastExport  string                   `json:"last_export,omitempty"`
	Failure     *lineExportFailure       `json:"failure,omitempty"`
	CreatedAt   time.Time                `json:"created_at,omitzero"`
	UpdatedAt   time.Time                `json:"updated_at,omitzero"`
}

func writeSchedule(s hearth.ExportSchedule) lineExportSchedule {
	return lineExportSchedule{
		s.ID, s.UserID, s.OnlyOrg, s.Name, lineRecurrence(s.Recurrence), s.Type, s.Format, s.Compression, (*lineExportCSV)(s.CSV), lineExportFilters(s.Filters), s.Enabled,
		s.NextAt, s.LastAt, s.LastExport, (*lineExportFailure)(s.Failure), s.CreatedAt, s.UpdatedAt,
	}
}

func readSchedule(s lineExportSchedule) hearth.ExportSchedule {
	return hearth.ExportSchedule{
		ID: s.ID, UserID: s.UserID, OnlyOrg: s.OnlyOrg, Name: s.Name, Recurrence: hearth.Recurrence(s.Recurrence), Type: s.Type, Format: s.Format,
		Compression: s.Compression, CSV: (*hearth.ExportCSV)(s.CSV), Filters: hearth.ExportFilters(s.Filters), Enabled: s.Enabled, NextAt: s.NextAt, LastAt: s.LastAt,
		LastExport: s.LastExport, Failure: (*hearth.ExportFailure)(s.Failure), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
}

type lineCommand struct {
	ID          string              `json:"id"`
	DeviceID    string              `json:"device_id"`
	Batch       string              `json:"batch,omitempty"`
	Seq         int64               `json:"seq"`
	Name        string              `json:"name"`
	Params      string              `json:"params,omitempty"`
	State       hearth.CommandState `json:"state"`
	Result      string              `json:"result,omitempty"`
	Error       string              `json:"error,omitempty"`
	CreatedBy   string              `json:"created_by"`
	CreatedAt   time.Time           `json:"created_at,omitzero"`
	SentAt      time.Time           `json:"sent_at,omitzero"`
	DeliveredAt time.Time           `json:"delivered_at,omitzero"`
	CompletedAt time.Time           `json:"completed_at,omitzero"`
	ExpiresAt   time.Time           `json:"expires_at,omitzero"`
	Attempts    int                 `json:"attempts,omitempty"`
	Number      int64               `json:"number,omitempty"`
	Turn        int64               `json:"turn,omitempty"`
	Ended       bool                `json:"ended,omitempty"`
	Due         time.Time           `json:"due,omitzero"`
}

func writeCommand(c hearth.Command) lineCommand {
	l := lineCommand{
		c.ID, c.DeviceID, c.Batch, c.Seq, c.Name, string(c.Params), c.State, string(c.Result), c.Error, c.CreatedBy, c.CreatedAt, c.SentAt,
		c.DeliveredAt, c.CompletedAt, c.ExpiresAt, c.Attempts, c.Number, 0, c.State.Ended(), c.ExpiresAt,
	}
	if l.Ended {
		l.Due = c.ExpiresAt.Add(hearth.CommandTTL)
	}
	if c.State.Pending() {
		l.Turn = c.Seq
	}
	return l
}

func readCommand(l lineCommand) hearth.Command {
	return hearth.Command{
		ID: l.ID, DeviceID: l.DeviceID, Batch: l.Batch, Seq: l.Seq, Name: l.Name, Params: rawJSON(l.Params), State: l.State,
		Result: rawJSON(l.Result), Error: l.Error, CreatedBy: l.CreatedBy, CreatedAt: l.CreatedAt, SentAt: l.SentAt,
		DeliveredAt: l.DeliveredAt, CompletedAt: l.CompletedAt, ExpiresAt: l.ExpiresAt, Attempts: l.Attempts, Number: l.Number,
	}
}

func rawJSON(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

type lineCommandBatch struct {
	ID        string    `json:"id"`
	Devices   string    `json:"devices,omitempty"`
	Total     int       `json:"total"`
	Name      string    `json:"name"`
	Params    string    `json:"params,omitempty"`
	CreatedBy string    `json:"created_by"`
	OnlyOrg   string    `json:"only_org,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

func writeBatch(b hearth.CommandBatch) lineCommandBatch {
	return lineCommandBatch{b.ID, strings.Join(b.DeviceIDs, ","), b.Total, b.Name, string(b.Params), b.CreatedBy, b.OnlyOrg, b.CreatedAt, b.ExpiresAt}
}

func readBatch(l lineCommandBatch) hearth.CommandBatch {
	return hearth.CommandBatch{
		ID: l.ID, DeviceIDs: strings.FieldsFunc(l.Devices, func(r rune) bool { return r == ',' }), Total: l.Total, Name: l.Name, Params: rawJSON(l.Params),
		CreatedBy: l.CreatedBy, OnlyOrg: l.OnlyOrg,
		CreatedAt: l.CreatedAt, ExpiresAt: l.ExpiresAt,
	}
}

type lineCheckpoint struct {
	ID   string `json:"id"`
	Rows int64  `json:"rows"`
	Mark []byte `json:"mark,omitempty"`
}

type lineOnce struct {
	Caller      string    `json:"caller"`
	Key         string    `json:"key"`
	Fingerprint string    `json:"fingerprint"`
	Status      int       `json:"status,omitempty"` // of archives before format 1's records had an operation; not needed
	Operation   string    `json:"operation,omitempty"`
	Created     []byte    `json:"answer,omitempty"`
	FirstLog    uint64    `json:"first_log,omitempty"`
	CreatedAt   time.Time `json:"created_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
}

func writeIdempotencyRecord(o hearth.IdempotencyRecord) lineOnce {
	return lineOnce{o.Caller, o.Key, o.Fingerprint, 0, o.Operation, o.Created, o.FirstLog, o.CreatedAt, o.ExpiresAt}
}

func readOnce(o lineOnce) hearth.IdempotencyRecord {
	return hearth.IdempotencyRecord{
		Caller: o.Caller, Key: o.Key, Fingerprint: o.Fingerprint, Operation: o.Operation, Created: o.Created, FirstLog: o.FirstLog,
		CreatedAt: o.CreatedAt, ExpiresAt: o.ExpiresAt,
	}
}

type lineOutboxJob struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Queue   string    `json:"queue"`
	Payload []byte    `json:"payload,omitempty"`
	Unique  string    `json:"unique,omitempty"`
	RunAt   time.Time `json:"run_at,omitzero"`
}

type lineAuditEntry struct {
	Seq       int64     `json:"seq"`
	PrevHash  string    `json:"prev_hash"`
	Hash      string    `json:"hash"`
	At        time.Time `json:"at,omitzero"`
	ActorID   lineText  `json:"actor_id"`
	Action    lineText  `json:"action"`
	Target    lineText  `json:"target,omitempty"`
	Result    lineText  `json:"result"`
	IP        lineText  `json:"ip,omitempty"`
	UserAgent lineText  `json:"user_agent,omitempty"`
	RequestID lineText  `json:"request_id,omitempty"`
	Changes   lineText  `json:"changes"` // the JSON that the hash is over, to the byte
}

func writeAudit(e hearth.AuditEntry) lineAuditEntry {
	return lineAuditEntry{
		e.Seq, e.PrevHash, e.Hash, e.At, lineText(e.ActorID), lineText(e.Action), lineText(e.Target), lineText(e.Result), lineText(e.IP), lineText(e.UserAgent),
		lineText(e.RequestID), lineText(e.ChangesText),
	}
}

func readAudit(e lineAuditEntry) hearth.AuditEntry {
	return hearth.AuditEntry{
		Seq: e.Seq, PrevHash: e.PrevHash, Hash: e.Hash, At: e.At, ActorID: string(e.ActorID), Action: string(e.Action),
		Target: string(e.Target), Result: string(e.Result), IP: string(e.IP), UserAgent: string(e.UserAgent),
		RequestID: string(e.RequestID), ChangesText: string(e.Changes),
	}
}

// text is a string that keeps every byte: JSON cannot hold what is not UTF-8, so that is written as {"base64": "…"}.
type lineText string

// MarshalJSON implements json.Marshaler.
func (t lineText) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return fmt.Appendf(nil, `{"base64":%q}`, base64.StdEncoding.EncodeToString([]byte(t))), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *lineText) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var raw struct {
			Base64 []byte `json:"base64"`
		}
		err := json.Unmarshal(data, &raw)
		*t = lineText(raw.Base64)
		return err
	}
	var plain string
	err := json.Unmarshal(data, &plain)
	*t = lineText(plain)
	return err
}
