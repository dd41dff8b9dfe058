package mqtt

import (
	"context"
	"time"

	"hearth"
	"hearth/internal/core/devices"
	"hearth/internal/mqtt/packet"
)

// maxBehind is how many devices a gateway may serve at once.
const maxBehind = 1000

// party is a device that a session serves: its own, or one behind it.
type party struct {
	session *session
	caller  hearth.Caller
	serial  string // of one behind the session's; "" for its own
	kept    *devices.Connection
	// The session's mu guards these. stop ends the following of its commands; nil: they are not followed. heardAt is when a packet of a gateway
	// counted as its sign of life.
	stop    func()
	heardAt time.Time

	// These belong to the goroutine that works.
	// lastSeq is the number of the command that was sent last.
	lastSeq int64
	// sent is the delta that was sent last, and shared the desired state whose changes were sent up to now; nil: none were asked for.
	sent, shared []byte
}

// party returns the device that a message is about, which is the session's own for the serial "". One that the gateway has not named yet joins the
// session; kind is its type if it is to be made, and without create it must be there. CodeNotFound, CodeConflict (too many), CodeValidationFailed.
func (s *session) party(serial, kind string, create bool) (p *party, err error) {
	if serial == "" {
		return s.own, nil
	}
	s.mu.Lock()
	known, full := s.behind[serial], len(s.behind) >= maxBehind
	s.mu.Unlock()
	device, err := s.device(serial, known)
	switch {
	case known != nil && err == nil && device.ID == known.caller.DeviceID:
		return known, nil
	case err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound:
		return nil, err
	case known != nil: // it was deleted, or has changed hands
		s.drop(s.server.ctx, known, true)
	case full:
		return nil, hearth.Errorf(hearth.CodeConflict, "the gateway serves %d devices at once, and no more", maxBehind)
	}
	if err != nil && create {
		if device, err = s.makeDevice(serial, kind); hearth.ErrorCode(err) == hearth.CodeConflict {
			device, err = s.device(serial, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	err = s.attempt(func(ctx context.Context) (err error) {
		p, err = s.join(ctx, serial, device)
		return err
	})
	return p, err
}

// device returns the device of a serial in the scope of the session's, where known is what it was. CodeNotFound.
func (s *session) device(serial string, known *party) (device *hearth.Device, err error) {
	id := ""
	if known != nil {
		id = known.caller.DeviceID
	}
	err = s.attempt(func(ctx context.Context) error {
		gateway, err := s.server.o.Devices.ForGateway(ctx, s.own.caller)
		if err == nil {
			device, err = s.server.o.Devices.BySerial(ctx, gateway, serial, id)
		}
		return err
	})
	return device, err
}

// makeDevice makes a device behind the session's, as soon as the limit allows one more.
func (s *session) makeDevice(serial, kind string) (device *hearth.Device, err error) {
	s.limit(classProvision, s.own.caller.Key(), 1)
	err = s.attempt(func(ctx context.Context) error {
		gateway, err := s.server.o.Devices.ForGateway(ctx, s.own.caller)
		if err == nil {
			device, err = s.server.o.Devices.MakeBehind(ctx, gateway, serial, kind)
		}
		return err
	})
	return device, err
}

// join has the session serve a device behind it.
func (s *session) join(ctx context.Context, serial string, device *hearth.Device) (*party, error) {
	p := &party{session: s, caller: hearth.Caller{DeviceID: device.ID}, serial: serial, heardAt: time.Now()}
	var err error
	if p.kept, err = s.server.o.Devices.Connect(ctx, p.caller, s.silence); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.behind == nil {
		s.behind = map[string]*party{}
	}
	s.behind[serial] = p
	s.mu.Unlock()
	s.server.takeOver(p)
	s.follow(p)
	s.mark(p, due{commands: true, again: true, delta: true, restate: true})
	return p, s.baseline(ctx, p)
}

// drop ends the serving of a device behind the session. leaves says that it is offline now.
func (s *session) drop(ctx context.Context, p *party, leaves bool) {
	s.mu.Lock()
	if s.behind[p.serial] == p {
		delete(s.behind, p.serial)
	}
	delete(s.due, p)
	s.mu.Unlock()
	p.unfollow()
	s.server.release(p)
	if err := s.server.o.Devices.Disconnect(ctx, leaves, p.kept); err != nil {
		s.server.log.DebugContext(ctx, "the end of a device behind a gateway was not stored", "device", p.caller.DeviceID, "err", err)
	}
}

// all returns every device that the session serves, its own first.
func (s *session) all() []*party {
	s.mu.Lock()
	defer s.mu.Unlock()
	parties := make([]*party, 1, 1+len(s.behind))
	parties[0] = s.own
	for _, p := range s.behind {
		parties = append(parties, p)
	}
	return parties
}

// served reports whether a device may be sent something: one behind a gateway, as long as it is of the gateway's scope.
func (s *session) served(ctx context.Context, p *party) (bool, error) {
	if p == s.own {
		return true, nil
	}
	gateway, err := s.server.o.Devices.ForGateway(ctx, s.own.caller)
	if err == nil {
		var device *hearth.Device
		if device, err = s.server.o.Devices.BySerial(ctx, gateway, p.serial, p.caller.DeviceID); err == nil && device.ID == p.caller.DeviceID {
			return true, nil
		}
	}
	if err == nil || hearth.ErrorCode(err) == hearth.CodeNotFound {
		s.drop(ctx, p, true)
		return false, nil
	}
	return false, err
}

// follow has the session look for commands of a device whenever there may be some, if it is to be sent any.
func (s *session) follow(p *party) {
	if _, ok := s.commandRoute(p); !ok {
		return
	}
	stop := s.server.o.Commands.Follow(p.caller.DeviceID, func() { s.mark(p, due{commands: true}) })
	s.mu.Lock()
	before := p.stop
	p.stop = stop
	gone := s.finished || p != s.own && s.behind[p.serial] != p // another gateway has it by now
	s.mu.Unlock()
	if before != nil {
		before()
	}
	if gone {
		p.unfollow()
	}
}

func (p *party) unfollow() {
	p.session.mu.Lock()
	stop := p.stop
	p.stop = nil
	p.session.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// heardOf counts a gateway's packet as a sign of life of the devices behind it, as often as it keeps them online.
func (s *session) heardOf(now time.Time) {
	s.mu.Lock()
	var kept []*devices.Connection
	for _, p := range s.behind {
		if now.Sub(p.heardAt) >= s.silence/4 {
			p.heardAt = now
			kept = append(kept, p.kept)
		}
	}
	s.mu.Unlock()
	if len(kept) > 0 {
		s.server.o.Devices.HeardFrom(kept...)
	}
}

// takeOver makes a session the one that serves a device behind it: another gateway does so no longer, here or on another instance.
func (s *Server) takeOver(p *party) {
	s.mu.Lock()
	before := s.behind[p.caller.DeviceID]
	if s.behind == nil {
		s.behind = map[string]*party{}
	}
	s.behind[p.caller.DeviceID] = p
	s.mu.Unlock()
	if before != nil && before.session != p.session {
		s.background(func() { before.session.drop(s.ctx, before, false) })
	}
	s.publish(message{What: connected, Device: p.caller.DeviceID, Session: p.session.id})
}

// release notes that a session no longer serves a device behind it.
func (s *Server) release(p *party) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind[p.caller.DeviceID] == p {
		delete(s.behind, p.caller.DeviceID)
	}
}

// behindOf returns who serves a device behind a gateway; nil if no session here does.
func (s *Server) behindOf(deviceID string) *party {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind[deviceID]
}

// takenOver returns the ending of a session whose device has another one.
func takenOver() ending {
	return ending{reason: packet.TakenOver, text: "another connection of the device took over", takenOver: true}
}
