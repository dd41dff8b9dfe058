package commands

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"hearth"
	"hearth/internal/bus"
)

// topic is where processes publish what happened to commands.
const topic = "commands"

// happening is what happened to a command.
type happening string

const (
	// queued: it waits for its device. turned: the device has it. ended: it is over. sent: it was sent, for which no call waits.
	queued happening = "queued"
	turned happening = "turned"
	ended  happening = "ended"
	sent   happening = "sent"
	// first is queued, of the first in the queue of its device: requests that wait here are handed it. Other processes hear queued.
	first happening = "first"
)

// message is what other processes hear of a command.
type message struct {
	What    happening `json:"what"`
	Device  string    `json:"device"`
	Command string    `json:"command"`
}

// publish publishes commands after a change of their state, and returns the messages for the other processes.
func (s *Service) publish(what happening, events ...hearth.Event) (changes []message) {
	for _, e := range events {
		c, _ := e.Data.(hearth.Command)
		if what == ended {
			s.ended[c.State].Add(1)
		}
		switch what {
		case sent:
		case first:
			changes = append(changes, message{queued, c.DeviceID, c.ID})
		default:
			changes = append(changes, message{what, c.DeviceID, c.ID})
		}
	}
	s.o.Publisher.Publish(events...)
	if what == first {
		for _, e := range events {
			c, _ := e.Data.(hearth.Command)
			s.polls.hand(c.DeviceID, c)
		}
	}
	s.apply(changes)
	return changes
}

// notify returns when the messages are sent, or cannot be: then the other processes look for themselves, and an error was logged where
// the link went down.
func (s *Service) notify(ctx context.Context, changes []message) {
	_ = s.news.Do(context.WithoutCancel(ctx), changes...)
}

// apply wakes those who wait for what happened.
func (s *Service) apply(changes []message) {
	for _, c := range changes {
		s.counts.Delete(c.Device)
		switch c.What {
		case queued:
			s.polls.wake(c.Device)
			s.followers.wake(c.Device)
		case ended:
			s.posts.wake(c.Command)
		}
	}
}

// send sends what happened to the other processes.
func (s *Service) send(changes []message) error {
	const part = 1000
	for some := range slices.Chunk(changes, part) {
		text, err := json.Marshal(some)
		if err != nil {
			return err
		}
		if err := s.o.Bus.Publish(context.Background(), topic, string(text)); err != nil {
			return err
		}
	}
	return nil
}

// Start begins to hear of commands of other processes, and to end those that expire.
func (s *Service) Start() {
	s.startOnce.Do(func() {
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(context.Background())
		s.running.Go(func() { s.follow(ctx) })
		s.running.Go(func() { s.watchExpiry(ctx) })
	})
}

// Drain ends all waits, and those that begin later: each call is answered with what there is.
func (s *Service) Drain() {
	s.polls.stop()
	s.posts.stop()
}

// Stop ends what Start began. It may be called twice.
func (s *Service) Stop() {
	s.stopOnce.Do(func() {
		s.Drain()
		s.startOnce.Do(func() {}) // never started: nothing to cancel
		if s.cancel != nil {
			s.cancel()
		}
		s.running.Wait()
		s.writes.Wait()
		s.news.Wait()
	})
}

// maxHeard bounds the messages that wait to be applied; one beyond it has this process look for itself.
const maxHeard = 4096

// follow applies what happens in other processes. While messages may be missed, and after, it looks for what they would have been
// about.
func (s *Service) follow(ctx context.Context) {
	messages := make(chan string, maxHeard)
	listening := s.o.Bus.Listen(bus.Listener{
		Topics: []string{topic},
		Heard: func(m bus.Message) {
			if m.From == s.o.Bus.ID() {
				return
			}
			select {
			case messages <- m.Data:
			default:
				s.lookNow()
			}
		},
		Up: func(context.Context) error {
			s.forgetCounts()
			s.heard.Store(true)
			s.lookNow()
			return nil
		},
		Down: func() { s.heard.Store(false) },
	})
	defer listening.Close()
	ticker := time.NewTicker(s.o.limits.look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-messages:
			var changes []message
			if err := json.Unmarshal([]byte(text), &changes); err != nil {
				s.o.Logger.Warn("another process sent a change of commands that this one does not understand", "kind", "system", "err", err)
				continue
			}
			s.apply(changes)
		case <-s.look:
			s.lookForMissed(ctx)
		case <-ticker.C:
			if !s.heard.Load() {
				s.lookForMissed(ctx)
			}
		}
	}
}

func (s *Service) lookNow() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// lookForMissed wakes those who wait for what has happened by now: of the devices those with a pending command, and all who wait for
// a command's end.
func (s *Service) lookForMissed(ctx context.Context) {
	const part = 1000
	s.forgetCounts()
	for ids := range slices.Chunk(slices.Concat(s.polls.all(), s.followers.all()), part) {
		pending, err := s.o.Store.CountPendingCommands(ctx, ids)
		if err != nil {
			if ctx.Err() == nil {
				s.o.Logger.WarnContext(ctx, "devices with commands could not be looked for", "err", err)
			}
			s.lookLater()
			break
		}
		for id := range pending {
			s.polls.wake(id)
			s.followers.wake(id)
		}
	}
	for _, id := range s.posts.all() {
		s.posts.wake(id)
	}
}

func (s *Service) forgetCounts() { s.counts.DeleteFunc(func(string, int) bool { return true }) }

// lookLater has this process look again when the store may be back.
func (s *Service) lookLater() { time.AfterFunc(s.o.limits.look, s.lookNow) }

const (
	// watchEvery is how often it is looked which commands expire next; one that is seen expires to the millisecond.
	watchEvery = time.Second
	// yield is how much later than its leader a process ends an expired command, where several watch them.
	yield = 500 * time.Millisecond
	// expirePart bounds the commands that one write ends.
	expirePart = 100
)

// watchExpiry ends commands when they expire, until ctx ends. One look costs one read of an index.
func (s *Service) watchExpiry(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var unpublished []hearth.Command
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pause, err := s.expire(ctx, &unpublished)
		if err != nil {
			if ctx.Err() == nil {
				s.o.Logger.WarnContext(ctx, "expired commands could not be ended", "err", err)
			}
			pause = watchEvery
		}
		timer.Reset(pause)
	}
}

// expire ends what has expired, and returns when to look again. What was ended and could not be published is left over for the next
// call.
func (s *Service) expire(ctx context.Context, unpublished *[]hearth.Command) (pause time.Duration, err error) {
	late := time.Duration(0)
	if !s.o.Leads() {
		late = yield
	}
	for {
		now := s.now()
		if len(*unpublished) > 0 {
			events, err := s.eventsOf(ctx, *unpublished, now)
			if err != nil {
				return 0, err
			}
			*unpublished = nil
			s.notify(ctx, s.publish(ended, events...))
		}
		due, err := s.o.Store.DueCommands(ctx, 1)
		if err != nil || len(due) == 0 {
			return watchEvery, err
		}
		if rest := due[0].ExpiresAt.Add(late).Sub(now); rest > 0 {
			return min(rest, watchEvery), nil
		}
		if due, err = s.o.Store.DueCommands(ctx, expirePart); err != nil {
			return 0, err
		}
		if *unpublished, err = s.endExpired(ctx, due, now); err != nil {
			return 0, err
		}
	}
}

// endExpired ends those of some commands that have expired, and returns them.
func (s *Service) endExpired(ctx context.Context, due []hearth.Command, now time.Time) ([]hearth.Command, error) {
	ids, of := make([]string, len(due)), make([]string, len(due))
	for i, c := range due {
		ids[i], of[i] = c.ID, c.DeviceID
	}
	jobs, err := s.endedJobs(ctx, of)
	if err != nil {
		return nil, err
	}
	return s.o.Store.ExpireCommands(ctx, now, ids, jobs)
}

// endedJobs returns what makes the jobs that send webhooks a command of one of the devices that has ended.
func (s *Service) endedJobs(ctx context.Context, deviceIDs []string) (func(hearth.Command) ([]hearth.OutboxJob, error), error) {
	scopes, err := s.scopesOf(ctx, deviceIDs)
	if err != nil {
		return nil, err
	}
	notes := map[hearth.Scope]hearth.WebhookNote{}
	for _, scope := range scopes {
		if notes[scope] != nil {
			continue
		}
		if notes[scope], err = s.o.Webhooks.WebhookNote(ctx, scope, hearth.WebhookCommandEnded); err != nil {
			return nil, err
		}
	}
	return func(c hearth.Command) ([]hearth.OutboxJob, error) {
		if note := notes[scopes[c.DeviceID]]; note != nil {
			return note(c.CompletedAt, c.DeviceID, c)
		}
		return nil, nil
	}, nil
}

// eventsOf returns the events of commands of several devices. Those of a device that is gone have no reader.
func (s *Service) eventsOf(ctx context.Context, commands []hearth.Command, now time.Time) ([]hearth.Event, error) {
	ids := make([]string, len(commands))
	for i, c := range commands {
		ids[i] = c.DeviceID
	}
	scopes, err := s.scopesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	events := make([]hearth.Event, 0, len(commands))
	for _, c := range commands {
		if scope, there := scopes[c.DeviceID]; there {
			events = append(events, event(c, scope, now))
		}
	}
	return events, nil
}

// CleanUp removes batches, and commands that have ended, hearth.CommandTTL after they expired, and returns how many.
func (s *Service) CleanUp(ctx context.Context) (total int, err error) {
	const part = 500
	for {
		n, err := s.o.Store.RemoveCommands(ctx, s.now(), part)
		total += n
		if err != nil || n < part {
			return total, err
		}
	}
}

// scopesOf returns the scopes of devices; one that is gone has none.
func (s *Service) scopesOf(ctx context.Context, deviceIDs []string) (map[string]hearth.Scope, error) {
	devices, err := s.o.Devices.DevicesByID(ctx, deviceIDs)
	scopes := make(map[string]hearth.Scope, len(devices))
	for _, d := range devices {
		scopes[d.ID] = d.Scope()
	}
	return scopes, err
}
