package hearth

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a device's fields. Lengths are in characters unless they say bytes.
const (
	MaxDeviceName            = 200
	MaxDeviceType            = 64
	MaxSerial                = 64
	MaxTags                  = 50
	MaxTag                   = 64
	MaxMetadata              = 8 << 10 // bytes of JSON
	DefaultHeartbeatInterval = 60      // seconds
	MaxHeartbeatInterval     = 7 * 24 * 3600
	MaxDeviceBatch           = 1000
	MaxHeartbeatBatch        = 1000
	MaxDeviceTokens          = 1000 // of one device
	// OfflineAfter is how many heartbeat intervals of silence make a device offline.
	OfflineAfter = 3
	// InactiveAfter is the silence after which a device's status becomes inactive.
	InactiveAfter = 24 * time.Hour
)

// DeviceStatus is what the owner, a heartbeat or the inactivity job says of a device.
type DeviceStatus string

// The statuses.
const (
	StatusActive   DeviceStatus = "active"
	StatusInactive DeviceStatus = "inactive"
	StatusError    DeviceStatus = "error"
)

// Valid reports whether s is one of the statuses.
func (s DeviceStatus) Valid() bool {
	return s == StatusActive || s == StatusInactive || s == StatusError
}

// Connection is whether a device is heard from.
type Connection string

// The connections: online until OfflineAfter intervals pass in silence, never before the first heartbeat.
const (
	Online  Connection = "online"
	Offline Connection = "offline"
	Never   Connection = "never"
)

// Valid reports whether c is one of the connections.
func (c Connection) Valid() bool { return c == Online || c == Offline || c == Never }

// Device is a thing that reports heartbeats and logs. It belongs to an organization if OrganizationID is set, else to
// its owner.
type Device struct {
	ID string
	// Key is the store's short number for the device: positive, never used again, never shown to clients.
	Key  int64
	Name string
	Type string
	// Serial is what the maker calls the device: unique in its scope, "" if absent.
	Serial       string
	Status       DeviceStatus
	Tags         []string
	Metadata     json.RawMessage // a JSON object; nil if absent
	Interval     int             // heartbeat interval, seconds
	LastActiveAt time.Time       // of the last heartbeat; zero before the first
	// OfflineAt is when a device that keeps a connection is offline, whatever its Interval; zero: its silence decides.
	OfflineAt time.Time
	// LastError is the latest thing that the device sent and that could not be stored; nil: none.
	LastError      *DeviceError
	OwnerID        string
	OrganizationID string
	// Idle marks a status of inactive that the inactivity job set: the next heartbeat takes it back.
	Idle bool
	// DesiredVersion is the version of the desired state of the device's twin.
	DesiredVersion int64
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// Scope returns who the device belongs to.
func (d Device) Scope() Scope {
	if d.OrganizationID != "" {
		return OrgScope(d.OrganizationID)
	}
	return UserScope(d.OwnerID)
}

// OfflineAt returns the time from which a device last heard at lastActive is offline.
func OfflineAt(lastActive time.Time, interval int) time.Time {
	return lastActive.Add(OfflineAfter * time.Duration(interval) * time.Second)
}

// Connection reports whether the device is heard from at the time now.
func (d Device) Connection(now time.Time) Connection {
	end := d.OfflineAt
	if end.IsZero() {
		end = OfflineAt(d.LastActiveAt, d.Interval)
	}
	switch {
	case d.LastActiveAt.IsZero():
		return Never
	case now.Before(end):
		return Online
	}
	return Offline
}

// DeviceError is something that a device sent and that can never be stored.
type DeviceError struct {
	Code    Code      `json:"code"`
	Message string    `json:"message"`
	Topic   string    `json:"topic"` // where it was sent to
	At      time.Time `json:"at"`
}

// Validate checks and bounds every field that people set; locations start with prefix, such as "body.".
func (d Device) Validate(prefix string) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkText(d.Name, MaxDeviceName); message != "" {
		bad("name", message)
	}
	if message := checkText(d.Type, MaxDeviceType); message != "" {
		bad("type", message)
	}
	if d.Serial != "" && !ValidSerial(d.Serial) {
		bad("serial", "must be 1 to 64 "+serialAlphabet)
	}
	if !d.Status.Valid() {
		bad("status", "must be active, inactive or error")
	}
	if message := checkTags(d.Tags); message != "" {
		bad("tags", message)
	}
	if len(d.Metadata) > MaxMetadata {
		bad("metadata", "is larger than 8 KiB")
	} else if len(d.Metadata) > 0 && d.Metadata[0] != '{' {
		bad("metadata", "must be an object")
	}
	if d.Interval < 1 || d.Interval > MaxHeartbeatInterval {
		bad("heartbeat_interval", "must be 1 to 604800 seconds")
	}
	return errs
}

// checkTags says what is wrong with the tags of a device; "" if nothing is.
func checkTags(tags []string) string {
	if len(tags) > MaxTags {
		return "has more than 50 tags"
	}
	seen := make(map[string]bool, len(tags))
	for _, tag := range tags {
		if message := checkText(tag, MaxTag); message != "" {
			return "has a tag that " + message
		}
		if seen[tag] {
			return "has a tag twice"
		}
		seen[tag] = true
	}
	return ""
}

// serialAlphabet leaves out what has a meaning in topics and paths.
const serialAlphabet = "of A to Z, a to z, 0 to 9, spaces inside and _.:@()-"

// ValidSerial reports whether serial is 1 to MaxSerial of the characters that serials are made of.
func ValidSerial(serial string) bool {
	if serial == "" || len(serial) > MaxSerial || serial[0] == ' ' || serial[len(serial)-1] == ' ' {
		return false
	}
	for i := range len(serial) {
		switch c := serial[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(" _.:@()-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// SerialTaken is the error of a write that would give a device the serial of another one of its scope; location names the
// serial, such as "items[3].serial".
func SerialTaken(location string) *Error {
	return &Error{
		Code: CodeConflict, Message: location + " is the serial of another device",
		Fields: []FieldError{{Location: location, Message: "is the serial of another device"}},
	}
}

// IsSerialTaken reports whether an error is of SerialTaken.
func IsSerialTaken(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == CodeConflict && len(e.Fields) == 1 && strings.HasSuffix(e.Fields[0].Location, "serial")
}

// checkText says what is wrong with a line of text of 1 to limit characters; "" if nothing is. Letters of every script
// pass; NUL does not (no store keeps it alike), and neither does invalid UTF-8.
func checkText(text string, limit int) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "must not be empty"
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "must be UTF-8 without NUL"
	case utf8.RuneCountInString(text) > limit:
		return "is too long"
	}
	return ""
}

// DeviceAccess is what a caller may do with a device, as a set of bits.
type DeviceAccess uint8

// The bits: reading the device and its logs, sending heartbeats and logs for it, changing and deleting it.
const (
	MayRead DeviceAccess = 1 << iota
	MayReport
	MayEdit
)

// Access is the one rule of who may do what with a device.
func (c Caller) Access(d Device) DeviceAccess {
	const everything = MayRead | MayReport | MayEdit
	switch {
	case c.IsDevice():
		if c.DeviceID == d.ID || c.Gateway != "" && c.Gateway == d.Scope() {
			return MayRead | MayReport
		}
	case !c.IsUser():
	case c.IsAdmin():
		return everything
	case d.OrganizationID == "":
		if c.owns(d.OwnerID) {
			return everything
		}
	case c.Orgs[d.OrganizationID].Rank() >= OrgMember.Rank():
		return everything
	case c.Orgs[d.OrganizationID].Rank() >= OrgViewer.Rank():
		return MayRead
	}
	return 0
}

// Allow turns the rule into an answer: nil if the caller may do all that need asks for, CodeNotFound if the caller may
// not even read the device, CodeForbidden otherwise.
func (c Caller) Allow(d Device, need DeviceAccess) error {
	switch access := c.Access(d); {
	case access&need == need:
		return nil
	case access&MayRead == 0:
		return NotFound("device")
	}
	return Errorf(CodeForbidden, "you may not do this with the device")
}

// DeviceFilter picks devices. Zero fields do not filter.
type DeviceFilter struct {
	Reach      Reach
	Type       string
	Status     DeviceStatus
	Connection Connection
	Tag        string
	Serial     string
	// Query matches names that contain it, case and accents aside.
	Query string
	// Now is the time that Connection is judged at.
	Now time.Time
}

// DeviceCounts are the figures of a fleet: all devices, those whose status is active, and those that are online.
type DeviceCounts struct {
	Total  int64
	Active int64
	Online int64
}

// Heartbeat is one sign of life.
type Heartbeat struct {
	DeviceID string
	Key      int64
	At       time.Time
	// Status is the status that the device reports; "" leaves it, except that it ends an idle device's inactivity.
	Status DeviceStatus
	// Until is when the device is offline: of one that keeps a connection, or has just ended it. Zero: its silence decides, but not before an
	// earlier Until has passed.
	Until time.Time
	// Connection, DesiredVersion and PendingCommands are the answer's; set by the fleet.
	Connection     Connection
	DesiredVersion int64
	// PendingCommands are those that the device has neither acknowledged nor answered.
	PendingCommands int
}

// DeviceToken lets a device speak for itself. Only the SHA-256 of the token is kept.
type DeviceToken struct {
	ID        string
	DeviceID  string
	Hash      []byte
	CreatedAt time.Time
	// CreatedBy is the user who made it: it is worth what that user's right to edit the device is. "" for one that no user made.
	CreatedBy string
	// Provisioned marks the token that the device got by a provisioning key: it outlives a claim.
	Provisioned bool
	// Gateway has the device speak, over MQTT, for the devices of its scope.
	Gateway bool
	// LastUsedAt is kept to the day, to spare writes; zero if never used.
	LastUsedAt time.Time
}

// DeviceStore keeps devices, their tokens and when they were last heard. Every write is atomic and durable when it
// returns; errors are of the codes named here, or CodeUnavailable and CodeStorageFull.
type DeviceStore interface {
	// CreateDevices stores all or none and returns them back with their keys, in order; CodeNotFound if an organization is
	// gone, CodeConflict if an id is taken, SerialTaken with the device's place.
	CreateDevices(ctx context.Context, devices []Device, effects SideEffects) ([]Device, error)
	// Device returns one device; CodeNotFound.
	Device(ctx context.Context, id string) (Device, error)
	// DevicesByID returns those of the devices that exist, in any order.
	DevicesByID(ctx context.Context, ids []string) ([]Device, error)
	// DevicesByKey is DevicesByID by Key.
	DevicesByKey(ctx context.Context, keys []int64) ([]Device, error)
	// CountDevices counts the devices within reach; who is online is judged at the time now.
	CountDevices(ctx context.Context, reach Reach, now time.Time) (DeviceCounts, error)
	// Devices lists; sort is name, created_at (default, newest first: "-created_at") or last_active_at.
	Devices(ctx context.Context, filter DeviceFilter, page Page) (List[Device], error)
	// UpdateDevice reads, changes and writes one device in one atomic step, and counts its version up by one. An error of
	// change is returned and nothing is written; change must not touch ID, Key, OwnerID, OrganizationID or Version, may
	// run more than once, and may complete the entries of effects.Audit, which are read after it. CodeNotFound, SerialTaken.
	UpdateDevice(ctx context.Context, id string, change func(Device) (Device, error), effects SideEffects) (Device, error)
	// TransferDevice gives a device to another scope with its logs, in one step for every reader. change is UpdateDevice's, and
	// may set OwnerID and OrganizationID too: CodeNotFound if one of them is not there. CodeConflict if the device changes hands
	// otherwise meanwhile, SerialTaken.
	TransferDevice(ctx context.Context, id string, change func(Device) (Device, error), effects SideEffects) (Device, error)
	// DeleteDevice removes a device, its tokens, logs and rollups for every reader at once; the space comes back later.
	// check sees the device first, and its error stops the deletion; it may complete effects.Audit as in UpdateDevice.
	// CodeNotFound.
	DeleteDevice(ctx context.Context, id string, check func(Device) error, effects SideEffects) error
	// RecordHeartbeats stores signs of life as one group. A heartbeat older than the last one changes nothing but the
	// status it carries; one of a device that is gone is passed over. Statuses change without a new version.
	RecordHeartbeats(ctx context.Context, beats []Heartbeat) error
	// PutBackHeartbeats sets when devices, by Key, were heard and Until when they are online: of those that were heard later than that, as the
	// store has it, by a clock that was ahead. Others stay as they are.
	PutBackHeartbeats(ctx context.Context, beats []Heartbeat) error
	// SetDeviceError sets LastError, without a new version; a device that is gone is passed over.
	SetDeviceError(ctx context.Context, deviceID string, failure DeviceError) error
	// IdleDevices sets up to limit devices that were silent since before silentSince from active to inactive, marked as
	// Idle, and returns them back. A device that was never heard counts from its creation.
	IdleDevices(ctx context.Context, silentSince time.Time, limit int) ([]Device, error)
	// OnlineDevices returns every device that is online at the time at, in any order, in bounded memory. The sequence ends
	// after an error.
	OnlineDevices(ctx context.Context, at time.Time) iter.Seq2[Device, error]

	// CreateDeviceToken stores a token, unless check refuses its device; CodeNotFound if that is gone, CodeConflict if it has
	// MaxDeviceTokens.
	CreateDeviceToken(ctx context.Context, token DeviceToken, check func(Device) error, effects SideEffects) error
	// DeviceTokens returns a device's tokens, oldest first.
	DeviceTokens(ctx context.Context, deviceID string) ([]DeviceToken, error)
	// DeviceTokenByHash finds a token; CodeNotFound.
	DeviceTokenByHash(ctx context.Context, hash []byte) (DeviceToken, error)
	// DevicesOfTokens returns the devices of the tokens that a user made.
	DevicesOfTokens(ctx context.Context, userID string) ([]string, error)
	// DeleteDeviceToken removes a token of that device; CodeNotFound.
	DeleteDeviceToken(ctx context.Context, deviceID, tokenID string, effects SideEffects) error
	// TouchDeviceToken sets LastUsedAt; a token that is gone is passed over.
	TouchDeviceToken(ctx context.Context, tokenID string, at time.Time) error
}
