// Package commands is the business of commands to devices: sending them, to one device or to many, handing them to the device in order
// until it acknowledges them, and ending each exactly once: by the device's answer, by a user who cancels it, or by the time.
//
// Whatever connects devices delivers with four calls: Next, which waits for the next command of a device, or After and Follow; Sent, once the
// command was written to the connection; Acknowledge; Answer.
package commands

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/boundedcache"
	"hearth/internal/bus"
	"hearth/internal/groupcommit"
	"hearth/internal/keymutex"
	"hearth/internal/newid"
)

// Directory finds the devices that a caller may read.
type Directory interface {
	// Resolve returns each id's device, in order; nil where there is none or the caller may not read it.
	Resolve(ctx context.Context, caller hearth.Caller, ids []string) ([]*hearth.Device, error)
}

// Options are what a Service works with. Store, Devices, Directory and Bus are required.
type Options struct {
	Store     hearth.CommandStore
	Devices   hearth.DeviceStore
	Directory Directory
	// Bus carries what happens to commands to the other processes.
	Bus bus.Bus
	// Webhooks are sent commands that have ended; nil: there are none.
	Webhooks hearth.WebhookNotes
	// Publisher receives each command after each change of its state; nil discards them.
	Publisher hearth.Publisher
	// Leads reports whether this process is the one that ends expired commands first, where several watch them; nil: it is.
	Leads func() bool
	Clock hearth.Clock
	// Logger records failures in the background; nil discards them.
	Logger *slog.Logger

	limits limits // for tests
}

// limits are what a process holds at most.
type limits struct {
	// polls and posts are the requests that may wait: for a device's next command, and for a command's end; pollsOfDevice are those
	// of one device, beyond which its oldest ends.
	polls, posts, pollsOfDevice int
	// look is how often it is looked for what no message came about while the bus is down.
	look time.Duration
}

func (o Options) validate() (Options, error) {
	if o.Store == nil || o.Devices == nil || o.Directory == nil || o.Bus == nil {
		return o, errors.New("commands: stores, a directory and a bus are needed")
	}
	if o.Publisher == nil {
		o.Publisher = nobody{}
	}
	if o.Webhooks == nil {
		o.Webhooks = hearth.NoWebhooks{}
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.limits == (limits{}) {
		o.limits = limits{polls: 50_000, posts: 10_000, pollsOfDevice: 4, look: 2 * time.Second}
	}
	return o, nil
}

type nobody struct{}

func (nobody) Publish(...hearth.Event) {}

const (
	// maxCounts bounds the devices whose pending commands are kept counted, and countTTL how long a count is trusted: it is
	// invalidated when it changes.
	maxCounts = 200_000
	countTTL  = 10 * time.Minute
	// maxGroup bounds the writes that share a step, and with them its audit entries.
	maxGroup = 64
)

// Service manages commands. All its methods may be called at once from many goroutines.
type Service struct {
	o     Options
	polls *waits // by device
	posts *waits // by command
	// followers are what keeps connections to devices.
	followers followers
	// counts are the numbers of pending commands by device. They are used while heard: while messages of other processes arrive.
	counts *boundedcache.Cache[string, int]
	heard  atomic.Bool
	// look has the background work look at once for what no message came about.
	look chan struct{}
	news *groupcommit.Committer[message]
	// writes share steps of the store.
	writes *groupcommit.Committer[*write]
	// under has the events of a command published in the order of its changes.
	under   keymutex.Mutex[string]
	created atomic.Uint64
	ended   map[hearth.CommandState]*atomic.Uint64 // never written to after New

	startOnce, stopOnce sync.Once
	cancel              context.CancelFunc
	running             sync.WaitGroup
}

// New returns a service. Start begins its background work.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	s := &Service{
		o: options, polls: newWaits(options.limits.polls, options.limits.pollsOfDevice), posts: newWaits(options.limits.posts, options.limits.posts),
		counts: boundedcache.New(boundedcache.Options[string, int]{Entries: maxCounts, TTL: countTTL}),
		look:   make(chan struct{}, 1), ended: map[hearth.CommandState]*atomic.Uint64{},
	}
	for _, state := range hearth.CommandStates() {
		s.ended[state] = &atomic.Uint64{}
	}
	s.news = groupcommit.New(groupcommit.Options[message]{Commit: s.send})
	s.writes = groupcommit.New(groupcommit.Options[*write]{Commit: s.commit, MaxGroup: maxGroup})
	return s, nil
}

func (s *Service) now() time.Time { return s.o.Clock.Now() }

// Order is what a user wants a device to do. A zero ExpiresIn is hearth.DefaultCommandExpiry.
type Order struct {
	Name      string
	Params    json.RawMessage
	ExpiresIn time.Duration
}

// command returns the command of an order to a device.
func (s *Service) command(caller hearth.Caller, order Order) hearth.Command {
	now := s.now()
	life := order.ExpiresIn
	if life == 0 {
		life = hearth.DefaultCommandExpiry
	}
	return hearth.Command{
		ID: newid.New(), Name: order.Name, Params: hearth.CanonicalJSON(order.Params), State: hearth.CommandQueued, CreatedBy: caller.UserID,
		CreatedAt: now, ExpiresAt: now.Add(life),
	}
}

// Send queues a command for a device and returns it once it is durable; with a wait it waits as long for the command's end. Errors:
// CodeNotFound (the device), CodeForbidden, CodeValidationFailed, CodeConflict (the device has hearth.MaxOpenCommands),
// CodeUnavailable (too many calls wait), CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Send(
	ctx context.Context, caller hearth.Caller, deviceID string, order Order, wait time.Duration, key *hearth.IdempotencyRequest,
) (hearth.Command, error) {
	device, err := s.device(ctx, caller, deviceID)
	if err == nil {
		err = caller.Allow(*device, hearth.MayEdit)
	}
	if err != nil {
		return hearth.Command{}, err
	}
	c := s.command(caller, order)
	c.DeviceID = device.ID
	if problems := c.Validate("body."); len(problems) > 0 {
		return hearth.Command{}, hearth.Invalid(problems...)
	}
	record, err := key.Record(c)
	if err != nil {
		return hearth.Command{}, err
	}
	var end *waiting
	if wait > 0 { // before the command is there: its end must not be missed
		if end, err = s.posts.add(c.ID); err != nil {
			return hearth.Command{}, err
		}
		defer s.posts.remove(c.ID, end)
	}
	entry := caller.Entry(c.CreatedAt, "command.create", "command:"+c.ID)
	entry.Changes = map[string]hearth.Change{"device_id": {After: c.DeviceID}, "name": {After: c.Name}}
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}}
	if c, err = s.create(ctx, c, device.Scope(), effects); err != nil {
		return hearth.Command{}, err
	}
	if wait == 0 {
		return c, nil
	}
	return s.awaitEnd(ctx, c, end, wait)
}

func (s *Service) create(ctx context.Context, c hearth.Command, scope hearth.Scope, effects hearth.SideEffects) (hearth.Command, error) {
	unlock, err := s.under.Lock(ctx, c.ID)
	if err != nil {
		return hearth.Command{}, err
	}
	w := &write{CommandWrite: hearth.CommandWrite{New: &c, Effects: effects}, scope: scope}
	var changes []message
	if err = s.write(ctx, w); err == nil {
		s.created.Add(1)
		what := queued
		if w.First {
			what = first
		}
		changes = s.publish(what, event(w.After, scope, c.CreatedAt))
	}
	unlock()
	if err != nil {
		return hearth.Command{}, err
	}
	s.notify(ctx, changes)
	return w.After, nil
}

// awaitEnd returns a command when it has ended, or as it is when the wait is over.
func (s *Service) awaitEnd(ctx context.Context, c hearth.Command, end *waiting, wait time.Duration) (hearth.Command, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for over := false; !over; {
		select {
		case <-end.wake:
		case <-timer.C:
			over = true
		case <-s.posts.closed:
			over = true
		case <-ctx.Done():
			return c, ctx.Err()
		}
		latest, err := s.o.Store.Command(ctx, c.ID)
		if err != nil {
			return c, err
		}
		if c = latest.At(s.now()); c.State.Ended() {
			return c, nil
		}
	}
	return c, nil
}

// device returns a device that the caller may read; CodeNotFound.
func (s *Service) device(ctx context.Context, caller hearth.Caller, id string) (*hearth.Device, error) {
	found, err := s.o.Directory.Resolve(ctx, caller, []string{id})
	switch {
	case err != nil:
		return nil, err
	case found[0] == nil:
		return nil, hearth.NotFound("device")
	}
	return found[0], nil
}

// Command returns one command of a device that the caller may read; CodeNotFound.
func (s *Service) Command(ctx context.Context, caller hearth.Caller, id string) (hearth.Command, error) {
	c, _, err := s.find(ctx, caller, id)
	return c, err
}

// find returns a command with its device; CodeNotFound.
func (s *Service) find(ctx context.Context, caller hearth.Caller, id string) (hearth.Command, *hearth.Device, error) {
	c, err := s.o.Store.Command(ctx, id)
	if err != nil {
		return hearth.Command{}, nil, err
	}
	device, err := s.device(ctx, caller, c.DeviceID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		err = hearth.NotFound("command")
	}
	if err != nil {
		return hearth.Command{}, nil, err
	}
	return c.At(s.now()), device, nil
}

// Commands lists the commands of a device, the newest first; CodeNotFound (the device).
func (s *Service) Commands(
	ctx context.Context, caller hearth.Caller, filter hearth.CommandFilter, page hearth.Page,
) (hearth.List[hearth.Command], error) {
	if _, err := s.device(ctx, caller, filter.DeviceID); err != nil {
		return hearth.List[hearth.Command]{}, err
	}
	list, err := s.o.Store.Commands(ctx, filter, page)
	now := s.now()
	for i := range list.Items {
		list.Items[i] = list.Items[i].At(now)
	}
	return list, err
}

// Cancel ends a command that has not ended. CodeNotFound, CodeForbidden; CodeConflict once it has ended.
func (s *Service) Cancel(ctx context.Context, caller hearth.Caller, id string) (hearth.Command, error) {
	_, device, err := s.find(ctx, caller, id)
	if err == nil {
		err = caller.Allow(*device, hearth.MayEdit)
	}
	if err != nil {
		return hearth.Command{}, err
	}
	entry := caller.Entry(s.now(), "command.cancel", "command:"+id)
	entry.Changes = map[string]hearth.Change{"device_id": {After: device.ID}}
	c, err := s.end(ctx, *device, id, func(c hearth.Command, now time.Time) hearth.Command {
		c.State, c.CompletedAt = hearth.CommandCancelled, now
		return c
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
	if over, ok := errors.AsType[endedError](err); ok {
		err = hearth.Errorf(hearth.CodeConflict, "the command has ended: it is %s", over.state)
	}
	return c, err
}

func event(c hearth.Command, scope hearth.Scope, at time.Time) hearth.Event {
	return hearth.Event{Type: hearth.EventDeviceCommand, At: at, Data: c, Scope: scope, DeviceID: c.DeviceID}
}

// Created returns how many commands this process stored, Ended how many it saw end in a state, Waiting how many requests wait in it.
func (s *Service) Created() uint64 { return s.created.Load() }

// Ended returns how many commands this process ended, by state.
func (s *Service) Ended(state hearth.CommandState) uint64 { return s.ended[state].Load() }

// Waiting returns how many requests of devices and of users wait in this process.
func (s *Service) Waiting() int { return s.polls.len() + s.posts.len() }
