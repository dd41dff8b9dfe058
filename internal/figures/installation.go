package figures

import (
	"context"
	"os"
	"path/filepath"

	"hearth/internal/api/admin"
	"hearth/internal/bus"
	"hearth/internal/config"
	"hearth/internal/kv"
	"hearth/internal/observe"
)

// Options are what the figures of an installation are taken from.
type Options struct {
	Config *config.Config
	Asker  *bus.Asker
	HTTP   *observe.HTTPMetrics
	Cache  kv.Cache
	Health *observe.Health
}

// New returns a function that returns the figures of all processes together, and of the database that they share.
func New(o Options) func(context.Context) (observe.HTTPSummary, admin.Figures) {
	use := NewUse(o.Asker, o.HTTP.Figures, o.Cache.Stats)
	return func(ctx context.Context) (observe.HTTPSummary, admin.Figures) {
		requests, f := use(ctx)
		report := o.Health.Report(ctx).Dependencies["database"]
		f.Database = admin.DatabaseFigures{Engine: "sqlite", State: report.State, LatencyMS: report.LatencyMS}
		if o.Config.StoreURL != "" {
			f.Database.Engine = "mongodb"
		}
		if f.Database.State != observe.StateOK {
			f.Database.State = observe.StateDown
		}
		f.Database.Bytes, f.Database.WALBytes = DatabaseSize(o.Config.DataDir)
		return requests, f
	}
}

// DatabaseSize returns the bytes of the SQLite database in a data directory, its write-ahead log included, and of that log.
func DatabaseSize(dir string) (all, wal int64) {
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return 0 // there is none
		}
		return info.Size()
	}
	wal = size("hearth.db-wal")
	return size("hearth.db") + wal, wal
}
