// Package telemetry accepts logs and returns them: who may report for which device, what a log may be, the events
// that follow, and how long logs are kept. Writes at the same time share a commit in the store; putting them together
// here first was measured and is slower.
package telemetry

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/throughput"
)

// Directory knows devices by id.
type Directory interface {
	// Resolve returns each id's device for the caller, in order: nil where there is none or the caller may not read it.
	// The devices must not be changed.
	Resolve(ctx context.Context, caller hearth.Caller, ids []string) ([]*hearth.Device, error)
}

// Listener hears when answers made of logs have changed. It is called before the write is acknowledged and must not
// fail; the reach covers the scopes whose logs changed.
type Listener interface {
	LogsChanged(ctx context.Context, reach hearth.Reach)
}

// Alarms judges what is stored.
type Alarms interface {
	// Watched returns those of the entries that rules have to judge, to be stored with the logs; Device of an entry is the index into
	// devices.
	Watched(ctx context.Context, devices []*hearth.Device, entries []hearth.LogEntry) ([]hearth.Unjudged, error)
	// Wake has them judged, once they are stored. It must not block.
	Wake(waiting []hearth.Unjudged)
}

// noAlarms judges nothing.
type noAlarms struct{}

func (noAlarms) Watched(context.Context, []*hearth.Device, []hearth.LogEntry) ([]hearth.Unjudged, error) {
	return nil, nil
}
func (noAlarms) Wake([]hearth.Unjudged) {}

// Auditor stores audit entries.
type Auditor interface {
	AppendAudit(ctx context.Context, entries ...hearth.AuditEntry) error
}

// Options are what the service works with.
type Options struct {
	Store hearth.LogStore
	// Audit accepts an entry for each deletion of logs.
	Audit     Auditor
	Directory Directory
	// Publisher accepts the events; nil discards them.
	Publisher hearth.Publisher
	// Followed reports whether anybody reads the events of a device, or did a moment ago; nil: it is not known, and all are published.
	Followed func(scope hearth.Scope, deviceID string) bool
	// Listener hears of every change; nil is not called.
	Listener Listener
	// Reported is called with the devices of what was stored, imports excepted; nil is not called. It must not block.
	Reported func(devices []*hearth.Device)
	// Alarms judges what is stored, imports excepted; nil: nothing is judged.
	Alarms Alarms
	Clock  hearth.Clock
	Logger *slog.Logger
	// Retention is how long logs are kept; zero is for ever.
	Retention time.Duration
	// Quota counts logs that are about to be stored in a scope; CodeQuotaExceeded where they are too many. Nil: there is no quota.
	Quota func(ctx context.Context, scope hearth.Scope, logs int) error
	// Archive keeps what is older than that, before it is removed; nil: it is removed.
	Archive Archive
}

func (o Options) validate() (Options, error) {
	if o.Store == nil || o.Directory == nil || o.Audit == nil {
		return o, errors.New("telemetry: a store, its audit and a directory are needed")
	}
	if o.Retention < 0 {
		return o, errors.New("telemetry: a duration is negative")
	}
	if o.Alarms == nil {
		o.Alarms = noAlarms{}
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

// count counts logs that are about to be stored, by the index of their device, in their scopes' quotas.
func (o *Options) count(ctx context.Context, devices []*hearth.Device, counts []int) error {
	if o.Quota == nil {
		return nil
	}
	scopes := map[hearth.Scope]int{}
	for i, device := range devices {
		scopes[device.Scope()] += counts[i]
	}
	for scope, n := range scopes {
		if n > 0 {
			if err := o.Quota(ctx, scope, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// Service is the one way to the logs. It may be used at once from many goroutines.
type Service struct {
	options   Options
	publisher *publisher
	meter     *throughput.Meter
	// stored counts the accepted logs since the start.
	stored atomic.Uint64
	// trimmed is the hour before which logs were removed last; it belongs to who holds cleaning.
	trimmed  time.Time
	cleaning sync.Mutex
}

// New makes the service. Run is its background work, CleanUp what is to be done now and then.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	s := &Service{options: options, meter: throughput.New(options.Clock)}
	if options.Publisher != nil {
		s.publisher = newPublisher(options)
	}
	return s, nil
}

// PerSecond returns the logs accepted in a second within reach, as the mean of the last ten seconds.
func (s *Service) PerSecond(reach hearth.Reach) float64 { return s.meter.PerSecond(reach) }

// Stored returns how many logs this process accepted since it started.
func (s *Service) Stored() uint64 { return s.stored.Load() }

// Run sends the summaries of logs that were not published one by one, until ctx ends; then it sends the last ones.
func (s *Service) Run(ctx context.Context) error {
	if s.publisher == nil {
		<-ctx.Done()
		return nil
	}
	return s.publisher.run(ctx)
}

func (s *Service) device(ctx context.Context, caller hearth.Caller, id string, need hearth.DeviceAccess) (*hearth.Device, error) {
	devices, err := s.options.Directory.Resolve(ctx, caller, []string{id})
	if err != nil {
		return nil, err
	}
	if devices[0] == nil {
		return nil, hearth.NotFound("device")
	}
	return devices[0], caller.Allow(*devices[0], need)
}
