package live

import (
	"encoding/json"
	"fmt"
	"time"
)

// Type names what happened.
type Type string

// The types of events. Newer servers may send others.
const (
	TypeDeviceUpdate    Type = "device-update"
	TypeDeviceHeartbeat Type = "device-heartbeat"
	TypeDeviceLog       Type = "device-log"
	TypeDeviceTwin      Type = "device-twin"
	TypeDeviceDeleted   Type = "device-deleted"
	TypeNotification    Type = "notification"
	TypeExportProgress  Type = "export-progress"
	// TypeReset comes where events were missed that the server no longer has. It has no data.
	TypeReset Type = "reset"
)

// Event is one thing that happened.
type Event struct {
	// ID is the place after the event: what Options.LastID takes to go on from here.
	ID   string          `json:"-"`
	Type Type            `json:"type"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data"`
}

// Device is a device's state.
type Device struct {
	ID                string          `json:"id"`
	Name              string          `json:"name"`
	Type              string          `json:"type"`
	Serial            string          `json:"serial"`
	Status            string          `json:"status"`
	Connection        string          `json:"connection"`
	Tags              []string        `json:"tags"`
	Metadata          json.RawMessage `json:"metadata"`
	HeartbeatInterval int             `json:"heartbeat_interval"` // seconds
	LastActiveAt      *time.Time      `json:"last_active_at"`
	OwnerID           string          `json:"owner_id"`
	OrganizationID    string          `json:"organization_id"`
	Version           int64           `json:"version"`
	CreatedAt         time.Time       `json:"created_at"`
	UpdatedAt         time.Time       `json:"updated_at"`
}

// Heartbeat is what a sign of life left a device in.
type Heartbeat struct {
	DeviceID     string    `json:"device_id"`
	Status       string    `json:"status"`
	Connection   string    `json:"connection"`
	LastActiveAt time.Time `json:"last_active_at"`
}

// Log is one reading of a device. Where many came at once, Count says how many, Latest has the newest of each
// event (of 50 events at most), and there is no value.
type Log struct {
	ID       string `json:"id"`
	DeviceID string `json:"device_id"`
	Event    string `json:"event"`
	// Value is a float64, a bool or a string.
	Value     any       `json:"value"`
	Timestamp time.Time `json:"timestamp"`
	Count     int       `json:"count"`

	Latest map[string]LatestLog `json:"latest"`
}

// LatestLog is the newest reading of an event.
type LatestLog struct {
	// Value is a float64, a bool or a string.
	Value     any       `json:"value"`
	Timestamp time.Time `json:"timestamp"`
}

// Deleted names a device that is gone.
type Deleted struct {
	ID string `json:"id"`
}

// Notification is a message to a person.
type Notification struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Title     string          `json:"title"`
	Body      string          `json:"body"`
	Data      json.RawMessage `json:"data"`
	ReadAt    *time.Time      `json:"read_at"`
	CreatedAt time.Time       `json:"created_at"`
}

// Export is how far an export is.
type Export struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Format   string `json:"format"`
	Status   string `json:"status"`
	Progress struct {
		Percentage       float64 `json:"percentage"`
		Step             string  `json:"step"`
		ProcessedRecords int64   `json:"processed_records"`
		TotalRecords     int64   `json:"total_records"`
	} `json:"progress"`
}

// Value returns the data as its type: Device, Heartbeat, Log, Deleted, Notification or Export; nil for TypeReset and for a type
// that this package does not know.
func (e Event) Value() (any, error) {
	switch e.Type {
	case TypeDeviceUpdate:
		return valueOf[Device](e)
	case TypeDeviceHeartbeat:
		return valueOf[Heartbeat](e)
	case TypeDeviceLog:
		return valueOf[Log](e)
	case TypeDeviceDeleted:
		return valueOf[Deleted](e)
	case TypeNotification:
		return valueOf[Notification](e)
	case TypeExportProgress:
		return valueOf[Export](e)
	}
	return nil, nil
}

func valueOf[T any](e Event) (any, error) {
	var value T
	if err := json.Unmarshal(e.Data, &value); err != nil {
		return nil, fmt.Errorf("live: the data of %s is not as hearth writes it: %w", e.Type, err)
	}
	return value, nil
}
