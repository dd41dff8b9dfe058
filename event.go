package hearth

import "time"

// EventType names what happened, as realtime clients see it.
type EventType string

// The types of events.
const (
	EventDeviceUpdate    EventType = "device-update"
	EventDeviceHeartbeat EventType = "device-heartbeat"
	EventDeviceLog       EventType = "device-log"
	EventDeviceDeleted   EventType = "device-deleted"
	EventDeviceTwin      EventType = "device-twin"
	EventDeviceCommand   EventType = "device-command"
	EventAlarm           EventType = "alarm"
	EventNotification    EventType = "notification"
	EventExportProgress  EventType = "export-progress"
)

// Event is something that people watch live. Data is one of the package's types (Device, Heartbeat, Log, TwinView, Alarm, …) or a
// LogSummary; realtime turns it into the contract's JSON.
type Event struct {
	Type EventType
	At   time.Time
	Data any
	// Scope and DeviceID say who may see it: those who may read the scope, and watchers of the device. A notification or
	// an export goes to UserID alone.
	Scope    Scope
	DeviceID string
	UserID   string
	// Arrived says that the device came into the scope from another one, with its logs.
	Arrived bool
}

// Publisher takes events after their write is durable. Publish never blocks and never fails the write; what cannot be
// taken in time is dropped and counted, and the stream's readers learn of the gap.
type Publisher interface {
	Publish(events ...Event)
}
