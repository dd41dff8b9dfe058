package telemetry

import (
	"context"
	"time"

	"hearth"
)

// stepPause is what lies between two steps of cleaning up, so that writes go first.
const stepPause = 5 * time.Millisecond

// CleanUp removes logs that are older than the retention, and the remains of deleted devices, and gives the number of the
// former. It works in small steps between which writes go on; two at once take turns.
func (s *Service) CleanUp(ctx context.Context) (removed int, err error) {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	if s.options.Retention > 0 {
		before := s.options.Clock.Now().Add(-s.options.Retention)
		err := s.inSteps(ctx, func() (bool, error) {
			n, more, err := s.trim(ctx, before)
			removed += n
			return more, err
		})
		if err != nil {
			return removed, err
		}
	}
	return removed, s.inSteps(ctx, func() (bool, error) { return s.options.Store.Reclaim(ctx) })
}

// trim takes one step. Logs vanish for every reader with the first step of an hour, whatever it takes out.
func (s *Service) trim(ctx context.Context, before time.Time) (removed int, more bool, err error) {
	gone, more, err := s.options.Store.TrimLogs(ctx, before)
	removed = int(gone)
	if err != nil {
		return removed, false, err
	}
	if hour := before.Truncate(time.Hour); s.options.Listener != nil && (removed > 0 || hour.After(s.trimmed)) {
		s.options.Listener.LogsChanged(context.WithoutCancel(ctx), hearth.Reach{All: true})
		s.trimmed = hour
	}
	return removed, more, nil
}

func (s *Service) inSteps(ctx context.Context, step func() (more bool, err error)) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		more, err := step()
		if err != nil || !more {
			return err
		}
		pause.Reset(stepPause)
	}
}
