package telemetry

import (
	"context"
	"runtime"
	"sync"
	"time"

	"hearth"
)

// How many logs of a device are published one by one, whatever others send; the rest goes into summaries.
const (
	eventRate  = 100 // a second
	eventBurst = 200
	// maxFlows bounds the devices that are remembered: one that makes room starts with a whole burst again.
	maxFlows = 100_000
	// logsAtOnce bounds the logs that are looked at before the logs of others are.
	logsAtOnce = 256
	// summaryEvery is how long a device's logs are gathered for a summary.
	summaryEvery = time.Second
)

// publisher turns stored logs into events, at a bounded rate.
type publisher struct {
	out      hearth.Publisher
	followed func(hearth.Scope, string) bool
	clock    hearth.Clock

	mu      sync.Mutex
	devices map[int64]*flow
}

// flow is what is known of a device that reports.
type flow struct {
	device string
	scope  hearth.Scope
	bucket bucket
	// pending counts the logs that wait for a summary, latest are the newest of them by event.
	pending   int
	latest    map[string]hearth.LatestLog
	summaryAt time.Time
}

// bucket regains rate units a second up to burst.
type bucket struct {
	units float64
	at    time.Time
}

// take takes up to want units.
func (b *bucket) take(want int, now time.Time, rate, burst float64) int {
	b.fill(now, rate, burst)
	got := min(want, int(b.units))
	b.units -= float64(got)
	return got
}

func (b *bucket) fill(now time.Time, rate, burst float64) {
	if b.at.IsZero() {
		b.units = burst
	} else if passed := now.Sub(b.at); passed > 0 {
		b.units = min(burst, b.units+passed.Seconds()*rate)
	}
	b.at = now
}

func newPublisher(o Options) *publisher {
	p := &publisher{out: o.Publisher, followed: o.Followed, clock: o.Clock, devices: map[int64]*flow{}}
	if p.followed == nil {
		p.followed = func(hearth.Scope, string) bool { return true }
	}
	return p
}

// publish sends what the rates allow log by log, and puts the rest into summaries: of devices that are followed.
func (p *publisher) publish(done appended) {
	var followed []int
	for i, device := range done.devices {
		if done.counts[i] > 0 && p.followed(device.Scope(), device.ID) {
			followed = append(followed, i)
		}
	}
	if len(followed) == 0 {
		return
	}
	now := p.clock.Now()
	share := map[int64]int{} // how many logs of a device go out one by one
	flows := map[int64]*flow{}
	var events []hearth.Event
	p.mu.Lock()
	for _, i := range followed {
		device := done.devices[i]
		f := p.devices[device.Key]
		if f == nil {
			if len(p.devices) >= maxFlows {
				events = p.makeRoom(events, now)
			}
			f = &flow{device: device.ID}
			p.devices[device.Key] = f
		}
		f.scope = device.Scope()
		share[device.Key], flows[device.Key] = f.bucket.take(done.counts[i], now, eventRate, eventBurst), f
	}
	for i, entry := range done.entries {
		if i%logsAtOnce == logsAtOnce-1 {
			p.mu.Unlock()
			runtime.Gosched()
			p.mu.Lock()
		}
		f := flows[entry.Device]
		if f == nil {
			continue
		}
		if share[entry.Device] == 0 {
			f.note(entry)
			continue
		}
		share[entry.Device]--
		events = append(events, hearth.Event{
			Type: hearth.EventDeviceLog, At: now, Data: logOf(entry, f.device, done.first+uint64(i)), Scope: f.scope, DeviceID: f.device,
		})
	}
	for key, f := range flows {
		// One that made room meanwhile is not looked at again.
		if f.pending > 0 && (now.Sub(f.summaryAt) >= summaryEvery || p.devices[key] != f) {
			events = append(events, f.summary(now))
		}
	}
	p.mu.Unlock()
	if len(events) > 0 {
		p.out.Publish(events...)
	}
}

// note counts a log for the summary, and keeps it if it is its event's newest.
func (f *flow) note(entry hearth.LogEntry) {
	f.pending++
	known, found := f.latest[entry.Event]
	at := millis(entry.At)
	if found && known.At.After(at) || !found && len(f.latest) >= hearth.MaxSummaryEvents {
		return
	}
	if f.latest == nil {
		f.latest = map[string]hearth.LatestLog{}
	}
	f.latest[entry.Event] = hearth.LatestLog{Value: entry.Value, At: at}
}

// makeRoom forgets a device, a quiet one if it is among the first few; what was gathered of it goes out.
func (p *publisher) makeRoom(events []hearth.Event, now time.Time) []hearth.Event {
	const looks = 16
	looked := 0
	for key, f := range p.devices { // in random order
		if looked++; f.pending > 0 && looked < looks {
			continue
		}
		delete(p.devices, key)
		if f.pending > 0 {
			events = append(events, f.summary(now))
		}
		break
	}
	return events
}

// summary makes the event of the logs that were gathered.
func (f *flow) summary(now time.Time) hearth.Event {
	event := hearth.Event{
		Type: hearth.EventDeviceLog, At: now, Data: hearth.LogSummary{DeviceID: f.device, Count: f.pending, Latest: f.latest},
		Scope: f.scope, DeviceID: f.device,
	}
	f.pending, f.latest, f.summaryAt = 0, nil, now
	return event
}

// run sends gathered summaries once a second until ctx ends, and then the last ones.
func (p *publisher) run(ctx context.Context) error {
	ticker := time.NewTicker(summaryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.flush()
		case <-ctx.Done():
			p.flush()
			return nil
		}
	}
}

// flush sends every gathered summary and forgets devices that have gone quiet.
func (p *publisher) flush() {
	now := p.clock.Now()
	var events []hearth.Event
	p.mu.Lock()
	for key, f := range p.devices {
		if f.pending > 0 {
			events = append(events, f.summary(now))
			continue
		}
		if f.bucket.fill(now, eventRate, eventBurst); f.bucket.units >= eventBurst && now.Sub(f.summaryAt) >= summaryEvery {
			delete(p.devices, key)
		}
	}
	p.mu.Unlock()
	if len(events) > 0 {
		p.out.Publish(events...)
	}
}
