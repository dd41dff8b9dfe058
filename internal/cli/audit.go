package cli

import (
	"context"
	"fmt"
	"time"

	"hearth"
	"hearth/internal/app"
	"hearth/internal/timetext"
)

type auditCommand struct {
	Export auditExportCommand `cmd:"" help:"Write the entries to standard output, newest first, as CSV or NDJSON. Works while a server runs."`
	Verify auditVerifyCommand `cmd:"" help:"Check the chain of hashes; name the first entry that was changed or removed. Works while a server runs."`
}

type auditVerifyCommand struct{ Settings }

// auditStep is after how many entries a line reports how far the walk is.
const auditStep = 100_000

// Run walks the chain. It fails where an entry is not as it was written.
func (c *auditVerifyCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		told := int64(0)
		verdict, err := app.VerifyAudit(ctx, s, func(done, total int64) {
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
		trimmed := ""
		if verdict.Trimmed > 0 {
			trimmed = fmt.Sprintf(" after the %d that were trimmed", verdict.Trimmed)
		}
		_, err = fmt.Fprintf(p.Stdout, "%d audit entries%s, none changed or removed; the newest has the hash %q\n", verdict.Entries, trimmed, verdict.Head)
		return err
	})
}

type auditExportCommand struct {
	Settings
	Format string `default:"csv" enum:"csv,ndjson" help:"csv or ndjson (default: csv)."`
	Actor  string `placeholder:"ID" help:"Only the entries of this actor: a user's ID, or user:ID, device:ID, system, cli."`
	Action string `placeholder:"A" help:"Only this action, such as device.delete."`
	Target string `placeholder:"T" help:"Only the entries about this object: its ID, or kind:ID."`
	From   string `placeholder:"TIME" help:"Only from this time on (RFC 3339)."`
	To     string `placeholder:"TIME" help:"Only before this time (RFC 3339)."`
}

// Run writes the entries.
func (c *auditExportCommand) Run(ctx context.Context, p *Process) error {
	filter := hearth.AuditFilter{ActorID: c.Actor, Action: c.Action, Target: c.Target}
	for _, bound := range []struct {
		flag, text string
		to         *time.Time
	}{{"--from", c.From, &filter.From}, {"--to", c.To, &filter.To}} {
		if bound.text == "" {
			continue
		}
		at, ok := timetext.ParseTimestamp(bound.text)
		if !ok {
			return usageError{fmt.Errorf("%s must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z", bound.flag)}
		}
		*bound.to = time.UnixMilli(at)
	}
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withSettings(p, cfg, func(s app.Settings) error { return app.ExportAudit(ctx, s, p.Stdout, c.Format, filter) })
}
