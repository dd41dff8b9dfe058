package telemetry

import (
	"context"
	"time"

	"hearth"
)

// stepPause is what lies between two steps of cleaning up, so that writes go first.
const stepPause = 5 * time.Millisecond

// Archive keeps logs that are about to be removed from the store.
type Archive interface {
	// Keep makes sure that every log from before some time, which is not after before, is kept, and returns that time: the
	// logs may be removed then. more says that calling it again, after Removed, has more to keep.
	Keep(ctx context.Context, before time.Time) (until time.Time, more bool, err error)
	// Removed is called when the logs from before that time are gone.
	Removed(ctx context.Context) error
}

// CleanUp removes logs that are older than the retention, after the archive has them if there is one, and the remains of
// deleted devices, and returns the number of the former. It works in small steps between which writes go on; two at once take
// turns.
func (s *Service) CleanUp(ctx context.Context) (removed int, err error) {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	if s.options.Retention > 0 {
		removed, err = s.retain(ctx, s.options.Clock.Now().Add(-s.options.Retention))
		if err != nil {
			return removed, err
		}
	}
	return removed, s.inSteps(ctx, func() (bool, error) { return s.options.Store.Reclaim(ctx) })
}

// retain removes the logs from before a time. What the archive cannot keep stays.
func (s *Service) retain(ctx context.Context, before time.Time) (removed int, err error) {
	if s.options.Archive == nil {
		return s.remove(ctx, before)
	}
	for more := true; more; {
		var until time.Time
		if until, more, err = s.options.Archive.Keep(ctx, before); err != nil {
			return removed, err
		}
		n, err := s.remove(ctx, until)
		removed += n
		if err == nil {
			err = s.options.Archive.Removed(ctx)
		}
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

func (s *Service) remove(ctx context.Context, before time.Time) (removed int, err error) {
	err = s.inSteps(ctx, func() (bool, error) {
		n, more, err := s.trim(ctx, before)
		removed += n
		return more, err
	})
	return removed, err
}

// LetOldIn makes room for logs of any age, as an import brings them in: the store lets none in that an earlier clean-up,
// perhaps with a shorter retention, would have removed. It removes nothing; the next CleanUp holds them against the retention.
func (s *Service) LetOldIn(ctx context.Context) error {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	_, err := s.remove(ctx, time.Time{})
	return err
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
