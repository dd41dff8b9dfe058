package app

import (
	"context"
	"io"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/core/audit"
)

// AuditVerdict is what VerifyAudit found.
type AuditVerdict = audit.Verdict

// VerifyAudit walks the audit's chain to its end or its first fault; it may run beside a server. progress, if not nil,
// is told how many entries are done, of how many.
func (a *App) VerifyAudit(ctx context.Context, progress func(done, total int64)) (AuditVerdict, error) {
	return audit.New(a.store).Verify(ctx, progress)
}

// ExportAudit writes what the filter leaves of the audit to w, as "csv" or "ndjson", and records that. It may run beside a
// server.
func (a *App) ExportAudit(ctx context.Context, w io.Writer, format string, filter hearth.AuditFilter) error {
	entries, err := audit.New(a.store).ExportBySystem(ctx, filter, a.options.Clock.Now())
	if err != nil {
		return err
	}
	return api.WriteAudit(w, format, entries)
}
