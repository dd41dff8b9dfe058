package commands

import (
	"context"
	"errors"
	"time"

	"hearth"
	"hearth/internal/boundedcache"
)

// Next returns the first command of a device that it has neither acknowledged nor answered: the same one again until it has. Nil is
// returned where there is none, and none came within the wait, at a stop, or where newer calls of the device wait. Errors: CodeNotFound
// (the device), CodeForbidden for any caller but the device itself, CodeUnavailable (too many calls wait). It returns a pointer because
// each call that waits keeps its stack.
func (s *Service) Next(ctx context.Context, caller hearth.Caller, deviceID string, wait time.Duration) (*hearth.Command, error) {
	if _, err := s.itself(ctx, caller, deviceID); err != nil {
		return nil, err
	}
	if wait == 0 {
		return s.next(ctx, deviceID, 0)
	}
	w, err := s.polls.add(deviceID) // before the first look: what comes after it must not be missed
	if err != nil {
		return nil, err
	}
	defer s.polls.remove(deviceID, w)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		if c, err := s.next(ctx, deviceID, 0); err != nil || c != nil {
			return c, err
		}
		select {
		case <-w.wake:
			if w.displaced.Load() {
				return nil, nil //nolint:nilnil // no command is a value
			}
			if c := w.handed.Swap(nil); c != nil && s.now().Before(c.ExpiresAt) {
				return c, nil
			}
		case <-timer.C:
			return nil, nil //nolint:nilnil // no command is a value
		case <-s.polls.closed:
			return nil, nil //nolint:nilnil // no command is a value
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// After is Next without a wait, for the first command behind the one with the number after: what keeps a connection to a device sends several
// before the first is acknowledged. 0 is before all.
func (s *Service) After(ctx context.Context, caller hearth.Caller, deviceID string, after int64) (*hearth.Command, error) {
	if _, err := s.itself(ctx, caller, deviceID); err != nil {
		return nil, err
	}
	return s.next(ctx, deviceID, after)
}

// Follow has wake called whenever a device may have a new command, until stop is called. wake must not block.
func (s *Service) Follow(deviceID string, wake func()) (stop func()) {
	return s.followers.add(deviceID, wake)
}

func (s *Service) next(ctx context.Context, deviceID string, after int64) (*hearth.Command, error) {
	c, err := s.o.Store.NextCommand(ctx, deviceID, after, s.now())
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil, nil //nolint:nilnil // no command is a value
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// itself returns the device that the caller is. CodeNotFound for a device that the caller may not read, CodeForbidden for users.
func (s *Service) itself(ctx context.Context, caller hearth.Caller, deviceID string) (*hearth.Device, error) {
	device, err := s.device(ctx, caller, deviceID)
	if err == nil && caller.DeviceID != device.ID {
		err = hearth.Errorf(hearth.CodeForbidden, "only the device itself may do this, with its token")
	}
	return device, err
}

// Sent notes that a command was written to a connection of the device at that time. It is called after the write and before the device may count
// on it: a crash in between has the command sent again. CodeConflict if it has ended meanwhile.
func (s *Service) Sent(ctx context.Context, caller hearth.Caller, c hearth.Command, at time.Time) error {
	device, err := s.itself(ctx, caller, c.DeviceID)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, *device, c.ID, func(c hearth.Command, _ time.Time) hearth.Command { return c.Sent(at) }, hearth.SideEffects{})
	if over, ok := errors.AsType[endedError](err); ok {
		err = hearth.Errorf(hearth.CodeConflict, "the command has ended: it is %s", over.state)
	}
	return err
}

// Acknowledge notes that the device has received a command; of one that it has acknowledged, or that has ended, it changes nothing.
// CodeNotFound, CodeForbidden.
func (s *Service) Acknowledge(ctx context.Context, caller hearth.Caller, deviceID, id string) error {
	return s.report(ctx, caller, deviceID, id, s.change, func(c hearth.Command, now time.Time) hearth.Command { return c.Delivered(now) })
}

// Answer ends a command with the device's answer; of one that has ended it changes nothing. CodeNotFound, CodeForbidden,
// CodeValidationFailed.
func (s *Service) Answer(ctx context.Context, caller hearth.Caller, deviceID, id string, answer hearth.CommandAnswer) error {
	answer.Result = hearth.CanonicalJSON(answer.Result)
	if problems := answer.Validate("body."); len(problems) > 0 {
		return hearth.Invalid(problems...)
	}
	return s.report(ctx, caller, deviceID, id, s.end, func(c hearth.Command, now time.Time) hearth.Command { return c.Answered(answer, now) })
}

// Number returns the number by which the device knows a command that it is to be sent: it counts the device's. CodeNotFound, CodeForbidden.
func (s *Service) Number(ctx context.Context, caller hearth.Caller, c hearth.Command) (int64, error) {
	if c.Number > 0 {
		return c.Number, nil
	}
	if _, err := s.itself(ctx, caller, c.DeviceID); err != nil {
		return 0, err
	}
	c, err := s.o.Store.NumberCommand(ctx, c.DeviceID, c.ID)
	return c.Number, err
}

// AnswerNumber is Answer for the command that the device knows by that number; of one that has ended it is CodeNotFound.
func (s *Service) AnswerNumber(ctx context.Context, caller hearth.Caller, deviceID string, number int64, answer hearth.CommandAnswer) error {
	c, err := s.o.Store.CommandByNumber(ctx, deviceID, number)
	if err != nil {
		return err
	}
	return s.Answer(ctx, caller, deviceID, c.ID, answer)
}

// report changes a command as its device says.
func (s *Service) report(
	ctx context.Context, caller hearth.Caller, deviceID, id string, by changer, change func(c hearth.Command, now time.Time) hearth.Command,
) error {
	device, err := s.itself(ctx, caller, deviceID)
	if err != nil {
		return err
	}
	_, err = by(ctx, *device, id, change, hearth.SideEffects{})
	if _, over := errors.AsType[endedError](err); over || errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// Pending returns how many commands each of the devices has neither acknowledged nor answered, in order.
func (s *Service) Pending(ctx context.Context, deviceIDs []string) ([]int, error) {
	counts := make([]int, len(deviceIDs))
	heard := s.heard.Load()
	var missing []int
	var asked []string
	var versions []boundedcache.Version
	for i, id := range deviceIDs {
		n, ok, version := s.counts.Find(id)
		if counts[i] = n; !ok || !heard {
			missing, asked, versions = append(missing, i), append(asked, id), append(versions, version)
		}
	}
	if len(missing) == 0 {
		return counts, nil
	}
	found, err := s.o.Store.CountPendingCommands(ctx, asked)
	if err != nil {
		return nil, err
	}
	for at, i := range missing {
		counts[i] = found[asked[at]]
		s.counts.Keep(versions[at], asked[at], counts[i])
	}
	return counts, nil
}
