// Package audit reads what was recorded of who did what to which object, and proves that the record was not edited.
// The entries themselves are stored with the writes that they describe.
package audit

import (
	"context"
	"fmt"

	"hearth"
)

// Service answers questions about the audit.
type Service struct{ store hearth.AuditStore }

// New makes a Service over a store.
func New(store hearth.AuditStore) *Service { return &Service{store: store} }

// Entries lists entries, the newest first. CodeForbidden to all but admins.
func (s *Service) Entries(
	ctx context.Context, caller hearth.Caller, filter hearth.AuditFilter, page hearth.Page,
) (hearth.List[hearth.AuditEntry], error) {
	if !caller.IsAdmin() {
		return hearth.List[hearth.AuditEntry]{}, errNotAdmin()
	}
	return s.store.Audit(ctx, filter, page)
}

// step is how many entries are read at a time.
const step = 1000

// Verdict is what Verify found.
type Verdict struct {
	// Entries is how many entries stand, one after another, before the fault; without one, all of them.
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

// Verify walks the chain from its first entry to the newest one that there was at the start, and stops at the first
// fault. progress, if not nil, is called every few thousand entries with how many are done, of how many. The audit may grow
// meanwhile. An error means that the store could not be read.
func (s *Service) Verify(ctx context.Context, progress func(done, total int64)) (Verdict, error) {
	head, err := s.store.AuditHead(ctx)
	if err != nil {
		return Verdict{}, err
	}
	verdict := Verdict{}
	broken := func(seq int64, problem string) (Verdict, error) {
		verdict.Fault = &Fault{Seq: seq, Problem: problem}
		return verdict, nil
	}
	for {
		entries, err := s.store.AuditChain(ctx, verdict.Entries, step)
		if err != nil {
			return verdict, err
		}
		for _, e := range entries {
			next := verdict.Entries + 1
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
			verdict.Entries, verdict.Head = next, e.Hash
		}
		if progress != nil {
			progress(verdict.Entries, max(head.Seq, verdict.Entries))
		}
		if len(entries) < step {
			break
		}
	}
	if verdict.Entries < head.Seq {
		return broken(verdict.Entries+1, "is missing")
	}
	return verdict, nil
}
