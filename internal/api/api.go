// Package api is the operations of the contract, one file a resource, and their wire types; a rename here changes no stored type. How an
// operation is authenticated, limited, read and answered is rest's.
//
// A resource file has one method on API that registers its operations with [rest.Register] (typed, validated by huma) or
// [rest.RegisterRaw] (hot routes and streams, documented the same way).
package api

import (
	"context"
	"errors"
	"net/http"

	"hearth/internal/api/admin"
	"hearth/internal/api/logjson"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
	"hearth/internal/core/alarms"
	"hearth/internal/core/analytics"
	"hearth/internal/core/commands"
	"hearth/internal/core/devices"
	"hearth/internal/core/exports"
	"hearth/internal/core/integrations"
	"hearth/internal/core/notify"
	"hearth/internal/core/provision"
	"hearth/internal/core/telemetry"
	"hearth/internal/core/twins"
	"hearth/internal/core/webhooks"
)

// Options are what the API serves and how.
type Options struct {
	// Serving is how. Its Users is People.Accounts if it is nil; its ClaimLimiter is needed where Provisioning is set.
	Serving rest.Options
	// Version is the program's, for the OpenAPI document.
	Version string
	// People and Admin are what the operations about people, and of administration, call.
	People people.Services
	Admin  admin.Services
	// Fleet is the devices.
	Fleet *devices.Service
	// Provisioning is how devices make themselves and users claim them; nil: its operations are not served.
	Provisioning *provision.Service
	// Twins are the devices' desired and reported states.
	Twins *twins.Service
	// Telemetry stores and lists logs, Analytics answers questions about many.
	Telemetry *telemetry.Service
	Analytics *analytics.Service
	// Channels are those by which notifications leave; nil: their operations are not served.
	Channels *notify.Service
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
	// Live carries events to connections, StreamStats counts them; nil: this instance serves no streams.
	Live        Live
	StreamStats func(context.Context) StreamStats
	// MQTT accepts MQTT over a WebSocket; it returns an error before it has written anything, or nil. Nil: it is not served.
	MQTT func(http.ResponseWriter, *http.Request) error
	// AwaitPublished waits until the events so far have their position among those of all instances; nil: there is one instance.
	AwaitPublished func(context.Context)
	// AccelRedirect is where a trusted proxy has the directory of files, such as "/.hearth/files/": export files are then sent
	// by the proxy, on X-Accel-Redirect; "": by the program.
	AccelRedirect string
	// Pages answer GET next to the API, by their path in the syntax of http.ServeMux. They are not part of the OpenAPI document.
	Pages map[string]http.Handler
}

// API is the handler of all client traffic.
type API struct {
	*rest.Router
	options Options
	logs    logjson.Decoder
}

// New builds the API.
func New(options Options) (*API, error) {
	if options.Serving.Users == nil && options.People.Accounts != nil {
		options.Serving.Users = options.People.Accounts
	}
	if options.Provisioning != nil && options.Serving.ClaimLimiter == nil {
		return nil, errors.New("api: claims need a limiter")
	}
	a := &API{options: options}
	router, err := rest.New(options.Serving, rest.Contract{
		Document: newDocument(options.Version), Enumerations: enumerations, Class: classOf, Around: a.afterPublishing,
	})
	if err != nil {
		return nil, err
	}
	a.Router = router
	people.Register(router, options.People)
	for _, resource := range resources {
		resource(a)
	}
	admin.Register(router, options.Admin)
	a.registerDocs()
	a.registerPages()
	a.Finish()
	return a, nil
}

// resources are the operations, in the order in which the documentation shows them.
var resources = []func(*API){
	(*API).registerDevices,
	(*API).registerProvisioning,
	(*API).registerTwins,
	(*API).registerCommands,
	(*API).registerRules,
	(*API).registerAlarms,
	(*API).registerLogs,
	(*API).registerAnalytics,
	(*API).registerChannels,
	(*API).registerWebhooks,
	(*API).registerIntegrations,
	(*API).registerExports,
	(*API).registerSchedules,
	(*API).registerRealtime,
}
