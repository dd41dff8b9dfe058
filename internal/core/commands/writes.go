package commands

import (
	"context"
	"errors"
	"time"

	"hearth"
)

// endedError is the error of a change of a command that has ended.
type endedError struct{ state hearth.CommandState }

func (e endedError) Error() string { return "commands: the command is " + string(e.state) }

// errUnchanged is the error of a change that changes nothing.
var errUnchanged = errors.New("commands: nothing changes")

// write is a new command or a change of one.
type write struct {
	hearth.CommandWrite
	scope hearth.Scope
	// ends has webhooks sent the command, which ends by it.
	ends bool
	note hearth.WebhookNote
}

// write writes a command, in one step with what others write meanwhile. One with an idempotency record is a step of its own.
func (s *Service) write(ctx context.Context, w *write) error {
	w.Ctx = ctx
	var err error
	if ctx = context.WithoutCancel(ctx); w.Effects.Idempotency != nil {
		err = s.o.Store.WriteCommands(ctx, &w.CommandWrite)
	} else {
		err = s.writes.Do(ctx, w) // to its end: what is written is published
	}
	if err == nil {
		err = w.Err
	}
	return err
}

// commit does writes in one step.
func (s *Service) commit(group []*write) error {
	ctx := context.WithoutCancel(group[0].Ctx)
	notes := map[hearth.Scope]hearth.WebhookNote{}
	writes := make([]*hearth.CommandWrite, len(group))
	for i, w := range group {
		writes[i] = &w.CommandWrite
		if !w.ends {
			continue
		}
		if notes[w.scope] == nil {
			note, err := s.o.Webhooks.WebhookNote(ctx, w.scope, hearth.WebhookCommandEnded)
			if err != nil {
				return err
			}
			notes[w.scope] = note
		}
		w.note = notes[w.scope]
	}
	return s.o.Store.WriteCommands(ctx, writes...)
}

// changer is change or end.
type changer func(
	ctx context.Context, device hearth.Device, id string, change func(c hearth.Command, now time.Time) hearth.Command, effects hearth.SideEffects,
) (hearth.Command, error)

// end is change with one that ends the command.
func (s *Service) end(
	ctx context.Context, device hearth.Device, id string, change func(c hearth.Command, now time.Time) hearth.Command, effects hearth.SideEffects,
) (hearth.Command, error) {
	w := &write{ends: true}
	effects.JobsAfter = func() ([]hearth.OutboxJob, error) { return w.note(w.After.CompletedAt, device.ID, w.After) }
	w.Effects = effects
	return s.do(ctx, device, id, change, w)
}

// change changes a command that has not ended, and publishes it; endedError, errUnchanged, CodeNotFound.
func (s *Service) change(
	ctx context.Context, device hearth.Device, id string, change func(c hearth.Command, now time.Time) hearth.Command, effects hearth.SideEffects,
) (hearth.Command, error) {
	return s.do(ctx, device, id, change, &write{CommandWrite: hearth.CommandWrite{Effects: effects}})
}

// do is change by a write.
func (s *Service) do(
	ctx context.Context, device hearth.Device, id string, change func(c hearth.Command, now time.Time) hearth.Command, w *write,
) (hearth.Command, error) {
	unlock, err := s.under.Lock(ctx, id)
	if err != nil {
		return hearth.Command{}, err
	}
	now := s.now()
	what := turned
	w.ID, w.scope = id, device.Scope()
	w.Change = func(before hearth.Command) (hearth.Command, error) {
		if before.DeviceID != device.ID {
			return before, hearth.NotFound("command")
		}
		// One that expired just now is ended by who watches the time.
		if before = before.At(now); before.State.Ended() {
			return before, endedError{before.State}
		}
		after := change(before, now)
		switch {
		case after.State.Ended():
			what = ended
		case after.Attempts > before.Attempts:
			what = sent
		case after.State == before.State:
			return before, errUnchanged
		}
		return after, nil
	}
	var changes []message
	if err = s.write(ctx, w); err == nil {
		changes = s.publish(what, event(w.After, device.Scope(), now))
	}
	unlock()
	if err != nil {
		return hearth.Command{}, err
	}
	s.notify(ctx, changes)
	return w.After, nil
}
