package api

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"

	"hearth/internal/api/docspage"
	"hearth/internal/api/rest"
)

// newDocument returns the OpenAPI document without its operations.
func newDocument(version string) *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "hearth",
			Version: version,
			Description: "A self-hosted backend for smart devices. Times are RFC 3339, UTC, milliseconds; ids are UUIDv7; failures are " +
				"RFC 9457 problems with a stable `code`; every answer carries `X-Request-ID`, every answer of a limited operation " +
				"`RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.",
			Contact: &huma.Contact{Name: "hearth"},
		},
		Servers: []*huma.Server{{URL: "/"}},
		Tags: []*huma.Tag{
			{Name: "Accounts", Description: "Sign-up and login, tokens, sessions, passwords, users."},
			{Name: "Organizations", Description: "Users who share devices, their roles, invitations."},
			{Name: "Devices", Description: "Devices, their tokens and their heartbeats."},
			{Name: "Provisioning", Description: "How devices make themselves, and change hands."},
			{Name: "Twins", Description: "What devices should be, and what they say they are."},
			{Name: "Commands", Description: "What devices are told to do, and what became of it."},
			{Name: "Alarms", Description: "Rules about what devices report, and the alarms that they raise."},
			{Name: "Logs", Description: "What devices report."},
			{Name: "Analytics", Description: "Figures computed from logs."},
			{Name: "Realtime", Description: "Events as they happen."},
			{Name: "Exports", Description: "Logs and reports as files."},
			{Name: "Notifications", Description: "Notifications of a user, and their settings."},
			{Name: "Webhooks", Description: "URLs that are sent events, and what became of it."},
			{Name: "Integrations", Description: "Connections to brokers that run already. For admins of the installation."},
			{Name: "Administration", Description: "For admins of the installation."},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Headers: map[string]*huma.Param{
				"ETag": {Description: "The entity tag, for If-None-Match and If-Match.", Schema: &huma.Schema{Type: huma.TypeString}},
			},
			Responses: map[string]*huma.Response{
				"NotModified": {Description: "The client has the answer: If-None-Match or If-Modified-Since hold."},
			},
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"user":   {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "An access token of POST /auth/login."},
				"device": {Type: "http", Scheme: "bearer", Description: "A device token (hd_…) of POST /devices/{id}/tokens."},
				"key":    {Type: "http", Scheme: "bearer", Description: "An API key (hk_…) of POST /users/me/api-keys with the scope that the operation names."},
			},
		},
	}
}

// enumerations are the named lists of values, each with a property that has it.
var enumerations = map[string]string{
	"DeviceStatus":      "Device.status",
	"DeviceConnection":  "Device.connection",
	"CommandState":      "Command.state",
	"UserRole":          "User.role",
	"OrganizationRole":  "Member.role",
	"ExportType":        "Export.type",
	"ExportFormat":      "Export.format",
	"ExportCompression": "Export.compression",
	"ExportStatus":      "Export.status",
	"ScheduleFrequency": "ExportSchedule.every",
	"Weekday":           "ExportSchedule.weekday",
	"NotificationType":  "Notification.type",
	"Interval":          "Usage.interval",
	"JobState":          "Job.state",
	"QueueName":         "Job.queue",
	"KeyScope":          "ListedAPIKey.scopes",
	"Severity":          "Alarm.severity",
	"AlarmState":        "Alarm.state",
	"Operator":          "RuleCondition.operator",
	"ActionOn":          "RuleAction.on",
	"ChannelKind":       "NotificationChannel.kind",
	"DisabledReason":    "Webhook.disabled_reason",
	"WebhookEvent":      "Webhook.events",
	"DeliveryState":     "WebhookDelivery.state",
	"Dialect":           "Integration.dialects",
	"ErrorCode":         "Problem.code",
}

// registerDocs serves the OpenAPI document and the page made of it. They are made on the first request: most starts of the
// program do not need them.
func (a *API) registerDocs() {
	serve := func(path, contentType, policy string, write func() ([]byte, error)) {
		document := sync.OnceValues(write)
		a.Route(rest.Operation{Method: http.MethodGet, Path: path, Root: true, Access: rest.ForAnyone, Static: true}, func(w http.ResponseWriter, _ *http.Request) error {
			body, err := document()
			if err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
			w.Header().Set("Content-Type", contentType)
			if policy != "" {
				w.Header().Set("Content-Security-Policy", policy)
			}
			_, _ = w.Write(body) // the client may have gone
			return nil
		})
	}
	serve("/openapi.json", "application/json", "", a.CompactOpenAPI)
	serve("/openapi.yaml", "application/yaml", "", func() ([]byte, error) {
		document, err := a.CompactOpenAPI()
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		err = yaml.Convert(&out, bytes.NewReader(document))
		return out.Bytes(), err
	})
	serve("/docs", "text/html; charset=utf-8", docspage.Policy(), func() ([]byte, error) { return docspage.Render(a.Document()), nil })
}

// registerPages serves Options.Pages.
func (a *API) registerPages() {
	for path, page := range a.options.Pages {
		a.Route(rest.Operation{Method: http.MethodGet, Path: path, Root: true, Access: rest.ForAnyone, Static: true}, func(w http.ResponseWriter, r *http.Request) error {
			page.ServeHTTP(w, r)
			return nil
		})
	}
}
