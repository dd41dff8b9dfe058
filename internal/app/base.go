package app

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"hearth"
	"hearth/internal/backup"
	"hearth/internal/blob"
	"hearth/internal/blob/dirblob"
	"hearth/internal/blob/s3blob"
	"hearth/internal/bus"
	"hearth/internal/bus/redisbus"
	"hearth/internal/bus/sqlitebus"
	"hearth/internal/invalidate"
	"hearth/internal/keyshare"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
	"hearth/internal/kv/rediskv"
	"hearth/internal/leader"
	"hearth/internal/lifecycle"
	"hearth/internal/memory"
	"hearth/internal/meters"
	"hearth/internal/observe"
	"hearth/internal/queue"
	"hearth/internal/queue/redisqueue"
	"hearth/internal/queue/sqlitequeue"
	"hearth/internal/redisconn"
	"hearth/internal/sealed"
	"hearth/internal/sealer"
	"hearth/internal/store/archive"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/sqlite"
	"hearth/internal/tsdb"
)

// store is the database: every contract of the vocabulary, and what the program needs to run it.
type store interface {
	hearth.UserStore
	hearth.SessionStore
	hearth.APIKeyStore
	hearth.OrganizationStore
	hearth.DeviceStore
	hearth.ProvisioningStore
	hearth.TwinStore
	hearth.MQTTSessionStore
	hearth.LogStore
	hearth.ExportStore
	hearth.ExportScheduleStore
	hearth.NotificationStore
	hearth.NotificationChannelStore
	hearth.CommandStore
	hearth.WebhookStore
	hearth.IntegrationStore
	hearth.RuleStore
	hearth.AlarmStore
	hearth.AuditStore
	hearth.IdempotencyStore
	archive.Archiver
	queue.Outbox

	// OutboxSignal is signalled after a write of this process that left jobs behind.
	OutboxSignal() <-chan struct{}
	// WebhookSignal is the same for who takes the events for webhooks.
	WebhookSignal() <-chan struct{}
	// Tidy is the daily care of the engine; it returns how many things it mended or freed.
	Tidy(ctx context.Context) (int, error)
	// Forget has the log engine ask anew which scope a device belongs to.
	Forget(device int64)
	Ping(ctx context.Context) error
	Close() error
}

// base is what the capabilities stand on: the adapters of every port, opened.
type base struct {
	Settings
	stack     *lifecycle.Stack
	health    *observe.Health
	metrics   *observe.Metrics
	tracer    *observe.Tracer // nil: nothing is traced
	store     store
	keys      *keyshare.Files
	fieldKeys *sealer.Ring // nil: fields are stored as they are
	fleet
	bus      bus.Bus
	queue    queue.Backend
	jobMeter *meters.Jobs
	cache    kv.Cache
	files    blob.Store
	memory   memory.Limit
}

// fleet is what instances share; the pointers are nil where this process is alone.
type fleet struct {
	redis  *redisconn.Conn
	shared *redisbus.Bus
	others *invalidate.Others
	asker  *bus.Asker
	leader *leader.Leader
}

// openBase opens the adapters that the configuration names. Each is on the stack of s, and the health reports it.
func openBase(ctx context.Context, s Settings, stack *lifecycle.Stack) (b base, err error) {
	cfg := s.Config
	for _, advice := range cfg.Advice() {
		s.Logger.WarnContext(ctx, advice, "kind", "system")
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return b, fmt.Errorf("make the data directory: %w", err)
	}
	if cfg.BackupDir != "" {
		if err := (backup.Folder{Path: cfg.BackupDir}).Prepare(); err != nil {
			return b, err
		}
	}
	b = base{Settings: s, stack: stack, memory: memory.Find(), metrics: observe.NewMetrics(observe.MetricsOptions{
		Version: s.Version, DataDir: cfg.DataDir, Off: !cfg.Metrics, SlowOperation: cfg.SlowQuery,
	})}
	b.memory.Pace()
	if b.tracer, err = b.openTraces(); err != nil {
		return b, err
	}
	b.health = observe.NewHealth(observe.HealthOptions{Version: s.Version, Logger: s.Logger})
	stack.Add("health", func(context.Context) error { b.health.Close(); return nil })
	if b.store, err = b.openStore(ctx); err != nil {
		return b, err
	}
	if err := backup.RefuseHalfRestored(ctx, b.store); err != nil {
		return b, err
	}
	shared, _ := b.store.(hearth.SecretStore)
	if b.keys, err = keyshare.Open(ctx, keyshare.Options{Dir: cfg.DataDir, Store: shared, Keys: cfg.FieldKeys()}); err != nil {
		return b, err
	}
	if b.fleet, err = b.joinFleet(ctx); err != nil {
		return b, err
	}
	if b.fieldKeys, err = b.keys.FieldKeys(ctx); err != nil {
		return b, err
	}
	if b.bus, err = b.openBus(ctx); err != nil {
		return b, err
	}
	if b.queue, err = b.openQueue(ctx); err != nil {
		return b, err
	}
	b.jobMeter = meters.NewJobs(b.metrics.Registry, b.queue)
	if b.files, err = openFiles(cfg.BlobURL, filepath.Join(cfg.DataDir, "files")); err != nil {
		return b, err
	}
	b.opened("files", b.files.Close, observe.Check{Name: "storage", Probe: b.files.Ping}) // not required: orders wait in the queue meanwhile
	b.cache, err = b.openCache()
	return b, err
}

// opened puts what was opened on the stack and has the health report it.
func (b base) opened(name string, closing func() error, check observe.Check) {
	b.stack.Add(name, func(context.Context) error { return closing() })
	b.health.Register(check)
}

// openTraces begins to trace, where the configuration says where to. Its part is stopped last: what the stop does is sent.
func (b base) openTraces() (*observe.Tracer, error) {
	if b.Config.OTLPEndpoint == "" {
		return nil, nil //nolint:nilnil // no traces is a value
	}
	tracer, err := observe.NewTracer(observe.TraceOptions{
		Endpoint: b.Config.OTLPEndpoint, Ratio: b.Config.OTLPRatio, Version: b.Version, Logger: b.Logger,
	})
	if err != nil {
		return nil, err
	}
	b.stack.Add("traces", tracer.Close)
	b.metrics.Store = tracer.Observe(b.metrics.Store)
	return tracer, nil
}

// openStore opens the database of HEARTH_STORE_URL; without one, SQLite in the data directory.
func (b base) openStore(ctx context.Context) (opened store, err error) {
	quotas := b.Config.Quotas
	logs := tsdb.Options{
		Events: int(quotas[hearth.QuotaEvents]), DeviceEvents: int(quotas[hearth.QuotaDeviceEvents]), Bytes: quotas[hearth.QuotaBytes],
	}
	if b.Config.StoreURL == "" {
		opened, err = sqlite.Open(ctx, sqlite.Options{
			Path: filepath.Join(b.Config.DataDir, "hearth.db"), Clock: b.Clock, Logger: b.Logger, SlowQuery: b.Config.SlowQuery, Observer: b.metrics.Store,
			CacheBytes: b.memory.Pages(sqlite.MaxCacheBytes), Logs: logs,
		})
	} else {
		opened, err = mongodb.Open(ctx, mongodb.Options{
			URI: b.Config.StoreURL, Clock: b.Clock, Logger: b.Logger, SlowQuery: b.Config.SlowQuery, Observer: b.metrics.Store, Logs: logs,
		})
	}
	if err != nil {
		return nil, err
	}
	b.opened("store", opened.Close, observe.Check{Name: "database", Required: true, Probe: opened.Ping})
	return opened, nil
}

// joinFleet connects to what instances share; without a URL this process is alone, and everything is in it.
func (b base) joinFleet(ctx context.Context) (f fleet, err error) {
	if b.Config.RedisURL == "" {
		return fleet{leader: leader.New(nil, "")}, nil
	}
	if f.redis, err = redisconn.Connect(ctx, redisconn.Options{URL: b.Config.RedisURL, Logger: b.Logger}); err != nil {
		return f, err
	}
	// Not required: without it everything goes on, slower and alone.
	b.opened("redis", func() error { f.redis.Close(); return nil }, observe.Check{Name: "redis", Probe: f.redis.Ping})
	f.shared = redisbus.New(f.redis)
	b.stack.Add("bus", func(context.Context) error { f.shared.Close(); return nil })
	f.others = invalidate.New(f.shared, b.Logger)
	if f.asker, err = bus.NewAsker(bus.AskerOptions{Bus: f.shared, Logger: b.Logger}); err != nil {
		return f, err
	}
	leases, err := rediskv.NewLeases(rediskv.LeasesOptions{Conn: f.redis, Clock: b.Clock})
	f.leader = leader.New(leases, "fleet.watch")
	return f, err
}

// openBus opens the way between processes: over Redis, or, for those of one data directory, over a file there.
func (b base) openBus(ctx context.Context) (bus.Bus, error) {
	if b.shared != nil {
		return b.shared, nil
	}
	local, err := sqlitebus.Open(ctx, sqlitebus.Options{
		Path: filepath.Join(b.Config.DataDir, "bus.db"), Clock: b.Clock, Logger: b.Logger, Sealer: b.sealer(messageField),
	})
	if err != nil {
		return nil, err
	}
	b.stack.Add("bus", func(context.Context) error { return local.Close() })
	return local, nil
}

// openQueue opens the jobs: in Redis where instances share it, else in a file of the data directory. Nothing runs them yet.
func (b base) openQueue(ctx context.Context) (opened queue.Backend, err error) {
	if b.redis != nil {
		opened, err = redisqueue.Open(redisqueue.Options{Bus: b.shared, Clock: b.Clock})
	} else {
		opened, err = sqlitequeue.Open(ctx, sqlitequeue.Options{Path: filepath.Join(b.Config.DataDir, "queue.db"), Clock: b.Clock, Bus: b.bus})
	}
	if err != nil {
		return nil, err
	}
	// Not required: what a write wants done waits in the store meanwhile.
	b.opened("queue", opened.Close, observe.Check{Name: "queue", Probe: opened.Ping})
	return opened, nil
}

// smallestCache stands for no cache: answers then share their loads, and hardly anything is kept.
const smallestCache = 64 << 10

// openCache makes the cache of answers: memory, over Redis where instances share one.
func (b base) openCache() (kv.Cache, error) {
	size := uint64(max(b.Config.CacheSize, smallestCache))
	if b.Config.IsDefault("cache_size") {
		size = b.memory.Cache(size)
	}
	near, err := memkv.NewCache(memkv.CacheOptions{Bytes: size, Clock: b.Clock, Logger: b.Logger})
	if err != nil || b.redis == nil {
		return near, err
	}
	shared, err := rediskv.NewCache(rediskv.CacheOptions{Bus: b.shared, Near: near})
	if err != nil {
		return nil, err
	}
	b.stack.Add("cache", func(context.Context) error { shared.Close(); return nil })
	return shared, nil
}

// openFiles opens the object storage of that URL, or the directory that it names; without one, dir.
func openFiles(text, dir string) (blob.Store, error) {
	if text == "" {
		return dirblob.Open(dir)
	}
	if u, err := url.Parse(text); err == nil && u.Scheme == "file" {
		return dirblob.Open(filepath.FromSlash(u.Path))
	}
	options, err := s3blob.ParseURL(text)
	if err != nil {
		return nil, err
	}
	return s3blob.Open(options)
}

// sealer returns what encrypts one kind of field; nil where no field is encrypted.
func (b base) sealer(field string) sealed.Sealer {
	if b.fieldKeys == nil {
		return nil
	}
	return b.fieldKeys.Field(field)
}
