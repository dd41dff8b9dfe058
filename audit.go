package hearth

import "time"

// AuditEntry says who did what to which object, from where and with what result. Entries are append-only; each holds a
// hash over itself and the entry before it.
type AuditEntry struct {
	// Seq counts from 1 without gaps; Hash and PrevHash are SHA-256 in hex. All three are set by the store.
	Seq      int64
	PrevHash string
	Hash     string

	At time.Time
	// ActorID is Caller.Key, "system" for jobs, "cli" for commands.
	ActorID string
	// Action is "object.verb", such as "device.delete" or "auth.login".
	Action string
	// Target is "kind:id" of the object, if there is one.
	Target string
	// Result is "ok" or the code of the refusal.
	Result    string
	IP        string
	UserAgent string
	RequestID string
	// Changes are the changed fields before and after; secrets are masked before they get here.
	Changes map[string]Change
}

// Change is one field before and after.
type Change struct {
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
}
