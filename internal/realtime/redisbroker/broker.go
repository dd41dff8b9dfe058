package redisbroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/bus"
	"hearth/internal/bus/redisbus"
	"hearth/internal/redisconn"
)

// Options are the dependencies and bounds of a Broker. Bus is required; a zero bound takes its default.
type Options struct {
	Bus *redisbus.Bus
	// Age is how long an event can be replayed, and how long at least a channel without readers keeps its position (5 min).
	Age time.Duration
	// Size and Bytes bound the events of one channel (1,000 and 256 KiB).
	Size  int
	Bytes int
	// Timeout bounds a call (1 s).
	Timeout time.Duration
	Clock   hearth.Clock
	// Logger gets a line when all readers have to begin anew; nil discards it.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Bus == nil {
		return o, errors.New("redisbroker: a bus is needed")
	}
	if o.Age < 0 || o.Size < 0 || o.Bytes < 0 || o.Timeout < 0 {
		return o, errors.New("redisbroker: a bound is negative")
	}
	o.Age = cmp.Or(o.Age, 5*time.Minute)
	o.Size = cmp.Or(o.Size, 1000)
	o.Bytes = cmp.Or(o.Bytes, 256<<10)
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

// Broker implements centrifuge's broker and realtime.Broker.
//
// A position in a channel is the generation of all channels and an offset. A channel's first offset is the time in
// microseconds, so that one that expired and begins again is beyond every earlier position. A new generation
// begins whenever positions or channels may have been lost: on another or restarted server, after a flush, and when an
// event could not be published. Then every earlier position is invalid, and every reader reconnects and gets a reset.
//
// An instance subscribes to the topics of the channels that it has readers of; an event without readers on any instance is not
// published: see Sift.
type Broker struct {
	options Options
	bus     *redisbus.Bus
	conn    *redisconn.Conn
	node    *centrifuge.Node
	// listening is the subscription to the bus.
	listening bus.Subscription

	handler centrifuge.BrokerEventHandler
	control centrifuge.ControlEventHandler

	// up is set while the bus is connected; owing, if an event was lost meanwhile.
	up    atomic.Bool
	owing atomic.Bool
	first atomic.Bool
	// rise is closed while up is set. givenUp: a call has waited for it in vain.
	rise    chan struct{} // guarded by mu
	givenUp atomic.Bool
	gen     atomic.Pointer[string]
	// syncing is held while the generation is determined.
	syncing sync.Mutex
	renewed chan struct{}

	mu sync.Mutex
	// read are the channels with readers on this instance.
	read map[string]struct{}

	// controls are centrifuge's messages on their way to its handler, which may itself ask Redis.
	controls chan []byte

	cancel context.CancelFunc
	work   sync.WaitGroup
}

var (
	_ centrifuge.Broker     = (*Broker)(nil)
	_ centrifuge.Controller = (*Broker)(nil)
	_ centrifuge.Closer     = (*Broker)(nil)
)

// maxControls bounds the messages of centrifuge's that wait to be handled; more are dropped, as centrifuge allows.
const maxControls = 1024

// New makes the broker of a node. It works from the node's start until its end.
func New(node *centrifuge.Node, options Options) (*Broker, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{
		options: options, bus: options.Bus, conn: options.Bus.Conn(), node: node,
		read: map[string]struct{}{}, renewed: make(chan struct{}, 1), rise: make(chan struct{}), controls: make(chan []byte, maxControls), cancel: func() {},
	}
	none := ""
	b.gen.Store(&none)
	return b, nil
}

// RegisterControlEventHandler implements centrifuge.Controller.
func (b *Broker) RegisterControlEventHandler(handler centrifuge.ControlEventHandler) error {
	b.control = handler
	return nil
}

// RegisterBrokerEventHandler starts the broker, and waits for the bus, for a second at most.
func (b *Broker) RegisterBrokerEventHandler(handler centrifuge.BrokerEventHandler) error {
	b.handler = handler
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	heard := make(chan struct{})
	var once sync.Once
	b.listening = b.bus.Listen(bus.Listener{
		Topics: []string{allTopic}, Heard: b.heard,
		Up: func(ctx context.Context) error {
			err := b.resume(ctx)
			if err == nil {
				once.Do(func() { close(heard) })
			}
			return err
		},
		Down: func() { b.setUp(false) },
	})
	b.work.Go(func() { b.refresh(ctx) })
	b.work.Go(func() { b.handleControls(ctx) })
	select {
	case <-heard:
	case <-time.After(time.Second):
	}
	return nil
}

// Close stops the broker. The bus stays open.
func (b *Broker) Close(context.Context) error {
	b.cancel()
	if b.listening != nil {
		b.listening.Close()
	}
	b.work.Wait()
	return nil
}

// Up reports whether events pass between the instances.
func (b *Broker) Up() bool { return b.up.Load() && !b.conn.Away() }

func (b *Broker) setUp(up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.up.Swap(up) == up {
		return
	}
	if up {
		close(b.rise)
	} else {
		b.rise = make(chan struct{})
	}
}

// awaitUp waits, for as long as a call may take, until events pass, so that a short fault costs no reader its position. It
// waits once a fault.
func (b *Broker) awaitUp(ctx context.Context) bool {
	if b.Up() {
		b.givenUp.Store(false)
		return true
	}
	if b.givenUp.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.Timeout)
	defer cancel()
	for !b.Up() {
		b.mu.Lock()
		rise := b.rise
		b.mu.Unlock()
		select {
		case <-rise:
			if b.conn.Await(ctx) == nil {
				continue
			}
		case <-ctx.Done():
		}
		b.givenUp.Store(true)
		return false
	}
	return true
}

func (b *Broker) generation() string { return *b.gen.Load() }

func (b *Broker) millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

var (
	errDown = &hearth.Error{Code: hearth.CodeUnavailable, Message: "live events do not pass now", RetryAfter: time.Second}
	errLost = errors.New("redisbroker: another generation has begun")
)

// ask runs a script on a channel's part, and again when the generation has changed. args follow the generation, which read
// gets too.
func (b *Broker) ask(script *redisconn.Script, part int, args []string, read func(gen string, result rueidis.RedisResult) error) error {
	for try := 0; ; try++ {
		if !b.awaitUp(context.Background()) {
			return errDown
		}
		gen := b.generation()
		if b.owing.Load() {
			// Nothing may follow what was lost in its generation.
			if err := b.resync(context.Background(), gen); err != nil {
				return err
			}
			gen = b.generation()
		}
		lost := false
		err := b.conn.DoFor(context.Background(), b.options.Timeout, func(ctx context.Context, client rueidis.Client) error {
			result := script.Run(ctx, client, []string{partKey(part)}, append([]string{gen}, args...))
			if word, err := result.ToString(); err == nil && word == "lost" {
				lost = true
				return nil
			}
			return read(gen, result)
		})
		if !lost {
			return err
		}
		if try == 2 {
			return errDown
		}
		if err := b.resync(context.Background(), gen); err != nil {
			return err
		}
	}
}

// done accepts any answer.
func done(_ string, result rueidis.RedisResult) error { return result.Error() }

// Publish keeps the event and delivers it to the readers on every instance.
func (b *Broker) Publish(channel string, data []byte, _ centrifuge.PublishOptions) (centrifuge.PublishResult, error) {
	args := []string{
		b.bus.Channel(topicOf(channel)), b.bus.ID(), strconv.Itoa(b.options.Size), strconv.Itoa(b.options.Bytes), b.millis(b.options.Age), channel,
		strconv.FormatInt(b.options.Clock.Now().UnixMilli(), 10), rueidis.BinaryString(data),
	}
	position := centrifuge.StreamPosition{}
	err := b.ask(publish, partOf(channel), args, func(gen string, result rueidis.RedisResult) error {
		text, err := result.ToString()
		if err != nil {
			return err
		}
		position.Epoch = gen
		position.Offset, err = strconv.ParseUint(text, 10, 64)
		return err
	})
	if err != nil {
		return centrifuge.PublishResult{}, err
	}
	return centrifuge.PublishResult{StreamPosition: position}, nil
}

// Wanted implements realtime's Broker: readers of the channel here want it; others are asked for by Sift.
func (b *Broker) Wanted([]byte) bool { return true }

// Sift returns which of the channels have readers on any instance, or had some that may come back. A reader's channel is
// announced before its position is read, so that an event that is sifted out came before every position in use.
func (b *Broker) Sift(channels []string) (map[string]bool, error) {
	wanted := make(map[string]bool, len(channels))
	var asked [parts][]string
	b.mu.Lock()
	for _, channel := range channels {
		if _, ok := b.read[channel]; ok {
			wanted[channel] = true
			continue
		}
		n := partOf(channel)
		asked[n] = append(asked[n], channel)
	}
	b.mu.Unlock()
	now := strconv.FormatInt(b.options.Clock.Now().UnixMilli(), 10)
	for n, names := range asked {
		if len(names) == 0 {
			continue
		}
		err := b.ask(sift, n, append([]string{now}, names...), func(_ string, result rueidis.RedisResult) error {
			answers, err := result.AsIntSlice()
			for i, answer := range answers {
				wanted[names[i]] = answer == 1
			}
			return err
		})
		if err != nil {
			b.owing.Store(true) // the readers are unknown: all begin anew
			return nil, err
		}
	}
	return wanted, nil
}

// History returns the events after a position, all of them, or none if any is missing: centrifuge compares the
// first one's offset with the position, and reports to the reader that it could not be recovered.
func (b *Broker) History(channel string, options centrifuge.HistoryOptions) (
	pubs []*centrifuge.Publication, position centrifuge.StreamPosition, err error,
) {
	filter := options.Filter
	since := ""
	gen := b.generation()
	if filter.Since != nil && filter.Limit != 0 && filter.Since.Epoch == gen {
		since = strconv.FormatUint(filter.Since.Offset, 10)
	}
	oldest := b.options.Clock.Now().Add(-b.options.Age).UnixMilli()
	err = b.ask(history, partOf(channel), []string{channel, since, b.millis(2 * b.options.Age), "0"}, func(gen string, result rueidis.RedisResult) error {
		answer, err := result.ToArray()
		if err != nil || len(answer) != 2 {
			return fmt.Errorf("redisbroker: a history is read wrongly: %w", err)
		}
		position.Epoch = gen
		if position.Offset, err = offset(answer[0]); err != nil {
			return err
		}
		entries, err := answer[1].AsXRange()
		if err != nil {
			return err
		}
		pubs = pubs[:0]
		for _, entry := range entries {
			id, _, _ := cutID(entry.ID)
			at, _ := strconv.ParseInt(entry.FieldValues["t"], 10, 64)
			if at < oldest {
				pubs = nil // the rest is incomplete
				return nil
			}
			pubs = append(pubs, &centrifuge.Publication{Offset: id, Data: []byte(entry.FieldValues["d"]), Time: at})
		}
		return nil
	})
	if err != nil {
		return nil, position, err
	}
	if since == "" || position.Epoch != gen || !whole(pubs, filter.Since.Offset, position.Offset) {
		return nil, position, nil
	}
	return pubs, position, nil
}

// whole reports whether the events are all those after a position up to the top.
func whole(pubs []*centrifuge.Publication, since, top uint64) bool {
	for _, pub := range pubs {
		if since++; pub.Offset != since {
			return false
		}
	}
	return since == top
}

// ReplaySize implements realtime's Broker.
func (b *Broker) ReplaySize(channel string, since centrifuge.StreamPosition) (size int) {
	if since.Epoch != b.generation() {
		return 0
	}
	args := []string{channel, strconv.FormatUint(since.Offset, 10), b.millis(2 * b.options.Age), "1"}
	err := b.ask(history, partOf(channel), args, func(_ string, result rueidis.RedisResult) error {
		answer, err := result.ToArray()
		if err != nil || len(answer) != 2 {
			return fmt.Errorf("redisbroker: a size is read wrongly: %w", err)
		}
		bytes, err := answer[1].AsInt64()
		size = int(bytes)
		return err
	})
	if err != nil {
		return 0 // a reader that comes back finds out with the history
	}
	return size
}

// RemoveHistory drops the channel's events; positions stay.
func (b *Broker) RemoveHistory(channel string) error {
	return b.ask(forget, partOf(channel), []string{channel}, done)
}

// Break implements realtime's Broker. What fails while Redis is away is done once it is back.
func (b *Broker) Break(channel string) error {
	err := b.ask(breakPlaces, partOf(channel), []string{b.bus.Channel(topicOf(channel)), b.bus.ID(), channel, b.millis(2 * b.options.Age)}, done)
	if err != nil {
		b.owing.Store(true)
		select {
		case b.renewed <- struct{}{}:
		default:
		}
	}
	return nil
}

// BreakAll implements realtime's Broker: a new generation begins.
func (b *Broker) BreakAll() error {
	b.owing.Store(true)
	select {
	case b.renewed <- struct{}{}:
	default:
	}
	return nil
}

// Subscribe announces to all instances that this one has readers.
func (b *Broker) Subscribe(channels ...string) error {
	b.mu.Lock()
	for _, channel := range channels {
		b.read[channel] = struct{}{}
	}
	b.mu.Unlock()
	err := b.follow(channels)
	if err != nil {
		return errors.Join(err, b.Unsubscribe(channels...))
	}
	return nil
}

// follow subscribes to the channels and announces them as wanted: both before the position of a reader is read.
func (b *Broker) follow(channels []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.options.Timeout)
	defer cancel()
	if !b.awaitUp(ctx) {
		return errDown
	}
	topics := make([]string, len(channels))
	for i, channel := range channels {
		topics[i] = topicOf(channel)
	}
	heard := make(chan error, 1)
	go func() { heard <- b.listening.Follow(ctx, topics...) }()
	return errors.Join(b.announceRead(ctx, channels), <-heard)
}

// Unsubscribe announces that it has none any more; they may come back for as long as Redis knows the channel.
func (b *Broker) Unsubscribe(channels ...string) error {
	topics := make([]string, len(channels))
	b.mu.Lock()
	for i, channel := range channels {
		delete(b.read, channel)
		topics[i] = topicOf(channel)
	}
	b.mu.Unlock()
	b.listening.Unfollow(topics...)
	return nil
}

// comeBack has every reader of this instance come back to its position.
func (b *Broker) comeBack(channels ...string) {
	for _, channel := range channels {
		// Centrifuge takes this offset as: the reader's state is insufficient, it must come back.
		_ = b.handler.HandlePublication(channel, &centrifuge.Publication{Offset: math.MaxUint64},
			centrifuge.StreamPosition{Offset: math.MaxUint64, Epoch: b.generation()}, false, nil)
	}
}

// PublishControl sends a message of centrifuge to other instances, best effort: nothing depends on it alone.
func (b *Broker) PublishControl(data []byte, nodeID, _ string) error {
	_ = b.bus.Publish(context.Background(), allTopic, "C "+nodeID+"\n"+string(data))
	return nil
}

// PublishJoin implements centrifuge.Broker; hearth announces no joins.
func (b *Broker) PublishJoin(string, *centrifuge.ClientInfo) error { return nil }

// PublishLeave implements centrifuge.Broker; hearth announces no leaves.
func (b *Broker) PublishLeave(string, *centrifuge.ClientInfo) error { return nil }

// ReliableDelivery reports to centrifuge that no event is lost between the broker and its readers unnoticed, so that positions
// need no polling.
func (b *Broker) ReliableDelivery() bool { return true }
