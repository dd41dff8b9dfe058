package alarms

import (
	"context"
	"sync"
	"time"

	"hearth"
)

const (
	// watchEvery is how often it is looked what is due next; one that is seen is judged to the millisecond.
	watchEvery = 500 * time.Millisecond
	// yield is how much later than its leader a process judges what is due, where several watch it.
	yield = 400 * time.Millisecond
	// duePart bounds the devices that are due and judged at once.
	duePart = 64
	// Readings that their process has not judged after leftAfter, because it crashed or was too busy, are judged by the leader, and after
	// twice that by any process.
	leftAfter = 2 * time.Second
	leftPart  = 1000
)

func (s *Service) lookNow() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// watchDue judges devices when something about them is due, until ctx ends. One look costs one read of an index.
func (s *Service) watchDue(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.look:
		}
		pause, err := s.judgeDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "what is due of alarms could not be judged", "err", err)
			pause = retryAfter
		}
		timer.Reset(pause)
	}
}

// judgeDue judges what is due, and returns when to look again.
func (s *Service) judgeDue(ctx context.Context) (pause time.Duration, err error) {
	late := time.Duration(0)
	if !s.o.Leads() {
		late = yield
	}
	for {
		due, err := s.o.Alarms.DueWatches(ctx, duePart)
		if err != nil {
			return 0, err
		}
		if len(due) > 0 && !due[0].Due.Add(late).After(s.now()) {
			if err := s.readUptime(ctx); err != nil {
				return 0, err
			}
		}
		pause = watchEvery
		var ids []string
		for _, w := range due {
			if rest := w.Due.Add(late).Sub(s.now()); rest > 0 {
				pause = min(pause, rest)
				break
			}
			ids = append(ids, w.DeviceID)
		}
		err = s.judgeThese(ctx, ids, false)
		if err != nil || len(ids) < duePart {
			return pause, err
		}
	}
}

// watchUnjudged has readings judged that were left behind, until ctx ends.
func (s *Service) watchUnjudged(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		after := leftAfter
		if !s.o.Leads() {
			after *= 2
		}
		ids, err := s.o.Alarms.UnjudgedDevices(ctx, s.now().Add(-after), leftPart)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "readings that wait to be judged could not be looked for", "err", err)
		}
		s.work.add(ids...)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

const (
	// repeatEvery is how often an alarm whose condition is met again and again is published.
	repeatEvery = time.Second
	// maxRepeats bounds the alarms that are published less often than they change; of one beyond it, repeats are not published.
	maxRepeats = 50_000
)

// repeats are the alarms that were met again since they were published last.
type repeats struct {
	mu      sync.Mutex
	waiting map[string]hearth.Alarm
}

func (s *Service) publish(a hearth.Alarm, at time.Time) {
	s.repeats.mu.Lock()
	delete(s.repeats.waiting, a.ID) // what is published now is newer
	s.repeats.mu.Unlock()
	s.o.Publisher.Publish(hearth.Event{Type: hearth.EventAlarm, At: at, Data: a, Scope: a.Scope, DeviceID: a.DeviceID})
}

// repeat notes an alarm that was met again.
func (s *Service) repeat(a hearth.Alarm) {
	s.repeats.mu.Lock()
	defer s.repeats.mu.Unlock()
	if s.repeats.waiting == nil {
		s.repeats.waiting = map[string]hearth.Alarm{}
	}
	if _, known := s.repeats.waiting[a.ID]; known || len(s.repeats.waiting) < maxRepeats {
		s.repeats.waiting[a.ID] = a
	}
}

// publishRepeats publishes them, until ctx ends.
func (s *Service) publishRepeats(ctx context.Context) {
	ticker := time.NewTicker(repeatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.repeats.mu.Lock()
		waiting := s.repeats.waiting
		s.repeats.waiting = nil
		s.repeats.mu.Unlock()
		now := s.now()
		for _, a := range waiting {
			s.o.Publisher.Publish(hearth.Event{Type: hearth.EventAlarm, At: now, Data: a, Scope: a.Scope, DeviceID: a.DeviceID})
		}
	}
}
