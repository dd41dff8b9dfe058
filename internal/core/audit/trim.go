package audit

import (
	"context"
	"time"

	"hearth"
)

// CleanUp removes entries that are older than the retention, and returns how many. First an entry says that they are no longer kept, up to
// which one and with its hash; they are removed by the next call, so that who reads them meanwhile misses none, and only if they are old then too: the clock may have
// been ahead.
func (s *Service) CleanUp(ctx context.Context) (removed int, err error) {
	if s.retention == 0 {
		return 0, nil
	}
	last, err := s.lastTrim(ctx)
	if err != nil {
		return 0, err
	}
	now := s.clock.Now()
	before := now.Add(-s.retention)
	if last.Seq > 0 {
		due, err := s.olderThan(ctx, hearth.AuditHead{}, before)
		if err != nil {
			return 0, err
		}
		if due.Seq >= last.Seq {
			if removed, err = s.store.RemoveAudit(ctx, last.Seq); err != nil {
				return removed, err
			}
		}
	}
	old, err := s.olderThan(ctx, last, before)
	if err != nil || old == last {
		return removed, err
	}
	return removed, s.store.AppendAudit(ctx, hearth.TrimEntry(now, old))
}

// olderThan returns the last of the entries after one that follow each other and are from before a time.
func (s *Service) olderThan(ctx context.Context, after hearth.AuditHead, before time.Time) (hearth.AuditHead, error) {
	for {
		entries, err := s.store.AuditChain(ctx, after.Seq, step)
		if err != nil {
			return after, err
		}
		for _, e := range entries {
			if !e.At.Before(before) {
				return after, nil
			}
			after = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
		}
		if len(entries) < step {
			return after, nil
		}
	}
}

// lastTrims is how many trimmings, by time, are looked at for the newest one: the clock may have been put back since.
const lastTrims = 100

// lastTrim returns the last entry that the newest trimming says is no longer kept; zero if there was none.
func (s *Service) lastTrim(ctx context.Context) (last hearth.AuditHead, err error) {
	list, err := s.store.Audit(ctx, hearth.AuditFilter{Action: hearth.AuditTrim}, hearth.Page{Limit: lastTrims})
	for _, entry := range list.Items {
		if trimmed, ok := entry.Trimmed(); ok && trimmed.Seq > last.Seq {
			last = trimmed
		}
	}
	return last, err
}
