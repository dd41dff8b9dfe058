package cli

import (
	"context"
	"fmt"
	"log/slog"

	"hearth/internal/app"
)

type auditCommand struct {
	Verify auditVerifyCommand `cmd:"" help:"Walk the chain of hashes; name the first entry that was changed or removed. Works beside a running server."`
}

type auditVerifyCommand struct{ settings }

// auditStep is after how many entries a line tells how far the walk is.
const auditStep = 100_000

// Run walks the chain. It fails where an entry is not as it was written.
func (c *auditVerifyCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withApp(ctx, p, cfg, func(a *app.App, _ *slog.Logger) error {
		told := int64(0)
		verdict, err := a.VerifyAudit(ctx, func(done, total int64) {
			if done-told >= auditStep {
				told = done
				_, _ = fmt.Fprintf(p.Stderr, "%d of %d entries\n", done, total)
			}
		})
		if err != nil {
			return err
		}
		if verdict.Fault != nil {
			return verdict.Fault
		}
		_, err = fmt.Fprintf(p.Stdout, "%d audit entries, none changed or removed; the newest has the hash %q\n", verdict.Entries, verdict.Head)
		return err
	})
}
