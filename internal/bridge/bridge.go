// Package bridge keeps the connections to brokers that run already: what devices send there becomes devices, logs and states, and desired
// states and commands go back. It is an MQTT client, of version 5 where the broker has it.
//
// Of several instances each one connects. Announcements and availability come to all of them, everything else to one (shared
// subscriptions). Where the broker has none, only the leader connects. A message is acknowledged once what it says is stored.
package bridge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/core/commands"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/core/twins"
	"hearth/internal/newid"
)

// followEvery is how often changes of integrations by other instances are looked for.
const followEvery = 2 * time.Second

// Options are what a Bridge works with. All but Leads, Logger and Registry are required.
type Options struct {
	Store hearth.IntegrationStore
	// Password returns the password of an integration.
	Password  func(hearth.Integration) (string, error)
	Devices   *devices.Service
	Telemetry *telemetry.Service
	Twins     *twins.Service
	Commands  *commands.Service
	Clock     hearth.Clock
	// Leads reports whether this instance is the one of several that sends commands; nil: there are no others.
	Leads func() bool
	// Logger records failures; nil discards them.
	Logger *slog.Logger
	// Registry receives the metrics; nil: none are served.
	Registry prometheus.Registerer
}

// Bridge keeps the connections of this process. Its methods may be called at once from many goroutines.
type Bridge struct {
	o        Options
	log      *slog.Logger
	instance string
	// alone says that there are no other instances.
	alone   bool
	wake    chan struct{}
	metrics metrics

	mu      sync.Mutex
	brokers map[string]*broker // by the integration's id
}

// metrics are what the bridge counts.
type metrics struct {
	connected                   atomic.Int64
	messages, readings, refused prometheus.Counter
}

// New returns a bridge. Run begins its work.
func New(o Options) (*Bridge, error) {
	if o.Store == nil || o.Password == nil || o.Devices == nil || o.Telemetry == nil || o.Twins == nil || o.Commands == nil {
		return nil, errors.New("bridge: a store, passwords, devices, telemetry, twins and commands are needed")
	}
	b := &Bridge{o: o, log: o.Logger, alone: o.Leads == nil, instance: newid.New(), wake: make(chan struct{}, 1), brokers: map[string]*broker{}}
	b.log = cmp.Or(b.log, slog.New(slog.DiscardHandler))
	if o.Leads == nil {
		b.o.Leads = func() bool { return true }
	}
	b.metrics.register(o.Registry)
	return b, nil
}

func (m *metrics) register(registry prometheus.Registerer) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m.messages = counter("hearth_integration_messages_total", "Messages of external brokers that this process has handled.")
	m.readings = counter("hearth_integration_readings_total", "Logs that this process has stored of messages of external brokers.")
	m.refused = counter("hearth_integration_refused_total", "Messages of external brokers that could not be read or stored, wholly or in part.")
	if registry == nil {
		return
	}
	registry.MustRegister(m.messages, m.readings, m.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hearth_integrations_connected", Help: "External brokers that this process is connected to.",
	}, func() float64 { return float64(m.connected.Load()) }))
}

// Changed has the integrations be looked at now.
func (b *Bridge) Changed() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run keeps connections until ctx ends, and ends them.
func (b *Bridge) Run(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		b.follow(ctx)
		select {
		case <-b.wake:
		case <-ticker.C:
		case <-ctx.Done():
			b.stopAll()
			return
		}
	}
}

// follow starts and stops connections as the integrations are now.
func (b *Bridge) follow(ctx context.Context) {
	list, err := b.o.Store.Integrations(ctx, hearth.Page{Limit: hearth.MaxLimit}) // more than there may be
	if err != nil {
		return // they stay as they are until the store answers
	}
	wanted := map[string]hearth.Integration{}
	for _, i := range list.Items {
		if i.Enabled {
			wanted[i.ID] = i
		}
	}
	b.mu.Lock()
	var ending []*broker
	again := map[string]bool{}
	for id, running := range b.brokers {
		if i, ok := wanted[id]; !ok || i.Version != running.i.Version {
			ending = append(ending, running)
			delete(b.brokers, id)
			again[id] = true
		}
	}
	b.mu.Unlock()
	for _, one := range ending {
		one.stop()
	}
	for id, i := range wanted {
		b.mu.Lock()
		if b.brokers[id] == nil {
			b.brokers[id] = b.start(ctx, i, again[id])
		}
		b.mu.Unlock()
	}
}

func (b *Bridge) stopAll() {
	b.mu.Lock()
	all := b.brokers
	b.brokers = map[string]*broker{}
	b.mu.Unlock()
	for _, one := range all {
		one.stop()
	}
}

// Publish implements hearth.Publisher: desired states that have changed are sent.
func (b *Bridge) Publish(events ...hearth.Event) {
	for i := range events {
		event := &events[i]
		twin, ok := event.Data.(hearth.TwinView)
		if event.Type != hearth.EventDeviceTwin || !ok || !twin.DesiredAt.Equal(event.At) {
			continue
		}
		b.mu.Lock()
		for _, one := range b.brokers {
			if one.has(event.DeviceID) {
				one.due.add(event.DeviceID, dueNow{desired: true})
			}
		}
		b.mu.Unlock()
	}
}

// DesiredChanged notes that another instance has set a device's desired state. That instance sends it, unless only the leader is connected.
func (b *Bridge) DesiredChanged(deviceID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.brokers {
		if one.exclusive.Load() && b.o.Leads() && one.has(deviceID) {
			one.due.add(deviceID, dueNow{desired: true})
		}
	}
}
