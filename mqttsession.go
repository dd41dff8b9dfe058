package hearth

import (
	"context"
	"time"
)

// MaxMQTTFilters is how many subscriptions of a session are kept.
const MaxMQTTFilters = 100

// MQTTSession is what is kept of a device's MQTT session while the device is away. Commands and the desired state wait where they are.
type MQTTSession struct {
	DeviceID string
	// Filters are the topic filters that the device subscribed to, with the QoS of each.
	Filters map[string]byte
	// Expiry is how long after the device was last heard the session ends. SavedAt is when it was stored.
	Expiry  time.Duration
	SavedAt time.Time
}

// MQTTSessionStore keeps sessions, one of a device. They go with their devices. Errors are of the codes named here, or CodeUnavailable and
// CodeStorageFull.
type MQTTSessionStore interface {
	// SaveMQTTSession stores a session in place of the device's; CodeNotFound if the device is gone.
	SaveMQTTSession(ctx context.Context, session MQTTSession) error
	// MQTTSession returns the session of a device; CodeNotFound.
	MQTTSession(ctx context.Context, deviceID string) (MQTTSession, error)
	// DeleteMQTTSession removes the session of a device, if there is one.
	DeleteMQTTSession(ctx context.Context, deviceID string) error
}
