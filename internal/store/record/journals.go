package record

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"hearth"
)

// auditEntry is the stored form of hearth.AuditEntry. The stores write entries by hand, each behind the one before.
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

var audit = describe(&Kind[auditEntry]{Schema: Schema{Name: "audit", Noun: "audit entry", ID: []string{"seq"}, View: "audit"}})

// auditByTarget is audit, to be read by target.
var auditByTarget = describe(&Kind[auditEntry]{Schema: Schema{Name: "audit", Noun: "audit entry", ID: []string{"seq"}, View: "audit_by_target"}})

func (e auditEntry) entry() hearth.AuditEntry {
	out := hearth.AuditEntry{
		Seq: e.Seq, PrevHash: e.PrevHash, Hash: e.Hash, At: e.At, ActorID: string(e.ActorID), Action: string(e.Action),
		Target: string(e.Target), Result: string(e.Result), IP: string(e.IP), UserAgent: string(e.UserAgent),
		RequestID: string(e.RequestID), ChangesText: string(e.Changes),
	}
	// An edited text need not be JSON: the chain tells of it, and the list still shows the rest.
	if err := json.Unmarshal([]byte(e.Changes), &out.Changes); err != nil {
		out.Changes = map[string]hearth.Change{"(not readable)": {}}
	}
	return out
}

// AppendAudit implements hearth.AuditStore.
func (a *Aggregates) AppendAudit(ctx context.Context, entries ...hearth.AuditEntry) error {
	return a.b.Update(ctx, Write{Name: "AppendAudit", Effects: hearth.SideEffects{Audit: entries}}, nothingElse)
}

// Audit implements hearth.AuditStore.
func (a *Aggregates) Audit(ctx context.Context, f hearth.AuditFilter, page hearth.Page) (hearth.List[hearth.AuditEntry], error) {
	where := given(Eq("target", f.Target), Eq("actor_id", f.ActorID), Eq("action", f.Action))
	if !f.From.IsZero() {
		where = append(where, Gte("at", f.From))
	}
	if !f.To.IsZero() {
		where = append(where, Lt("at", f.To))
	}
	kind := audit
	if f.Target != "" {
		kind = auditByTarget
	}
	list := listing[auditEntry, hearth.AuditEntry]{"Audit", kind, where, Order{By: "at", Tie: "seq", Desc: true}, auditEntry.entry}
	return list.page(ctx, a.b, page)
}

// AuditChain implements hearth.AuditStore.
func (a *Aggregates) AuditChain(ctx context.Context, after int64, limit int) ([]hearth.AuditEntry, error) {
	return find(ctx, a.b, "AuditChain", audit, auditEntry.entry, Query{Where: Filter{Gt("seq", after)}, Order: Order{By: "seq"}, Limit: limit})
}

// checkpoint is how far an import has come; it is written with the logs.
type checkpoint struct {
	ID   string `json:"id"`
	Rows int64  `json:"rows"`
	Mark []byte `json:"mark,omitempty"`
}

var checkpoints = describe(&Kind[checkpoint]{Schema: Schema{Name: "import_checkpoints", Noun: "checkpoint", View: "import_checkpoints"}})

// idempotencyRecord is the stored form of hearth.IdempotencyRecord, which the stores write with the step that it protects.
type idempotencyRecord struct {
	Caller      string `json:"caller"`
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	// Status is in archives of programs that kept HTTP answers; it is not needed.
	Status    ignored   `json:"status,omitzero" db:"-"`
	Operation string    `json:"operation,omitempty"`
	Created   []byte    `json:"answer,omitempty" db:"created"`
	FirstLog  uint64    `json:"first_log,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

var idempotency = describe(&Kind[idempotencyRecord]{
	Schema: Schema{Name: "idempotency", Noun: "idempotency record", ID: []string{"caller", "key"}, View: "idempotency"},
})

// ignored is a field that is read and not kept.
type ignored struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (ignored) UnmarshalJSON([]byte) error { return nil }

// IdempotencyRecords turns archived records into the root's, for a store that keeps them in its own way.
func IdempotencyRecords(records []any) []hearth.IdempotencyRecord {
	all := make([]hearth.IdempotencyRecord, len(records))
	for i, r := range typed[*idempotencyRecord](records) {
		all[i] = hearth.IdempotencyRecord{
			Caller: r.Caller, Key: r.Key, Fingerprint: r.Fingerprint, Operation: r.Operation, Created: r.Created, FirstLog: r.FirstLog,
			CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
		}
	}
	return all
}

// StoredIdempotencyRecord is IdempotencyRecords backwards.
func StoredIdempotencyRecord(r hearth.IdempotencyRecord) any {
	return &idempotencyRecord{
		Caller: r.Caller, Key: r.Key, Fingerprint: r.Fingerprint, Operation: r.Operation, Created: r.Created, FirstLog: r.FirstLog,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
	}
}

// StoredCheckpoint returns a checkpoint as it is archived; Checkpoints are those of an archive.
func StoredCheckpoint(c hearth.Checkpoint) any { return &checkpoint{c.ID, c.Rows, c.Mark} }

// Checkpoints turns archived records into the root's.
func Checkpoints(records []any) []hearth.Checkpoint {
	all := make([]hearth.Checkpoint, len(records))
	for i, c := range typed[*checkpoint](records) {
		all[i] = hearth.Checkpoint(*c)
	}
	return all
}

// AuditEntries turns archived records into the root's.
func AuditEntries(records []any) []hearth.AuditEntry {
	all := make([]hearth.AuditEntry, len(records))
	for i, e := range typed[*auditEntry](records) {
		all[i] = e.entry()
	}
	return all
}

// Devices turns archived records into the root's.
func Devices(records []any) []hearth.Device {
	all := make([]hearth.Device, len(records))
	for i, d := range typed[*device](records) {
		all[i] = hearth.Device{
			ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Serial: d.Serial, Status: d.Status, Tags: d.Tags, Interval: d.Interval,
			LastActiveAt: d.LastActiveAt, OfflineAt: d.OfflineAt, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, Idle: d.Idle, DesiredVersion: d.DesiredVersion,
			Version: d.Version, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		}
		if d.Metadata != "" {
			all[i].Metadata = json.RawMessage(d.Metadata)
		}
		if d.LastError != "" {
			all[i].LastError = &hearth.DeviceError{}
			_ = json.Unmarshal([]byte(d.LastError), all[i].LastError) // a store wrote it
		}
	}
	return all
}

// outboxJob is the stored form of hearth.OutboxJob.
type outboxJob struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Queue   string    `json:"queue"`
	Payload []byte    `json:"payload,omitempty"`
	Unique  string    `json:"unique,omitempty" db:"uniq" bson:"unique"`
	RunAt   time.Time `json:"run_at,omitzero"`
}

// outbox holds jobs that the stores write with the steps that cause them.
var outbox = describe(&Kind[outboxJob]{Schema: Schema{Name: "outbox", Noun: "job", Loose: true, Indexes: []Index{{Fields: []string{"queue", "id"}}}}})

// PendingOutbox returns the oldest limit jobs for the queue that writes left behind and that nobody deleted yet. Ids begin with their
// time.
func (a *Aggregates) PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error) {
	return find(ctx, a.b, "PendingOutbox", outbox, asOutboxJob, Query{
		Where: Filter{Ne("queue", hearth.WebhookQueue)}, Order: Order{By: "id"}, Limit: limit,
	})
}

func asOutboxJob(j outboxJob) hearth.OutboxJob { return hearth.OutboxJob(j) }

// DeleteOutbox removes jobs; unknown ids are no error. A crash may leave some: they are handed over again under their ids.
func (a *Aggregates) DeleteOutbox(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := a.b.Remove(ctx, "DeleteOutbox", &outbox.Schema, Filter{In("id", ids...)}, "id", 0)
	return err
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

// StoredAuditEntry is AuditEntries backwards.
func StoredAuditEntry(e hearth.AuditEntry) any {
	return &auditEntry{
		e.Seq, e.PrevHash, e.Hash, e.At, text(e.ActorID), text(e.Action), text(e.Target), text(e.Result), text(e.IP), text(e.UserAgent),
		text(e.RequestID), text(e.ChangesText),
	}
}
