package realtime

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"hearth"
)

// Channel names are a kind and an id. A person's and an organization's channel have the name of their scope.
const (
	userPrefix   = "user:"
	orgPrefix    = "org:"
	devicePrefix = "device:"
	// inboxPrefix marks what is addressed to a person alone: their notifications and exports. Clients cannot name it. A
	// stream that asks for certain channels joins it in place of the person's own channel, which carries every device of
	// theirs.
	inboxPrefix = "inbox:"
)

// errNoChannel is the one answer for a channel that is absent, malformed or another user's.
func errNoChannel() error { return hearth.NotFound("channel") }

// splitChannel splits a name that a client sent. ok reports whether it is well-formed.
func splitChannel(name string) (prefix, id string, ok bool) {
	for _, prefix := range []string{devicePrefix, orgPrefix, userPrefix} {
		if id, found := strings.CutPrefix(name, prefix); found {
			parsed, err := uuid.Parse(id)
			// Another spelling of an id would be another channel, on which nothing ever happens.
			return prefix, id, err == nil && parsed.String() == id
		}
	}
	return "", "", false
}

// authorize is the one rule of who may join which channel: users their own, members an organization's, readers of a device
// the device's, admins all. Returns the device of a device's channel. CodeNotFound if the caller may not read the channel.
func (n *Node) authorize(ctx context.Context, caller hearth.Caller, channel string) (hearth.Device, error) {
	prefix, id, ok := splitChannel(channel)
	if !ok || !caller.IsUser() {
		return hearth.Device{}, errNoChannel()
	}
	device := hearth.Device{}
	if prefix == devicePrefix {
		var err error
		if device, err = n.options.Devices.Device(ctx, id); err != nil {
			if hearth.ErrorCode(err) == hearth.CodeNotFound {
				return device, errNoChannel()
			}
			return device, err
		}
	}
	if !mayRead(caller, channel, device) {
		return hearth.Device{}, errNoChannel()
	}
	return device, nil
}

// ownChannel returns what a connection that names no channel joins: the user's own, with an API key that is bound to an
// organization that one's.
func ownChannel(caller hearth.Caller) string {
	if caller.OnlyOrg != "" {
		return orgPrefix + caller.OnlyOrg
	}
	return userPrefix + caller.UserID
}

// mayRead is authorize without asking for anything: device is the one of a device's channel.
func mayRead(caller hearth.Caller, channel string, device hearth.Device) bool {
	switch prefix, id, _ := strings.Cut(channel, ":"); prefix + ":" {
	case userPrefix, inboxPrefix:
		return id == caller.UserID && caller.OnlyOrg == "" || caller.IsAdmin()
	case orgPrefix:
		return caller.Orgs[id].Valid() || caller.IsAdmin()
	case devicePrefix:
		return caller.Access(device)&hearth.MayRead != 0
	}
	return false
}

// targets appends the channels that an event goes to.
func targets(event hearth.Event, to []string) []string {
	if event.UserID != "" {
		return append(to, userPrefix+event.UserID, inboxPrefix+event.UserID)
	}
	if event.DeviceID != "" {
		to = append(to, devicePrefix+event.DeviceID)
	}
	if event.Scope != "" {
		to = append(to, string(event.Scope))
	}
	return to
}

// partitionKey returns what orders an event: events with the same key are published in the order in which they came. All channels of
// a scope's devices and of a user share one key, so that only one goroutine publishes to a channel.
func partitionKey(event hearth.Event) string {
	if event.UserID != "" {
		return string(hearth.UserScope(event.UserID))
	}
	return string(event.Scope)
}
