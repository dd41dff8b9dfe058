package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
	_ "time/tzdata" // schedules name time zones, which a container need not have

	"github.com/centrifugal/centrifuge"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/api/admin"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
	"hearth/internal/backup"
	"hearth/internal/bridge"
	"hearth/internal/console"
	"hearth/internal/core/account"
	"hearth/internal/core/alarms"
	"hearth/internal/core/analytics"
	"hearth/internal/core/archive"
	"hearth/internal/core/audit"
	"hearth/internal/core/commands"
	"hearth/internal/core/devices"
	"hearth/internal/core/exports"
	"hearth/internal/core/integrations"
	"hearth/internal/core/notify"
	"hearth/internal/core/orgs"
	"hearth/internal/core/provision"
	"hearth/internal/core/telemetry"
	"hearth/internal/core/twins"
	"hearth/internal/core/webhooks"
	"hearth/internal/figures"
	"hearth/internal/guardedhttp"
	"hearth/internal/httpserver"
	"hearth/internal/jobadmin"
	"hearth/internal/keyshare"
	"hearth/internal/kv"
	"hearth/internal/kv/memkv"
	"hearth/internal/kv/rediskv"
	"hearth/internal/lifecycle"
	"hearth/internal/mail"
	"hearth/internal/mail/smtpmail"
	"hearth/internal/mailer"
	"hearth/internal/meters"
	"hearth/internal/mqtt"
	"hearth/internal/observe"
	"hearth/internal/quotas"
	"hearth/internal/realtime"
	"hearth/internal/realtime/redisbroker"
)

// parts are the program, built and not serving yet. Nothing changes them once they are built.
type parts struct {
	base
	events       *publishers
	signing      *account.KeyRing
	accounts     *account.Service
	orgs         *orgs.Service
	devices      *devices.Service
	provision    *provision.Service
	telemetry    *telemetry.Service
	twins        *twins.Service
	analytics    *analytics.Service
	commands     *commands.Service
	webhooks     *webhooks.Service
	integrations *integrations.Service
	alarms       *alarms.Service
	exports      *exports.Service
	notices      *notify.Service
	mailer       *mailer.Mailer
	backups      *backup.Schedule
	realtime     *realtime.Node
	mqtt         *mqtt.Server
	bridge       *bridge.Bridge
	limits       kv.Limiter
	peers        *httpserver.Peers
	limiter      *memkv.Limiter // what limits keeps in this process
	quotas       quotas.Quotas
	// figures and streams answer for this process too, whichever asks.
	figures func(context.Context) (observe.HTTPSummary, admin.Figures)
	streams func(context.Context) api.StreamStats
}

// What encrypts which field is named by these; the names of all but messages are stored.
const (
	originField  = "session.origin"
	noticeField  = "notice"
	messageField = "message"
	webhookField = "webhook.secret"
	channelField = "notification_channel.secret"
	brokerField  = "integration.password"
)

// build opens everything that the program stands on and builds every part. Nothing listens and no background work runs yet.
func build(ctx context.Context, s Settings, stack *lifecycle.Stack) (*parts, error) {
	b, err := openBase(ctx, s, stack)
	if err != nil {
		return nil, err
	}
	cfg, url := s.Config, s.Config.Address()
	events, sessionEnds, memberEnds := &publishers{}, &sessionEnds{}, &memberEnds{}
	p := &parts{base: b, events: events, peers: httpserver.NewPeers(cfg.Connections, cfg.TrustedProxies)}
	if err := p.openLimiter(); err != nil {
		return nil, err
	}
	mails := kv.Mails{Limiter: p.limits}
	p.quotas = quotas.New(quotas.Options{Quotas: cfg.Quotas, Limiter: p.limits, Store: b.store, Clock: s.Clock})

	orgOptions := orgs.Options{Store: b.store, Users: b.store, Clock: s.Clock, Mails: mails, Observers: []orgs.Observer{memberEnds}}
	orgOptions.OnRoles = func(userID string) { p.devices.RightsChanged(userID) }
	if b.others != nil { // before the notifications: a reader that is notified of a change finds it on every instance
		events.add(b.others)
		*sessionEnds, *memberEnds = append(*sessionEnds, b.others), append(*memberEnds, b.others)
		orgOptions.OnRoles = func(userID string) {
			b.others.RolesChanged(userID)
			p.devices.RightsChanged(userID)
		}
	}
	if orgOptions.Secret, err = b.keys.Secret(ctx, "invitations.key"); err != nil {
		return nil, err
	}
	if p.orgs, err = orgs.New(orgOptions); err != nil {
		return nil, err
	}
	client := guardedhttp.New(guardedhttp.Options{
		AllowNetworks: cfg.WebhookAllow.Networks, AllowHosts: cfg.WebhookAllow.Hosts, Version: s.Version,
	})
	p.notices, err = notify.New(notify.Options{
		Store: b.store, Users: b.store, Devices: b.store, Exports: b.store, Alarms: b.store, Logs: b.store, Roles: p.orgs.Roles, Queue: b.queue, Publisher: events,
		Clock: s.Clock, Logger: s.Logger, PublicURL: url, Debounce: s.DeviceDebounce, Sealer: b.sealer(noticeField),
		Channels: b.store, ChannelSealer: b.sealer(channelField), Client: client, EventsOf: alarms.EventsOf,
	})
	if err != nil {
		return nil, err
	}
	if err := b.keys.Open(ctx, keyshare.SigningKeys, func(path string) error {
		p.signing, err = account.OpenKeyRing(account.KeyRingOptions{Path: path, AccessTTL: cfg.AccessTTL, Clock: s.Clock})
		return err
	}); err != nil {
		return nil, err
	}
	p.accounts, err = account.New(account.Options{
		Store: b.store, Keys: p.signing, Clock: s.Clock, Logger: s.Logger, Issuer: cfg.PublicURL, AccessTTL: cfg.AccessTTL,
		RefreshTTL: cfg.RefreshTTL, RefreshLeeway: cfg.RefreshLeeway, SignUp: account.SignUp(cfg.Signup), Invited: p.orgs.InvitationFor, BcryptCost: cfg.BcryptCost,
		HashSlots: cfg.HashSlots(), Observers: []account.SessionObserver{sessionEnds}, Sealer: b.sealer(originField), Notices: b.sealer(noticeField), Mails: mails,
	})
	if err != nil {
		return nil, err
	}
	if p.mailer, err = p.openMail(url); err != nil {
		return nil, err
	}
	p.webhooks, err = webhooks.New(webhooks.Options{
		Store: b.store, Devices: b.store, Encode: api.EncodeWebhookData, Client: client, Sealer: b.sealer(webhookField),
		Wake: b.store.WebhookSignal(), Leads: b.leader.Leads, Clock: s.Clock, Logger: s.Logger,
	})
	if err != nil {
		return nil, err
	}
	p.integrations, err = integrations.New(integrations.Options{Store: b.store, Sealer: b.sealer(brokerField), Clock: s.Clock, Changed: func() { p.bridge.Changed() }})
	if err != nil {
		return nil, err
	}
	p.devices, err = devices.New(devices.Options{
		Store: b.store, Clock: s.Clock, Logger: s.Logger, Publisher: events, Webhooks: p.webhooks,
		OnConnection: func(ctx context.Context, d hearth.Device) {
			p.notices.DeviceConnection(ctx, d)
			p.webhooks.DeviceConnection(ctx, d)
		},
		Followed:  p.followed,
		OnRevoked: func(deviceID string) { p.mqtt.Revoked(deviceID) }, Maker: p.maker,
		Pending: func(ctx context.Context, ids []string) ([]int, error) { return p.commands.Pending(ctx, ids) },
		Silence: p.silenceNote,
		Heard: func(ctx context.Context, devices []*hearth.Device, before []time.Time) (func(), error) {
			return p.alarms.Heard(ctx, devices, before)
		},
		Shared: b.redis != nil || cfg.StoreURL != "", Leads: b.leader.Leads, Quota: cfg.Quotas[hearth.QuotaDevices],
	})
	if err != nil {
		return nil, err
	}
	*sessionEnds = append(*sessionEnds, p.devices)
	stack.Add("devices", func(context.Context) error { p.devices.Stop(); return nil })
	p.provision, err = provision.New(provision.Options{Store: b.store, Devices: p.devices, Webhooks: p.webhooks, Silence: p.silenceNote, Clock: s.Clock})
	if err != nil {
		return nil, err
	}
	p.twins, err = twins.New(twins.Options{
		Store: b.store, Directory: p.devices, Publisher: events, Clock: s.Clock, OnDesired: p.desiredChanged,
	})
	if err != nil {
		return nil, err
	}
	p.analytics, err = analytics.New(analytics.Options{
		Logs: b.store, Devices: b.store, Cache: b.cache, Clock: s.Clock, Flow: figures.NewFlow(b.asker, p.flow),
	})
	if err != nil {
		return nil, err
	}
	events.add(p.analytics)
	p.alarms, err = alarms.New(alarms.Options{
		Rules: b.store, Alarms: b.store, Devices: b.store, Directory: p.devices, Logs: b.store, Roles: p.orgs.Roles, Bus: b.bus, Publisher: events,
		Webhooks: p.webhooks, Webhook: b.store.Webhook,
		Leads: b.leader.Leads, Clock: s.Clock, Logger: s.Logger,
	})
	if err != nil {
		return nil, err
	}
	stack.Add("alarms", func(context.Context) error { p.alarms.Stop(); return nil })
	logs := telemetry.Options{
		Store: b.store, Audit: b.store, Directory: p.devices, Publisher: events, Listener: p.analytics, Reported: p.devices.Reported,
		Alarms: p.alarms, Clock: s.Clock, Logger: s.Logger, Retention: cfg.Retention, Quota: p.quotas.Logs(),
		Followed: p.followed,
	}
	if cfg.Archive {
		if logs.Archive, err = archive.New(archive.Options{Logs: b.store, Devices: b.store, Files: b.files, Log: s.Logger}); err != nil {
			return nil, err
		}
	}
	if p.telemetry, err = telemetry.New(logs); err != nil {
		return nil, err
	}
	if p.realtime, err = p.openRealtime(ctx); err != nil {
		return nil, err
	}
	events.add(p.realtime)
	*sessionEnds, *memberEnds = append(*sessionEnds, p.realtime), append(*memberEnds, p.realtime)
	p.commands, err = commands.New(commands.Options{
		Store: b.store, Devices: b.store, Directory: p.devices, Bus: b.bus, Publisher: events, Leads: b.leader.Leads, Clock: s.Clock,
		Logger: s.Logger, Webhooks: p.webhooks,
	})
	if err != nil {
		return nil, err
	}
	stack.Add("commands", func(context.Context) error { p.commands.Stop(); return nil })
	if p.mqtt, err = p.openMQTT(); err != nil {
		return nil, err
	}
	events.add(p.mqtt)
	if p.bridge, err = p.openBridge(); err != nil {
		return nil, err
	}
	events.add(p.bridge)
	p.exports, err = exports.New(exports.Options{
		Store: b.store, Schedules: b.store, Users: b.store, Roles: p.orgs.Roles, Logs: b.store, Devices: b.store, Jobs: b.queue,
		Files: b.files, Publisher: events, Webhooks: p.webhooks, Snapshot: snapshotOf(b.store), Clock: s.Clock, Log: s.Logger,
	})
	if err != nil {
		return nil, err
	}
	p.backups = backup.NewSchedule(backup.ScheduleOptions{
		Config: cfg, Source: b.store, Files: b.files, Version: s.Version, Clock: s.Clock, Logger: s.Logger,
	})
	p.figures = figures.New(figures.Options{Config: cfg, Asker: b.asker, HTTP: b.metrics.HTTP, Cache: b.cache, Health: p.health})
	p.streams = figures.NewStreams(b.asker, p.realtime)
	p.registerMeters()
	return p, nil
}

// silenceNote is alarms.Service.SilenceNote, for what is built before.
func (p *parts) silenceNote(ctx context.Context, scope hearth.Scope) (hearth.SilenceNote, error) {
	return p.alarms.SilenceNote(ctx, scope)
}

// openMail makes what sends e-mails: by SMTP, or into files of the data directory where there is no server.
func (p *parts) openMail(url string) (*mailer.Mailer, error) {
	from, err := mail.ParseAddress(p.Config.MailFrom)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_MAIL_FROM: %w", err)
	}
	var sender mail.Sender
	if p.Config.SMTPURL == "" {
		sender, err = smtpmail.NewFiles(smtpmail.FilesOptions{Dir: filepath.Join(p.Config.DataDir, "mail"), From: from, Clock: p.Clock})
	} else {
		var options smtpmail.Options
		if options, err = smtpmail.ParseURL(p.Config.SMTPURL); err != nil {
			return nil, fmt.Errorf("HEARTH_SMTP_URL: %w", err)
		}
		options.From, options.Clock, options.Timeout = from, p.Clock, p.MailTimeout
		sender, err = smtpmail.NewSender(options)
	}
	if err != nil {
		return nil, err
	}
	p.opened("mail", sender.Close, observe.Check{Name: "mail", Probe: sender.Ping})
	return mailer.New(mailer.Options{
		Sender: sender, Accounts: p.accounts, Organizations: p.orgs, Notices: p.notices, PublicURL: url, Registry: p.metrics.Registry,
	})
}

// desiredChanged has heartbeats answer the new version of a device's desired state, here and on the other instances.
func (p *parts) desiredChanged(deviceID string, version int64) {
	p.devices.DesiredChanged(deviceID, version)
	if p.others != nil {
		p.others.DesiredChanged(deviceID, version)
	}
}

// flow returns how much goes through this process now.
func (p *parts) flow(of figures.FlowOf) analytics.Flow {
	flow := analytics.Flow{HeartbeatsPerSecond: p.devices.HeartbeatRate(of.Reach), LogsPerSecond: p.telemetry.PerSecond(of.Reach)}
	if of.Everybody {
		open := p.realtime.Stats().Connections
		flow.Connections = open.WebSocket + open.SSE
	} else {
		flow.Connections = p.realtime.ConnectionsOf(of.User)
	}
	return flow
}

// openRealtime builds what carries events to connections: over Redis where instances share it, whose events, SSE ids and tickets all
// of them accept.
func (p *parts) openRealtime(ctx context.Context) (_ *realtime.Node, err error) {
	options := realtime.Options{
		Users: p.accounts, Roles: p.orgs.Roles, Devices: p.store, Encode: api.EncodeEvent, AllowedOrigins: p.Config.AllowedOrigins,
		Clock: p.Clock, Logger: p.Logger, Registry: p.metrics.Registry,
	}
	if p.redis != nil {
		if options.CursorKey, err = p.keys.Secret(ctx, "cursor.key"); err != nil {
			return nil, err
		}
		if options.Presence, err = redisbroker.NewPresence(p.redis, p.Clock); err != nil {
			return nil, err
		}
		if options.Tickets, err = redisbroker.NewTickets(p.redis); err != nil {
			return nil, err
		}
		options.Broker = func(node *centrifuge.Node) (realtime.Broker, error) {
			return redisbroker.New(node, redisbroker.Options{Bus: p.shared, Clock: p.Clock, Logger: p.Logger})
		}
	}
	node, err := realtime.New(options)
	if err != nil {
		return nil, err
	}
	p.stack.Add("realtime", node.Close)
	return node, nil
}

// snapshotOf returns what reads a store as it is at one moment; nil where the store has no such reads.
func snapshotOf(s store) func(context.Context, func(context.Context) error) error {
	if s, ok := s.(interface {
		Snapshot(ctx context.Context, fn func(context.Context) error) error
	}); ok {
		return s.Snapshot
	}
	return nil
}

// openAPI builds the API over all capabilities. Only what serves needs it.
func (p *parts) openAPI(ctx context.Context) (*api.API, error) {
	claims := limiter{p.limits}
	var limits rest.Limiter // nil: the limits are off
	if p.Config.RateLimits != nil {
		limits = claims
	}
	secret, err := p.keys.Secret(ctx, "idempotency.key")
	if err != nil {
		return nil, err
	}
	var awaitPublished func(context.Context)
	if p.redis != nil {
		awaitPublished = p.realtime.AwaitPublished
	}
	cfg := p.Config
	pages, err := console.New(console.Settings{Signup: string(cfg.Signup), MQTT: cfg.MQTTAddr, MQTTS: cfg.MQTTSAddr, SetupToken: p.accounts.SetupToken})
	if err != nil {
		return nil, err
	}
	return api.New(api.Options{
		Serving: rest.Options{
			Clock: p.Clock, Logger: p.Logger, Metrics: p.metrics.HTTP, Tracer: p.tracer, Devices: p.devices, Roles: p.orgs.Roles,
			BodyLimit: int64(cfg.BodyLimit), BatchBodyLimit: int64(cfg.BatchBodyLimit), BodyMemory: p.memory.Bodies(), SlowRequest: cfg.SlowRequest,
			AllowedOrigins: cfg.AllowedOrigins, TrustedProxies: cfg.TrustedProxies, Peers: p.peers, Limiter: limits, ClaimLimiter: claims,
			Secret: secret, Idempotency: p.store, Missing: pages.Missing(),
		},
		People: people.Services{Accounts: p.accounts, Organizations: p.orgs, Notifications: p.notices, QuotaUse: p.quotas.Use},
		Admin: admin.Services{
			Jobs: p.jobs(), Backups: jobadmin.Backups{Jobs: p.jobs(), Schedule: p.backups}, Audit: p.audit(), Health: p.health,
			Figures: p.figures,
		},
		Version: p.Version, Fleet: p.devices, Provisioning: p.provision, Twins: p.twins,
		Telemetry: p.telemetry, Analytics: p.analytics, Commands: p.commands, Webhooks: p.webhooks, Integrations: p.integrations, Alarms: p.alarms,
		Exports: p.exports, Channels: p.notices,
		MQTT: p.mqtt.ServeWebSocket, Live: p.realtime, StreamStats: p.streams, AwaitPublished: awaitPublished,
		AccelRedirect: cfg.AccelRedirect, Pages: pages.Pages(),
	})
}

func (p *parts) audit() *audit.Service { return audit.New(p.store, p.Clock, p.Config.AuditRetention) }

// limiter returns the port's decisions as the API's.
type limiter struct{ kv.Limiter }

// Allow implements rest.Limiter.
func (l limiter) Allow(ctx context.Context, class, key string, n int) (rest.Decision, error) {
	d, err := l.Limiter.Allow(ctx, class, key, n)
	return rest.Decision(d), err
}

// openLimiter makes the limiter that the settings describe, with those of claims and e-mails, which are always on.
func (p *parts) openLimiter() (err error) {
	limits := kv.MailLimits()
	limits["claims"] = kv.Rate{Limit: 5, Per: time.Minute}
	limits[hearth.QuotaLogs] = kv.Rate{Limit: int(p.Config.Quotas[hearth.QuotaLogs]), Per: 24 * time.Hour}
	for class, limit := range p.Config.RateLimits {
		limits[class] = kv.Rate{Limit: limit.Count, Per: limit.Per}
	}
	p.limiter, err = memkv.NewLimiter(memkv.LimiterOptions{Limits: limits, Clock: p.Clock, Logger: p.Logger})
	if p.limits = p.limiter; err == nil && p.redis != nil {
		p.limits, err = rediskv.NewLimiter(rediskv.LimiterOptions{Conn: p.redis, Limits: limits, Local: p.limiter})
	}
	return err
}

// rememberLimits makes the limits hold over restarts. It is called by the one process that serves from the directory.
func (p *parts) rememberLimits() error {
	if err := p.limiter.Remember(filepath.Join(p.Config.DataDir, "limits")); err != nil {
		return err
	}
	p.stack.Add("limits", func(context.Context) error { return p.limiter.Close() })
	return nil
}

// registerMeters adds what Prometheus sees of the parts that know nothing of Prometheus.
func (p *parts) registerMeters() {
	registry := p.metrics.Registry
	registry.MustRegister(p.health, meters.Cache(p.cache), meters.Devices(p.store, p.Clock), p.backups)
	if pools, ok := p.store.(interface{ Pools() []hearth.Pool }); ok {
		registry.MustRegister(meters.Pools(pools.Pools))
	}
	program := meters.Program{
		LogsStored: p.telemetry.Stored, Heartbeats: p.devices.Heard, ConnectionsRefused: p.peers.Refused, Provisioned: p.provision.Provisioned,
		Claimed: p.provision.Claimed, CommandsCreated: p.commands.Created, Judged: p.alarms.Judged, Raised: p.alarms.Raised, Cleared: p.alarms.Cleared,
		CommandsEnded: p.commands.Ended, WebhookAttempts: p.webhooks.Attempts, CommandsWaiting: p.commands.Waiting,
	}
	if p.Config.StoreURL == "" {
		program.DatabaseBytes = func() int64 {
			bytes, _ := figures.DatabaseSize(p.Config.DataDir)
			return bytes
		}
	}
	program.Register(registry)
}

// maker returns the user who made a device token as a caller.
func (p *parts) maker(ctx context.Context, userID string) (hearth.Caller, error) {
	caller, err := p.accounts.Caller(ctx, userID)
	if err != nil {
		return caller, err
	}
	roles, err := p.orgs.Roles(ctx, userID)
	return caller.WithOrgs(roles), err
}

// publishers passes events on to all of them. It is complete before the first event.
type publishers []hearth.Publisher

func (p *publishers) add(to hearth.Publisher) { *p = append(*p, to) }

// Publish implements hearth.Publisher.
func (p *publishers) Publish(events ...hearth.Event) {
	for _, to := range *p {
		to.Publish(events...)
	}
}

// followed reports whether anybody reads the live events of a device.
func (p *parts) followed(scope hearth.Scope, deviceID string) bool {
	return p.realtime.Wanted(scope, deviceID)
}

// sessionEnds passes the ends of sessions on to all of them. It is complete before the first end.
type sessionEnds []account.SessionObserver

// SessionsEnded implements account.SessionObserver.
func (s *sessionEnds) SessionsEnded(userID string, sessionIDs []string) {
	for _, to := range *s {
		to.SessionsEnded(userID, sessionIDs)
	}
}

// memberEnds passes the ends of memberships on to all of them. It is complete before the first end.
type memberEnds []orgs.Observer

// MembershipEnded implements orgs.Observer.
func (m *memberEnds) MembershipEnded(userID, orgID string) {
	for _, to := range *m {
		to.MembershipEnded(userID, orgID)
	}
}
