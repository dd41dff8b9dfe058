package realtime

import (
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	gocent "github.com/centrifugal/centrifuge-go"
	"pgregory.net/rapid"

	"hearth"
)

// ledger is what a reader has seen of some devices, whose events are numbered from 1.
type ledger struct {
	devices []hearth.Device
	sent    []int
	seen    map[string]int
	// reset holds the devices of which events may be missing before their next one.
	reset map[string]bool
}

func newLedger(devices []hearth.Device) *ledger {
	return &ledger{devices: devices, sent: make([]int, len(devices)), seen: map[string]int{}, reset: map[string]bool{}}
}

// next makes the next event of a device.
func (l *ledger) next(i int) hearth.Event {
	l.sent[i]++
	return heartbeat(l.devices[i], l.sent[i])
}

// take notes an event that came; it fails on a gap, a double and disorder.
func (l *ledger) take(t rapid.TB, device string, number int) {
	t.Helper()
	last := l.seen[device]
	if number <= last || number > last+1 && !l.reset[device] {
		t.Fatalf("event %d of the device came after %d", number, last)
	}
	l.seen[device], l.reset[device] = number, false
}

func (l *ledger) resetAll() {
	for _, device := range l.devices {
		l.reset[device.ID] = true
	}
}

// complete reports whether every event has come.
func (l *ledger) complete() bool {
	for i, device := range l.devices {
		if l.seen[device.ID] != l.sent[i] {
			return false
		}
	}
	return true
}

// propertyFixture has a short history, so that readers that stay away long enough lose their place.
func propertyFixture(t *testing.T) *fixture {
	return newFixture(t, func(o *Options) { o.History.Size = 12 })
}

func TestStreamsNeverGiveAGapADoubleOrDisorder(t *testing.T) {
	t.Parallel()
	checkStreams(t, propertyFixture(t))
}

func checkStreams(t *testing.T, w *fixture) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		org := newID()
		ann, token := w.user(0, func(c *hearth.Caller) { c.Orgs = map[string]hearth.OrgRole{org: hearth.OrgViewer} })
		devices := []hearth.Device{
			w.device(ownedBy(ann.UserID)), w.device(ownedBy(ann.UserID)), w.device(inOrg(org)), w.device(inOrg(org)),
		}
		query := rapid.SampledFrom([]string{
			channels(deviceChannel(devices[0]), deviceChannel(devices[1]), deviceChannel(devices[2]), deviceChannel(devices[3])),
			channels("user:"+ann.UserID, "org:"+org),
			channels("user:"+ann.UserID, deviceChannel(devices[1]), deviceChannel(devices[2]), deviceChannel(devices[3])),
		}).Draw(rt, "channels")
		l := newLedger(devices)
		s := w.open(t, token, query, "")
		s.head(t)
		read := func() bool {
			event, ok := s.next(t)
			switch {
			case !ok:
				return false
			case event.Type == "reset":
				l.resetAll()
			default:
				l.take(rt, deviceIn(t, event.Data), event.number(t))
			}
			return true
		}
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(rt, "events") {
					i := rapid.IntRange(0, len(devices)-1).Draw(rt, "device")
					w.publish(i, l.next(i))
				}
			},
			"read": func(*rapid.T) {
				// Something is on its way: this, if nothing that was before.
				w.publish(0, l.next(0))
				read()
			},
			"reconnect": func(*rapid.T) {
				// What the client's machine has received but its program has not seen is lost with the connection.
				s.close()
				s = w.open(t, token, query, s.lastID)
			},
		})
		for i := range devices {
			w.publish(i, l.next(i))
		}
		for !l.complete() {
			if !read() {
				rt.Fatal("the stream ended")
			}
		}
		s.close()
	})
}

func TestSocketsNeverGiveAGapADoubleOrDisorder(t *testing.T) {
	t.Parallel()
	checkSockets(t, propertyFixture(t))
}

func checkSockets(t *testing.T, w *fixture) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		ann, token := w.user(0)
		devices := []hearth.Device{w.device(ownedBy(ann.UserID)), w.device(ownedBy(ann.UserID))}
		// What came, in order: of which channel, which device's number, or a reset.
		type item struct {
			channel, device string
			number          int
			reset           bool
		}
		items := make(chan item, 8192)
		client := gocent.NewJsonClient(w.socketURL(), gocent.Config{
			Token: token, MinReconnectDelay: time.Millisecond, MaxReconnectDelay: 10 * time.Millisecond,
		})
		defer client.Close()
		client.OnPublication(func(e gocent.ServerPublicationEvent) {
			items <- item{channel: e.Channel, device: deviceIn(t, e.Data), number: numberIn(t, e.Data)}
		})
		own, joined := "user:"+ann.UserID, make(chan struct{}, 1024)
		client.OnSubscribed(func(e gocent.ServerSubscribedEvent) {
			items <- item{channel: own, reset: e.WasRecovering && !e.Recovered}
			joined <- struct{}{}
		})
		subscriptions := make([]*gocent.Subscription, len(devices))
		for i, device := range devices {
			sub, err := client.NewSubscription(deviceChannel(device))
			if err != nil {
				rt.Fatal(err)
			}
			sub.OnPublication(func(e gocent.PublicationEvent) {
				items <- item{channel: sub.Channel, device: deviceIn(t, e.Data), number: numberIn(t, e.Data)}
			})
			sub.OnSubscribed(func(e gocent.SubscribedEvent) {
				items <- item{channel: sub.Channel, reset: e.WasRecovering && !e.Recovered}
				joined <- struct{}{}
			})
			subscriptions[i] = sub
			if err := sub.Subscribe(); err != nil {
				rt.Fatal(err)
			}
		}
		if err := client.Connect(); err != nil {
			rt.Fatal(err)
		}
		for range 1 + len(devices) {
			receive(t, joined)
		}
		// Every device shows twice: on its channel and on its owner's.
		ledgers := map[string]*ledger{own: newLedger(devices)}
		for i, device := range devices {
			ledgers[deviceChannel(device)] = newLedger(devices[i : i+1])
		}
		publish := func(i int) {
			event := ledgers[own].next(i)
			ledgers[deviceChannel(devices[i])].next(0)
			w.publish(i, event)
		}
		take := func(it item) {
			switch {
			case it.reset:
				ledgers[it.channel].resetAll()
			case it.device != "":
				ledgers[it.channel].take(rt, it.device, it.number)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(rt, "events") {
					publish(rapid.IntRange(0, len(devices)-1).Draw(rt, "device"))
				}
			},
			"lose the connection": func(*rapid.T) {
				for _, node := range w.nodes() {
					for _, c := range node.node.Hub().UserConnections(ann.UserID) {
						c.Disconnect(centrifuge.DisconnectForceReconnect)
					}
				}
			},
			// Not by the client's own Disconnect: centrifuge-go may then still handle what the old connection brought while
			// the new one replays it.
			"cut the connection": func(rt *rapid.T) {
				for _, node := range w.nodes() {
					node.sockets.closeAll()
				}
				for range rapid.IntRange(0, 20).Draw(rt, "events meanwhile") {
					publish(0)
				}
			},
		})
		// An event that is published while the client is away may be lost to a reset: publish until one is not.
		for _, l := range ledgers {
			for quiet := true; !l.complete(); {
				if quiet {
					for i := range devices {
						publish(i)
					}
				}
				select {
				case it := <-items:
					take(it)
					quiet = false
				case <-time.After(30 * time.Millisecond):
					quiet = true
				}
			}
		}
	})
}

func deviceIn(t testing.TB, data any) string {
	var text []byte
	switch data := data.(type) {
	case string:
		text = []byte(data)
	case []byte:
		text = data
	}
	return decode[struct{ Data struct{ Device string } }](t, text).Data.Device
}
