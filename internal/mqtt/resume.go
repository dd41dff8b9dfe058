package mqtt

import (
	"context"
	"maps"
	"time"

	"hearth"
	"hearth/internal/mqtt/packet"
)

// maxExpiry is the longest that a session is kept after its device was last heard.
const maxExpiry = 7 * 24 * time.Hour

// resume has the session go on with the subscriptions of the one before, unless the device begins a new one or the one before has expired. What is
// kept is found by every instance.
func (s *session) resume(ctx context.Context, clean bool) error {
	store, device := s.server.o.Sessions, s.own.caller.DeviceID
	kept, err := store.MQTTSession(ctx, device)
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound && s.expiry == 0:
		return nil
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return s.keep(ctx)
	case err != nil:
		return err
	}
	if !clean {
		known, err := s.server.o.Devices.Device(ctx, s.own.caller, device)
		if err != nil {
			return err
		}
		since := kept.SavedAt
		if known.LastActiveAt.After(since) {
			since = known.LastActiveAt
		}
		if s.server.o.Clock.Now().Sub(since) < kept.Expiry {
			maps.DeleteFunc(kept.Filters, func(filter string, _ byte) bool {
				what, _ := s.filter(filter)
				return what == notAllowed // with a gateway's token it was, and this one is none
			})
			s.mu.Lock()
			s.resumed, s.filters = true, kept.Filters
			s.mu.Unlock()
		}
	}
	if s.resumed && s.expiry == kept.Expiry {
		return nil
	}
	return s.keep(ctx)
}

// keep stores what is kept of the session after its connection, or that nothing is.
func (s *session) keep(ctx context.Context) error {
	s.mu.Lock()
	filters := maps.Clone(s.filters)
	s.mu.Unlock()
	if s.expiry == 0 || len(filters) > hearth.MaxMQTTFilters {
		return s.server.o.Sessions.DeleteMQTTSession(ctx, s.own.caller.DeviceID)
	}
	return s.server.o.Sessions.SaveMQTTSession(ctx, hearth.MQTTSession{
		DeviceID: s.own.caller.DeviceID, Filters: filters, Expiry: s.expiry, SavedAt: s.server.o.Clock.Now(),
	})
}

// save is keep for a session whose subscriptions or whose time have changed.
func (s *session) save() error {
	if s.expiry == 0 && !s.resumed {
		return nil
	}
	return s.attempt(s.keep)
}

// expires sets, with the DISCONNECT of a device, how long its session is kept.
func (s *session) expires(seconds uint32) error {
	if s.expiry == 0 && seconds > 0 {
		return &packet.Error{Reason: packet.ProtocolError, Text: "the session was to end with the connection"}
	}
	s.push(item{kind: kindExpiry, size: itemSize, expiry: min(time.Duration(seconds)*time.Second, maxExpiry)})
	return nil
}

// resubscribed has the devices of a session that was there before be sent what waits for them.
func (s *session) resubscribed() error {
	if err := s.baselines(); err != nil {
		return err
	}
	for _, p := range s.all() {
		s.follow(p)
		s.mark(p, due{commands: true, again: true, delta: true, restate: true})
	}
	return nil
}
