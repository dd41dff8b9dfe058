// Package api is the HTTP face of hearth: operations, one file a resource; the error mapper; middleware; the OpenAPI
// document. Wire types live here; a rename here changes no stored type.
//
// A resource file has one method on API that registers its operations with [register] (typed, validated by huma) or
// [registerRaw] (hot routes and streams, documented the same way). Handlers return errors; only problem.go turns an
// error into a response.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/logjson"
	"hearth/internal/core/account"
	"hearth/internal/core/alarms"
	"hearth/internal/core/analytics"
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
	"hearth/internal/keymutex"
	"hearth/internal/observe"
)

// BasePath is where the operations of the contract live.
const BasePath = "/api/v1"

// Authenticator turns a bearer token into a caller. Errors: CodeUnauthenticated, CodeTokenExpired, CodeTokenRevoked,
// CodeUnavailable.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (hearth.Caller, error)
}

// Peers counts what an address has open at once. Enter reports false where the address has all that it may have; else leave is called once.
type Peers interface {
	Enter(address string) (leave func(), ok bool)
}

// Options are what the API serves and how.
type Options struct {
	// Version is the program's, for the OpenAPI document.
	Version string
	Clock   hearth.Clock
	Logger  *slog.Logger
	// Accounts are those of users; nil: their operations are not served.
	Accounts *account.Service
	// Users reads access tokens and API keys ("hk_…"), Devices device tokens ("hd_…"). Users is Accounts if it is nil.
	Users   Authenticator
	Devices Authenticator
	// Roles returns a user's organizations; nil: no user has any.
	Roles func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	// Organizations are organizations, members and invitations.
	Organizations *orgs.Service
	// Fleet is the devices.
	Fleet *devices.Service
	// Provisioning is how devices make themselves and users claim them; nil: its operations are not served.
	Provisioning *provision.Service
	// Twins are the devices' desired and reported states.
	Twins *twins.Service
	// Telemetry stores and lists logs, Analytics answers questions about many.
	Telemetry *telemetry.Service
	Analytics *analytics.Service
	// Notifications are those of users; nil: their operations are not served.
	Notifications *notify.Service
	// Commands are those to devices; nil: their operations are not served.
	Commands *commands.Service
	// Webhooks are those of users and organizations; nil: their operations are not served.
	Webhooks *webhooks.Service
	// Integrations are connections to brokers; nil: their operations are not served.
	Integrations *integrations.Service
	// Alarms are rules and alarms; nil: their operations are not served.
	Alarms *alarms.Service
	// Exports are the files that users order; nil: their operations are not served.
	Exports *exports.Service
	// Jobs is the background work, Backups the archives, Figures the figures of /admin/metrics; nil: their operations are not
	// served.
	Jobs    Jobs
	Backups Backups
	Figures func(ctx context.Context) (observe.HTTPSummary, Figures)
	// Live carries events to connections, StreamStats counts them; nil: this instance serves no streams.
	Live        Live
	StreamStats func(context.Context) StreamStats
	// MQTT accepts MQTT over a WebSocket; it returns an error before it has written anything, or nil. Nil: it is not served.
	MQTT func(http.ResponseWriter, *http.Request) error
	// AwaitPublished waits until the events so far have their position among those of all instances; nil: there is one instance.
	AwaitPublished func(context.Context)
	// Health answers under /health; Metrics counts requests. Both may be nil.
	Health  *observe.Health
	Metrics *observe.HTTPMetrics
	// Tracer traces requests; nil: none.
	Tracer *observe.Tracer
	// BodyLimit and BatchBodyLimit bound request bodies, in bytes; 0 is 1 MiB and 16 MiB.
	BodyLimit      int64
	BatchBodyLimit int64
	// BodyMemory bounds the bytes of bodies over 64 KiB that are worked on at once; 0: nothing does.
	BodyMemory int64
	// SlowRequest is the duration from which a request is logged as slow; zero logs none so.
	SlowRequest time.Duration
	// AllowedOrigins may call from a browser (CORS).
	AllowedOrigins []string
	// TrustedProxies are the networks whose X-Forwarded-For counts.
	TrustedProxies []netip.Prefix
	// Peers bounds the requests under way of each client behind a trusted proxy; nil: nothing does.
	Peers Peers
	// AccelRedirect is where a trusted proxy has the directory of files, such as "/.hearth/files/": export files are then sent
	// by the proxy, on X-Accel-Redirect; "": by the program.
	AccelRedirect string
	// Limiter bounds how often clients call; nil: they are not limited.
	Limiter Limiter
	// ClaimLimiter bounds how often users guess claim codes; it is needed where Provisioning is set.
	// QuotaUse returns what a scope has used of the quotas that are set for it.
	QuotaUse     func(ctx context.Context, scope hearth.Scope) ([]hearth.QuotaUse, error)
	ClaimLimiter Limiter
	// Secret encrypts what is stored of requests with an Idempotency-Key: 32 random bytes, the
	// same after a restart and on every instance. Empty: new ones, for tests.
	Secret []byte
	// Audit answers under /admin/audit; nil: it does not.
	Audit *audit.Service
	// Idempotency finds what was created before; nil: the writes alone do.
	Idempotency hearth.IdempotencyStore
	// Pages answer GET next to the API, by their path in the syntax of http.ServeMux. They are not part of the OpenAPI document.
	Pages map[string]http.Handler
	// Missing answers browsers whose address nothing else has, with 404; nil: a problem does.
	Missing http.Handler
}

func (o Options) validate() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Users == nil && o.Accounts != nil {
		o.Users = o.Accounts
	}
	if o.BodyLimit == 0 {
		o.BodyLimit = 1 << 20
	}
	if o.BatchBodyLimit == 0 {
		o.BatchBodyLimit = 16 << 20
	}
	if o.BodyLimit < 0 || o.BatchBodyLimit < 0 {
		return o, errors.New("api: a body limit is negative")
	}
	if len(o.Secret) == 0 {
		o.Secret = []byte(rand.Text() + rand.Text())
	}
	if o.Provisioning != nil && o.ClaimLimiter == nil {
		return o, errors.New("api: claims need a limiter")
	}
	if len(o.Secret) < 32 {
		return o, errors.New("api: the secret has less than 32 bytes")
	}
	return o, nil
}

// API is the handler of all client traffic.
type API struct {
	options Options
	// mux has every operation and, behind them, unmatched; operations has them alone.
	mux, operations *http.ServeMux
	// tagged are the handlers of GET operations with an entity tag, by their pattern.
	tagged map[string]func(http.ResponseWriter, *http.Request) error
	// methods are those of each pattern.
	methods map[string][]string
	openAPI *huma.OpenAPI
	handler http.Handler
	// underWay are the requests with an Idempotency-Key.
	underWay keymutex.Mutex[string]
	logs     logjson.Decoder
	static   staticAnswers
	// memory bounds the longer bodies that are worked on at once; nil: nothing does.
	memory *bodyMemory
	// modified is since when answers are as they are.
	modified *modifications
}

// New builds the API.
func New(options Options) (*API, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	a := &API{
		options: options, mux: http.NewServeMux(), operations: http.NewServeMux(), methods: map[string][]string{},
		tagged: map[string]func(http.ResponseWriter, *http.Request) error{}, modified: newModifications(),
	}
	if options.BodyMemory > 0 {
		a.memory = newBodyMemory(options.BodyMemory)
	}
	a.openAPI = a.newDocument()
	for _, resource := range resources {
		resource(a)
	}
	a.registerHealth()
	a.registerDocs()
	a.registerPages()
	a.refuseShared()
	a.mux.HandleFunc("/", a.unmatched)
	a.handler = a.outer(a.mux)
	return a, nil
}

// resources are the operations, in the order in which the documentation shows them.
var resources = []func(*API){
	(*API).registerAccounts,
	(*API).registerUsers,
	(*API).registerAPIKeys,
	(*API).registerOrganizations,
	(*API).registerDevices,
	(*API).registerProvisioning,
	(*API).registerTwins,
	(*API).registerCommands,
	(*API).registerRules,
	(*API).registerAlarms,
	(*API).registerLogs,
	(*API).registerAnalytics,
	(*API).registerNotifications,
	(*API).registerWebhooks,
	(*API).registerIntegrations,
	(*API).registerExports,
	(*API).registerSchedules,
	(*API).registerRealtime,
	(*API).registerJobs,
	(*API).registerBackups,
	(*API).registerMetrics,
	(*API).registerAudit,
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func (a *API) now() time.Time { return a.options.Clock.Now() }
