package realtime

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
)

// heard is a centrifuge.BrokerEventHandler that keeps the offsets it was handed.
type heard struct{ offsets []uint64 }

func (h *heard) HandlePublication(_ string, pub *centrifuge.Publication, _ centrifuge.StreamPosition, _ bool, _ *centrifuge.Publication) error {
	h.offsets = append(h.offsets, pub.Offset)
	return nil
}
func (h *heard) HandleJoin(string, *centrifuge.ClientInfo) error  { return nil }
func (h *heard) HandleLeave(string, *centrifuge.ClientInfo) error { return nil }

// brokerTest is a broker whose time a test moves.
type brokerTest struct {
	*memBroker
	t     *testing.T
	now   time.Time
	heard heard
}

func newBrokerTest(t *testing.T, options HistoryOptions) *brokerTest {
	b := &brokerTest{t: t, now: time.Now()}
	b.memBroker = newMemBroker(options, func() time.Time { return b.now })
	b.handler = &b.heard
	return b
}

func (b *brokerTest) publish(channel, data string) {
	b.t.Helper()
	if _, err := b.Publish(channel, []byte(data), centrifuge.PublishOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *brokerTest) place(channel string) centrifuge.StreamPosition {
	b.t.Helper()
	_, place, err := b.History(channel, centrifuge.HistoryOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return place
}

// replay returns what a reader at the place is given, and whether that is all it missed, judged as centrifuge does.
func (b *brokerTest) replay(channel string, since centrifuge.StreamPosition) (events []string, whole bool) {
	b.t.Helper()
	pubs, top, err := b.History(channel, centrifuge.HistoryOptions{Filter: centrifuge.HistoryFilter{Since: &since, Limit: -1}})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, pub := range pubs {
		events = append(events, string(pub.Data))
	}
	if since.Epoch != top.Epoch {
		return events, false
	}
	if len(pubs) == 0 {
		return nil, since.Offset == top.Offset
	}
	return events, pubs[0].Offset == since.Offset+1 && pubs[len(pubs)-1].Offset == top.Offset
}

func generous() HistoryOptions {
	return HistoryOptions{Age: time.Minute, Size: 100, Bytes: 1 << 20, TotalBytes: 16 << 20}
}

func TestAPlaceIsGoodUntilSomethingAfterItIsGone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options func(*HistoryOptions)
		happens func(b *brokerTest)
		want    []string
		whole   bool
	}{
		{"nothing happened", nil, func(*brokerTest) {}, nil, true},
		{"events", nil, func(b *brokerTest) { b.publish("c", "1"); b.publish("c", "2") }, []string{"1", "2"}, true},
		{"events elsewhere", nil, func(b *brokerTest) {
			b.place("d")
			b.publish("d", "x")
			b.publish("c", "1")
		}, []string{"1"}, true},
		{"as many as are kept", func(o *HistoryOptions) { o.Size = 2 }, func(b *brokerTest) {
			b.publish("c", "1")
			b.publish("c", "2")
		}, []string{"1", "2"}, true},
		{"more than are kept", func(o *HistoryOptions) { o.Size = 2 }, func(b *brokerTest) {
			for _, event := range []string{"1", "2", "3"} {
				b.publish("c", event)
			}
		}, nil, false},
		{"more bytes than are kept", func(o *HistoryOptions) { o.Bytes = 10 }, func(b *brokerTest) {
			b.publish("c", "12345")
			b.publish("c", "123456")
		}, nil, false},
		{"one event larger than all that is kept", func(o *HistoryOptions) { o.Bytes = 3 }, func(b *brokerTest) {
			b.publish("c", "12345")
		}, nil, false},
		{"too long ago", nil, func(b *brokerTest) {
			b.publish("c", "1")
			b.now = b.now.Add(2 * time.Minute)
			b.forget(b.now)
		}, nil, false},
		{"just in time", nil, func(b *brokerTest) {
			b.publish("c", "1")
			b.now = b.now.Add(59 * time.Second)
			b.forget(b.now)
		}, []string{"1"}, true},
		{"nobody read it for long", nil, func(b *brokerTest) {
			_ = b.Unsubscribe("c")
			b.now = b.now.Add(2 * time.Minute)
			b.forget(b.now)
		}, nil, false},
		{"broken", nil, func(b *brokerTest) { b.publish("c", "1"); _ = b.Break("c") }, nil, false},
		{"broken, then more", nil, func(b *brokerTest) { _ = b.Break("c"); b.publish("c", "1") }, nil, false},
		{"all broken", nil, func(b *brokerTest) { _ = b.BreakAll(); b.publish("c", "1") }, nil, false},
		{"history removed", nil, func(b *brokerTest) { b.publish("c", "1"); _ = b.RemoveHistory("c") }, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := generous()
			if test.options != nil {
				test.options(&options)
			}
			b := newBrokerTest(t, options)
			_ = b.Subscribe("c")
			place := b.place("c")
			test.happens(b)
			events, whole := b.replay("c", place)
			if whole != test.whole || !slices.Equal(events, test.want) {
				t.Errorf("replays %q, whole: %v; want %q, %v", events, whole, test.want, test.whole)
			}
			if size := b.ReplaySize("c", place); size != len(strings.Join(test.want, "")) {
				t.Errorf("says that it would replay %d bytes", size)
			}
			// From here on it is whole again.
			place = b.place("c")
			b.publish("c", "x")
			if events, whole := b.replay("c", place); !whole && test.name != "one event larger than all that is kept" || len(events) > 1 {
				t.Errorf("a new place replays %q, whole: %v", events, whole)
			}
		})
	}
}

func TestChannelsThatNobodyReadsCostNothing(t *testing.T) {
	t.Parallel()
	b := newBrokerTest(t, generous())
	b.publish("c", "1")
	if b.Wanted([]byte("c")) || len(b.heard.offsets) != 0 {
		t.Error("a channel that nobody reads is kept")
	}
	_ = b.Subscribe("c")
	b.publish("c", "2")
	if channels, bytes := b.usage(); channels != 1 || bytes != 1 || !b.Wanted([]byte("c")) || len(b.heard.offsets) != 1 {
		t.Errorf("keeps %d channels, %d bytes; handed on %v", channels, bytes, b.heard.offsets)
	}
	_ = b.Unsubscribe("c")
	b.forget(b.now.Add(time.Hour))
	if channels, bytes := b.usage(); channels != 0 || bytes != 0 {
		t.Errorf("keeps %d channels and %d bytes after an hour", channels, bytes)
	}
}

func TestTheHistoryOfAllChannelsIsBounded(t *testing.T) {
	t.Parallel()
	options := generous()
	options.TotalBytes = 16 * 1000
	b := newBrokerTest(t, options)
	for range 500 {
		channel := newID()
		_ = b.Subscribe(channel)
		b.publish(channel, strings.Repeat("x", 100))
	}
	if _, bytes := b.usage(); bytes > options.TotalBytes || bytes < options.TotalBytes/2 {
		t.Errorf("keeps %d bytes, at most %d are allowed", bytes, options.TotalBytes)
	}
}

func TestTheOldestEventsGiveWayWhicheverChannelTheyAreOf(t *testing.T) {
	t.Parallel()
	options := generous()
	options.TotalBytes = brokerShards * 5
	b := newBrokerTest(t, options)
	var channels []string // of one shard, which has room for five events
	for len(channels) < 3 {
		if channel := newID(); b.shard(channel) == &b.shards[0] {
			_ = b.Subscribe(channel)
			channels = append(channels, channel)
		}
	}
	places := map[string]centrifuge.StreamPosition{}
	for _, channel := range channels {
		places[channel] = b.place(channel)
	}
	publish := func(channel int) {
		b.now = b.now.Add(time.Millisecond)
		b.publish(channels[channel], "x")
	}
	for _, channel := range []int{0, 1, 2, 0, 1} {
		publish(channel)
	}
	for step, want := range [][]int{{2, 2, 1}, {-1, 2, 2}, {-1, -1, 3}, {-1, -1, -1}} {
		for i, channel := range channels {
			events, whole := b.replay(channel, places[channel])
			if whole != (want[i] >= 0) || whole && len(events) != want[i] {
				t.Errorf("step %d: channel %d replays %d events, whole: %v; want %d", step, i, len(events), whole, want[i])
			}
		}
		publish(2)
	}
}

func FuzzIDsOfEvents(f *testing.F) {
	c := newCursors([]byte(strings.Repeat("k", 32)))
	places := sortedPositions(map[string]centrifuge.StreamPosition{
		"device:a": {Offset: 1 << 40, Epoch: "one"}, "org:b": {Offset: 0, Epoch: ""}, "user:c": {Offset: 7, Epoch: "one"},
	})
	f.Add(c.writer().append(nil, places))
	f.Add([]byte("AQ"))
	f.Fuzz(func(t *testing.T, id []byte) {
		read, ok := c.read(string(id))
		// The body is what a signed id could hold: it must read without a panic as well.
		parsePositions(id)
		if !ok {
			return
		}
		for _, p := range places {
			if read[p.hash] != p.position {
				t.Errorf("%q reads as %v", id, read)
			}
		}
	})
}

func TestAnIDReadsBackAsItsPlaces(t *testing.T) {
	t.Parallel()
	c := newCursors(nil)
	writer := c.writer()
	for _, count := range []int{0, 1, 101} {
		positions := map[string]centrifuge.StreamPosition{}
		for range count {
			positions["device:"+newID()] = centrifuge.StreamPosition{Offset: uint64(len(positions)) << 30, Epoch: "ABCDEFGH"}
		}
		places := sortedPositions(positions)
		id := writer.append(nil, places)
		if len(id) > maxCursor/2 {
			t.Errorf("the id of %d channels has %d characters", count, len(id))
		}
		read, ok := c.read(string(id))
		if !ok || len(read) != count {
			t.Fatalf("%d channels read back as %d, %v", count, len(read), ok)
		}
		for _, p := range places {
			if read[p.hash] != p.position {
				t.Errorf("%v reads back as %v", p.position, read[p.hash])
			}
		}
		if _, ok := newCursors(nil).read(string(id)); ok {
			t.Error("an id of another key is read")
		}
	}
}
