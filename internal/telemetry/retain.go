package telemetry

import (
	"context"
	"time"

	"hearth"
)

// stepPause is what lies between two steps of cleaning up, so that writes go first.
const stepPause = 5 * time.Millisecond

// Retain removes logs that are older than the retention, and the remains of deleted devices, until ctx ends. It works in
// small steps between which writes go on; what fails is logged and tried again.
func (s *Service) Retain(ctx context.Context) error {
	ticker := time.NewTicker(s.options.RetainEvery)
	defer ticker.Stop()
	for {
		if err := s.retainOnce(ctx); err != nil && ctx.Err() == nil {
			s.options.Logger.ErrorContext(ctx, "old logs could not be removed", "kind", "error", "err", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// retainOnce removes all that is due now.
func (s *Service) retainOnce(ctx context.Context) error {
	if s.options.Retention > 0 {
		before := s.options.Clock.Now().Add(-s.options.Retention)
		if err := s.inSteps(ctx, func() (bool, error) { return s.trim(ctx, before) }); err != nil {
			return err
		}
	}
	return s.inSteps(ctx, func() (bool, error) { return s.options.Store.Reclaim(ctx) })
}

// trim takes one step. Logs vanish for every reader with the first step of an hour, whatever it takes out.
func (s *Service) trim(ctx context.Context, before time.Time) (more bool, err error) {
	removed, more, err := s.options.Store.TrimLogs(ctx, before)
	if err != nil {
		return false, err
	}
	if hour := before.Truncate(time.Hour); s.options.Listener != nil && (removed > 0 || hour.After(s.trimmed)) {
		s.options.Listener.LogsChanged(context.WithoutCancel(ctx), hearth.Reach{All: true})
		s.trimmed = hour
	}
	return more, nil
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
