// Package devices is the devices' business: creating, changing and finding them, their tokens, their signs of life, and who
// is online. It decides what a caller may do; the store only stores.
package devices

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hearth"
	"hearth/internal/boundedcache"
	"hearth/internal/groupcommit"
	"hearth/internal/keymutex"
	"hearth/internal/throughput"
)

// Options are what a Service works with.
type Options struct {
	Store hearth.DeviceStore
	// Clock is the time of everything; nil is the system's.
	Clock hearth.Clock
	// Logger records failures in the background; nil discards them.
	Logger *slog.Logger
	// Publisher receives heartbeats and changed, created and deleted devices; nil discards them.
	Publisher hearth.Publisher
	// Followed reports whether anybody reads the events of a device, or did a moment ago; nil: it is not known, and all are published.
	Followed func(scope hearth.Scope, deviceID string) bool
	// OnConnection is called, by one goroutine, for every device that came online or went offline (see Device.Connection);
	// nil is not called. It must not block for long.
	OnConnection func(ctx context.Context, device hearth.Device)
	// OnRevoked is called when a token of a device has ended; nil is not called.
	OnRevoked func(deviceID string)
	// Maker returns the user who made a token as a caller; CodeNotFound or CodeTokenRevoked for one who may do nothing any more. Nil: tokens
	// do not depend on who made them.
	Maker func(ctx context.Context, userID string) (hearth.Caller, error)
	// Pending returns how many commands each of the devices has neither acknowledged nor answered, in order; nil: none has any.
	Pending func(ctx context.Context, deviceIDs []string) ([]int, error)
	// Webhooks are sent devices that are created and deleted; nil: there are none.
	Webhooks hearth.WebhookNotes
	// Silence returns what has rules watch for a silence of devices of a scope; nil: there are none.
	Silence func(ctx context.Context, scope hearth.Scope) (hearth.SilenceNote, error)
	// Heard is called before signs of life are stored, with when each device was heard before (zero: never), and stored once they are;
	// nil is not called. An error has the signs refused.
	Heard func(ctx context.Context, devices []*hearth.Device, before []time.Time) (stored func(), err error)
	// Shared says that other processes write to the same store: then nothing that was read from it is trusted for longer
	// than a second.
	Shared bool
	// Quota is how many devices a scope may have; 0 is any number. Those that come at the same moment on several instances may be more.
	Quota int64
	// Leads reports whether this process is the one that publishes devices that fell silent, where several watch them; nil: it is.
	Leads func() bool

	maxDirectory int // for tests; 0 is maxDirectory
}

func (o Options) validate() (Options, error) {
	if o.Store == nil {
		return o, errors.New("devices: no store was given")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.OnConnection == nil {
		o.OnConnection = func(context.Context, hearth.Device) {}
	}
	if o.OnRevoked == nil {
		o.OnRevoked = func(string) {}
	}
	if o.Publisher == nil {
		o.Publisher = noPublisher{}
	}
	if o.Followed == nil {
		o.Followed = func(hearth.Scope, string) bool { return true }
	}
	if o.Pending == nil {
		o.Pending = func(_ context.Context, ids []string) ([]int, error) { return make([]int, len(ids)), nil }
	}
	if o.Webhooks == nil {
		o.Webhooks = hearth.NoWebhooks{}
	}
	if o.Silence == nil {
		o.Silence = hearth.NoSilence
	}
	if o.Heard == nil {
		o.Heard = func(context.Context, []*hearth.Device, []time.Time) (func(), error) { return func() {}, nil }
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	return o, nil
}

type noPublisher struct{}

func (noPublisher) Publish(...hearth.Event) {}

const (
	// sharedTrust is how long what was read is trusted where other processes write too; aloneTrust where none does but,
	// at times, a worker that finds devices silent.
	sharedTrust = time.Second
	aloneTrust  = time.Minute
	// The devices and the tokens that are kept in memory.
	maxDirectory = 200_000
	maxTokens    = 200_000
)

// Service manages devices. All its methods may be called at once from many goroutines.
type Service struct {
	options Options
	store   hearth.DeviceStore
	// trust is how long what was read from the store is taken for true.
	trust time.Duration

	directory *directory
	// arriving is held, by scope, while devices come, if there is a quota of them.
	arriving keymutex.Mutex[hearth.Scope]
	lists    *lists
	// tokens are the known tokens by hash.
	tokens *boundedcache.Cache[[sha256.Size]byte, knownToken]
	// beats stores heartbeats, crowds those of calls with many.
	beats, crowds *groupcommit.Committer[accepted]
	signs         signs
	// connections are those that devices keep to this process.
	connections connections
	pending     *pending
	rates       *throughput.Meter

	startOnce, stopOnce sync.Once
	cancel              context.CancelFunc
	running             sync.WaitGroup
}

// New returns a service. Everything works before Start but what needs watching over time: see there.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	f := &Service{options: options, store: options.Store, trust: aloneTrust, pending: newPending(), rates: throughput.New(options.Clock)}
	f.signs.ended = make(chan struct{})
	if options.Shared {
		f.trust = sharedTrust
	}
	f.directory = newDirectory(cmp.Or(options.maxDirectory, maxDirectory))
	f.lists = newLists(options, f.trust)
	f.tokens = boundedcache.New(boundedcache.Options[[sha256.Size]byte, knownToken]{Entries: maxTokens, TTL: f.trust, Clock: options.Clock})
	f.beats = groupcommit.New(groupcommit.Options[accepted]{Commit: f.record, MaxWaiting: maxWaitingBeats})
	f.crowds = groupcommit.New(groupcommit.Options[accepted]{Commit: f.record, MaxGroup: beatsAtOnce, MaxWaiting: maxWaitingBeats})
	return f, nil
}

// Start begins to watch which devices go offline and to publish changed ones. It reads which are online from the store, in the
// background: until it is through, devices that were not heard since are not watched.
func (f *Service) Start() {
	f.startOnce.Do(func() {
		var ctx context.Context
		ctx, f.cancel = context.WithCancel(context.Background())
		f.pending.open()
		f.running.Go(func() { f.watch(ctx) })
		f.running.Go(func() { f.loadOnline(ctx) })
	})
}

// Stop ends what Start began, and waits for it and for the heartbeats under way. It may be called twice.
func (f *Service) Stop() {
	f.stopOnce.Do(func() {
		f.startOnce.Do(func() {}) // never started: nothing to cancel
		if f.cancel != nil {
			f.cancel()
		}
		f.signs.stop()
		f.running.Wait()
		f.beats.Wait()
		f.crowds.Wait()
	})
}

func (f *Service) now() time.Time { return f.options.Clock.Now() }
