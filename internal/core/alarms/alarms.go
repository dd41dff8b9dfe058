// Package alarms is the business of rules and alarms: who may write and read them, which readings rules have to judge, and when they are
// judged. Package judge decides what comes of it.
//
// Readings that a rule looks at are stored in the atomic step that stores their logs (Watched), and are judged after it, by any process, in
// one step with what becomes of them: each once, whatever crashes (docs/adr/0018-alarms.md).
package alarms

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/boundedcache"
	"hearth/internal/bus"
	"hearth/internal/keymutex"
	"hearth/internal/queue"
)

// Devices knows the devices.
type Devices interface {
	// DevicesByID returns those that exist, in any order.
	DevicesByID(ctx context.Context, ids []string) ([]hearth.Device, error)
	// Devices lists.
	Devices(ctx context.Context, filter hearth.DeviceFilter, page hearth.Page) (hearth.List[hearth.Device], error)
}

// Directory finds the devices that a caller may read.
type Directory interface {
	// Resolve returns each id's device, in order; nil where there is none or the caller may not read it.
	Resolve(ctx context.Context, caller hearth.Caller, ids []string) ([]*hearth.Device, error)
}

// Logs is what this package reads of the logs.
type Logs interface {
	Logs(ctx context.Context, query hearth.LogQuery) ([]hearth.LogEntry, error)
	LatestLogs(ctx context.Context, devices []int64) ([]hearth.LogEntry, error)
}

// Options are what a Service works with. Rules, Alarms, Devices, Directory, Logs and Bus are required.
type Options struct {
	Rules     hearth.RuleStore
	Alarms    hearth.AlarmStore
	Devices   Devices
	Directory Directory
	Logs      Logs
	// Roles returns a user's organizations; nil: no user has any.
	Roles func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	// Webhooks are sent alarms; nil: there are none. Webhook returns one, CodeNotFound.
	Webhooks hearth.WebhookNotes
	Webhook  func(ctx context.Context, id string) (hearth.Webhook, error)
	// Bus carries changes of rules to the other processes.
	Bus bus.Bus
	// Publisher receives alarms when something happens to them; nil discards them.
	Publisher hearth.Publisher
	// Leads reports whether this process is the first to do what is due, where several watch it; nil: it is.
	Leads func() bool
	Clock hearth.Clock
	// Logger records failures in the background; nil discards them.
	Logger *slog.Logger
}

func (o Options) validate() (Options, error) {
	if o.Rules == nil || o.Alarms == nil || o.Devices == nil || o.Directory == nil || o.Logs == nil || o.Bus == nil {
		return o, errors.New("alarms: stores, devices, a directory, logs and a bus are needed")
	}
	if o.Roles == nil {
		o.Roles = func(context.Context, string) (map[string]hearth.OrgRole, error) { return nil, nil }
	}
	if o.Webhooks == nil || o.Webhook == nil {
		o.Webhooks = hearth.NoWebhooks{}
		o.Webhook = func(context.Context, string) (hearth.Webhook, error) {
			return hearth.Webhook{}, hearth.NotFound("webhook")
		}
	}
	if o.Publisher == nil {
		o.Publisher = nobody{}
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

type nobody struct{}

func (nobody) Publish(...hearth.Event) {}

// Service manages rules and alarms. All its methods may be called at once from many goroutines.
type Service struct {
	o Options
	// rules are the rules of scopes, ready to judge; subjects what they are for devices. They are trusted while heard: while messages of
	// other processes arrive.
	rules    *boundedcache.Cache[hearth.Scope, *ruleset]
	loading  keymutex.Mutex[hearth.Scope]
	subjects *boundedcache.Cache[string, *subject]
	heard    atomic.Bool
	uptime   atomic.Pointer[uptime]

	work *worklist
	// under has the events of a device's alarms published in the order of their changes.
	under   keymutex.Mutex[string]
	repeats repeats
	// look has the background work look at once for what is due.
	look    chan struct{}
	judged  atomic.Uint64
	raised  atomic.Uint64
	cleared atomic.Uint64

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
		o: options, work: newWorklist(), look: make(chan struct{}, 1),
		rules:    boundedcache.New(boundedcache.Options[hearth.Scope, *ruleset]{Bytes: maxRules, Size: sizeOfRules}),
		subjects: boundedcache.New(boundedcache.Options[string, *subject]{Bytes: maxSubjects, Size: sizeOfSubject}),
	}
	s.uptime.Store(&uptime{})
	return s, nil
}

func (s *Service) now() time.Time { return hearth.Millis(s.o.Clock.Now()) }

// Start begins to judge readings, and to watch what is due.
func (s *Service) Start() {
	s.startOnce.Do(func() {
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(context.Background())
		for range judges {
			s.running.Go(func() { s.judgeAll(ctx) })
		}
		s.running.Go(func() { s.follow(ctx) })
		s.running.Go(func() { s.noteUptime(ctx) })
		s.running.Go(func() { s.watchDue(ctx) })
		s.running.Go(func() { s.watchUnjudged(ctx) })
		s.running.Go(func() { s.publishRepeats(ctx) })
	})
}

// Stop ends what Start began. What waits to be judged is judged after the next start, or by another process. It may be called twice.
func (s *Service) Stop() {
	s.stopOnce.Do(func() {
		s.startOnce.Do(func() {}) // never started: nothing to cancel
		s.work.stop()
		if s.cancel != nil {
			s.cancel()
		}
		s.running.Wait()
	})
}

// topic is where processes publish the scopes whose rules changed.
const topic = "rules"

// follow drops rules that another process changed.
func (s *Service) follow(ctx context.Context) {
	forget := func() { s.rules.DeleteFunc(func(hearth.Scope, *ruleset) bool { return true }) }
	listening := s.o.Bus.Listen(bus.Listener{
		Topics: []string{topic},
		Heard: func(m bus.Message) {
			if m.From != s.o.Bus.ID() {
				s.rules.Delete(hearth.Scope(m.Data))
			}
		},
		Up: func(context.Context) error {
			forget()
			s.heard.Store(true)
			return nil
		},
		Down: func() { s.heard.Store(false) },
	})
	defer listening.Close()
	<-ctx.Done()
}

// changed has every process read the rules of a scope anew.
func (s *Service) changed(ctx context.Context, scope hearth.Scope) {
	s.rules.Delete(scope)
	_ = s.o.Bus.Publish(context.WithoutCancel(ctx), topic, string(scope)) // an error is the link's, and was logged where it went down
}

// Judged returns how many batches of readings this process judged.
func (s *Service) Judged() uint64 { return s.judged.Load() }

// Raised returns how many alarms this process raised.
func (s *Service) Raised() uint64 { return s.raised.Load() }

// Cleared returns how many alarms this process cleared, users aside.
func (s *Service) Cleared() uint64 { return s.cleared.Load() }

// Kinds returns the jobs that a worker does for this service.
func (s *Service) Kinds() []queue.Kind {
	return []queue.Kind{
		{Name: jobClear, Handler: s.clearJob, MaxAttempts: 100, Timeout: 10 * time.Minute},
		{Name: jobWatch, Handler: s.watchJob, MaxAttempts: 100, Timeout: time.Hour},
	}
}

// CleanUp removes alarms hearth.AlarmTTL after they were cleared, and returns how many.
func (s *Service) CleanUp(ctx context.Context) (total int, err error) {
	const part = 500
	for {
		n, err := s.o.Alarms.RemoveAlarms(ctx, s.now().Add(-hearth.AlarmTTL), part)
		total += n
		if err != nil || n < part {
			return total, err
		}
	}
}
