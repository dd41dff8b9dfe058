package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"hearth"
	"hearth/internal/mqtt/packet"
	"hearth/internal/mqtt/thingsboard"
)

// due is what is to be looked at for a device.
type due struct {
	commands, delta bool
	// again has commands be sent that were sent before, restate the delta even if it was sent.
	again, restate bool
}

func (d due) and(more due) due {
	return due{d.commands || more.commands, d.delta || more.delta, d.again || more.again, d.restate || more.restate}
}

// flight is a message that the device has not acknowledged: a command, or "" for anything else.
type flight struct {
	party   *party
	command string
}

// outbound is what was sent to the device. It belongs to the goroutine that works.
type outbound struct {
	// flights are by the ids of the packets.
	flights map[uint16]flight
	lastID  uint16
	// waiting is what waits for an acknowledgement of something else.
	waiting map[*party]due
}

// maxFilters bounds the subscriptions of a device: a gateway may have two for each device behind it.
const maxFilters = 2*maxBehind + 16

// subscribe grants what a device may subscribe to, and has it sent.
func (s *session) subscribe(id uint16, filters []packet.Filter) error {
	reasons := make([]packet.Reason, len(filters))
	marks := map[string]due{} // by serial; "" is every device
	shared := false
	for i, filter := range filters {
		what, serial := s.filter(filter.Topic)
		var on bool
		switch reasons[i], on = s.grant(filter, what); {
		case reasons[i] > 1:
		case what == toCommands:
			marks[serial] = marks[serial].and(due{commands: true, again: !on})
		case what == toDelta:
			marks[serial] = marks[serial].and(due{delta: true, restate: true})
		case what == toShared:
			shared = true
		}
	}
	if shared {
		if err := s.baselines(); err != nil {
			return err
		}
	}
	if err := s.save(); err != nil {
		return err
	}
	_ = s.conn.write(packet.AppendSuback(nil, s.version, id, reasons))
	for serial, what := range marks {
		if serial == "" {
			for _, p := range s.all() {
				s.follow(p)
				s.mark(p, what)
			}
			continue
		}
		if p, err := s.party(serial, "", false); err == nil { // one that is not there yet joins when it is made
			s.follow(p)
			s.mark(p, what)
		}
	}
	return nil
}

// grant notes a subscription, unless it is refused, and reports whether it was there.
func (s *session) grant(filter packet.Filter, what filterOf) (reason packet.Reason, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, on = s.filters[filter.Topic]
	switch {
	case what == notAllowed:
		s.server.metrics.refused(refusedTopic)
		return packet.NotAuthorized, on
	case !on && len(s.filters) >= maxFilters:
		return packet.QuotaExceeded, on
	case s.filters == nil:
		s.filters = map[string]byte{}
	}
	s.filters[filter.Topic] = min(filter.QoS, 1)
	return packet.Reason(min(filter.QoS, 1)), on
}

// baseline notes the shared attributes of a device whose changes are sent from now on.
func (s *session) baseline(ctx context.Context, p *party) error {
	if _, on := s.sharedRoute(p); !on || p.shared != nil {
		return nil
	}
	twin, err := s.server.o.Twins.Twin(ctx, p.caller, p.caller.DeviceID)
	if err == nil {
		p.shared = stateOf(twin.Desired)
	}
	return err
}

// baselines does so for every device.
func (s *session) baselines() error {
	for _, p := range s.all() {
		if err := s.attempt(func(ctx context.Context) error { return s.baseline(ctx, p) }); err != nil && !permanent(err) {
			return err
		}
	}
	return nil
}

// stateOf returns a side of a twin; an empty one is an object too.
func stateOf(side json.RawMessage) []byte {
	if len(side) == 0 {
		return []byte("{}")
	}
	return side
}

// unsubscribe ends subscriptions.
func (s *session) unsubscribe(id uint16, topics []string) error {
	reasons := make([]packet.Reason, len(topics))
	s.mu.Lock()
	for i, topic := range topics {
		if _, on := s.filters[topic]; !on {
			reasons[i] = packet.NoSubscriptionExisted
		}
		delete(s.filters, topic)
	}
	s.mu.Unlock()
	for _, p := range s.all() {
		if _, on := s.commandRoute(p); !on {
			p.unfollow()
		}
		if _, on := s.sharedRoute(p); !on {
			p.shared = nil
		}
	}
	err := s.save()
	if err == nil {
		_ = s.conn.write(packet.AppendUnsuback(nil, s.version, id, reasons))
	}
	return err
}

// mark has something be looked at for a device. It does not block.
func (s *session) mark(p *party, what due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p != s.own && s.behind[p.serial] != p {
		return
	}
	if s.due == nil {
		s.due = map[*party]due{}
	}
	s.due[p] = s.due[p].and(what)
	s.wake()
}

// twinChanged has the changes of a twin be sent if the device subscribed to them.
func (p *party) twinChanged() {
	_, delta := p.session.deltaRoute(p)
	_, shared := p.session.sharedRoute(p)
	if delta || shared {
		p.session.mark(p, due{delta: true})
	}
}

// deliver sends what is due to a device and what is accepted now.
func (s *session) deliver(p *party, what due) {
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	if served, err := s.served(ctx, p); err != nil {
		s.later(p, what, err)
		return
	} else if !served {
		return
	}
	if what.delta {
		s.sendState(ctx, p, what.restate)
	}
	if to, on := s.commandRoute(p); on && what.commands {
		if what.again {
			p.lastSeq = 0
		}
		s.sendCommands(ctx, p, to)
	}
}

// later has something be looked at again that could not be read.
func (s *session) later(p *party, what due, err error) {
	if permanent(err) { // the device is gone, and the session, or its place in it, ends
		return
	}
	s.server.log.Debug("what is to be sent to a device could not be read", "device", p.caller.DeviceID, "err", err)
	time.AfterFunc(time.Second, func() { s.mark(p, what) })
}

// wait has something be sent once the device has acknowledged something else.
func (s *session) wait(p *party, what due) {
	if s.out.waiting == nil {
		s.out.waiting = map[*party]due{}
	}
	s.out.waiting[p] = s.out.waiting[p].and(what)
}

// sendState sends the delta of the twin, unless the device has it, and what has changed of the shared attributes.
func (s *session) sendState(ctx context.Context, p *party, restate bool) {
	delta, toDelta := s.deltaRoute(p)
	shared, toShared := s.sharedRoute(p)
	if !toDelta && !toShared {
		return
	}
	if toDelta && s.full(delta.qos) || toShared && s.full(shared.qos) {
		s.wait(p, due{delta: true, restate: restate})
		return
	}
	twin, err := s.server.o.Twins.Twin(ctx, p.caller, p.caller.DeviceID)
	if err != nil {
		s.later(p, due{delta: true, restate: restate}, err)
		return
	}
	if toDelta && (restate || !bytes.Equal(twin.Delta, p.sent)) {
		p.sent = twin.Delta
		s.send(p, packet.Publish{Topic: delta.topic, QoS: delta.qos, Payload: twin.Delta}, "")
	}
	if toShared {
		for _, message := range thingsboard.Changes(p.shared, stateOf(twin.Desired), p.serial) {
			s.send(p, packet.Publish{Topic: shared.topic, QoS: shared.qos, Payload: message}, "")
		}
		p.shared = stateOf(twin.Desired)
	}
}

// command is a command as devices get it.
type command struct {
	ID     string          `json:"id"`
	Name   string          `json:"name"`
	Params json.RawMessage `json:"params"`
}

// message returns a command as the route has it.
func (s *session) message(ctx context.Context, p *party, to route, c *hearth.Command) (topic string, payload []byte, err error) {
	if !to.thingsboard {
		payload, err = json.Marshal(command{c.ID, c.Name, c.Params})
		return to.topic, payload, err
	}
	number, err := s.server.o.Commands.Number(ctx, p.caller, *c)
	if topic = to.topic; p.serial == "" {
		topic += strconv.FormatInt(number, 10)
	}
	return topic, thingsboard.AppendCall(number, c.Name, c.Params, p.serial), err
}

// sendCommands sends a device's commands in their order, as many as are accepted.
func (s *session) sendCommands(ctx context.Context, p *party, to route) {
	for {
		if s.full(to.qos) {
			s.wait(p, due{commands: true})
			return
		}
		c, err := s.server.o.Commands.After(ctx, p.caller, p.caller.DeviceID, p.lastSeq)
		if err != nil {
			s.later(p, due{commands: true}, err)
			return
		}
		if c == nil {
			return
		}
		if s.flies(c.ID) {
			p.lastSeq = c.Seq
			continue
		}
		id := packetID(c.ID)
		if _, taken := s.out.flights[id]; taken && to.qos > 0 {
			s.wait(p, due{commands: true})
			return
		}
		topic, payload, err := s.message(ctx, p, to, c)
		if err != nil {
			s.later(p, due{commands: true}, err)
			return
		}
		p.lastSeq = c.Seq
		now := s.server.o.Clock.Now()
		expiry := uint32(max(1, c.ExpiresAt.Sub(now)/time.Second))
		out := packet.Publish{Topic: topic, QoS: to.qos, ID: id, Payload: payload, Expiry: expiry, Dup: to.qos > 0 && c.Attempts > 0}
		if !s.send(p, out, c.ID) {
			return
		}
		if err := s.server.o.Commands.Sent(ctx, p.caller, *c, now); err != nil && !permanent(err) {
			s.server.log.WarnContext(ctx, "that a command was sent was not stored", "command", c.ID, "err", err)
		}
		s.server.metrics.commands.Inc()
	}
}

// reply sends the answer to a request of the device, if it subscribed to answers.
func (s *session) reply(p *party, topic string, payload []byte) {
	if to, on := s.answerRoute(topic); on {
		if s.full(to.qos) {
			to.qos = 0 // a request that is not answered is sent again
		}
		s.send(p, packet.Publish{Topic: topic, QoS: to.qos, Payload: payload}, "")
	}
}

// full reports whether the device accepts no message of that QoS before it acknowledges one.
func (s *session) full(qos byte) bool { return qos > 0 && len(s.out.flights) >= s.window }

// flies reports whether a command was sent and is not acknowledged.
func (s *session) flies(commandID string) bool {
	for _, f := range s.out.flights {
		if f.command == commandID {
			return true
		}
	}
	return false
}

// send writes a message to the device, and reports whether that worked. One that is larger than the device accepts is not sent, which its users
// are shown.
func (s *session) send(p *party, out packet.Publish, commandID string) bool {
	if out.QoS > 0 && out.ID == 0 {
		out.ID = s.nextID()
	}
	written := packet.AppendPublish(nil, s.version, out)
	if s.maxPacket > 0 && len(written) > int(s.maxPacket) {
		s.failed(out.Topic, hearth.Errorf(hearth.CodePayloadTooLarge, "a message is larger than the device accepts: %d bytes", len(written)))
		return true
	}
	if out.QoS > 0 {
		if s.out.flights == nil {
			s.out.flights = map[uint16]flight{}
		}
		s.out.flights[out.ID] = flight{p, commandID}
	}
	return s.conn.write(written) == nil
}

// firstID is the first packet id of what is no command: those below are the commands'.
const firstID = 1 << 15

// nextID returns the id of a packet that is not in flight, for what is no command.
func (s *session) nextID() uint16 {
	for {
		s.out.lastID = max(firstID, s.out.lastID+1)
		if _, taken := s.out.flights[s.out.lastID]; !taken {
			return s.out.lastID
		}
	}
}

// packetID returns the packet id of a command: always the same one, so that a command that is sent again when a session goes on, at any instance,
// has the id that it had.
func packetID(commandID string) uint16 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(commandID))
	return uint16(1 + sum.Sum32()%(firstID-1))
}

// acknowledged notes that the device has a message, or refuses it. next is what was read after that.
func (s *session) acknowledged(id uint16, reason packet.Reason, next []item) error {
	of, ok := s.out.flights[id]
	if !ok {
		return nil
	}
	delete(s.out.flights, id)
	for p, what := range s.out.waiting {
		s.mark(p, what)
	}
	clear(s.out.waiting)
	if of.command == "" || reason < packet.Unspecified && answers(of.command, next) {
		return nil
	}
	err := s.attempt(func(ctx context.Context) error {
		caller := of.party.caller
		if reason >= packet.Unspecified {
			refused := hearth.CommandAnswer{Error: "the device refused the message (" + reason.String() + ")"}
			return s.server.o.Commands.Answer(ctx, caller, caller.DeviceID, of.command, refused)
		}
		return s.server.o.Commands.Acknowledge(ctx, caller, caller.DeviceID, of.command)
	})
	if permanent(err) { // the command is gone
		return nil
	}
	return err
}

// answers reports whether the result of a command, which acknowledges it too, is among what was read.
func answers(command string, read []item) bool {
	return slices.ContainsFunc(read, func(m item) bool {
		return m.kind == kindResult && m.command == command && m.wrong == nil && len(m.answer.Validate("")) == 0
	})
}
