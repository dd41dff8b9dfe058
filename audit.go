package hearth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

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

// Entry begins the record of what the caller does at the time at: a success, until Result says otherwise.
func (c Caller) Entry(at time.Time, action, target string) AuditEntry {
	return AuditEntry{
		At: at, ActorID: c.Key(), Action: action, Target: target, Result: "ok",
		IP: c.IP, UserAgent: c.UserAgent, RequestID: c.RequestID,
	}
}

// Change is one field before and after.
type Change struct {
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
}

// Sum gives the entry's hash: SHA-256, in hex, over every field but Hash itself, PrevHash included. Each field is
// preceded by its length, so that no two entries read the same.
func (e AuditEntry) Sum() string {
	changes, err := json.Marshal(e.Changes)
	if err != nil {
		panic("hearth: audit changes are plain values: " + err.Error())
	}
	sum := sha256.New()
	for _, field := range []string{
		strconv.FormatInt(e.Seq, 10), e.PrevHash, strconv.FormatInt(e.At.UnixMilli(), 10), e.ActorID, e.Action, e.Target,
		e.Result, e.IP, e.UserAgent, e.RequestID, string(changes),
	} {
		fmt.Fprintf(sum, "%d:%s", len(field), field)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
