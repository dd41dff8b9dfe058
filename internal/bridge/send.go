package bridge

import (
	"context"
	"sync"

	"hearth"
	"hearth/internal/dialect"
)

// dueNow is what is to be looked at for a device.
type dueNow struct {
	// desired: its desired state has changed. commands: it may have new ones. missed: either may have been missed. back: it was offline, and may
	// not have received commands that were sent.
	desired, commands, missed, back bool
}

// dues are the devices for which something is due.
type dues struct {
	wake chan struct{}
	mu   sync.Mutex
	of   map[string]dueNow
}

func (d *dues) init() {
	d.wake, d.of = make(chan struct{}, 1), map[string]dueNow{}
}

// add has something be looked at for a device. It does not block.
func (d *dues) add(device string, more dueNow) {
	d.mu.Lock()
	before := d.of[device]
	if len(d.of) < 2*hearth.MaxIntegrationDevices {
		d.of[device] = dueNow{before.desired || more.desired, before.commands || more.commands, before.missed || more.missed, before.back || more.back}
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *dues) take() map[string]dueNow {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.of
	d.of = map[string]dueNow{}
	return taken
}

// send sends desired states and commands until ctx ends.
func (r *broker) send(ctx context.Context, c *connection) {
	s := &sender{r, c}
	s.catchUp()
	for {
		select {
		case <-r.due.wake:
			for device, what := range r.due.take() {
				s.attend(ctx, device, what)
			}
		case <-ctx.Done():
			return
		case <-c.done:
			return
		}
	}
}

// sender sends over one connection.
type sender struct {
	*broker
	c *connection
}

// catchUp has everything be looked at that may have been missed before the connection.
func (s *sender) catchUp() {
	s.mu.Lock()
	all := make([]string, 0, len(s.links))
	for id := range s.links {
		all = append(all, id)
	}
	s.mu.Unlock()
	for _, id := range all {
		s.due.add(id, dueNow{missed: true})
	}
}

// attend sends what is due for a device. Commands are the leader's to send; a desired state is sent by the instance where it was set.
func (s *sender) attend(ctx context.Context, id string, what dueNow) {
	s.mu.Lock()
	at, ok := s.links[id]
	s.mu.Unlock()
	if !ok {
		return
	}
	leads := s.b.o.Leads()
	if what.desired || what.missed && leads {
		if err := s.desired(ctx, id, at, !what.desired); err != nil && !permanent(err) {
			s.later(ctx, id, what, err)
			return
		}
	}
	if !leads || !what.commands && !what.missed {
		return
	}
	if what.back {
		delete(s.seqs, id)
	}
	if err := s.commands(ctx, id, at); err != nil && !permanent(err) {
		s.later(ctx, id, dueNow{commands: true}, err)
	}
}

// later has something be looked at again that could not be read or sent.
func (s *sender) later(ctx context.Context, id string, what dueNow, err error) {
	s.b.log.DebugContext(ctx, "what is to be sent to a device could not be read or sent", "device", id, "err", err)
	wait(ctx, firstPause)
	s.due.add(id, what)
}

// desired sends the difference of a device's desired state to the reported one. missed says that the device was away: then it is sent only if
// the device has reported nothing since it was set, for whoever switched the device by hand meanwhile wants it so.
func (s *sender) desired(ctx context.Context, id string, at address, missed bool) error {
	twin, err := s.b.o.Twins.Twin(ctx, s.caller, id)
	if err != nil || missed && !twin.DesiredAt.After(twin.ReportedAt) {
		return err
	}
	s.translating.Lock()
	messages := s.translator.Desired(at.dialect, at.device, twin.Delta)
	s.translating.Unlock()
	return s.publish(messages)
}

// publish sends messages and waits until the broker has them. One that cannot be sent is shown with the integration.
func (s *sender) publish(messages []dialect.Message) error {
	answers := make([]<-chan error, 0, len(messages))
	for _, m := range messages {
		answer, err := s.c.publish(m)
		if err != nil {
			s.refuse(hearth.CodeUnavailable, m.Topic, err.Error())
			continue
		}
		answers = append(answers, answer)
	}
	for _, answer := range answers {
		if err := s.c.await(answer); err != nil {
			return err
		}
	}
	return nil
}

// commands sends a device's commands in their order.
func (s *sender) commands(ctx context.Context, id string, at address) error {
	itself := hearth.Caller{DeviceID: id}
	for {
		c, err := s.b.o.Commands.After(ctx, itself, id, s.seqs[id])
		if err != nil || c == nil {
			return err
		}
		s.translating.Lock()
		messages, refused := s.translator.Command(at.dialect, at.device, *c)
		s.translating.Unlock()
		if refused != nil {
			answer := hearth.CommandAnswer{Error: shortened(refused.Error(), hearth.MaxCommandError)}
			if err := s.b.o.Commands.Answer(ctx, itself, id, c.ID, answer); err != nil && !permanent(err) {
				return err
			}
			s.seqs[id] = c.Seq
			continue
		}
		if err := s.publish(messages); err != nil {
			return err
		}
		s.seqs[id] = c.Seq
		if err := s.b.o.Commands.Sent(ctx, itself, *c, s.now()); err != nil && !permanent(err) {
			s.b.log.WarnContext(ctx, "that a command was sent was not stored", "command", c.ID, "err", err)
		}
	}
}
