// Package invalidate has the other instances read anew at once what this one changed; by themselves they do so within a second. So
// nothing rests on a message: one that is lost costs that second.
//
// Who may do what is never taken from a message: it only makes the others ask the store.
package invalidate

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"hearth"
	"hearth/internal/bus"
)

const (
	topic = "changes"
	// maxWaiting bounds the messages that wait to be carried out; one beyond it costs its second.
	maxWaiting = 1024
)

// Others are the other instances, as one sees them.
type Others struct {
	bus bus.Bus
	log *slog.Logger
}

var _ hearth.Publisher = (*Others)(nil)

// New returns the instances of a bus.
func New(b bus.Bus, log *slog.Logger) *Others { return &Others{bus: b, log: log} }

// Caches are what an instance keeps of what another may change.
type Caches struct {
	Devices interface {
		ChangedRemotely(id string, scope hearth.Scope, lastActive, offlineAt time.Time)
		RemovedRemotely(id string, scope hearth.Scope)
		DesiredChanged(id string, version int64)
	}
	// Logs forgets which scope a device's logs belong to.
	Logs interface{ Forget(device int64) }
	// Users and Roles forget a user.
	Users, Roles interface{ Forget(userID string) }
	Streams      interface {
		SessionsEnded(userID string, sessionIDs []string)
		MembershipEnded(userID, orgID string)
	}
}

// change is a message.
type change struct {
	// Devices were changed or, if Gone, deleted.
	Devices []changedDevice `json:"devices,omitempty"`
	// Desired is a device whose twin has the new desired version Version.
	Desired string `json:"desired,omitempty"`
	Version int64  `json:"version,omitempty"`
	// User's sessions ended: those of Sessions, or, if it is null, all have other rights now.
	User     string   `json:"user,omitempty"`
	Sessions []string `json:"sessions"`
	// Roles is the user whose roles changed; Left is the organization that the user is no longer in.
	Roles string `json:"roles,omitempty"`
	Left  string `json:"left,omitempty"`
}

type changedDevice struct {
	ID    string       `json:"id"`
	Scope hearth.Scope `json:"scope"`
	Key   int64        `json:"key,omitempty"`
	Last  time.Time    `json:"last,omitzero"`
	Until time.Time    `json:"until,omitzero"` // Device.OfflineAt
	Gone  bool         `json:"gone,omitempty"`
}

// Publish implements hearth.Publisher: of what happens to devices it sends on changes and deletions, no heartbeats or logs.
func (o *Others) Publish(events ...hearth.Event) {
	var devices []changedDevice
	for i := range events {
		event := &events[i]
		if event.Type != hearth.EventDeviceUpdate && event.Type != hearth.EventDeviceDeleted {
			continue
		}
		changed := changedDevice{ID: event.DeviceID, Scope: event.Scope, Gone: event.Type == hearth.EventDeviceDeleted}
		if device, ok := event.Data.(hearth.Device); ok {
			changed.Key, changed.Last, changed.Until = device.Key, device.LastActiveAt, device.OfflineAt
		}
		devices = append(devices, changed)
	}
	if len(devices) > 0 {
		o.send(change{Devices: devices})
	}
}

// DesiredChanged sends on that the twin of a device has a new desired version.
func (o *Others) DesiredChanged(deviceID string, version int64) {
	o.send(change{Desired: deviceID, Version: version})
}

// SessionsEnded sends on that sessions of a user ended; nil: that the user has other rights.
func (o *Others) SessionsEnded(userID string, sessionIDs []string) {
	o.send(change{User: userID, Sessions: sessionIDs})
}

// MembershipEnded sends on that a user left an organization.
func (o *Others) MembershipEnded(userID, orgID string) { o.send(change{Roles: userID, Left: orgID}) }

// RolesChanged sends on that a user's roles changed.
func (o *Others) RolesChanged(userID string) { o.send(change{Roles: userID}) }

// send returns once the message is sent: the answer to the caller who made the change comes after it. While the link is down it
// costs nothing.
func (o *Others) send(message change) {
	text, err := json.Marshal(message)
	if err != nil {
		panic("invalidate: a change always encodes: " + err.Error())
	}
	_ = o.bus.Publish(context.Background(), topic, string(text)) // an error is the link's, and was logged where it went down
}

// Run carries out what the other instances changed, until ctx ends.
func (o *Others) Run(ctx context.Context, caches Caches) {
	waiting := make(chan string, maxWaiting)
	listening := o.bus.Listen(bus.Listener{Topics: []string{topic}, Heard: func(m bus.Message) {
		if m.From == o.bus.ID() {
			return
		}
		select {
		case waiting <- m.Data:
		default:
		}
	}})
	defer listening.Close()
	for {
		select {
		case text := <-waiting:
			o.apply(text, caches)
		case <-ctx.Done():
			return
		}
	}
}

// apply carries out one message.
func (o *Others) apply(text string, caches Caches) {
	var message change
	if err := json.Unmarshal([]byte(text), &message); err != nil {
		o.log.Warn("another instance sent a change that this one does not understand", "kind", "system", "err", err)
		return
	}
	for _, device := range message.Devices {
		if device.Gone {
			caches.Logs.Forget(device.Key)
			caches.Devices.RemovedRemotely(device.ID, device.Scope)
		} else {
			caches.Devices.ChangedRemotely(device.ID, device.Scope, device.Last, device.Until)
		}
	}
	if message.Desired != "" {
		caches.Devices.DesiredChanged(message.Desired, message.Version)
	}
	if message.User != "" {
		caches.Users.Forget(message.User)
		caches.Streams.SessionsEnded(message.User, message.Sessions)
	}
	if message.Roles != "" {
		caches.Roles.Forget(message.Roles)
		if message.Left != "" {
			caches.Streams.MembershipEnded(message.Roles, message.Left)
		}
	}
}
