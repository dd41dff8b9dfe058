package realtime

import (
	"container/heap"
	"context"
	"crypto/rand"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

const brokerShards = 16

// memBroker is the broker of one process. It keeps history only for channels that have readers, or had some within
// HistoryOptions.Age: an event of a device that no one watches costs a look into a map.
//
// A position in a channel is the broker's epoch, new in each process, and an offset. Offsets grow by one within a channel.
// Where a channel begins or is broken its offset jumps past that of every channel (the counter offsets), so that no earlier
// position is valid after it.
type memBroker struct {
	options HistoryOptions
	clock   hearth.Clock
	epoch   string
	seed    maphash.Seed
	// offsets is at least every channel's top offset.
	offsets atomic.Uint64
	shards  [brokerShards]brokerShard
	handler centrifuge.BrokerEventHandler
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
}

var _ Broker = (*memBroker)(nil)

type brokerShard struct {
	mu      sync.Mutex
	streams map[string]*stream
	// ages are the streams that may have events, by the age of their oldest.
	ages  byAge
	bytes int
}

// stream is one channel: its events up to top.
type stream struct {
	history
	top uint64
	// read reports whether the node has readers on the channel; else idleSince is when the last one left.
	read      bool
	idleSince time.Time
	// listed reports whether the stream is in its shard's ages, under the time since: of its oldest event now, or of one before that.
	listed bool
	since  int64
}

// byAge is a heap of streams: the first is that with the least since.
type byAge []*stream

func (a byAge) Len() int           { return len(a) }
func (a byAge) Less(i, j int) bool { return a[i].since < a[j].since }
func (a byAge) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *byAge) Push(st any) {
	if st, ok := st.(*stream); ok {
		*a = append(*a, st)
	}
}

// Pop implements heap.Interface.
func (a *byAge) Pop() any {
	last := len(*a) - 1
	st := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return st
}

func newMemBroker(options HistoryOptions, clock hearth.Clock) *memBroker {
	b := &memBroker{
		options: options, clock: clock, epoch: rand.Text()[:8], seed: maphash.MakeSeed(), stop: make(chan struct{}),
	}
	for i := range b.shards {
		b.shards[i].streams = map[string]*stream{}
	}
	return b
}

func (b *memBroker) shard(channel string) *brokerShard {
	return &b.shards[maphash.String(b.seed, channel)%brokerShards]
}

// RegisterBrokerEventHandler starts the broker.
func (b *memBroker) RegisterBrokerEventHandler(handler centrifuge.BrokerEventHandler) error {
	b.handler = handler
	b.stopped.Go(b.run)
	return nil
}

// Close stops the broker.
func (b *memBroker) Close(context.Context) error {
	b.once.Do(func() { close(b.stop) })
	b.stopped.Wait()
	return nil
}

// run deletes what is too old, once a second.
func (b *memBroker) run() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-ticker.C:
			b.forget(b.clock.Now())
		}
	}
}

func (b *memBroker) forget(now time.Time) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		s.trim(now.Add(-b.options.Age).UnixMilli(), math.MaxInt)
		for channel, st := range s.streams {
			if !st.read && now.Sub(st.idleSince) >= b.options.Age {
				s.clear(st)
				delete(s.streams, channel)
			}
		}
		s.mu.Unlock()
	}
}

// stream returns the channel's stream, made now if there is none. The shard is locked.
func (b *memBroker) stream(s *brokerShard, channel string) *stream {
	st := s.streams[channel]
	if st == nil {
		st = &stream{top: b.offsets.Add(1), idleSince: b.clock.Now()}
		s.streams[channel] = st
	}
	return st
}

// Subscribe notes that the node has readers.
func (b *memBroker) Subscribe(channels ...string) error {
	for _, channel := range channels {
		s := b.shard(channel)
		s.mu.Lock()
		b.stream(s, channel).read = true
		s.mu.Unlock()
	}
	return nil
}

// Unsubscribe notes that it has none any more; they may come back.
func (b *memBroker) Unsubscribe(channels ...string) error {
	for _, channel := range channels {
		s := b.shard(channel)
		s.mu.Lock()
		if st := s.streams[channel]; st != nil {
			st.read, st.idleSince = false, b.clock.Now()
		}
		s.mu.Unlock()
	}
	return nil
}

// Wanted implements Broker.
func (b *memBroker) Wanted(channel []byte) bool {
	s := &b.shards[maphash.Bytes(b.seed, channel)%brokerShards]
	s.mu.Lock()
	_, ok := s.streams[string(channel)]
	s.mu.Unlock()
	return ok
}

// Publish keeps the event and delivers it to the channel's readers.
func (b *memBroker) Publish(channel string, data []byte, _ centrifuge.PublishOptions) (centrifuge.PublishResult, error) {
	now := b.clock.Now()
	s := b.shard(channel)
	s.mu.Lock()
	st := s.streams[channel]
	if st == nil {
		s.mu.Unlock()
		return centrifuge.PublishResult{}, nil
	}
	b.offsets.Add(1)
	st.top++
	pub := &centrifuge.Publication{Offset: st.top, Data: data, Time: now.UnixMilli()}
	s.add(st, pub)
	for st.len() > b.options.Size || st.bytes() > b.options.Bytes {
		s.dropFirst(st)
	}
	s.trim(now.Add(-b.options.Age).UnixMilli(), b.options.TotalBytes/brokerShards)
	s.mu.Unlock()
	position := centrifuge.StreamPosition{Offset: pub.Offset, Epoch: b.epoch}
	return centrifuge.PublishResult{StreamPosition: position}, b.handler.HandlePublication(channel, pub, position, false, nil)
}

// add keeps an event.
func (s *brokerShard) add(st *stream, pub *centrifuge.Publication) {
	st.add(pub.Time, pub.Data)
	s.bytes += len(pub.Data)
	if !st.listed {
		st.listed, st.since = true, st.oldest()
		heap.Push(&s.ages, st)
	}
}

// trim drops events from before the time, and the oldest until the rest are within limit bytes.
func (s *brokerShard) trim(before int64, limit int) {
	for len(s.ages) > 0 {
		switch st := s.ages[0]; {
		case st.len() == 0:
			st.listed = false
			heap.Pop(&s.ages)
		case st.since != st.oldest():
			st.since = st.oldest()
			heap.Fix(&s.ages, 0)
		case s.bytes > limit || st.since < before:
			s.dropFirst(st)
		default:
			return
		}
	}
}

// dropFirst drops the oldest event of a stream that has one.
func (s *brokerShard) dropFirst(st *stream) { s.bytes -= st.dropFirst() }

// clear drops all events of a stream.
func (s *brokerShard) clear(st *stream) {
	s.bytes -= st.bytes()
	st.history = history{}
}

// had returns how many of the stream's events a reader at the position has had; all of them if the rest is incomplete. The shard is
// locked.
func (b *memBroker) had(st *stream, since centrifuge.StreamPosition) int {
	first := st.top - uint64(st.len()) // the offset before the oldest event
	if since.Epoch != b.epoch || since.Offset >= st.top || since.Offset < first {
		return st.len()
	}
	return int(since.Offset - first)
}

// History returns the events after a position, all of them, or none if any is missing: centrifuge compares the
// first one's offset with the position, and reports to the reader that it could not be recovered.
func (b *memBroker) History(channel string, options centrifuge.HistoryOptions) ([]*centrifuge.Publication, centrifuge.StreamPosition, error) {
	s := b.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := b.stream(s, channel)
	position := centrifuge.StreamPosition{Offset: st.top, Epoch: b.epoch}
	filter := options.Filter
	if filter.Since == nil || filter.Limit == 0 {
		return nil, position, nil
	}
	skip := b.had(st, *filter.Since)
	offset := st.top - uint64(st.len()-skip)
	pubs := make([]*centrifuge.Publication, 0, st.len()-skip)
	for at, data := range st.after(skip) {
		offset++
		pubs = append(pubs, &centrifuge.Publication{Offset: offset, Data: data, Time: at})
	}
	return pubs, position, nil
}

// ReplaySize implements Broker.
func (b *memBroker) ReplaySize(channel string, since centrifuge.StreamPosition) int {
	s := b.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[channel]
	if st == nil {
		return 0
	}
	return st.bytesAfter(b.had(st, since))
}

// RemoveHistory drops the channel's events; positions stay.
func (b *memBroker) RemoveHistory(channel string) error {
	s := b.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[channel]; st != nil {
		s.clear(st)
	}
	return nil
}

// Break implements Broker.
func (b *memBroker) Break(channel string) error {
	s := b.shard(channel)
	s.mu.Lock()
	st := s.streams[channel]
	if st == nil {
		s.mu.Unlock()
		return nil
	}
	s.clear(st)
	// Two beyond everything: a reader at the old top does not take the next event for the one that follows.
	st.top = b.offsets.Add(2)
	read := st.read
	s.mu.Unlock()
	if !read {
		return nil
	}
	// Centrifuge takes this offset as: the reader's state is insufficient, it must come back.
	return b.handler.HandlePublication(channel, &centrifuge.Publication{Offset: math.MaxUint64},
		centrifuge.StreamPosition{Offset: math.MaxUint64, Epoch: b.epoch}, false, nil)
}

// BreakAll implements Broker.
func (b *memBroker) BreakAll() error {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		channels := make([]string, 0, len(s.streams))
		for channel := range s.streams {
			channels = append(channels, channel)
		}
		s.mu.Unlock()
		for _, channel := range channels {
			if err := b.Break(channel); err != nil {
				return err
			}
		}
	}
	return nil
}

// PublishJoin implements centrifuge.Broker; hearth announces no joins.
func (b *memBroker) PublishJoin(channel string, info *centrifuge.ClientInfo) error {
	return b.handler.HandleJoin(channel, info)
}

// PublishLeave implements centrifuge.Broker; hearth announces no leaves.
func (b *memBroker) PublishLeave(channel string, info *centrifuge.ClientInfo) error {
	return b.handler.HandleLeave(channel, info)
}

// ReliableDelivery reports that no event is lost between the broker and its readers, so that positions need no
// polling.
func (b *memBroker) ReliableDelivery() bool { return true }

// usage returns the channels and the bytes of events that are kept.
func (b *memBroker) usage() (channels, bytes int) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		channels += len(s.streams)
		bytes += s.bytes
		s.mu.Unlock()
	}
	return channels, bytes
}
