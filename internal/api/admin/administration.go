// Package admin serves the operations of administration: jobs, backups, the audit, the service at a glance, and the health of a process.
package admin

import (
	"context"

	"hearth/internal/api/rest"
	"hearth/internal/core/audit"
	"hearth/internal/observe"
)

// Services are what the operations of administration call. Those of a service that is nil are not served.
type Services struct {
	// Jobs is the background work, Backups the archives, Audit what was done, Figures the figures of /admin/metrics.
	Jobs    Jobs
	Backups Backups
	Audit   *audit.Service
	Figures func(ctx context.Context) (observe.HTTPSummary, Figures)
	// Health answers under /health.
	Health *observe.Health
}

// administration is what the handlers of this package share.
type administration struct {
	*rest.Router
	Services
}

// Register adds the operations to a router.
func Register(router *rest.Router, services Services) {
	a := &administration{router, services}
	a.registerJobs()
	a.registerBackups()
	a.registerMetrics()
	a.registerAudit()
	a.registerHealth()
}
