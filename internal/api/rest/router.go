// Package rest serves operations over HTTP and writes the OpenAPI document of them: authentication, rate limits, bodies and their bounds,
// parameters, idempotency, entity tags, problems, and what lists, times and optional fields are on the wire. It knows none of the resources.
package rest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/keymutex"
	"hearth/internal/observe"
)

// BasePath is where the operations of the contract live.
const BasePath = "/api/v1"

// Handler answers a request. It returns an error before it has written anything, or nil; only problem.go turns the error into an answer.
type Handler = func(http.ResponseWriter, *http.Request) error

// Authenticator turns a bearer token into a caller. Errors: CodeUnauthenticated, CodeTokenExpired, CodeTokenRevoked,
// CodeUnavailable.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (hearth.Caller, error)
}

// Peers counts what an address has open at once. Enter reports false where the address has all that it may have; else leave is called once.
type Peers interface {
	Enter(address string) (leave func(), ok bool)
}

// Options are how operations are served.
type Options struct {
	Clock  hearth.Clock
	Logger *slog.Logger
	// Users reads access tokens and API keys ("hk_…"), Devices device tokens ("hd_…").
	Users   Authenticator
	Devices Authenticator
	// Roles returns a user's organizations; nil: no user has any.
	Roles func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	// Metrics counts requests, Tracer traces them; nil: nothing does.
	Metrics *observe.HTTPMetrics
	Tracer  *observe.Tracer
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
	// Limiter bounds how often clients call; nil: they are not limited.
	Limiter Limiter
	// ClaimLimiter bounds how often users guess claim codes, also where Limiter is nil.
	ClaimLimiter Limiter
	// Secret encrypts what is stored of requests with an Idempotency-Key: 32 random bytes, the
	// same after a restart and on every instance. Empty: new ones, for tests.
	Secret []byte
	// Idempotency finds what was created before; nil: the writes alone do.
	Idempotency hearth.IdempotencyStore
	// Missing answers browsers whose address nothing else has, with 404; nil: a problem does.
	Missing http.Handler
}

func (o Options) validate() (Options, error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.BodyLimit = cmp.Or(o.BodyLimit, 1<<20)
	o.BatchBodyLimit = cmp.Or(o.BatchBodyLimit, 16<<20)
	if o.BodyLimit < 0 || o.BatchBodyLimit < 0 {
		return o, errors.New("rest: a body limit is negative")
	}
	if len(o.Secret) == 0 {
		o.Secret = []byte(rand.Text() + rand.Text())
	}
	if len(o.Secret) < 32 {
		return o, errors.New("rest: the secret has less than 32 bytes")
	}
	return o, nil
}

// Contract is what a Router has to know about the operations that it is given.
type Contract struct {
	// Document is the OpenAPI document without its operations.
	Document *huma.OpenAPI
	// Enumerations are the named lists of values in it, each with a property that has it ("Device.status"). Every other place with the same
	// list refers to the name.
	Enumerations map[string]string
	// Class returns the rate limit that calls of an operation count against where it names none; "" is none.
	Class func(Operation) string
	// Around puts something around an operation's handler; nil: nothing.
	Around func(Operation, Handler) Handler
}

// Router serves operations and writes the OpenAPI document of them. Operations are added with [Register] and [RegisterRaw] before Finish.
type Router struct {
	options  Options
	contract Contract
	// mux has every operation and, behind them, unmatched; operations has them alone.
	mux, operations *http.ServeMux
	// tagged are the handlers of GET operations with an entity tag, by their pattern.
	tagged map[string]Handler
	// methods are those of each pattern.
	methods map[string][]string
	openAPI *huma.OpenAPI
	// failures and limitHeaders are parts of the document that operations share.
	failures     map[sharedAnswer]*huma.Response
	limitHeaders map[string]*huma.Param
	handler      http.Handler
	// underWay are the requests with an Idempotency-Key.
	underWay keymutex.Mutex[string]
	static   staticAnswers
	// memory bounds the longer bodies that are worked on at once; nil: nothing does.
	memory *bodyMemory
	// modified is since when answers are as they are.
	modified *modifications
}

// beStrict sets, once for the process, that {"Name": …} is not {"name": …}: otherwise one body could hold both, and two readers take
// different ones.
var beStrict = sync.OnceFunc(func() { huma.ValidateStrictCasing = true })

// New returns a Router without an operation.
func New(options Options, contract Contract) (*Router, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	beStrict()
	rt := &Router{
		options: options, contract: contract, mux: http.NewServeMux(), operations: http.NewServeMux(), methods: map[string][]string{},
		tagged: map[string]Handler{}, openAPI: contract.Document, modified: newModifications(),
		failures: map[sharedAnswer]*huma.Response{}, limitHeaders: limitHeaders(),
	}
	if options.BodyMemory > 0 {
		rt.memory = newBodyMemory(options.BodyMemory)
	}
	rt.mux.HandleFunc("/", rt.unmatched)
	rt.handler = rt.outer(rt.mux)
	return rt, nil
}

// Finish answers the methods that no operation has. It is called once, after the last operation was added.
func (rt *Router) Finish() { rt.refuseShared() }

// ServeHTTP implements http.Handler.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) { rt.handler.ServeHTTP(w, r) }

// Document returns the OpenAPI document as huma has it: operations may add to it while they are registered.
func (rt *Router) Document() *huma.OpenAPI { return rt.openAPI }

// Now returns the time of the clock that the options name.
func (rt *Router) Now() time.Time { return rt.options.Clock.Now() }
