package app

import (
	"context"

	"hearth/internal/importer"
)

// importer returns what brings logs out of files into the store.
func (a *App) importer() *importer.Importer {
	return &importer.Importer{
		Store: a.store, Roles: a.orgs.Roles, Devices: a.fleet, Telemetry: a.telemetry, Files: a.files, DataDir: a.config.DataDir,
		Retention: a.config.Retention, Clock: a.options.Clock,
	}
}

// Import imports the logs of a file; a server may run meanwhile.
func (a *App) Import(ctx context.Context, o importer.Import) (importer.Progress, error) {
	return a.importer().File(ctx, o)
}
