package admin

import (
	"context"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
)

// AuditEntry is an audit entry on the wire.
type AuditEntry struct {
	Seq       int64                  `json:"seq" doc:"Counts from 1 without gaps." example:"42"`
	At        rest.Time              `json:"at"`
	ActorID   string                 `json:"actor_id" doc:"user:ID or device:ID; system for jobs, cli for commands; empty for none." example:"user:0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"`
	Action    string                 `json:"action" example:"device.delete"`
	Target    string                 `json:"target" doc:"kind:ID of the object." example:"device:0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Result    string                 `json:"result" doc:"ok, or the code of the refusal." example:"ok"`
	IP        string                 `json:"ip" example:"192.0.2.7"`
	UserAgent string                 `json:"user_agent" example:"curl/8.5.0"`
	RequestID string                 `json:"request_id" example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	Changes   map[string]AuditChange `json:"changes" nullable:"false" doc:"The changed fields; secrets are masked."`
	PrevHash  string                 `json:"prev_hash" doc:"The hash of the entry before; empty at the first."`
	Hash      string                 `json:"hash" doc:"SHA-256, in hex, over the entry and prev_hash."`
}

// AuditChange is one field before and after.
type AuditChange struct {
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
}

func wireAudit(e hearth.AuditEntry) AuditEntry {
	changes := make(map[string]AuditChange, len(e.Changes))
	for name, change := range e.Changes {
		changes[name] = AuditChange(change)
	}
	return AuditEntry{
		Seq: e.Seq, At: rest.Time(e.At), ActorID: e.ActorID, Action: e.Action, Target: e.Target, Result: e.Result, IP: e.IP,
		UserAgent: e.UserAgent, RequestID: e.RequestID, Changes: changes, PrevHash: e.PrevHash, Hash: e.Hash,
	}
}

type listAuditInput struct {
	rest.PageParams
	timerange.Params
	ActorID string `query:"actor_id" maxLength:"128" doc:"Only what this actor did: a user's id, or user:ID, device:ID, system, cli." example:"system"`
	Action  string `query:"action" maxLength:"128" doc:"Only this action." example:"device.delete"`
	Target  string `query:"target" maxLength:"128" doc:"Only what was done to this object: its id, or kind:ID." example:"device:0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
}

func (in listAuditInput) filter(now time.Time) (hearth.AuditFilter, error) {
	f := hearth.AuditFilter{ActorID: in.ActorID, Action: in.Action, Target: in.Target}
	r, given, err := in.Parse()
	switch {
	case err != nil || !given:
		return f, err
	case r.Sliding > 0:
		f.From = now.Add(-r.Sliding)
	default:
		f.From, f.To = r.From, r.To
	}
	return f, nil
}

const tagAdministration = "Administration"

// registerAudit adds the record of who did what, for admins.
func (a *administration) registerAudit() {
	s := a.Audit
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "list-audit", Method: http.MethodGet, Path: "/admin/audit", Tag: tagAdministration, Access: rest.ForAdmins, Key: rest.ClosedToKeys, ETag: true,
		Summary: "List who did what to which object",
		Description: "The newest first. Entries are append-only, and each holds a hash over itself and the one before; " +
			"`hearth audit verify` finds one that was changed or removed.",
	}, func(ctx context.Context, in *listAuditInput) (*rest.Body[rest.List[AuditEntry]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		filter, err := in.filter(a.Now())
		if err != nil {
			return nil, err
		}
		entries, err := s.Entries(ctx, rest.CallerOf(ctx), filter, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(entries, in.Fields, wireAudit)
		return &rest.Body[rest.List[AuditEntry]]{Body: list}, err
	})
	a.registerAuditFile(s)
}
