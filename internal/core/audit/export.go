package audit

import (
	"context"
	"iter"
	"time"

	"hearth"
)

// Export returns every entry that the filter leaves, the newest first, reading a page at a time: what it costs in memory
// does not grow with the audit. It is recorded in the audit before the first entry is read, at the time at; where that
// cannot be written, nothing is given. CodeForbidden to all but admins. The sequence ends with its first error, and can
// be walked once.
func (s *Service) Export(
	ctx context.Context, caller hearth.Caller, filter hearth.AuditFilter, at time.Time,
) (iter.Seq2[hearth.AuditEntry, error], error) {
	if !caller.IsAdmin() {
		return nil, errNotAdmin()
	}
	return s.export(ctx, filter, caller.Entry(at, "audit.export", ""))
}

// ExportBySystem is Export for who has the machine itself, such as a command.
func (s *Service) ExportBySystem(
	ctx context.Context, filter hearth.AuditFilter, at time.Time,
) (iter.Seq2[hearth.AuditEntry, error], error) {
	return s.export(ctx, filter, hearth.AuditEntry{At: at, ActorID: "cli", Action: "audit.export", Result: "ok"})
}

func (s *Service) export(
	ctx context.Context, filter hearth.AuditFilter, note hearth.AuditEntry,
) (iter.Seq2[hearth.AuditEntry, error], error) {
	filter, err := s.resolve(ctx, filter)
	if err != nil {
		return nil, err
	}
	note.Changes = filterNote(filter)
	if err := s.store.AppendAudit(ctx, note); err != nil {
		return nil, err
	}
	return func(yield func(hearth.AuditEntry, error) bool) {
		page := hearth.Page{Limit: hearth.MaxLimit}
		for {
			list, err := s.store.Audit(ctx, filter, page)
			if err != nil {
				yield(hearth.AuditEntry{}, err)
				return
			}
			for _, entry := range list.Items {
				if !yield(entry, nil) {
					return
				}
			}
			if list.Next.IsZero() {
				return
			}
			page.Cursor = list.Next
		}
	}, nil
}

// filterNote says in the audit what was asked for.
func filterNote(f hearth.AuditFilter) map[string]hearth.Change {
	asked := map[string]hearth.Change{}
	for name, value := range map[string]string{"actor_id": f.ActorID, "action": f.Action, "target": f.Target} {
		if value != "" {
			asked[name] = hearth.Change{After: value}
		}
	}
	for name, value := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !value.IsZero() {
			asked[name] = hearth.Change{After: hearth.Millis(value).UTC().Format(time.RFC3339Nano)}
		}
	}
	if len(asked) == 0 {
		return nil
	}
	return asked
}

func errNotAdmin() error {
	return hearth.Errorf(hearth.CodeForbidden, "only admins may read the audit")
}
