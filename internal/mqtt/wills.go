package mqtt

import (
	"context"
	"time"

	"hearth/internal/mqtt/packet"
)

const (
	// maxWillBytes bounds the wills that wait for their delay, with what each keeps alive: a will beyond it is published without one.
	maxWillBytes = 64 << 20
	willSize     = 6 << 10
	// willPatience is how long a connection that takes over another one waits for the end of that one, whose will comes first.
	willPatience = time.Second
	// willPublishers is how many wills are published at once at the stop of the server.
	willPublishers = 16
)

// successor is the session that follows one of the same device; 0: none does.
type successor uint8

const (
	// continued is the same session over another connection, anew one that began without it.
	continued successor = iota + 1
	anew
)

// successorOf returns what a session is to the one before.
func successorOf(clean bool) successor {
	if clean {
		return anew
	}
	return continued
}

// delayedWill is the will of a session whose connection was lost, and that is kept.
type delayedWill struct {
	session *session
	timer   *time.Timer
}

func (w *delayedWill) size() int {
	return willSize + len(w.session.will.Topic) + len(w.session.will.Payload)
}

// wills are those that wait, by device. Server.mu guards them.
type wills struct {
	waiting map[string]*delayedWill
	bytes   int
}

// waitingWills returns how many wills wait for their delay.
func (s *Server) waitingWills() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.wills.waiting)
}

// willDelay is how long the will of the session waits: no longer than the session is kept.
func (s *session) willDelay() time.Duration {
	return min(time.Duration(s.will.Delay)*time.Second, s.expiry)
}

// succeeded notes that the device has another session.
func (s *session) succeeded(by successor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = by
}

// finishes waits until the session has finished, for a short time.
func (s *session) finishes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, willPatience)
	defer cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// leave removes a session, unless another one has taken it over. It reports whether the session's will is to be published now; one with a delay
// waits here, unless the device is back.
func (s *Server) leave(one *session, why ending) (publish bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	device := one.own.caller.DeviceID
	if s.sessions[device] == one {
		delete(s.sessions, device)
	}
	if one.will == nil || !why.will && !why.takenOver {
		return false
	}
	one.mu.Lock()
	next := one.next
	one.mu.Unlock()
	w := &delayedWill{session: one}
	switch delay := one.willDelay(); {
	case delay == 0 || next == anew:
		return true
	case next == continued:
		return false
	case s.draining || s.wills.bytes+w.size() > maxWillBytes:
		return true
	default:
		w.timer = time.AfterFunc(delay, func() { s.due(w) })
	}
	if s.wills.waiting == nil {
		s.wills.waiting = map[string]*delayedWill{}
	}
	s.wills.waiting[device] = w
	s.wills.bytes += w.size()
	return false
}

// takeWill removes the will that waits for a device, and returns it; nil if none does. mu is held.
func (s *Server) takeWill(device string) *delayedWill {
	w := s.wills.waiting[device]
	if w != nil {
		w.timer.Stop()
		delete(s.wills.waiting, device)
		s.wills.bytes -= w.size()
	}
	return w
}

// due publishes a will whose delay has passed, if it still waits.
func (s *Server) due(w *delayedWill) {
	device := w.session.own.caller.DeviceID
	s.mu.Lock()
	if s.wills.waiting[device] != w {
		s.mu.Unlock()
		return
	}
	s.takeWill(device)
	s.running.Go(w.session.publishWill) // it waited, so the server does not drain
	s.mu.Unlock()
}

// back notes that a device has a session again. Of a will that waits for it, nothing is published, unless the session before has ended: then it
// returns the will.
func (s *Server) back(device, session string, by successor) *delayedWill {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.wills.waiting[device]; w == nil || w.session.id == session {
		return nil
	}
	w := s.takeWill(device)
	if by == continued {
		return nil
	}
	return w
}

// publishWills publishes the wills that wait: the server stops. mu is held.
func (s *Server) publishWills() {
	all := make(chan *delayedWill, len(s.wills.waiting))
	for device := range s.wills.waiting {
		all <- s.takeWill(device)
	}
	close(all)
	for range min(willPublishers, len(all)) {
		s.running.Go(func() {
			for w := range all {
				w.session.publishWill()
			}
		})
	}
}

// publishWill publishes the will of a session that has ended, unless its token has ended too.
func (s *session) publishWill() {
	defer func() {
		if p := recover(); p != nil {
			s.server.failed(p)
		}
	}()
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	if _, err := s.server.o.Devices.Authenticate(ctx, s.token); err == nil {
		s.published(ctx, packet.Publish{Topic: s.will.Topic, Payload: s.will.Payload})
	}
}
