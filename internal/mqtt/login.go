package mqtt

import (
	"cmp"
	"context"
	"errors"
	"time"

	"hearth"
	"hearth/internal/mqtt/packet"
	"hearth/internal/newid"
)

// login reads the CONNECT of a connection and answers it. It returns the session, or nil for one that was refused.
func (s *Server) login(c *conn) *session {
	body, ok := s.readConnect(c)
	if !ok {
		s.metrics.refused(refusedProtocol)
		return nil
	}
	connect, err := packet.DecodeConnect(body)
	if err != nil {
		s.metrics.refused(refusedProtocol)
		if broken, ok := errors.AsType[*packet.Error](err); ok && connect.Version != 0 {
			version := connect.Version
			if broken.Reason == packet.UnsupportedVersion && version > packet.V5 {
				version = packet.V5
			}
			_ = c.write(packet.AppendConnack(nil, version, packet.Connack{Reason: broken.Reason, Text: broken.Text}))
		}
		return nil
	}
	one, refusal := s.admit(c, connect)
	if refusal != nil {
		s.metrics.refused(reasonOfLogin(refusal.Reason))
		_ = c.write(packet.AppendConnack(nil, connect.Version, packet.Connack{Reason: refusal.Reason, Text: refusal.Text}))
		return nil
	}
	answer := packet.Connack{
		SessionPresent: one.resumed, SessionExpiry: uint32(one.expiry / time.Second),
		ReceiveMaximum: queueLength, MaximumPacketSize: MaxPacket, TopicAliasMaximum: maxAliases,
	}
	if connect.KeepAlive == 0 {
		answer.KeepAlive = uint16(noKeepAlive / time.Second)
	}
	if connect.ClientID == "" {
		answer.ClientID = one.own.caller.DeviceID
	}
	if c.write(packet.AppendConnack(nil, connect.Version, answer)) != nil {
		one.finish(ending{})
		return nil
	}
	s.metrics.accepted.Inc()
	return one
}

// readConnect reads the body of a CONNECT, which is the first packet of a connection. Until then the connection is one of those that make room for others.
func (s *Server) readConnect(c *conn) (body []byte, ok bool) {
	done := s.logins.add(c)
	defer done()
	if c.net.SetReadDeadline(time.Now().Add(connectTimeout)) != nil {
		return nil, false
	}
	h, err := packet.ReadHeader(c.reader)
	if err != nil || h.Type != packet.CONNECT || h.Length > MaxPacket {
		return nil, false
	}
	body, err = readUnknown(c, h)
	return body, err == nil
}

func refuse(reason packet.Reason, text string) *packet.Error {
	return &packet.Error{Reason: reason, Text: text}
}

// admit returns the session of a CONNECT, or why it is refused.
func (s *Server) admit(c *conn, connect packet.Connect) (*session, *packet.Error) {
	switch will := connect.Will; {
	case connect.AuthMethod != "":
		return nil, refuse(packet.BadAuthMethod, "log in with a device token")
	case connect.Version == packet.V311 && connect.ClientID == "" && !connect.Clean:
		return nil, refuse(packet.ClientIDNotValid, "a session that is not clean needs a client identifier")
	case will == nil:
	case connect.Version == packet.V5 && will.QoS > 1:
		return nil, refuse(packet.QoSNotSupported, "the QoS of the will is 2")
	case connect.Version == packet.V5 && will.Retain:
		return nil, refuse(packet.RetainNotSupported, "the will is to be retained")
	case !willing(will.Topic):
		return nil, refuse(packet.NotAuthorized, "a will goes to t, t/{event}, h or r")
	}
	// A user name alone is the token, and so is a password, whatever the user name.
	token := cmp.Or(string(connect.Password), connect.Username)
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	select {
	case s.admitting <- struct{}{}:
		defer func() { <-s.admitting }()
	case <-ctx.Done():
		return nil, refuse(packet.ServerUnavailable, "too many devices log in now")
	}
	caller, gateway, err := s.o.Devices.AuthenticateConnection(ctx, token)
	if err != nil {
		return nil, refusalOf(err)
	}
	one := newSession(s, c, connect, caller, token)
	one.gateway = gateway
	as := successorOf(connect.Clean)
	before, ok := s.enter(one, as)
	if !ok {
		return nil, refuse(packet.ServerUnavailable, "the server is shutting down")
	}
	if before != nil {
		before.end(takenOver())
		if before.will != nil {
			before.finishes(ctx)
		}
	}
	// Again: a token that ends from now on finds the session.
	if _, err = s.o.Devices.Authenticate(ctx, token); err == nil {
		if err = one.resume(ctx, connect.Clean); err == nil {
			one.own.kept, err = s.o.Devices.Connect(ctx, caller, one.silence)
		}
	}
	if err != nil {
		s.leave(one, ending{})
		return nil, refusalOf(err)
	}
	if will := s.back(caller.DeviceID, one.id, as); will != nil {
		will.session.publishWill()
	}
	s.publish(message{What: connected, Device: caller.DeviceID, Session: one.id, Anew: connect.Clean})
	return one, nil
}

func refusalOf(err error) *packet.Error {
	switch hearth.ErrorCode(err) { //nolint:exhaustive // the others are the server's failures
	case hearth.CodeUnauthenticated, hearth.CodeNotFound:
		return refuse(packet.NotAuthorized, "the device token is not valid")
	}
	return refuse(packet.ServerUnavailable, "the server cannot check the device token now")
}

// newSession returns the session of a CONNECT that is accepted.
func newSession(s *Server, c *conn, connect packet.Connect, caller hearth.Caller, token string) *session {
	keepAlive := time.Duration(connect.KeepAlive) * time.Second
	keepAlive = cmp.Or(keepAlive, noKeepAlive)
	one := &session{
		server: s, conn: c, token: token, id: newid.New(), version: connect.Version, will: connect.Will,
		silence: keepAlive*3/2 + signEvery, keepAlive: keepAlive * 3 / 2, window: min(maxFlight, int(connect.ReceiveMaximum)),
		maxPacket: connect.MaximumPacketSize, problems: connect.Problems, space: make(chan struct{}, 1), stopping: make(chan struct{}),
		done: make(chan struct{}),
	}
	one.expiry = min(time.Duration(connect.SessionExpiry)*time.Second, maxExpiry)
	one.own = &party{session: one, caller: caller}
	return one
}
