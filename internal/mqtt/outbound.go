package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"hearth"
	"hearth/internal/mqtt/packet"
)

// due is what is to be looked at for the device.
type due struct{ commands, delta bool }

// subscription is one of c or d.
type subscription struct {
	on  bool
	qos byte
	// fresh says that the device has subscribed since something was sent.
	fresh bool
}

// outbound is what was sent to the device. It belongs to the goroutine that works.
type outbound struct {
	// flights are the commands that the device has not acknowledged, by the ids of the packets; "" is a delta.
	flights map[uint16]string
	lastID  uint16
	// lastSeq is the number of the command that was sent last.
	lastSeq int64
	// sent is the delta that was sent last, and waiting says that a newer one waits for an acknowledgement.
	sent    []byte
	waiting bool
}

// subscribe grants what a device may subscribe to, and has it sent.
func (s *session) subscribe(id uint16, filters []packet.Filter) {
	reasons := make([]packet.Reason, len(filters))
	var commands, delta *byte
	for i, filter := range filters {
		qos := min(filter.QoS, 1)
		reasons[i] = packet.Reason(qos)
		switch filter.Topic {
		case "c":
			commands = &qos
		case "d":
			delta = &qos
		default:
			reasons[i] = packet.NotAuthorized
			s.server.metrics.refused(refusedTopic)
		}
	}
	_ = s.conn.write(packet.AppendSuback(nil, s.version, id, reasons))
	if commands != nil && s.follow == nil {
		s.follow = s.server.o.Commands.Follow(s.caller.DeviceID, func() { s.mark(due{commands: true}) })
	}
	s.mu.Lock()
	if commands != nil {
		s.commands = subscription{on: true, qos: *commands, fresh: !s.commands.on || s.commands.fresh}
		s.due.commands = true
	}
	if delta != nil {
		s.delta = subscription{on: true, qos: *delta, fresh: true}
		s.due.delta = true
	}
	if s.due != (due{}) {
		s.wake()
	}
	s.mu.Unlock()
}

// unsubscribe ends subscriptions.
func (s *session) unsubscribe(id uint16, topics []string) {
	reasons := make([]packet.Reason, len(topics))
	s.mu.Lock()
	for i, topic := range topics {
		of := &subscription{}
		switch topic {
		case "c":
			of = &s.commands
		case "d":
			of = &s.delta
		}
		if !of.on {
			reasons[i] = packet.NoSubscriptionExisted
		}
		*of = subscription{}
	}
	s.mu.Unlock()
	_ = s.conn.write(packet.AppendUnsuback(nil, s.version, id, reasons))
}

// mark has something be looked at for the device. It does not block.
func (s *session) mark(what due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due.commands = s.due.commands || what.commands
	s.due.delta = s.due.delta || what.delta
	s.wake()
}

// twinChanged has the delta be sent if the device subscribed to it.
func (s *session) twinChanged() {
	s.mu.Lock()
	on := s.delta.on
	s.mu.Unlock()
	if on {
		s.mark(due{delta: true})
	}
}

// deliver sends what is due and what the device accepts now.
func (s *session) deliver(what due) {
	s.mu.Lock()
	commands, delta := s.commands, s.delta
	if what.commands {
		s.commands.fresh = false
	}
	if what.delta {
		s.delta.fresh = false
	}
	s.mu.Unlock()
	if what.delta && delta.on {
		s.sendDelta(delta)
	}
	if what.commands && commands.on {
		if commands.fresh {
			s.out.lastSeq = 0
		}
		s.sendCommands(commands.qos)
	}
}

// later has something be looked at again that could not be read.
func (s *session) later(what due, err error) {
	if permanent(err) { // the device is gone, and the session ends with it
		return
	}
	s.server.log.Debug("what is to be sent to a device could not be read", "device", s.caller.DeviceID, "err", err)
	time.AfterFunc(time.Second, func() { s.mark(what) })
}

// sendDelta sends the delta of the twin, unless the device has it.
func (s *session) sendDelta(to subscription) {
	if s.full(to.qos) {
		s.out.waiting = true
		return
	}
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	twin, err := s.server.o.Twins.Twin(ctx, s.caller, s.caller.DeviceID)
	if err != nil {
		s.later(due{delta: true}, err)
		return
	}
	if s.out.waiting = false; bytes.Equal(twin.Delta, s.out.sent) && !to.fresh {
		return
	}
	s.out.sent = twin.Delta
	s.send(packet.Publish{Topic: "d", QoS: to.qos, Payload: twin.Delta}, "")
}

// command is a command as devices get it.
type command struct {
	ID     string          `json:"id"`
	Name   string          `json:"name"`
	Params json.RawMessage `json:"params"`
}

// sendCommands sends the device's commands in their order, as many as it accepts.
func (s *session) sendCommands(qos byte) {
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	for !s.full(qos) {
		c, err := s.server.o.Commands.After(ctx, s.caller, s.caller.DeviceID, s.out.lastSeq)
		if err != nil {
			s.later(due{commands: true}, err)
			return
		}
		if c == nil {
			return
		}
		s.out.lastSeq = c.Seq
		if s.flies(c.ID) {
			continue
		}
		payload, err := json.Marshal(command{c.ID, c.Name, c.Params})
		if err != nil {
			s.server.log.ErrorContext(ctx, "a command could not be encoded", "command", c.ID, "err", err)
			continue
		}
		now := s.server.o.Clock.Now()
		expiry := uint32(max(1, c.ExpiresAt.Sub(now)/time.Second))
		p := packet.Publish{Topic: "c", QoS: qos, Payload: payload, Expiry: expiry, Dup: qos > 0 && c.Attempts > 0}
		if !s.send(p, c.ID) {
			return
		}
		if err := s.server.o.Commands.Sent(ctx, s.caller, *c, now); err != nil && !permanent(err) {
			s.server.log.WarnContext(ctx, "that a command was sent was not stored", "command", c.ID, "err", err)
		}
		s.server.metrics.commands.Inc()
	}
}

// full reports whether the device accepts no message of that QoS before it acknowledges one.
func (s *session) full(qos byte) bool { return qos > 0 && len(s.out.flights) >= s.window }

// flies reports whether a command was sent and is not acknowledged.
func (s *session) flies(commandID string) bool {
	for _, id := range s.out.flights {
		if id == commandID {
			return true
		}
	}
	return false
}

// send writes a message to the device, and reports whether that worked. One that is larger than the device accepts is not sent, which its users
// are shown.
func (s *session) send(p packet.Publish, commandID string) bool {
	if p.QoS > 0 {
		p.ID = s.nextID()
	}
	written := packet.AppendPublish(nil, s.version, p)
	if s.maxPacket > 0 && len(written) > int(s.maxPacket) {
		s.failed(p.Topic, hearth.Errorf(hearth.CodePayloadTooLarge, "a message is larger than the device accepts: %d bytes", len(written)))
		return true
	}
	if p.QoS > 0 {
		if s.out.flights == nil {
			s.out.flights = map[uint16]string{}
		}
		s.out.flights[p.ID] = commandID
	}
	return s.conn.write(written) == nil
}

// nextID returns the id of a packet that is not in flight.
func (s *session) nextID() uint16 {
	for {
		s.out.lastID++
		if _, taken := s.out.flights[s.out.lastID]; s.out.lastID != 0 && !taken {
			return s.out.lastID
		}
	}
}

// acknowledged notes that the device has a message, or refuses it.
func (s *session) acknowledged(id uint16, reason packet.Reason) error {
	commandID, ok := s.out.flights[id]
	if !ok {
		return nil
	}
	delete(s.out.flights, id)
	s.mark(due{commands: true, delta: s.out.waiting})
	if commandID == "" {
		return nil
	}
	err := s.attempt(func(ctx context.Context) error {
		if reason >= packet.Unspecified {
			refused := hearth.CommandAnswer{Error: "the device refused the message (" + reason.String() + ")"}
			return s.server.o.Commands.Answer(ctx, s.caller, s.caller.DeviceID, commandID, refused)
		}
		return s.server.o.Commands.Acknowledge(ctx, s.caller, s.caller.DeviceID, commandID)
	})
	if permanent(err) { // the command is gone
		return nil
	}
	return err
}
