package hearth

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of integrations. Lengths are in characters unless they say bytes.
const (
	MaxIntegrations       = 50 // of the installation
	MaxIntegrationName    = 100
	MaxIntegrationURL     = 1024 // bytes
	MaxIntegrationLogin   = 1024 // bytes of the user name, and of the password
	MaxIntegrationTopics  = 20
	MaxIntegrationDevices = 10_000 // of one integration, deleted ones too
)

// IntegrationMQTT is the one kind of integration: a broker.
const IntegrationMQTT = "mqtt"

// DialectJSON is the dialect whose topics are those of the integration.
const DialectJSON = "json"

// Dialects returns the names of what the devices behind a broker may speak.
func Dialects() []string {
	return []string{"homeassistant", "zigbee2mqtt", "tasmota", "shelly", "esphome", "senml", "sparkplug", DialectJSON}
}

// IntegrationStatus is whether an integration works.
type IntegrationStatus string

// The statuses. One that is enabled is off until the first attempt to connect has ended.
const (
	IntegrationConnected IntegrationStatus = "connected"
	IntegrationError     IntegrationStatus = "error"
	IntegrationOff       IntegrationStatus = "off"
)

// Integration is a connection to a broker that runs already: its devices become devices.
type Integration struct {
	ID       string
	Name     string
	Kind     string
	URL      string
	Username string
	Password []byte // sealed; nil: none
	// UserID is the admin who made it: the owner of its devices, unless OrganizationID is set.
	UserID         string
	OrganizationID string
	Dialects       []string
	Topics         []string
	TimeZone       string // IANA, of times without a zone; "" is UTC
	Enabled        bool
	// Version counts the changes that users make.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time

	Status IntegrationStatus
	// LastError is the latest failure: of the connection, or of a message, which Topic then names; nil: none.
	LastError *DeviceError
	Counts    IntegrationCounts
}

// IntegrationCounts are what came over an integration since it was made.
type IntegrationCounts struct {
	Messages int64
	Readings int64
	// Refused are messages that could not be read or stored, wholly or in part.
	Refused int64
	// Devices are those that it made.
	Devices int64
}

// Scope returns who the devices of the integration belong to.
func (i Integration) Scope() Scope {
	if i.OrganizationID != "" {
		return OrgScope(i.OrganizationID)
	}
	return UserScope(i.UserID)
}

// Validate checks what users set, all but the patterns of Topics; locations start with prefix, such as "body.".
func (i Integration) Validate(prefix string) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkText(i.Name, MaxIntegrationName); message != "" {
		bad("name", message)
	}
	if i.Kind != IntegrationMQTT {
		bad("kind", "must be mqtt")
	}
	if message := checkBrokerURL(i.URL); message != "" {
		bad("url", message)
	}
	if len(i.Username) > MaxIntegrationLogin || strings.ContainsRune(i.Username, 0) {
		bad("username", "must be up to 1024 bytes without NUL")
	}
	if len(i.Password) > 0 && i.Username == "" {
		bad("username", "is needed with a password")
	}
	unknown := func(d string) bool { return !slices.Contains(Dialects(), d) }
	switch distinct := slices.Compact(slices.Sorted(slices.Values(i.Dialects))); {
	case len(i.Dialects) == 0:
		bad("dialects", "must have at least one")
	case slices.ContainsFunc(i.Dialects, unknown):
		bad("dialects", "has an unknown one")
	case len(distinct) < len(i.Dialects):
		bad("dialects", "has one twice")
	}
	switch speaksJSON := slices.Contains(i.Dialects, DialectJSON); {
	case speaksJSON && len(i.Topics) == 0:
		bad("topics", "is needed with the dialect json: for example site/{device}/{event}")
	case !speaksJSON && len(i.Topics) > 0:
		bad("topics", "belongs to the dialect json")
	case len(i.Topics) > MaxIntegrationTopics:
		bad("topics", "has more than 20 topics")
	}
	if _, err := TimeZone(i.TimeZone); err != nil {
		bad("time_zone", err.Error())
	}
	return errs
}

// checkBrokerURL says what is wrong with the address of a broker: a sentence's end; "" if nothing is.
func checkBrokerURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > MaxIntegrationURL || u.Hostname() == "" || u.Opaque != "":
		return "must be a URL such as mqtt://broker.example.com:1883"
	case u.Scheme != "mqtt" && u.Scheme != "mqtts":
		return "must begin with mqtt:// or mqtts://"
	case u.User != nil:
		return "must hold no user and no password: username and password are fields of their own"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "must end with the host or the port"
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "has a port that is not one"
		}
	}
	return ""
}

// IntegrationDevice says which device an address in a dialect made. It outlives the device: one that users deleted does not come back.
type IntegrationDevice struct {
	DeviceID      string
	IntegrationID string
	Dialect       string
	Address       string
	CreatedAt     time.Time
}

// IntegrationStore keeps integrations. Every write is atomic and durable when it returns; errors are of the codes named here, or
// CodeUnavailable and CodeStorageFull. A deleted organization takes its integrations along.
type IntegrationStore interface {
	// CreateIntegration stores an integration; CodeNotFound if its organization is gone, CodeConflict if there are MaxIntegrations.
	CreateIntegration(ctx context.Context, i Integration, effects SideEffects) error
	// Integration returns one integration; CodeNotFound.
	Integration(ctx context.Context, id string) (Integration, error)
	// Integrations lists by created_at, newest first; the page's sort is "".
	Integrations(ctx context.Context, page Page) (List[Integration], error)
	// UpdateIntegration reads, changes and writes one integration in one atomic step; change must not touch ID, Kind, UserID or
	// OrganizationID, and may run more than once. An error of change is returned and nothing is written. CodeNotFound.
	UpdateIntegration(ctx context.Context, id string, change func(Integration) (Integration, error), effects SideEffects) (Integration, error)
	// DeleteIntegration removes an integration with what it knows of devices, which stay, unless check refuses it; CodeNotFound.
	DeleteIntegration(ctx context.Context, id string, check func(Integration) error, effects SideEffects) error
	// IntegrationDevices returns all of an integration.
	IntegrationDevices(ctx context.Context, integrationID string) ([]IntegrationDevice, error)
	// IntegrationDevice returns what made a device; CodeNotFound.
	IntegrationDevice(ctx context.Context, deviceID string) (IntegrationDevice, error)
	// AddIntegrationDevice stores one, unless it is stored. CodeNotFound if the integration is gone, CodeConflict if that has
	// MaxIntegrationDevices.
	AddIntegrationDevice(ctx context.Context, d IntegrationDevice) error
}
