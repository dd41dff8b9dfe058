package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/core/devices"
	"hearth/internal/dialect"
	"hearth/internal/mqtt/packet"
)

const (
	// firstPause and maxPause are between attempts to connect.
	firstPause = time.Second
	maxPause   = time.Minute
	// leaderPause is how often an instance that may not connect looks whether it leads.
	leaderPause = 2 * time.Second
	// flushEvery is how often counts are stored.
	flushEvery = 5 * time.Second
	// sessionAlone is for how long a broker keeps messages for an instance that is alone, sessionShared for one of several, in seconds.
	sessionAlone  = 3600
	sessionShared = 60
	// silence is how long a device that its broker called online is so without a further sign; signEvery how often there is one.
	silence   = 5 * time.Minute
	signEvery = 2 * time.Minute
	// stopTimeout bounds what is stored at the end.
	stopTimeout = 5 * time.Second
)

// broker is the connection of one integration, at one version of it.
type broker struct {
	b          *Bridge
	i          hearth.Integration
	caller     hearth.Caller
	translator *dialect.Translator
	cancel     context.CancelFunc
	stopped    chan struct{}
	due        dues

	// version is the broker's; exclusive says that it has no shared subscriptions, so that only the leader connects.
	version   packet.Version
	exclusive atomic.Bool
	clean     bool // the next connection begins a new session
	// seqs are the numbers of the commands that were sent last, by device. They belong to the goroutine that sends.
	seqs map[string]int64

	// translating guards translator: messages are read and written by two goroutines.
	translating sync.Mutex
	// known are the devices by dialect and address.
	known map[address]*known
	kept  map[string]*devices.Connection

	mu      sync.Mutex
	links   map[string]address // by device, of those that are not gone
	follows map[string]func()  // the ends of following the commands of devices

	counting sync.Mutex
	counts   hearth.IntegrationCounts // that are not stored yet
	status   hearth.IntegrationStatus // that is stored; "": unknown
	said     string                   // the message of the latest failure of the connection
	failure  *hearth.DeviceError      // that is not stored yet
}

// address names a device in an integration.
type address struct{ dialect, device string }

// known is a device of an integration.
type known struct {
	id string
	// gone says that users deleted it: it does not come back.
	gone bool
	// away says that its broker called it offline.
	away  bool
	about dialect.About
}

// start begins to keep a connection. again says that this process kept one before, with another version of the integration.
func (b *Bridge) start(ctx context.Context, i hearth.Integration, again bool) *broker {
	ctx, cancel := context.WithCancel(ctx)
	one := &broker{
		b: b, i: i, cancel: cancel, stopped: make(chan struct{}), version: packet.V5, clean: again || !b.alone,
		caller: hearth.Caller{UserID: i.UserID, Role: hearth.RoleAdmin, RequestID: "integration-" + i.ID},
		known:  map[address]*known{}, kept: map[string]*devices.Connection{}, links: map[string]address{}, follows: map[string]func(){}, seqs: map[string]int64{},
	}
	one.due.init()
	go func() {
		defer close(one.stopped)
		one.run(ctx)
	}()
	return one
}

// has reports whether a device is one of the integration's.
func (r *broker) has(deviceID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.links[deviceID]
	return ok
}

// stop ends the connection and waits for that.
func (r *broker) stop() {
	r.cancel()
	<-r.stopped
}

// run keeps the connection until ctx ends.
func (r *broker) run(ctx context.Context) {
	defer r.finish()
	pause := firstPause
	for ctx.Err() == nil {
		if r.exclusive.Load() && !r.b.o.Leads() {
			wait(ctx, leaderPause)
			continue
		}
		began := time.Now()
		err := r.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, errOthers) {
			r.b.log.WarnContext(ctx, "the connection to a broker ended", "integration", r.i.ID, "err", err)
			r.note(ctx, hearth.IntegrationError, &hearth.DeviceError{Code: hearth.CodeUnavailable, Message: inWords(err), At: r.now()})
		}
		if time.Since(began) > maxPause {
			pause = firstPause
		}
		wait(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, maxPause)
	}
}

func (r *broker) now() time.Time { return r.b.o.Clock.Now() }

// wait waits, at most until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// inWords returns an error for users.
func inWords(err error) string {
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		text = "the broker cannot be reached: " + op.Err.Error()
	}
	const most = 300
	return hearthText(text, most)
}

// errOthers says that another instance is the one that connects.
var errOthers = errors.New("the broker has no shared subscriptions: only one instance connects")

// login returns what the broker is sent first.
func (r *broker) login() (packet.Connect, error) {
	password, err := r.b.o.Password(r.i)
	if err != nil {
		return packet.Connect{}, errors.New("the password cannot be read: set it again")
	}
	login := packet.Connect{Version: r.version, ClientID: "hearth-" + r.i.ID, Username: r.i.Username, Clean: r.clean, SessionExpiry: sessionAlone}
	if r.version == packet.V5 && !r.b.alone && !r.exclusive.Load() {
		login.ClientID += "-" + r.b.instance
		login.SessionExpiry = sessionShared
	}
	if password != "" {
		login.Password = []byte(password)
	}
	return login, nil
}

// serve connects, and works until the connection or ctx ends.
func (r *broker) serve(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	login, err := r.login()
	if err != nil {
		return err
	}
	c, err := dial(ctx, r.i.URL, login)
	if errors.Is(err, errVersion) && r.version == packet.V5 {
		r.version = packet.V311
		r.exclusive.Store(!r.b.alone)
		return nil
	}
	if err != nil {
		return err
	}
	if !r.b.alone && !c.shared && !r.exclusive.Load() {
		r.exclusive.Store(true)
		c.leave()
		return nil
	}
	r.clean = false
	var running sync.WaitGroup
	running.Go(c.run)
	stop := context.AfterFunc(ctx, c.leave)
	defer func() {
		stop()
		c.leave()
		running.Wait()
		r.b.metrics.connected.Add(-1)
	}()
	r.b.metrics.connected.Add(1)
	if err := r.subscribe(c, r.translator.Filters()); err != nil {
		return err
	}
	r.note(ctx, hearth.IntegrationConnected, nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { r.send(ctx, c) })
	err = r.receive(ctx, c)
	cancel()
	return err
}

// prepare reads what is known of the integration's devices, once.
func (r *broker) prepare(ctx context.Context) error {
	if r.translator != nil {
		return nil
	}
	zone, err := hearth.TimeZone(r.i.TimeZone)
	if err != nil {
		return err
	}
	links, err := r.b.o.Store.IntegrationDevices(ctx, r.i.ID)
	if err != nil {
		return err
	}
	if err := r.learn(ctx, links); err != nil {
		return err
	}
	translator, err := dialect.New(dialect.Options{Dialects: r.i.Dialects, Topics: r.i.Topics, Zone: zone, Alone: r.b.alone})
	if err != nil {
		return err
	}
	r.translator = translator
	return nil
}

// subscribe subscribes to what is asked for. Of several instances each gets what is for all of them, and shares the rest.
func (r *broker) subscribe(c *connection, filters []dialect.Filter) error {
	topics := make([]string, 0, len(filters))
	for _, filter := range filters {
		topic := filter.Topic
		if !filter.All && !r.b.alone && !r.exclusive.Load() {
			topic = "$share/hearth-" + r.i.ID + "/" + topic
		}
		topics = append(topics, topic)
	}
	const each = 50
	for len(topics) > 0 {
		n := min(each, len(topics))
		if err := c.subscribe(topics[:n]); err != nil {
			return err
		}
		topics = topics[n:]
	}
	return nil
}

// receive stores and acknowledges messages until the connection ends.
func (r *broker) receive(ctx context.Context, c *connection) error {
	flush, sign := time.NewTicker(flushEvery), time.NewTicker(signEvery)
	defer flush.Stop()
	defer sign.Stop()
	for {
		select {
		case <-c.arrived:
			if err := r.handle(ctx, c, c.take()); err != nil {
				return err
			}
		case <-flush.C:
			r.flush(ctx)
			if r.exclusive.Load() && !r.b.o.Leads() {
				return errOthers
			}
		case <-sign.C:
			if r.b.o.Leads() {
				for _, kept := range r.kept {
					r.b.o.Devices.HeardFrom(kept)
				}
			}
		case <-c.done:
			return c.why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finish ends what the connection kept.
func (r *broker) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	r.mu.Lock()
	for _, end := range r.follows {
		end()
	}
	r.mu.Unlock()
	for _, kept := range r.kept { // they are offline when silence has passed
		_ = r.b.o.Devices.Disconnect(ctx, false, kept)
	}
	if r.b.alone {
		r.note(ctx, hearth.IntegrationOff, nil)
	} else {
		r.flush(ctx)
	}
}

// note stores the status, if it is another, with a failure and the counts.
func (r *broker) note(ctx context.Context, status hearth.IntegrationStatus, failure *hearth.DeviceError) {
	r.counting.Lock()
	same := r.status == status && (failure == nil || failure.Message == r.said)
	r.status = status
	if failure != nil && !same {
		r.failure, r.said = failure, failure.Message
	}
	r.counting.Unlock()
	if !same {
		r.store(ctx)
	}
}

// refuse counts a message that could not be read or stored, and keeps why.
func (r *broker) refuse(code hearth.Code, topic, message string) {
	r.b.metrics.refused.Inc()
	r.counting.Lock()
	defer r.counting.Unlock()
	r.counts.Refused++
	r.failure = &hearth.DeviceError{Code: code, Message: hearthText(message, maxText), Topic: hearthText(topic, maxText), At: r.now()}
}

// maxText bounds the texts of a failure, in bytes.
const maxText = 256

// flush stores counts and failures, if there are any.
func (r *broker) flush(ctx context.Context) {
	r.counting.Lock()
	nothing := r.counts == (hearth.IntegrationCounts{}) && r.failure == nil
	r.counting.Unlock()
	if !nothing {
		r.store(ctx)
	}
}

func (r *broker) store(ctx context.Context) {
	r.counting.Lock()
	counts, failure, status := r.counts, r.failure, r.status
	r.counts, r.failure = hearth.IntegrationCounts{}, nil
	r.counting.Unlock()
	_, err := r.b.o.Store.UpdateIntegration(ctx, r.i.ID, func(i hearth.Integration) (hearth.Integration, error) {
		i.Counts.Messages += counts.Messages
		i.Counts.Readings += counts.Readings
		i.Counts.Refused += counts.Refused
		i.Counts.Devices += counts.Devices
		if i.Version != r.i.Version {
			return i, nil
		}
		if i.Status = status; !i.Enabled {
			i.Status = hearth.IntegrationOff
		}
		if failure != nil {
			i.LastError = failure
		}
		return i, nil
	}, hearth.SideEffects{})
	if err == nil || hearth.ErrorCode(err) == hearth.CodeNotFound {
		return
	}
	r.counting.Lock()
	defer r.counting.Unlock()
	r.counts.Messages += counts.Messages
	r.counts.Readings += counts.Readings
	r.counts.Refused += counts.Refused
	r.counts.Devices += counts.Devices
	if r.failure == nil {
		r.failure = failure
	}
}
