package app

import (
	"context"
	"io"

	"hearth"
	"hearth/internal/api/admin"
	"hearth/internal/core/account"
	"hearth/internal/core/audit"
	"hearth/internal/importer"
	"hearth/internal/jobadmin"
	"hearth/internal/keyshare"
	"hearth/internal/queue"
)

// Accounts does something with the accounts; servers may run meanwhile.
func Accounts(ctx context.Context, s Settings, do func(*account.Service) error) error {
	return use(ctx, s, func(p *parts) error { return do(p.accounts) })
}

// Import imports the logs of a file; servers may run meanwhile.
func Import(ctx context.Context, s Settings, o importer.Import) (progress importer.Progress, err error) {
	err = use(ctx, s, func(p *parts) error {
		progress, err = p.importer().File(ctx, o)
		return err
	})
	return progress, err
}

func (p *parts) importer() *importer.Importer {
	return &importer.Importer{
		Store: p.store, Roles: p.orgs.Roles, Devices: p.devices, Telemetry: p.telemetry, Files: p.files, DataDir: p.Config.DataDir,
		Retention: p.Config.Retention, Clock: p.Clock,
	}
}

// RotateKeys makes new keys and encrypts every stored field anew; servers may run meanwhile.
func RotateKeys(ctx context.Context, s Settings) (done keyshare.Rotated, err error) {
	err = use(ctx, s, func(p *parts) error {
		done, err = keyshare.Rotation{
			Files: p.keys, RotateSigning: p.signing.Rotate, Fields: p.fieldKeys,
			Reseal: []func(context.Context) (int, int, error){
				p.accounts.Reseal, p.webhooks.Reseal, p.notices.ResealChannels, p.integrations.Reseal,
			},
		}.Run(ctx)
		return err
	})
	return done, err
}

// VerifyAudit walks the audit's chain to its end or its first fault; servers may run meanwhile. progress, if not nil, is called with
// how many entries are done, of how many.
func VerifyAudit(ctx context.Context, s Settings, progress func(done, total int64)) (verdict audit.Verdict, err error) {
	err = use(ctx, s, func(p *parts) error {
		verdict, err = p.audit().Verify(ctx, progress)
		return err
	})
	return verdict, err
}

// ExportAudit writes what the filter leaves of the audit to w, as "csv" or "ndjson", and records that; servers may run meanwhile.
func ExportAudit(ctx context.Context, s Settings, w io.Writer, format string, filter hearth.AuditFilter) error {
	return use(ctx, s, func(p *parts) error {
		entries, err := p.audit().ExportBySystem(ctx, filter, p.Clock.Now())
		if err != nil {
			return err
		}
		return admin.WriteAudit(w, format, entries)
	})
}

// Jobs carries out an order and returns the jobs that it is about, also those before the first that failed; servers may run meanwhile.
func Jobs(ctx context.Context, s Settings, order jobadmin.Order) (jobs []queue.Job, err error) {
	err = use(ctx, s, func(p *parts) error {
		jobs, err = p.jobs().Do(ctx, order)
		return err
	})
	return jobs, err
}

func (p *parts) jobs() jobadmin.Jobs {
	return jobadmin.Jobs{Queue: p.queue, Store: p.store, Clock: p.Clock}
}

// OpenAPI returns the OpenAPI document of the API.
func OpenAPI(ctx context.Context, s Settings) (document []byte, err error) {
	err = use(ctx, s, func(p *parts) error {
		api, err := p.openAPI(ctx)
		if err == nil {
			document, err = api.OpenAPI()
		}
		return err
	})
	return document, err
}
