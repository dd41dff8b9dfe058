package hearth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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
	// ActorID is Caller.Actor, "provisioning_key:ID" for a device that provisions itself, "system" for jobs, "cli" for commands.
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
	// ChangesText is the JSON that Changes are stored as, which the hash is over. It is set by the store, unless it is given in place of Changes.
	ChangesText string
}

// AuditFilter cuts a list of entries; a zero field cuts nothing.
type AuditFilter struct {
	ActorID string
	Action  string
	Target  string
	// From is inclusive, To exclusive.
	From time.Time
	To   time.Time
}

// AuditHead is the newest entry's number and hash, kept apart from the entries, so that the removal of the newest ones
// shows too. The zero AuditHead is of an empty store.
type AuditHead struct {
	Seq  int64
	Hash string
}

// AuditTrim is the action of an entry that says which entries, the oldest, are no longer kept: its target is "audit:SEQ" of the last one, its
// change "hash" has that one's hash. The chain is proved from the entry after it.
const AuditTrim = "audit.trim"

// TrimEntry returns the entry of a trimming up to last.
func TrimEntry(at time.Time, last AuditHead) AuditEntry {
	return AuditEntry{
		At: at, ActorID: "system", Action: AuditTrim, Target: auditTarget + strconv.FormatInt(last.Seq, 10), Result: "ok",
		Changes: map[string]Change{"hash": {After: last.Hash}},
	}
}

const auditTarget = "audit:"

// Trimmed returns the last entry that an entry of AuditTrim says is no longer kept.
func (e AuditEntry) Trimmed() (last AuditHead, ok bool) {
	number, found := strings.CutPrefix(e.Target, auditTarget)
	if e.Action != AuditTrim || !found {
		return AuditHead{}, false
	}
	var err error
	last.Seq, err = strconv.ParseInt(number, 10, 64)
	last.Hash, ok = e.Changes["hash"].After.(string)
	return last, ok && err == nil && last.Seq > 0 && last.Seq < e.Seq
}

// AuditStore keeps the audit. Entries come in with the writes that they tell of (see SideEffects); none is ever changed, none but the
// oldest removed, and the store refuses both as far as its engine can.
type AuditStore interface {
	// AppendAudit stores entries that no write takes along, such as refusals; all or none.
	AppendAudit(ctx context.Context, entries ...AuditEntry) error
	// Audit lists entries, the newest first: by At, then Seq. The page's sort is "".
	Audit(ctx context.Context, filter AuditFilter, page Page) (List[AuditEntry], error)
	// AuditChain returns up to limit entries with a Seq above after, in the order of Seq, as they are stored.
	AuditChain(ctx context.Context, after int64, limit int) ([]AuditEntry, error)
	// AuditHead returns the head of the chain.
	AuditHead(ctx context.Context) (AuditHead, error)
	// RemoveAudit removes the entries up to a number that an entry of AuditTrim names, the oldest first, in small steps, and returns how many.
	RemoveAudit(ctx context.Context, upTo int64) (removed int, err error)
}

// Chained returns the entry as it is stored behind head: with its number, the hash before it and its own.
func (e AuditEntry) Chained(head AuditHead) (AuditEntry, error) {
	text, err := e.EncodedChanges()
	if err != nil {
		return e, err
	}
	e.At = Millis(e.At)
	e.Seq, e.PrevHash, e.ChangesText = head.Seq+1, head.Hash, text
	e.Hash = e.Sum()
	return e, nil
}

// EncodedChanges returns the JSON that the changes are stored as.
func (e AuditEntry) EncodedChanges() (string, error) {
	if e.ChangesText != "" {
		return e.ChangesText, nil
	}
	text, err := json.Marshal(e.Changes)
	if err != nil {
		return "", fmt.Errorf("encode the changes of an audit entry: %w", err)
	}
	return string(text), nil
}

// Entry begins the record of what the caller does at the time at: a success, until Result says otherwise.
func (c Caller) Entry(at time.Time, action, target string) AuditEntry {
	return AuditEntry{
		At: at, ActorID: c.Actor(), Action: action, Target: target, Result: "ok",
		IP: c.IP, UserAgent: c.UserAgent, RequestID: c.RequestID,
	}
}

// Change is one field before and after.
type Change struct {
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
}

// Sum returns the entry's hash: SHA-256, in hex, over every field but Hash itself, with PrevHash, and with ChangesText for
// Changes, whose encoding another program or version need not repeat. Each field is preceded by its length, so that no
// two entries read the same.
func (e AuditEntry) Sum() string {
	text := make([]byte, 0, 512+len(e.ChangesText))
	for _, field := range [...]string{
		strconv.FormatInt(e.Seq, 10), e.PrevHash, strconv.FormatInt(e.At.UnixMilli(), 10), e.ActorID, e.Action, e.Target,
		e.Result, e.IP, e.UserAgent, e.RequestID, e.ChangesText,
	} {
		text = append(append(strconv.AppendInt(text, int64(len(field)), 10), ':'), field...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
