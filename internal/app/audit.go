package app

import (
	"context"

	"hearth/internal/audit"
)

// AuditVerdict is what VerifyAudit found.
type AuditVerdict = audit.Verdict

// VerifyAudit walks the audit's chain to its end or its first fault; it may run beside a server. progress, if not nil,
// is told how many entries are done, of how many.
func (a *App) VerifyAudit(ctx context.Context, progress func(done, total int64)) (AuditVerdict, error) {
	return audit.New(a.store).Verify(ctx, progress)
}
