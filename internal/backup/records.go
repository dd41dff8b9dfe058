package backup

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"hearth"
)

// The records as an archive writes them: one JSON object a line. A rename of a field elsewhere does not change them.

type counters struct {
	LastDevice int64  `json:"last_device"`
	LastLog    uint64 `json:"last_log"`
}

type user struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	Email        string      `json:"email"`
	Role         hearth.Role `json:"role"`
	PasswordHash []byte      `json:"password_hash,omitempty"`
	Disabled     bool        `json:"disabled,omitempty"`
	Epoch        int64       `json:"epoch,omitempty"`
	CreatedAt    time.Time   `json:"created_at,omitzero"`
	UpdatedAt    time.Time   `json:"updated_at,omitzero"`
	LastLoginAt  time.Time   `json:"last_login_at,omitzero"`
}

type tries struct {
	Key         []byte    `json:"key,omitempty"`
	Failed      int       `json:"failed"`
	LockedUntil time.Time `json:"locked_until,omitzero"`
	UpdatedAt   time.Time `json:"updated_at,omitzero"`
}

type passwordReset struct {
	ID        string    `json:"id"`
	UserID    string    `json:"user_id"`
	Hash      []byte    `json:"hash,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

type session struct {
	ID         string           `json:"id"`
	UserID     string           `json:"user_id"`
	Device     []byte           `json:"device,omitempty"`
	Origin     []byte           `json:"origin,omitempty"`
	CreatedAt  time.Time        `json:"created_at,omitzero"`
	LastUsedAt time.Time        `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time        `json:"expires_at,omitzero"`
	EndedAt    time.Time        `json:"ended_at,omitzero"`
	EndReason  hearth.EndReason `json:"end_reason,omitempty"`
}

type refreshToken struct {
	Hash      []byte `json:"hash,omitempty"`
	SessionID string `json:"session_id"`
	Spent     bool   `json:"spent,omitempty"`
}

type organization struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

type member struct {
	OrganizationID string         `json:"organization_id"`
	UserID         string         `json:"user_id"`
	Role           hearth.OrgRole `json:"role"`
	JoinedAt       time.Time      `json:"joined_at,omitzero"`
}

type invitation struct {
	ID             string         `json:"id"`
	OrganizationID string         `json:"organization_id"`
	Email          string         `json:"email"`
	Role           hearth.OrgRole `json:"role"`
	Hash           []byte         `json:"hash,omitempty"`
	InvitedBy      string         `json:"invited_by"`
	CreatedAt      time.Time      `json:"created_at,omitzero"`
	ExpiresAt      time.Time      `json:"expires_at,omitzero"`
}

type device struct {
	ID             string              `json:"id"`
	Key            int64               `json:"key"`
	Name           string              `json:"name"`
	Type           string              `json:"type"`
	Status         hearth.DeviceStatus `json:"status"`
	Tags           []string            `json:"tags,omitempty"`
	Metadata       text                `json:"metadata,omitempty"` // the JSON as it is stored, to the byte
	Interval       int                 `json:"interval"`
	LastActiveAt   time.Time           `json:"last_active_at,omitzero"`
	OwnerID        string              `json:"owner_id"`
	OrganizationID string              `json:"organization_id,omitempty"`
	Idle           bool                `json:"idle,omitempty"`
	Version        int64               `json:"version"`
	CreatedAt      time.Time           `json:"created_at,omitzero"`
	UpdatedAt      time.Time           `json:"updated_at,omitzero"`
}

func writeDevice(d hearth.Device) device {
	return device{
		ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Status: d.Status, Tags: d.Tags, Metadata: text(d.Metadata), Interval: d.Interval,
		LastActiveAt: d.LastActiveAt, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, Idle: d.Idle, Version: d.Version,
		CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
}

func readDevice(d device) hearth.Device {
	out := hearth.Device{
		ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Status: d.Status, Tags: d.Tags, Interval: d.Interval,
		LastActiveAt: d.LastActiveAt, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, Idle: d.Idle, Version: d.Version,
		CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
	}
	if d.Metadata != "" {
		out.Metadata = json.RawMessage(d.Metadata)
	}
	return out
}

type deviceToken struct {
	ID         string    `json:"id"`
	DeviceID   string    `json:"device_id"`
	Hash       []byte    `json:"hash,omitempty"`
	CreatedAt  time.Time `json:"created_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

type notification struct {
	ID        string                  `json:"id"`
	UserID    string                  `json:"user_id"`
	Type      hearth.NotificationType `json:"type"`
	Title     string                  `json:"title"`
	Body      string                  `json:"body"`
	Data      map[string]string       `json:"data,omitempty"`
	CreatedAt time.Time               `json:"created_at,omitzero"`
	ReadAt    time.Time               `json:"read_at,omitzero"`
}

type delivery struct {
	InApp bool `json:"in_app"`
	Email bool `json:"email"`
}

type settings struct {
	UserID string                               `json:"user_id"`
	Types  map[hearth.NotificationType]delivery `json:"types"`
}

func writeSettings(s hearth.ArchivedSettings) settings {
	out := settings{UserID: s.UserID, Types: make(map[hearth.NotificationType]delivery, len(s.Types))}
	for kind, d := range s.Types {
		out.Types[kind] = delivery(d)
	}
	return out
}

func readSettings(s settings) hearth.ArchivedSettings {
	out := hearth.ArchivedSettings{UserID: s.UserID, Types: make(map[hearth.NotificationType]hearth.Delivery, len(s.Types))}
	for kind, d := range s.Types {
		out.Types[kind] = hearth.Delivery(d)
	}
	return out
}

type watch struct {
	UserID   string            `json:"user_id"`
	DeviceID string            `json:"device_id"`
	Told     hearth.Connection `json:"told"`
}

type exportFilters struct {
	DeviceIDs       []string `json:"device_ids,omitempty"`
	Events          []string `json:"events,omitempty"`
	IncludeInactive bool     `json:"include_inactive,omitempty"`
}

type exportReach struct {
	All    bool           `json:"all,omitempty"`
	Scopes []hearth.Scope `json:"scopes,omitempty"`
}

type exportProgress struct {
	Step      string `json:"step,omitempty"`
	Processed int64  `json:"processed,omitempty"`
	Total     int64  `json:"total,omitempty"`
}

type exportResult struct {
	FileName  string `json:"file_name"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Records   int64  `json:"records"`
	Downloads int64  `json:"downloads"`
}

type exportFailure struct {
	Code    hearth.Code `json:"code"`
	Message string      `json:"message"`
}

type export struct {
	ID          string                   `json:"id"`
	UserID      string                   `json:"user_id"`
	Type        hearth.ExportType        `json:"type"`
	Format      hearth.ExportFormat      `json:"format"`
	Compression hearth.ExportCompression `json:"compression"`
	Status      hearth.ExportStatus      `json:"status"`
	From        time.Time                `json:"from,omitzero"`
	To          time.Time                `json:"to,omitzero"`
	Filters     exportFilters            `json:"filters"`
	Reach       exportReach              `json:"reach"`
	Notify      bool                     `json:"notify,omitempty"`
	Progress    exportProgress           `json:"progress"`
	Result      *exportResult            `json:"result,omitempty"`
	Failure     *exportFailure           `json:"failure,omitempty"`
	Job         string                   `json:"job,omitempty"`
	Run         string                   `json:"run,omitempty"`
	File        string                   `json:"file,omitempty"`
	Schedule    string                   `json:"schedule,omitempty"`
	CreatedAt   time.Time                `json:"created_at,omitzero"`
	StartedAt   time.Time                `json:"started_at,omitzero"`
	CompletedAt time.Time                `json:"completed_at,omitzero"`
	ExpiresAt   time.Time                `json:"expires_at,omitzero"`
}

func writeExport(e hearth.Export) export {
	return export{
		ID: e.ID, UserID: e.UserID, Type: e.Type, Format: e.Format, Compression: e.Compression, Status: e.Status, From: e.From, To: e.To,
		Filters: exportFilters(e.Filters), Reach: exportReach(e.Reach), Notify: e.Notify, Progress: exportProgress(e.Progress),
		Result: (*exportResult)(e.Result), Failure: (*exportFailure)(e.Failure), Job: e.Job, Run: e.Run, File: e.File, Schedule: e.Schedule,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, CompletedAt: e.CompletedAt, ExpiresAt: e.ExpiresAt,
	}
}

func readExport(e export) hearth.Export {
	return hearth.Export{
		ID: e.ID, UserID: e.UserID, Type: e.Type, Format: e.Format, Compression: e.Compression, Status: e.Status, From: e.From, To: e.To,
		Filters: hearth.ExportFilters(e.Filters), Reach: hearth.Reach(e.Reach), Notify: e.Notify, Progress: hearth.ExportProgress(e.Progress),
		Result: (*hearth.ExportResult)(e.Result), Failure: (*hearth.ExportFailure)(e.Failure), Job: e.Job, Run: e.Run, File: e.File, Schedule: e.Schedule,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, CompletedAt: e.CompletedAt, ExpiresAt: e.ExpiresAt,
	}
}

type recurrence struct {
	Every    hearth.Every `json:"every"`
	Minute   int          `json:"minute"`
	Weekday  time.Weekday `json:"weekday"`
	Day      int          `json:"day"`
	TimeZone string       `json:"time_zone"`
}

type exportSchedule struct {
	ID          string                   `json:"id"`
	UserID      string                   `json:"user_id"`
	Name        string                   `json:"name"`
	Recurrence  recurrence               `json:"recurrence"`
	Type        hearth.ExportType        `json:"type"`
	Format      hearth.ExportFormat      `json:"format"`
	Compression hearth.ExportCompression `json:"compression"`
	Filters     exportFilters            `json:"filters"`
	Enabled     bool                     `json:"enabled,omitempty"`
	NextAt      time.Time                `json:"next_at,omitzero"`
	LastAt      time.Time                `json:"last_at,omitzero"`
	LastExport  string                   `json:"last_export,omitempty"`
	Failure     *exportFailure           `json:"failure,omitempty"`
	CreatedAt   time.Time                `json:"created_at,omitzero"`
	UpdatedAt   time.Time                `json:"updated_at,omitzero"`
}

func writeSchedule(s hearth.ExportSchedule) exportSchedule {
	return exportSchedule{
		s.ID, s.UserID, s.Name, recurrence(s.Recurrence), s.Type, s.Format, s.Compression, exportFilters(s.Filters), s.Enabled, s.NextAt,
		s.LastAt, s.LastExport, (*exportFailure)(s.Failure), s.CreatedAt, s.UpdatedAt,
	}
}

func readSchedule(s exportSchedule) hearth.ExportSchedule {
	return hearth.ExportSchedule{
		ID: s.ID, UserID: s.UserID, Name: s.Name, Recurrence: hearth.Recurrence(s.Recurrence), Type: s.Type, Format: s.Format,
		Compression: s.Compression, Filters: hearth.ExportFilters(s.Filters), Enabled: s.Enabled, NextAt: s.NextAt, LastAt: s.LastAt,
		LastExport: s.LastExport, Failure: (*hearth.ExportFailure)(s.Failure), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
}

type checkpoint struct {
	ID   string `json:"id"`
	Rows int64  `json:"rows"`
	Mark []byte `json:"mark,omitempty"`
}

type once struct {
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

func writeIdempotencyRecord(o hearth.IdempotencyRecord) once {
	return once{o.Caller, o.Key, o.Fingerprint, 0, o.Operation, o.Created, o.FirstLog, o.CreatedAt, o.ExpiresAt}
}

func readOnce(o once) hearth.IdempotencyRecord {
	return hearth.IdempotencyRecord{
		Caller: o.Caller, Key: o.Key, Fingerprint: o.Fingerprint, Operation: o.Operation, Created: o.Created, FirstLog: o.FirstLog,
		CreatedAt: o.CreatedAt, ExpiresAt: o.ExpiresAt,
	}
}

type outboxJob struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Queue   string    `json:"queue"`
	Payload []byte    `json:"payload,omitempty"`
	Unique  string    `json:"unique,omitempty"`
	RunAt   time.Time `json:"run_at,omitzero"`
}

type auditEntry struct {
	Seq       int64     `json:"seq"`
	PrevHash  string    `json:"prev_hash"`
	Hash      string    `json:"hash"`
	At        time.Time `json:"at,omitzero"`
	ActorID   text      `json:"actor_id"`
	Action    text      `json:"action"`
	Target    text      `json:"target,omitempty"`
	Result    text      `json:"result"`
	IP        text      `json:"ip,omitempty"`
	UserAgent text      `json:"user_agent,omitempty"`
	RequestID text      `json:"request_id,omitempty"`
	Changes   text      `json:"changes"` // the JSON that the hash is over, to the byte
}

func writeAudit(e hearth.AuditEntry) auditEntry {
	return auditEntry{
		e.Seq, e.PrevHash, e.Hash, e.At, text(e.ActorID), text(e.Action), text(e.Target), text(e.Result), text(e.IP), text(e.UserAgent),
		text(e.RequestID), text(e.ChangesText),
	}
}

func readAudit(e auditEntry) hearth.AuditEntry {
	return hearth.AuditEntry{
		Seq: e.Seq, PrevHash: e.PrevHash, Hash: e.Hash, At: e.At, ActorID: string(e.ActorID), Action: string(e.Action),
		Target: string(e.Target), Result: string(e.Result), IP: string(e.IP), UserAgent: string(e.UserAgent),
		RequestID: string(e.RequestID), ChangesText: string(e.Changes),
	}
}

// text is a string that keeps every byte: JSON cannot hold what is not UTF-8, so that is written as {"base64": "…"}.
type text string

// MarshalJSON implements json.Marshaler.
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return fmt.Appendf(nil, `{"base64":%q}`, base64.StdEncoding.EncodeToString([]byte(t))), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var raw struct {
			Base64 []byte `json:"base64"`
		}
		err := json.Unmarshal(data, &raw)
		*t = text(raw.Base64)
		return err
	}
	var plain string
	err := json.Unmarshal(data, &plain)
	*t = text(plain)
	return err
}
