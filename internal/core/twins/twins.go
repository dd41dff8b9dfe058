// Package twins keeps what devices should be and what they say they are: who may read and change which side, the order of
// patches, and the events that follow.
package twins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"hearth"
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
	// maxGroup bounds the patches of one step, and with them its audit entries; maxTurn what one device may have in a step while others wait, and
	// maxWaiting what may wait of one device. For these two a patch counts once, and once more for each KiB.
	maxGroup   = 64
	maxTurn    = 64
	maxWaiting = 2048
)

// Service manages twins. Its methods may be called at once from many goroutines.
type Service struct {
	options Options

	mu sync.Mutex
	// lines are the patches that wait, by device; turns are the same lines, in the order in which they are served.
	lines map[string]*line
	turns []*line
	// running reports whether a goroutine writes what waits.
	running bool
	// publishing is the step that was written last, until it is published and answered. Only the goroutine that writes waits for it.
	publishing sync.WaitGroup
}

// line is the patches of one device that wait: those that arrive while a step is under way share a later one.
type line struct {
	device  *hearth.Device // as the last of them found it
	patches []*patch
	size    int
}

// patch is one change of one side.
type patch struct {
	ctx    context.Context //nolint:containedctx // what is written for a caller is traced as its own
	caller hearth.Caller
	side   hearth.TwinSide
	body   json.RawMessage
	check  func(hearth.Twin) error

	// begun and withdrawn are guarded by Service.mu: a patch becomes one of them at most.
	begun, withdrawn bool

	// What became of it; done is closed then.
	done    chan struct{}
	after   hearth.Twin
	view    hearth.TwinView
	changed bool
	err     error
}

func (p *patch) size() int { return 1 + len(p.body)>>10 }

// step is what is written of one device.
type step struct {
	device  *hearth.Device
	patches []*patch
}

// New returns a service.
func New(options Options) (*Service, error) {
	if options.Store == nil || options.Directory == nil {
		return nil, errors.New("twins: a store and a directory are needed")
	}
	if options.OnDesired == nil {
		options.OnDesired = func(string, int64) {}
	}
	return &Service{options: options, lines: map[string]*line{}}, nil
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
	p := &patch{ctx: ctx, caller: caller, side: side, body: body, check: check, done: make(chan struct{})}
	if !s.enter(device, p) {
		return hearth.TwinView{}, &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many changes of this twin wait", RetryAfter: time.Second}
	}
	select {
	case <-p.done:
		return p.view, p.err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		p.withdrawn = !p.begun
		return hearth.TwinView{}, ctx.Err()
	}
}

// enter lets a patch wait for its turn. It reports false if too many of the device wait.
func (s *Service) enter(device *hearth.Device, p *patch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[device.ID]
	if l == nil {
		l = &line{}
		s.lines[device.ID] = l
		s.turns = append(s.turns, l)
	}
	if l.size+p.size() > maxWaiting {
		return false
	}
	l.device, l.patches, l.size = device, append(l.patches, p), l.size+p.size()
	if !s.running {
		s.running = true
		go s.run()
	}
	return true
}

// run writes what waits, until nothing does. Steps follow one another, so that the patches of a device do. Each is published and answered, in the same
// order, while the next is written, which begins once callers have run: what they patch next shares its commit.
func (s *Service) run() {
	for steps := s.next(); steps != nil; steps = s.next() {
		now := s.options.Clock.Now()
		err := guarded(func() error { return s.write(steps, now) })
		s.publishing.Wait()
		s.publishing.Go(func() { s.finish(steps, now, err) })
		runtime.Gosched()
	}
}

// next returns what is written next: of each device whose turn it is some patches, in their order. A device that has more waits for its next turn.
func (s *Service) next() (steps []*step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 0; n < maxGroup && len(s.turns) > 0; {
		l := s.turns[0]
		s.turns[0] = nil
		s.turns = s.turns[1:]
		one := &step{device: l.device}
		for size := 0; len(l.patches) > 0 && n < maxGroup; {
			p := l.patches[0]
			if size += p.size(); size > maxTurn && len(one.patches) > 0 {
				break
			}
			l.patches, l.size = l.patches[1:], l.size-p.size()
			if !p.withdrawn {
				p.begun, one.patches = true, append(one.patches, p)
				n++
			}
		}
		if len(one.patches) > 0 {
			steps = append(steps, one)
		}
		if len(l.patches) > 0 {
			s.turns = append(s.turns, l)
		} else {
			delete(s.lines, l.device.ID)
		}
	}
	s.running = len(steps) > 0
	return steps
}

// finish publishes patches that were written, unless that failed, and answers them.
func (s *Service) finish(steps []*step, now time.Time, err error) {
	if err == nil {
		err = guarded(func() error {
			s.publish(steps, now)
			return nil
		})
	}
	for _, one := range steps {
		for _, p := range one.patches {
			if err != nil {
				p.err = err
			}
			close(p.done)
		}
	}
}

// guarded calls fn. A panic becomes an error: the patches of others are written after it.
func guarded(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("twins: a step panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// write stores the outcome of patches in one atomic step.
func (s *Service) write(steps []*step, now time.Time) error {
	updates := make([]*hearth.TwinUpdate, len(steps))
	for i, one := range steps {
		updates[i] = &hearth.TwinUpdate{
			DeviceID: one.device.ID, Change: func(t hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) { return one.apply(t, now) },
		}
	}
	err := s.options.Store.UpdateTwins(context.WithoutCancel(steps[0].patches[0].ctx), updates...)
	if err != nil {
		return err
	}
	for i, u := range updates {
		for _, p := range steps[i].patches {
			if u.Err != nil {
				p.err, p.changed = u.Err, false
			}
		}
	}
	return nil
}

// apply applies the patches of a device in their order.
func (s *step) apply(t hearth.Twin, now time.Time) (after hearth.Twin, entries []hearth.AuditEntry, err error) {
	for _, p := range s.patches {
		var merged jsonobject.Merged
		t, merged = p.apply(t, now)
		if p.changed && p.side == hearth.TwinDesired {
			entries = append(entries, audited(p.caller, t, merged))
		}
	}
	return t, entries, nil
}

// publish makes the views of the twins as they are after each patch, and publishes each new version.
func (s *Service) publish(steps []*step, now time.Time) {
	var events []hearth.Event
	for _, one := range steps {
		desired := int64(0)
		for _, p := range one.patches {
			if p.err == nil {
				p.view = viewOf(p.after)
			}
			if !p.changed {
				continue
			}
			events = append(events, hearth.Event{
				Type: hearth.EventDeviceTwin, At: now, Data: p.view, Scope: one.device.Scope(), DeviceID: one.device.ID,
			})
			if p.side == hearth.TwinDesired {
				desired = p.view.DesiredVersion
			}
		}
		if desired > 0 {
			s.options.OnDesired(one.device.ID, desired)
		}
	}
	if s.options.Publisher != nil && len(events) > 0 {
		s.options.Publisher.Publish(events...)
	}
}

// apply returns the twin with the patch, or as it is if the patch is refused or changes nothing. It may run more than once.
func (p *patch) apply(t hearth.Twin, now time.Time) (after hearth.Twin, merged jsonobject.Merged) {
	p.err, p.changed = nil, false
	if p.check != nil {
		if p.err = p.check(t); p.err != nil {
			return t, merged
		}
	}
	after, merged, problem := patched(t, p.side, p.body, now)
	if problem != "" {
		p.err = hearth.Invalid(hearth.FieldError{Location: "body", Message: problem})
		return t, merged
	}
	p.after, p.changed = after, merged.Changed
	return after, merged
}

// maxAudited is the size of the members that the audit has a copy of; of more it has their size, since it may be kept for ever.
const maxAudited = 1024

// appendBriefly appends what the audit has of members that differ.
func appendBriefly(out []byte, members json.RawMessage) []byte {
	if len(members) > maxAudited {
		return append(strconv.AppendInt(append(out, `{"bytes":`...), int64(len(members)), 10), '}')
	}
	return append(out, members...)
}

// audited returns the entry of a change of the desired state: its members that differ, before and after.
func audited(caller hearth.Caller, after hearth.Twin, merged jsonobject.Merged) hearth.AuditEntry {
	entry := caller.Entry(after.DesiredAt, "twin.update", "device:"+after.DeviceID)
	was, is := merged.Differences()
	text := make([]byte, 0, 128+min(len(was), maxAudited)+min(len(is), maxAudited))
	text = appendBriefly(append(text, `{"desired":{"before":`...), was)
	text = appendBriefly(append(text, `,"after":`...), is)
	text = strconv.AppendInt(append(text, `},"desired_version":{"before":`...), after.DesiredVersion-1, 10)
	text = strconv.AppendInt(append(text, `,"after":`...), after.DesiredVersion, 10)
	entry.ChangesText = string(append(text, `}}`...))
	return entry
}
