package hearth

import (
	"encoding/json"
	"fmt"
	"time"
)

// EventType names what happened.
type EventType string

// The types of events. Newer servers may send others.
const (
	EventDeviceUpdate    EventType = "device-update"
	EventDeviceHeartbeat EventType = "device-heartbeat"
	EventDeviceLog       EventType = "device-log"
	EventDeviceTwin      EventType = "device-twin"
	EventDeviceCommand   EventType = "device-command"
	EventDeviceDeleted   EventType = "device-deleted"
	EventAlarm           EventType = "alarm"
	EventNotification    EventType = "notification"
	EventExportProgress  EventType = "export-progress"
	// EventReset comes where events were missed that the server no longer has. It has no data.
	EventReset EventType = "reset"
)

// LiveEvent is one thing that happened.
type LiveEvent struct {
	// ID is the position after the event: what FollowOptions.LastID takes to continue from here.
	ID   string          `json:"-"`
	Type EventType       `json:"type"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data"`
}

// LiveLog is one log of a device. Where many came at once, Count says how many, Latest has the newest of each event (of 50 events at
// most), and there is no value.
type LiveLog struct {
	ID        string                 `json:"id"`
	DeviceID  string                 `json:"device_id"`
	Event     string                 `json:"event"`
	Value     Value                  `json:"value"`
	Timestamp time.Time              `json:"timestamp"`
	Count     int                    `json:"count"`
	Latest    map[string]LatestValue `json:"latest"`
}

// LiveTwin is how a device's twin stands.
type LiveTwin struct {
	DeviceID        string         `json:"device_id"`
	DesiredVersion  int64          `json:"desired_version"`
	ReportedVersion int64          `json:"reported_version"`
	Delta           map[string]any `json:"delta"`
}

// Deleted names a device that was deleted.
type Deleted struct {
	ID string `json:"id"`
}

// Value returns the data as its type: Device, Heartbeat, LiveLog, LiveTwin, Command, Deleted, Notification or Export; nil for
// EventReset and for other types, whose Data is there to decode.
func (e LiveEvent) Value() (any, error) {
	switch e.Type {
	case EventDeviceUpdate:
		return valueOf[Device](e)
	case EventDeviceHeartbeat:
		return valueOf[Heartbeat](e)
	case EventDeviceLog:
		return valueOf[LiveLog](e)
	case EventDeviceTwin:
		return valueOf[LiveTwin](e)
	case EventDeviceCommand:
		return valueOf[Command](e)
	case EventDeviceDeleted:
		return valueOf[Deleted](e)
	case EventNotification:
		return valueOf[Notification](e)
	case EventExportProgress:
		return valueOf[Export](e)
	}
	return nil, nil
}

func valueOf[T any](e LiveEvent) (any, error) {
	var value T
	if err := json.Unmarshal(e.Data, &value); err != nil {
		return nil, fmt.Errorf("hearth: the data of %s is not as the server writes it: %w", e.Type, err)
	}
	return value, nil
}
