// Package audit reads what was recorded of who did what to which object, and proves that the record was not edited.
// The entries themselves are stored with the writes that they describe.
package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hearth"
	"hearth/internal/newid"
)

// Service answers questions about the audit.
type Service struct {
	store     hearth.AuditStore
	clock     hearth.Clock
	retention time.Duration
}

// New makes a Service over a store. Entries are kept for the retention; 0 is for ever.
func New(store hearth.AuditStore, clock hearth.Clock, retention time.Duration) *Service {
	return &Service{store: store, clock: clock, retention: retention}
}

// Entries lists entries, the newest first. CodeForbidden to all but admins.
func (s *Service) Entries(
	ctx context.Context, caller hearth.Caller, filter hearth.AuditFilter, page hearth.Page,
) (hearth.List[hearth.AuditEntry], error) {
	if !caller.IsAdmin() {
		return hearth.List[hearth.AuditEntry]{}, errNotAdmin()
	}
	filter, err := s.resolve(ctx, filter)
	if err != nil {
		return hearth.List[hearth.AuditEntry]{}, err
	}
	return s.store.Audit(ctx, filter, page)
}

// resolve completes the ids of a filter, which may be in either case: an actor without a kind is a user, a target without one is of the kind
// that has entries.
func (s *Service) resolve(ctx context.Context, filter hearth.AuditFilter) (hearth.AuditFilter, error) {
	if actor := filter.ActorID; actor != "" && actor != "system" && actor != "cli" && !strings.Contains(actor, ":") {
		filter.ActorID = "user:" + actor
	}
	filter.ActorID, filter.Target = canonical(filter.ActorID), canonical(filter.Target)
	if filter.Target == "" || strings.Contains(filter.Target, ":") {
		return filter, nil
	}
	id := filter.Target
	for _, kind := range kinds() {
		filter.Target = kind + ":" + id
		found, err := s.store.Audit(ctx, hearth.AuditFilter{Target: filter.Target}, hearth.Page{Limit: 1})
		if err != nil || len(found.Items) > 0 {
			return filter, err
		}
	}
	return filter, nil
}

// kinds are those of targets.
func kinds() []string {
	return []string{
		"device", "user", "organization", "session", "export", "command", "rule", "alarm", "webhook", "api_key", "provisioning_key",
		"notification_channel", "export_schedule", "integration", "command_batch", "job", "audit",
	}
}

// canonical returns an actor or a target with its id in lower case.
func canonical(name string) string {
	kind, id, found := strings.Cut(name, ":")
	if !found {
		return newid.Canonical(name)
	}
	return kind + ":" + newid.Canonical(id)
}

// step is how many entries are read at a time.
const step = 1000

// Verdict is what Verify found.
type Verdict struct {
	// Trimmed is how many entries, the oldest, are no longer kept, as a later entry says.
	Trimmed int64
	// Entries is how many entries stand after those, one after another, before the fault; without one, all of them.
	Entries int64
	// Head is the hash of the last of them. Kept in another place, it proves later that they were not rewritten as a whole.
	Head string
	// Fault is the first thing that is wrong; nil if nothing is.
	Fault *Fault
}

// Fault is the place at which the chain is broken.
type Fault struct {
	// Seq is the number of the first entry that is not as it was written, or is gone.
	Seq int64
	// Problem says what is wrong with it.
	Problem string
}

// Error returns the fault as a sentence.
func (f *Fault) Error() string { return fmt.Sprintf("audit entry %d %s", f.Seq, f.Problem) }

// Verify walks the chain to the newest entry that there was at the start, and stops at the first fault. It begins with the first entry, or
// behind the one that the newest trimming names with its hash. progress, if not nil, is
// called every few thousand entries with how many are done, of how many. The audit may grow and be trimmed meanwhile. An error means that the
// store could not be read.
func (s *Service) Verify(ctx context.Context, progress func(done, total int64)) (Verdict, error) {
	head, err := s.store.AuditHead(ctx)
	if err != nil {
		return Verdict{}, err
	}
	trim, err := s.lastTrim(ctx)
	if err != nil {
		return Verdict{}, err
	}
	verdict := Verdict{Trimmed: trim.Seq, Head: trim.Hash}
	broken := func(seq int64, problem string) (Verdict, error) {
		verdict.Fault = &Fault{Seq: seq, Problem: problem}
		return verdict, nil
	}
	for {
		entries, err := s.store.AuditChain(ctx, verdict.Trimmed+verdict.Entries, step)
		if err != nil {
			return verdict, err
		}
		for _, e := range entries {
			next := verdict.Trimmed + verdict.Entries + 1
			switch {
			case e.Seq != next:
				return broken(next, "is missing")
			case e.Sum() != e.Hash:
				return broken(next, "was changed after it was written")
			case e.PrevHash != verdict.Head:
				return broken(next, "does not follow the entry before it: one of the two was replaced")
			case next == head.Seq && e.Hash != head.Hash:
				return broken(next, "is not the one that was the newest: the chain was rewritten")
			}
			verdict.Entries, verdict.Head = verdict.Entries+1, e.Hash
		}
		if progress != nil {
			progress(verdict.Entries, max(head.Seq-verdict.Trimmed, verdict.Entries))
		}
		if len(entries) < step {
			break
		}
	}
	if last := verdict.Trimmed + verdict.Entries; last < head.Seq {
		return broken(last+1, "is missing")
	}
	return verdict, nil
}
