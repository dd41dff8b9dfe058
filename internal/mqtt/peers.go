package mqtt

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"hearth/internal/bus"
)

// topic is where instances publish what concerns connections.
const topic = "mqtt"

// happening is what a message is about.
type happening string

const (
	// connected: a device has a new session. twinChanged, tokensChanged: its twin, or its tokens, are not as they were.
	connected     happening = "connected"
	twinChanged   happening = "twin"
	tokensChanged happening = "tokens"
)

// message is what other instances hear.
type message struct {
	What    happening `json:"what"`
	Device  string    `json:"device"`
	Session string    `json:"session,omitempty"`
	Anew    bool      `json:"anew,omitempty"` // the session began without the one before
}

// publish sends a message to the other instances, in the background. While the link is down it is lost: see Start.
func (s *Server) publish(m message) {
	if s.o.Bus == nil {
		return
	}
	s.background(func() { _ = s.news.Do(s.ctx, m) }) // an error is the link's, and was logged where it went down
}

// send sends messages to the other instances.
func (s *Server) send(messages []message) error {
	const part = 1000
	for some := range slices.Chunk(messages, part) {
		text, err := json.Marshal(some)
		if err != nil {
			return err
		}
		if err := s.o.Bus.Publish(s.ctx, topic, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// Start begins to follow what the other instances publish. After a time in which messages may have been missed, every session is announced and
// authenticated again, and looks at its twin. stop ends the following.
func (s *Server) Start() (stop func()) {
	if s.o.Bus == nil {
		return func() {}
	}
	missed := make(chan struct{}, 1)
	listening := s.o.Bus.Listen(bus.Listener{Topics: []string{topic}, Heard: s.heard, Up: func(context.Context) error {
		select {
		case missed <- struct{}{}:
		default:
		}
		return nil
	}})
	stopping := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		for {
			select {
			case <-missed:
				select {
				case <-time.After(tokenTrust):
					s.catchUp()
				case <-stopping:
					return
				}
			case <-stopping:
				return
			}
		}
	})
	return func() {
		listening.Close()
		close(stopping)
		following.Wait()
	}
}

// tokenTrust is a little more than how long devices trust what they have read of a token where other instances may end it.
const tokenTrust = 1100 * time.Millisecond

// catchUp does for every session what messages may have asked for.
func (s *Server) catchUp() {
	for _, one := range s.all() {
		one.authenticate()
		for _, p := range one.all() {
			s.publish(message{What: connected, Device: p.caller.DeviceID, Session: one.id})
			p.twinChanged()
		}
	}
}

// heard does what messages of the other instances ask for, and notes which of this one's sessions all have heard of. All hear the messages in
// one order: of two sessions of a device, the one that is heard of later ends the other.
func (s *Server) heard(m bus.Message) {
	var messages []message
	if err := json.Unmarshal([]byte(m.Data), &messages); err != nil {
		s.log.Warn("another instance sent something about connections that this one does not understand", "kind", "system", "err", err)
		return
	}
	for _, m := range messages {
		if m.What == tokensChanged {
			s.o.Devices.TokensChanged(m.Device)
		}
		one, behind := s.session(m.Device), s.behindOf(m.Device)
		switch {
		case m.What == twinChanged:
			s.twinChanged(m.Device)
		case m.What == tokensChanged && one != nil:
			s.background(one.authenticate)
		case m.What == connected:
			as := successorOf(m.Anew)
			if one != nil && one.overtaken(m.Session) {
				one.succeeded(as)
				one.end(takenOver())
			}
			if will := s.back(m.Device, m.Session, as); will != nil {
				s.background(will.session.publishWill)
			}
			if behind != nil && behind.session.id != m.Session { // it is behind another gateway, or speaks for itself
				s.background(func() { behind.session.drop(s.ctx, behind, false) })
			}
		}
	}
}

// overtaken reports whether the session that the instances have just heard of replaces this one.
func (s *session) overtaken(by string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by == s.id {
		s.announced = true
		return false
	}
	return s.announced
}
