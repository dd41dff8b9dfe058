package mqtt

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"hearth"
	"hearth/internal/core/devices"
	"hearth/internal/mqtt/packet"
)

// signEvery is how often at most a packet counts as a sign of life.
const signEvery = time.Second

// session is the connection of a device that has logged in.
type session struct {
	server  *Server
	conn    *conn
	own     *party
	token   string
	id      string
	version packet.Version
	will    *packet.Will
	// gateway says that the session serves the devices of its scope, too.
	gateway bool
	// expiry is how long the session is kept after the connection ends; 0: it ends with it. resumed says that it was there before.
	expiry  time.Duration
	resumed bool
	// keepAlive is how long the device may be silent, silence how long it is online after its last sign of life, which may be signEvery old.
	keepAlive time.Duration
	silence   time.Duration
	// window is how many messages the device accepts before it acknowledges one, maxPacket the largest; 0: any.
	window    int
	maxPacket uint32
	problems  bool // the device accepts reason strings

	// These belong to the goroutine that reads.
	aliases map[uint16]string
	heardAt time.Time

	// These belong to the goroutine that works.
	failedAt, slowedAt time.Time
	out                outbound

	// space is signalled when the queue is taken. stopping is closed when the connection is to end, for the reason in stop.
	// done is closed when the session has finished.
	space, stopping, done chan struct{}
	doneOnce              sync.Once

	mu       sync.Mutex
	queue    []item
	bytes    int // what is in queue
	working  bool
	finished bool
	stop     *ending
	// next is what has followed the session.
	next successor
	// announced says that the other instances have heard of this session.
	announced bool
	// due is what is to be looked at, filters the subscriptions with their QoS, behind the devices behind a gateway by their serials.
	due     map[*party]due
	filters map[string]byte
	behind  map[string]*party
}

// ending is why a connection ends.
type ending struct {
	// reason and text are those of the DISCONNECT that is sent; Success: none is.
	reason packet.Reason
	text   string
	// leaves says that the device sent DISCONNECT; will, that its will is to be published; takenOver, that it has another connection, which decides
	// about the will.
	leaves, will, takenOver bool
}

// run serves the session to its end.
func (s *session) run() {
	if s.resumed {
		s.push(item{kind: kindResume, size: itemSize})
	}
	s.ended(s.read())
}

// ended has the session finish after what was read is stored.
func (s *session) ended(why ending) {
	s.mu.Lock()
	if s.stop == nil {
		s.stop = &why
		close(s.stopping)
	}
	s.queue = append(s.queue, item{kind: kindEnd})
	s.wake()
	s.mu.Unlock()
}

// end has the connection end once what was read is stored. Of several ends, the first counts.
func (s *session) end(why ending) {
	s.mu.Lock()
	first := s.stop == nil
	if first {
		s.stop = &why
		close(s.stopping)
	}
	s.mu.Unlock()
	if first {
		_ = s.conn.net.SetReadDeadline(time.Unix(1, 0))
	}
}

// read handles packets until the connection ends, and returns why.
func (s *session) read() ending {
	for {
		if s.conn.reader.Buffered() == 0 {
			_ = s.conn.net.SetReadDeadline(time.Now().Add(s.keepAlive))
		}
		select {
		case <-s.stopping: // after the deadline is set: end sets another one after it closes this
			return ending{}
		default:
		}
		h, err := packet.ReadHeader(s.conn.reader)
		if err == nil && h.Length > MaxPacket {
			err = &packet.Error{Reason: packet.TooLarge, Text: "a packet is larger than 256 KiB"}
		}
		if err != nil {
			return s.endOf(err)
		}
		body, release, err := s.server.bodies.read(s.conn, h.Length)
		if err != nil {
			release()
			return s.endOf(err)
		}
		s.heard()
		why, err := s.handle(h, body)
		release()
		if err != nil {
			return s.endOf(err)
		}
		if why != nil {
			return *why
		}
	}
}

// endOf returns how the connection ends after an error of reading.
func (s *session) endOf(err error) ending {
	if broken, ok := errors.AsType[*packet.Error](err); ok {
		s.server.metrics.refused(reasonOf(broken.Reason))
		return ending{reason: broken.Reason, text: broken.Text, will: true}
	}
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return ending{reason: packet.KeepAliveTimeout, text: "nothing came for 1.5 times the keep-alive", will: true}
	}
	return ending{will: true} // the connection was lost
}

// heard counts a packet as a sign of life.
func (s *session) heard() {
	if now := time.Now(); now.Sub(s.heardAt) >= signEvery {
		s.heardAt = now
		s.server.o.Devices.HeardFrom(s.own.kept)
		if s.gateway {
			s.heardOf(now)
		}
	}
}

// handle handles one packet. It returns how the connection ends with it, if it does.
func (s *session) handle(h packet.Header, body []byte) (*ending, error) {
	switch h.Type { //nolint:exhaustive // the others are errors
	case packet.PUBLISH:
		p, err := packet.DecodePublish(h, body, s.version)
		if err != nil {
			return nil, err
		}
		return nil, s.received(p)
	case packet.PUBACK:
		id, reason, err := packet.DecodePuback(body, s.version)
		if err == nil {
			s.push(item{kind: kindAck, id: id, reason: reason, size: itemSize})
		}
		return nil, err
	case packet.SUBSCRIBE:
		id, filters, err := packet.DecodeSubscribe(body, s.version)
		if err != nil {
			return nil, err
		}
		one := item{kind: kindSubscribe, id: id, filters: filters}
		for _, filter := range filters {
			one.size += itemSize + len(filter.Topic)
		}
		s.push(one)
		return nil, nil
	case packet.UNSUBSCRIBE:
		id, topics, err := packet.DecodeUnsubscribe(body, s.version)
		if err != nil {
			return nil, err
		}
		one := item{kind: kindUnsubscribe, id: id, topics: topics}
		for _, topic := range topics {
			one.size += itemSize + len(topic)
		}
		s.push(one)
		return nil, nil
	case packet.PINGREQ:
		if err := packet.DecodeEmpty(body); err != nil {
			return nil, err
		}
		_ = s.conn.write(packet.AppendPingresp(nil))
		return nil, nil
	case packet.DISCONNECT:
		d, err := packet.DecodeDisconnect(body, s.version)
		if err == nil && d.HasExpiry {
			err = s.expires(d.SessionExpiry)
		}
		if err != nil {
			return nil, err
		}
		return &ending{leaves: true, will: d.Reason == packet.DisconnectWithWill}, nil
	}
	return nil, &packet.Error{Reason: packet.ProtocolError, Text: "a packet of a type that is not expected"}
}

// push adds something to the queue, and waits while the queue is full. What is pushed at the end of the connection may be dropped.
func (s *session) push(one item) {
	s.mu.Lock()
	for len(s.queue) > 0 && (len(s.queue) >= queueLength || s.bytes+one.size > queueBytes) {
		s.mu.Unlock()
		select {
		case <-s.space:
		case <-s.stopping:
			return
		}
		s.mu.Lock()
	}
	s.queue = append(s.queue, one)
	s.bytes += one.size
	s.wake()
	s.mu.Unlock()
}

// wake has the work be done that is due. mu is held.
func (s *session) wake() {
	if !s.working && !s.finished {
		s.working = true
		s.server.running.Go(s.work)
	}
}

// work does what is due until nothing is. A defect that a device's messages find ends its connection alone.
func (s *session) work() {
	defer func() {
		if p := recover(); p != nil {
			s.server.failed(p)
			s.end(ending{will: true})
			s.finish(ending{will: true})
		}
	}()
	for {
		s.mu.Lock()
		batch, what := s.queue, s.due
		if s.due = nil; len(batch) == 0 && len(what) == 0 {
			s.working = false
			s.mu.Unlock()
			return
		}
		s.queue, s.bytes = nil, 0
		s.mu.Unlock()
		select {
		case s.space <- struct{}{}:
		default:
		}
		if s.process(batch) {
			return
		}
		for p, what := range what {
			s.deliver(p, what)
		}
	}
}

// finish ends the session, after everything that was read is stored.
func (s *session) finish(why ending) {
	defer s.doneOnce.Do(func() { close(s.done) })
	s.mu.Lock()
	s.finished = true
	s.mu.Unlock()
	parties := s.all()
	kept := make([]*devices.Connection, len(parties))
	for i, p := range parties {
		p.unfollow()
		s.server.release(p)
		kept[i] = p.kept
	}
	publish := s.server.leave(s, why)
	if why.reason != packet.Success && s.version == packet.V5 {
		_ = s.conn.write(packet.AppendDisconnect(nil, why.reason, s.reasonText(why.text)))
	}
	s.conn.close()
	if publish {
		s.publishWill()
	}
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	if err := s.server.o.Devices.Disconnect(ctx, why.leaves, kept...); err != nil {
		s.server.log.WarnContext(ctx, "the end of a connection was not stored: the device is offline when its keep-alive has passed",
			"device", s.own.caller.DeviceID, "err", err)
	}
}

// reasonText returns a reason string, or "" for a device that wants none.
func (s *session) reasonText(text string) string {
	if !s.problems {
		return ""
	}
	return text
}

// authenticate ends the session if its token has ended.
func (s *session) authenticate() {
	_, err := s.server.o.Devices.Authenticate(s.server.ctx, s.token)
	if hearth.ErrorCode(err) == hearth.CodeUnauthenticated {
		s.server.metrics.refused(refusedToken)
		s.end(ending{reason: packet.NotAuthorized, text: "the device token has ended"})
	}
}
