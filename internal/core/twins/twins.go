// Package twins keeps what devices should be and what they say they are: who may read and change which side, the order of
// patches, and the events that follow.
package twins

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"hearth"
	"hearth/internal/groupcommit"
	"hearth/internal/jsonobject"
)

// Directory knows devices by id.
type Directory interface {
	// Resolve returns each id's device for the caller, in order: nil where there is none or the caller may not read it.
	// The devices must not be changed.
	Resolve(ctx context.Context, caller hearth.Caller, ids []string) ([]*hearth.Device, error)
}

// Options are what a Service works with.
type Options struct {
	Store     hearth.TwinStore
	Directory Directory
	// Publisher receives every new version; nil discards them.
	Publisher hearth.Publisher
	// OnDesired is called with a device whose desired state is changed and durable, and its version, before the change is published
	// and answered; nil is not called.
	OnDesired func(deviceID string, version int64)
	Clock     hearth.Clock
}

const (
	// maxGroup bounds the patches of a device that share a write, and with them the audit entries of one step; maxWaiting those
	// that wait for the write under way. A patch counts once, and once more for each KiB.
	maxGroup   = 64
	maxWaiting = 2048
)

// Service manages twins. Its methods may be called at once from many goroutines.
type Service struct {
	options Options

	// steps are what the lines have written together.
	steps *groupcommit.Committer[*step]

	mu sync.Mutex
	// lines are those of the devices that are patched now.
	lines map[string]*line
}

// line is the patches of one device: those that arrive while a write is under way share the next one.
type line struct {
	patches *groupcommit.Committer[*patch]
	users   int
}

// patch is one change of one side.
type patch struct {
	ctx    context.Context //nolint:containedctx // what is written for a caller is traced as its own
	caller hearth.Caller
	side   hearth.TwinSide
	body   json.RawMessage
	check  func(hearth.Twin) error

	// What became of it.
	after   hearth.Twin
	view    hearth.TwinView
	changed bool
	err     error
}

// step is what is written of one device.
type step struct {
	deviceID string
	patches  []*patch
	at       time.Time
}

// New returns a service.
func New(options Options) (*Service, error) {
	if options.Store == nil || options.Directory == nil {
		return nil, errors.New("twins: a store and a directory are needed")
	}
	if options.OnDesired == nil {
		options.OnDesired = func(string, int64) {}
	}
	s := &Service{options: options, lines: map[string]*line{}}
	s.steps = groupcommit.New(groupcommit.Options[*step]{
		Commit: s.write, MaxGroup: maxGroup, Size: func(one *step) int { return len(one.patches) },
	})
	return s, nil
}

// Twin returns the twin of a device; CodeNotFound if the caller may not read it.
func (s *Service) Twin(ctx context.Context, caller hearth.Caller, deviceID string) (hearth.TwinView, error) {
	if _, err := s.device(ctx, caller, deviceID, hearth.MayRead); err != nil {
		return hearth.TwinView{}, err
	}
	twin, err := s.options.Store.Twin(ctx, deviceID)
	if err != nil {
		return hearth.TwinView{}, err
	}
	return viewOf(twin), nil
}

// device returns the device if the caller may do with it what need says.
func (s *Service) device(ctx context.Context, caller hearth.Caller, id string, need hearth.DeviceAccess) (*hearth.Device, error) {
	found, err := s.options.Directory.Resolve(ctx, caller, []string{id})
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, hearth.NotFound("device")
	}
	return found[0], caller.Allow(*found[0], need)
}

// Patch changes one side of a device's twin by a merge patch and returns the twin when that is durable. The desired state takes
// the right to edit the device, the reported one the right to report for it. check sees the twin first, and its error stops the
// change: the place of a precondition; it may be nil. A patch that changes nothing makes no version and no event. Errors:
// CodeNotFound, CodeForbidden, CodeValidationFailed, CodeUnavailable, check's.
func (s *Service) Patch(
	ctx context.Context, caller hearth.Caller, deviceID string, side hearth.TwinSide, body json.RawMessage, check func(hearth.Twin) error,
) (hearth.TwinView, error) {
	need := hearth.MayReport
	if side == hearth.TwinDesired {
		need = hearth.MayEdit
	}
	device, err := s.device(ctx, caller, deviceID, need)
	if err != nil {
		return hearth.TwinView{}, err
	}
	p := &patch{ctx: ctx, caller: caller, side: side, body: body, check: check}
	line := s.enter(device)
	err = line.patches.Do(ctx, p)
	s.leave(deviceID, line)
	switch {
	case errors.Is(err, groupcommit.ErrFull):
		return hearth.TwinView{}, &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many changes of this twin wait", RetryAfter: time.Second}
	case err != nil:
		return hearth.TwinView{}, err
	}
	return p.view, p.err
}

func (s *Service) enter(device *hearth.Device) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[device.ID]
	if l == nil {
		l = &line{patches: groupcommit.New(groupcommit.Options[*patch]{
			Commit: func(group []*patch) error { return s.commit(device, group) }, MaxGroup: maxGroup, MaxWaiting: maxWaiting,
			Size: func(p *patch) int { return 1 + len(p.body)>>10 },
		})}
		s.lines[device.ID] = l
	}
	l.users++
	return l
}

func (s *Service) leave(deviceID string, l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(s.lines, deviceID)
	}
}

// write stores the outcome of the patches of some devices in one step.
func (s *Service) write(steps []*step) error {
	var updates []*hearth.TwinUpdate
	of := map[string][]*step{}
	for _, one := range steps { // two are of one device where the first was left by its callers
		if of[one.deviceID] == nil {
			id := one.deviceID
			updates = append(updates, &hearth.TwinUpdate{
				DeviceID: id, Change: func(t hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) { return apply(t, of[id]) },
			})
		}
		of[one.deviceID] = append(of[one.deviceID], one)
	}
	err := s.options.Store.UpdateTwins(context.WithoutCancel(steps[0].patches[0].ctx), updates...)
	if err != nil {
		return err
	}
	for _, u := range updates {
		for _, one := range of[u.DeviceID] {
			one.refuse(u.Err)
		}
	}
	return nil
}

// refuse has the patches end with an error, unless it is nil.
func (s *step) refuse(err error) {
	for _, p := range s.patches {
		if err != nil {
			p.err, p.changed = err, false
		}
	}
}

// apply applies the patches of a device in their order.
func apply(t hearth.Twin, steps []*step) (after hearth.Twin, entries []hearth.AuditEntry, err error) {
	for _, one := range steps {
		for _, p := range one.patches {
			before := t
			t = p.apply(t, one.at)
			if p.changed && p.side == hearth.TwinDesired {
				entries = append(entries, audited(p.caller, before, t))
			}
		}
	}
	return t, entries, nil
}

// commit has patches of a device written, and publishes each new version.
func (s *Service) commit(device *hearth.Device, group []*patch) error {
	now := s.options.Clock.Now()
	if err := s.steps.Do(context.Background(), &step{device.ID, group, now}); err != nil {
		return err
	}
	var events []hearth.Event
	desired := int64(0)
	for _, p := range group {
		if p.err == nil {
			p.view = viewOf(p.after)
		}
		if p.changed {
			events = append(events, hearth.Event{
				Type: hearth.EventDeviceTwin, At: now, Data: p.view, Scope: device.Scope(), DeviceID: device.ID,
			})
			if p.side == hearth.TwinDesired {
				desired = p.view.DesiredVersion
			}
		}
	}
	if desired > 0 {
		s.options.OnDesired(device.ID, desired)
	}
	if s.options.Publisher != nil && len(events) > 0 {
		s.options.Publisher.Publish(events...)
	}
	return nil
}

// apply returns the twin with the patch, or as it is if the patch is refused or changes nothing. It may run more than once.
func (p *patch) apply(t hearth.Twin, now time.Time) hearth.Twin {
	p.err, p.changed = nil, false
	if p.check != nil {
		if p.err = p.check(t); p.err != nil {
			return t
		}
	}
	after, problem := patched(t, p.side, p.body, now)
	if problem != "" {
		p.err = hearth.Invalid(hearth.FieldError{Location: "body", Message: problem})
		return t
	}
	p.after, p.changed = after, after.Version(p.side) != t.Version(p.side)
	return after
}

// maxAudited is the size of the members that the audit has a copy of; of more it has their size, since it may be kept for ever.
const maxAudited = 1024

// briefly returns what the audit has of members that differ.
func briefly(members json.RawMessage) any {
	if len(members) > maxAudited {
		return map[string]int{"bytes": len(members)}
	}
	return members
}

// audited returns the entry of a change of the desired state: its members that differ, before and after.
func audited(caller hearth.Caller, before, after hearth.Twin) hearth.AuditEntry {
	entry := caller.Entry(after.DesiredAt, "twin.update", "device:"+after.DeviceID)
	was, is := jsonobject.Differences(before.Desired, after.Desired)
	entry.Changes = map[string]hearth.Change{
		"desired": {Before: briefly(was), After: briefly(is)}, "desired_version": {Before: before.DesiredVersion, After: after.DesiredVersion},
	}
	return entry
}
