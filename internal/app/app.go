// Package app is the composition root: it builds the program from its settings, starts it and stops it in order. It is
// the only package that knows the adapters.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/backup"
	"hearth/internal/blob"
	"hearth/internal/bus"
	"hearth/internal/config"
	"hearth/internal/console"
	"hearth/internal/core/account"
	"hearth/internal/core/analytics"
	"hearth/internal/core/audit"
	"hearth/internal/core/devices"
	"hearth/internal/core/exports"
	"hearth/internal/core/notify"
	"hearth/internal/core/orgs"
	"hearth/internal/core/telemetry"
	"hearth/internal/figures"
	"hearth/internal/invalidate"
	"hearth/internal/jobadmin"
	"hearth/internal/keyshare"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
	"hearth/internal/mailer"
	"hearth/internal/meters"
	"hearth/internal/observe"
	"hearth/internal/queue"
	"hearth/internal/realtime"
	"hearth/internal/redisconn"
	"hearth/internal/sealer"
)

// Options are what an App is built from.
type Options struct {
	Config *config.Config
	// Logger takes the program's log; nil discards it.
	Logger *slog.Logger
	// Version is the program's.
	Version string
	// Clock is the time of everything; nil is the system's.
	Clock hearth.Clock
	// MailTimeout bounds one try to send a message; 0 is 30 s.
	MailTimeout time.Duration
	// DeviceSettle is how long a device's new connection must last before people are told; 0 is 30 s.
	DeviceSettle time.Duration
}

func (o Options) validate() (Options, error) {
	if o.Config == nil {
		return o, errors.New("app: no configuration was given")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// App is the program, built but not serving: commands work on its parts, Run serves.
type App struct {
	options Options
	config  *config.Config
	log     *slog.Logger
	health  *observe.Health
	metrics *observe.Metrics
	tracer  *observe.Tracer // nil: nothing is traced
	store   store
	secrets *keyshare.Files
	keys    *account.KeyRing
	people  *account.Service
	sealing *sealer.Ring // nil: fields are stored as they are
	events  *publishers
	fleet   *devices.Service
	orgs    *orgs.Service
	// memberships are told of ended ones; more are added while the program is built.
	memberships *memberships
	api         *api.API
	limiter     *memkv.Limiter // nil: the limits are off

	realtime *realtime.Node
	endings  *endings

	queue    queue.Backend
	jobMeter *meters.Jobs
	mailer   *mailer.Mailer
	notify   *notify.Service
	cache    kv.Cache
	redis    *redisconn.Conn // nil: this process is alone
	bus      bus.Bus         // nil: as well
	others   *invalidate.Others
	asker    *bus.Asker
	leader   leader
	leaves   atomic.Bool // the stop has begun

	telemetry *telemetry.Service
	analytics *analytics.Service
	// foreign is the last number of ForeignWrites; it belongs to the background work.
	foreign uint64

	files   blob.Store
	exports *exports.Service
	backups *backup.Schedule

	steps steps
}

// New opens the store and builds every part. Nothing listens and no background work runs before Run. What was built is
// taken down again when a later part fails.
func New(ctx context.Context, options Options) (_ *App, err error) {
	options, err = options.validate()
	if err != nil {
		return nil, err
	}
	a := &App{
		options: options, config: options.Config, log: options.Logger, events: &publishers{}, endings: &endings{}, memberships: &memberships{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close(ctx))
		}
	}()
	for _, advice := range a.config.Advice() {
		a.log.WarnContext(ctx, advice, "kind", "system")
	}
	if err := os.MkdirAll(a.config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	a.metrics = observe.NewMetrics(observe.MetricsOptions{
		Version: options.Version, DataDir: a.config.DataDir, Off: !a.config.Metrics, SlowOperation: a.config.SlowQuery,
	})
	if err := a.openTraces(ctx); err != nil {
		return nil, err
	}
	a.health = observe.NewHealth(observe.HealthOptions{Version: options.Version, Logger: a.log})
	a.steps.add("health", func(context.Context) error { a.health.Close(); return nil })
	if err := a.openStore(ctx); err != nil {
		return nil, err
	}
	if err := backup.RefuseHalfRestored(ctx, a.store); err != nil {
		return nil, err
	}
	if err := a.openSecrets(ctx); err != nil {
		return nil, err
	}
	if err := a.openRedis(ctx); err != nil {
		return nil, err
	}
	if err := a.openQueue(ctx); err != nil {
		return nil, err
	}
	if a.sealing, err = a.secrets.FieldKeys(ctx); err != nil {
		return nil, err
	}
	if err := a.openOrganizations(ctx); err != nil {
		return nil, err
	}
	if err := a.openNotify(); err != nil {
		return nil, err
	}
	if err := a.openAccounts(ctx); err != nil {
		return nil, err
	}
	if err := a.openMail(); err != nil {
		return nil, err
	}
	if err := a.openFleet(); err != nil {
		return nil, err
	}
	if err := a.openFiles(); err != nil {
		return nil, err
	}
	if err := a.openTelemetry(); err != nil {
		return nil, err
	}
	if err := a.openRealtime(ctx); err != nil {
		return nil, err
	}
	if err := a.openExports(); err != nil {
		return nil, err
	}
	a.backups = backup.NewSchedule(backup.ScheduleOptions{
		Config: a.config, Source: a.store, Files: a.files, Version: options.Version, Clock: options.Clock, Logger: a.log,
	})
	if err := a.buildAPI(ctx); err != nil {
		return nil, err
	}
	a.registerMeters()
	return a, nil
}

// Close takes everything down in the reverse order of its building, and joins the errors. It may be called twice.
func (a *App) Close(ctx context.Context) error { return a.steps.run(ctx, a.log) }

func (a *App) jobs() jobadmin.Jobs {
	return jobadmin.Jobs{Queue: a.queue, Store: a.store, Clock: a.options.Clock}
}

// Jobs carries out an order of the command line.
func (a *App) Jobs(ctx context.Context, order jobadmin.Order) ([]queue.Job, error) {
	return a.jobs().Do(ctx, order)
}

// OpenAPI returns the OpenAPI document of the API.
func (a *App) OpenAPI() ([]byte, error) { return a.api.OpenAPI() }

func (a *App) buildAPI(ctx context.Context) error {
	limits, err := a.openLimiter()
	if err != nil {
		return err
	}
	secret, err := a.secrets.Secret(ctx, "idempotency.key")
	if err != nil {
		return err
	}
	var settle func(context.Context)
	if a.redis != nil {
		settle = a.realtime.Settle
	}
	a.api, err = api.New(api.Options{
		Version: a.options.Version, Clock: a.options.Clock, Logger: a.log, Health: a.health, Metrics: a.metrics.HTTP, Tracer: a.tracer,
		Accounts: a.people, Organizations: a.orgs, Roles: a.orgs.Roles, Devices: a.fleet, Fleet: a.fleet,
		Telemetry: a.telemetry, Analytics: a.analytics, Exports: a.exports, Notifications: a.notify,
		Jobs: a.jobs(), Figures: figures.New(figures.Options{
			Config: a.config, Asker: a.asker, HTTP: a.metrics.HTTP, Cache: a.cache, Health: a.health,
		}), Live: a.realtime, StreamStats: figures.NewStreams(a.asker, a.realtime), Settle: settle,
		BodyLimit: int64(a.config.BodyLimit), BatchBodyLimit: int64(a.config.BatchBodyLimit),
		SlowRequest: a.config.SlowRequest, AllowedOrigins: a.config.AllowedOrigins,
		TrustedProxies: a.config.TrustedProxies, AccelRedirect: a.config.AccelRedirect, Limiter: limits, Secret: secret, Idempotency: a.store,
		Audit: audit.New(a.store), Pages: console.Pages(),
	})
	return err
}
