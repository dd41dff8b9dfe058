package simulate

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"
)

const (
	// restsEvery is how many reports lie between two times that a device is away, on average; it is away for 3 to restsFor of them.
	restsEvery, restsFor = 200, 30
	// maxLate bounds the reports that a device keeps while it is away, or while the server is: the oldest go first.
	maxLate = 1000
	// slowest is how long a device takes at most to do what it is told.
	slowest = 800 * time.Millisecond
)

// report is what a device read at a time, by event.
type report struct {
	at     time.Time
	values map[string]any
}

// order is a command as a device gets it.
type order struct {
	id, name string
	params   json.RawMessage
}

// answer is what a device says of an order: the result, or why not.
type answer struct {
	result  any
	failure string
}

// link is how a device speaks with hearth. Its methods return once hearth has what they send.
type link interface {
	// connect begins to receive: orders and deltas are handed on until ctx ends or leave is called.
	connect(ctx context.Context, orders func(order), deltas func(map[string]any)) error
	leave()
	send(ctx context.Context, reports []report) error
	state(ctx context.Context, changed map[string]any) error
	answer(ctx context.Context, id string, a answer) error
}

// device is one that is simulated. What belongs to run alone needs no lock.
type device struct {
	serial, name string
	kind         *kind
	interval     time.Duration
	link         link
	count        *counts

	mu     sync.Mutex
	random *rand.Rand
	state  map[string]any
	last   map[string]time.Time // of totals
	values map[string]float64   // of totals, drifts and what follows
	ended  bool
	work   sync.WaitGroup // what is done later
}

func newDevice(profile string, n int, interval time.Duration, count *counts) *device {
	d := &device{
		kind: kindOf(profile, n), serial: serial(profile, n), interval: interval, count: count, last: map[string]time.Time{}, values: map[string]float64{},
	}
	d.name = nameOf(d.kind, n)
	d.state = maps.Clone(d.kind.state)
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(d.serial)) // it cannot fail
	d.random = rand.New(rand.NewPCG(hash.Sum64(), 1))
	return d
}

// run has the device report until ctx ends.
func (d *device) run(ctx context.Context) {
	defer d.end()
	// Devices that know nothing of each other do not report at the same moment.
	timer := time.NewTimer(time.Duration(d.between(0, 1) * float64(d.interval)))
	defer timer.Stop()
	var kept []report
	connected, away := false, 0
	defer func() {
		if connected {
			d.link.leave()
			d.count.online.Add(-1)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(d.interval)
		}
		kept = append(kept, d.read(time.Now()))
		if len(kept) > maxLate {
			kept = kept[1:]
		}
		if away > 0 {
			away--
			continue
		}
		if connected && d.between(0, restsEvery) < 1 {
			d.link.leave()
			d.count.online.Add(-1)
			connected, away = false, int(d.between(3, restsFor))
			continue
		}
		if !connected {
			if err := d.link.connect(ctx, d.obey(ctx), d.become(ctx)); err != nil {
				d.count.fail(ctx, err)
				continue
			}
			connected = true
			d.count.online.Add(1)
			d.tell(ctx)
		}
		if err := d.link.send(ctx, kept); err != nil {
			d.count.fail(ctx, err)
			continue
		}
		d.count.reports.Add(1)
		d.count.late.Add(int64(len(kept) - 1))
		kept = kept[:0]
	}
}

// read returns what the device measures now.
func (d *device) read(at time.Time) report {
	d.mu.Lock()
	defer d.mu.Unlock()
	return report{at, d.kind.measure(d, at)}
}

// obey returns what carries out orders, each after a while.
func (d *device) obey(ctx context.Context) func(order) {
	return func(o order) {
		d.later(ctx, func() {
			a, changed := d.carryOut(o)
			if err := d.link.answer(ctx, o.id, a); err != nil {
				d.count.fail(ctx, err)
				return
			}
			d.count.commands.Add(1)
			if changed {
				d.tell(ctx)
			}
		})
	}
}

// carryOut does what a command says.
func (d *device) carryOut(o order) (a answer, changed bool) {
	switch o.name {
	case "identify":
		return answer{result: map[string]any{"blinked": 3}}, false
	case "set":
		var wanted map[string]any
		if err := json.Unmarshal(o.params, &wanted); err != nil {
			return answer{failure: "params must be an object"}, false
		}
		if d.adopt(wanted) < len(wanted) {
			return answer{failure: "the device has no such member, or it is of another type"}, true
		}
		return answer{result: d.current()}, true
	}
	return answer{failure: "unknown command: " + o.name}, false
}

// become returns what takes over the desired state, after a while.
func (d *device) become(ctx context.Context) func(map[string]any) {
	return func(delta map[string]any) {
		d.later(ctx, func() {
			if d.adopt(delta) > 0 {
				d.tell(ctx)
			}
		})
	}
}

// adopt changes the members of the state that are there and of the same type, and returns how many it could.
func (d *device) adopt(wanted map[string]any) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, value := range wanted {
		if now, known := d.state[name]; known && reflect.TypeOf(now) == reflect.TypeOf(value) {
			d.state[name] = value
			n++
		}
	}
	return n
}

// tell reports the state, where the device has one.
func (d *device) tell(ctx context.Context) {
	if len(d.kind.state) == 0 {
		return
	}
	if err := d.link.state(ctx, d.current()); err != nil {
		d.count.fail(ctx, err)
	}
}

func (d *device) current() map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.state)
}

// later does something after the time that a device takes, unless ctx ends first.
func (d *device) later(ctx context.Context, do func()) {
	pause := time.Duration(d.between(0.05, 1) * float64(slowest))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.work.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			do()
		}
	})
}

// end returns once nothing is done any more.
func (d *device) end() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.work.Wait()
}

// between returns a random number from least to most.
func (d *device) between(least, most float64) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return least + (most-least)*d.random.Float64()
}

// The rest is for kinds, which are asked under the lock.

// chance is true with that probability.
func (d *device) chance(probability float64) bool { return d.random.Float64() < probability }

func (d *device) is(member string) bool {
	on, _ := d.state[member].(bool)
	return on
}

func (d *device) number(member string) float64 {
	n, _ := d.state[member].(float64)
	return n
}

// noise is from -1 to 1.
func (d *device) noise() float64 { return 2*d.random.Float64() - 1 }

// drift is a value that wanders by at most step, within bound around 0.
func (d *device) drift(name string, step, bound float64) float64 {
	value := min(bound, max(-bound, d.values["drift "+name]+step*d.noise()))
	d.values["drift "+name] = value
	return value
}

// follow is a value that begins at first and comes nearer to target each time.
func (d *device) follow(name string, first, target float64) float64 {
	value, begun := d.values["follow "+name]
	if !begun {
		value = first
	}
	value += (target - value) / 10
	d.values["follow "+name] = value
	return value
}

// total is a counter that grows by so much a second.
func (d *device) total(name string, perSecond float64, at time.Time) float64 {
	if last, begun := d.last[name]; begun {
		d.values["total "+name] += perSecond * at.Sub(last).Seconds()
	}
	d.last[name] = at
	return d.values["total "+name]
}
