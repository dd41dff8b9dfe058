package realtime

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	gocent "github.com/centrifugal/centrifuge-go"

	"hearth"
	"hearth/internal/bus/redisbus"
	"hearth/internal/realtime/redisbroker"
	"hearth/internal/redisconn"
	"hearth/internal/testserver"
)

// instances opens fixtures of several instances over one Redis, with the same users.
func instances(t testing.TB, server *testserver.Redis, count int, change ...func(*redisbroker.Options)) []*fixture {
	t.Helper()
	fixtures := make([]*fixture, count)
	for i := range fixtures {
		conn, err := redisconn.Connect(t.Context(), redisconn.Options{URL: server.URL(), CallTimeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		end := redisbus.New(conn)
		t.Cleanup(func() { end.Close(); conn.Close() })
		presence, err := redisbroker.NewPresence(conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		tickets, err := redisbroker.NewTickets(conn)
		if err != nil {
			t.Fatal(err)
		}
		var broker *redisbroker.Broker
		fixtures[i] = newFixture(t, func(o *Options) {
			if i > 0 {
				o.Users, o.Devices = fixtures[0].accounts, fixtures[0].accounts
			}
			o.CursorKey = []byte("a key that all instances share....")
			o.Presence, o.Tickets = presence, tickets
			o.Broker = func(node *centrifuge.Node) (_ Broker, err error) {
				options := redisbroker.Options{Bus: end, Timeout: 5 * time.Second}
				for _, f := range change {
					f(&options)
				}
				broker, err = redisbroker.New(node, options)
				return broker, err
			}
		})
		fixtures[i].accounts = fixtures[0].accounts
		eventually(t, "the broker hears the feed", broker.Up)
	}
	return fixtures
}

// balanced is two instances behind one server that takes them in turn, with a short history.
func balanced(t *testing.T) *fixture {
	t.Helper()
	both := instances(t, testserver.StartRedis(t), 2, func(o *redisbroker.Options) { o.Size = 12 })
	w := &fixture{node: both[0].node, others: []*Node{both[1].node}, accounts: both[0].accounts}
	var turn atomic.Int64
	w.server = serveNodes(func() *Node { return both[turn.Add(1)%2].node })
	t.Cleanup(w.server.Close)
	return w
}

func TestStreamsOfInstancesNeverGiveAGapADoubleOrDisorder(t *testing.T) {
	t.Parallel()
	checkStreams(t, balanced(t))
}

func TestSocketsOfInstancesNeverGiveAGapADoubleOrDisorder(t *testing.T) {
	t.Parallel()
	checkSockets(t, balanced(t))
}

func TestAnEventReachesReadersOfAnotherInstanceAndIsReplayedThere(t *testing.T) {
	t.Parallel()
	both := instances(t, testserver.StartRedisCluster(t), 2)
	a, b := both[0], both[1]
	ann, token := a.user(0)
	lamp := a.device(ownedBy(ann.UserID))
	s := b.open(t, token, channels(deviceChannel(lamp)), "")
	s.head(t)
	for n := 1; n <= 5; n++ {
		a.node.Publish(heartbeat(lamp, n))
	}
	s.expect(t, 1, 2, 3, 4, 5)
	s.close()
	for n := 6; n <= 8; n++ {
		b.node.Publish(heartbeat(lamp, n))
	}
	// The client comes back to the other instance with the id that it saw last.
	back := a.open(t, token, channels(deviceChannel(lamp)), s.lastID)
	back.expect(t, 6, 7, 8)
	b.node.Publish(heartbeat(lamp, 9))
	back.expect(t, 9)
}

// The events of a client that waits for each answer and then asks another instance come in that order.
func TestEventsOfOneAfterTheOtherComeInOrderWhicheverInstanceTakesThem(t *testing.T) {
	t.Parallel()
	both := instances(t, testserver.StartRedis(t), 2)
	ann, token := both[0].user(0)
	lamp := both[0].device(ownedBy(ann.UserID))
	s := both[1].open(t, token, channels(deviceChannel(lamp)), "")
	s.head(t)
	const events = 500
	var want []int
	for n := range events {
		node := both[n%2].node
		node.Publish(heartbeat(lamp, n))
		node.AwaitPublished(t.Context())
		want = append(want, n)
	}
	s.expect(t, want...)
}

func TestReadersLearnOfWhatRedisLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testserver.Redis){
		"flushed":         (*testserver.Redis).Flush,
		"restarted empty": func(r *testserver.Redis) { r.Stop(); r.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			both := instances(t, server, 2)
			a, b := both[0], both[1]
			ann, token := a.user(0)
			lamp := a.device(ownedBy(ann.UserID))
			query := channels(deviceChannel(lamp))
			s := b.open(t, token, query, "")
			s.head(t)
			a.node.Publish(heartbeat(lamp, 1))
			s.expect(t, 1)
			lose(server)
			// Nothing is silent: after the loss the reader gets a reset before any later event.
			number := 1
			follow(t, b, s, token, query, func() {
				number++
				a.node.Publish(heartbeat(lamp, number))
			})
		})
	}
}

// follow publishes and reads, coming back as often as the stream ends, until an event arrived after a reset; it fails on a
// gap without one.
func follow(t *testing.T, w *fixture, s *eventStream, token, query string, publish func()) {
	t.Helper()
	reset, last := false, 1
	for deadline := time.Now().Add(2 * patience); ; {
		if time.Now().After(deadline) {
			t.Fatal("nothing came after a reset")
		}
		publish()
		select {
		case block, ok := <-s.blocks:
			switch {
			case !ok:
				next, err := w.tryOpen(token, query, s.lastID)
				if err != nil {
					t.Fatal(err)
				}
				if next.response.StatusCode != 200 { // not yet: Redis is on its way back
					next.close()
					time.Sleep(20 * time.Millisecond)
					closed := make(chan sseEvent)
					close(closed)
					s.blocks = closed
					continue
				}
				t.Cleanup(next.close)
				s = next
				continue
			case block.ID != "":
				s.lastID = block.ID
			}
			if block.Type == "reset" {
				reset = true
			} else if block.Data != "" {
				if number := block.number(t); number != last+1 && !reset {
					t.Fatalf("event %d came after %d without a reset", number, last)
				} else if last = number; reset {
					return
				}
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestEventsPassAgainAfterRedisHung(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	both := instances(t, server, 2, func(o *redisbroker.Options) { o.Timeout = 300 * time.Millisecond })
	a, b := both[0], both[1]
	ann, token := a.user(0)
	lamp := a.device(ownedBy(ann.UserID))
	query := channels(deviceChannel(lamp))
	s := b.open(t, token, query, "")
	s.head(t)
	a.node.Publish(heartbeat(lamp, 1))
	s.expect(t, 1)
	server.Hang()
	began := time.Now()
	a.node.Publish(heartbeat(lamp, 2))
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("a writer waited %s", took)
	}
	eventually(t, "the event is given up", func() bool { return figure(t, a, "hearth_realtime_dropped_total") > 0 })
	server.Resume()
	number := 2
	follow(t, b, s, token, query, func() {
		number++
		a.node.Publish(heartbeat(lamp, number))
	})
}

// figure returns the sum of a counter of the node.
func figure(t *testing.T, w *fixture, name string) (sum float64) {
	t.Helper()
	families, err := w.node.options.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestADeletedDeviceTakesReadersOfOtherInstancesOff(t *testing.T) {
	t.Parallel()
	both := instances(t, testserver.StartRedis(t), 2)
	a, b := both[0], both[1]
	ann, token := a.user(0)
	lamp := a.device(ownedBy(ann.UserID))
	client := gocent.NewJsonClient(b.socketURL(), gocent.Config{Token: token})
	t.Cleanup(client.Close)
	subscription, err := client.NewSubscription(deviceChannel(lamp))
	if err != nil {
		t.Fatal(err)
	}
	joined, gone := make(chan struct{}, 1), make(chan uint32, 1)
	subscription.OnSubscribed(func(gocent.SubscribedEvent) { joined <- struct{}{} })
	subscription.OnUnsubscribed(func(e gocent.UnsubscribedEvent) { gone <- e.Code })
	if err := subscription.Subscribe(); err != nil {
		t.Fatal(err)
	}
	if err := client.Connect(); err != nil {
		t.Fatal(err)
	}
	receive(t, joined)
	a.node.Publish(hearth.Event{Type: hearth.EventDeviceDeleted, At: time.Now(), Data: 1, Scope: lamp.Scope(), DeviceID: lamp.ID})
	if code := receive(t, gone); code != unsubscribeGone.Code {
		t.Errorf("the code is %d, want %d", code, unsubscribeGone.Code)
	}
}

func TestPresenceIsShared(t *testing.T) {
	t.Parallel()
	both := instances(t, testserver.StartRedis(t), 2)
	ann, token := both[0].user(0)
	lamp := both[0].device(ownedBy(ann.UserID))
	var subscriptions []*gocent.Subscription
	for _, w := range both {
		client := gocent.NewJsonClient(w.socketURL(), gocent.Config{Token: token})
		t.Cleanup(client.Close)
		s, err := client.NewSubscription(deviceChannel(lamp))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Subscribe(); err != nil {
			t.Fatal(err)
		}
		if err := client.Connect(); err != nil {
			t.Fatal(err)
		}
		subscriptions = append(subscriptions, s)
	}
	for _, s := range subscriptions {
		eventually(t, "both show", func() bool {
			stats, err := s.PresenceStats(t.Context())
			return err == nil && stats.NumClients == 2 && stats.NumUsers == 1
		})
	}
	if err := subscriptions[1].Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is gone", func() bool {
		present, err := subscriptions[0].Presence(t.Context())
		return err == nil && len(present.Clients) == 1
	})
}

func TestATicketOpensOneStreamOfAllInstances(t *testing.T) {
	t.Parallel()
	both := instances(t, testserver.StartRedis(t), 2)
	ann, token := both[0].user(0)
	ticket, err := both[0].node.options.Tickets.Issue(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	redeemed := make(chan string, 20)
	for i := range 20 {
		go func() {
			got, err := both[i%2].node.options.Tickets.Redeem(context.Background(), ticket)
			if code := hearth.ErrorCode(err); err != nil && code != hearth.CodeUnauthenticated {
				t.Errorf("the error is %v", err)
			}
			redeemed <- got
		}()
	}
	opened := 0
	for range 20 {
		if got := <-redeemed; got == token {
			opened++
		} else if got != "" {
			t.Errorf("the ticket stands for %q", got)
		}
	}
	if opened != 1 {
		t.Errorf("the ticket opened %d streams", opened)
	}
	ticket, err = both[0].node.options.Tickets.Issue(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := both[1].status(t, "", "ticket="+ticket+"&"+channels("user:"+ann.UserID)); status != 200 {
		t.Errorf("the other instance answers %d", status)
	}
}

// BenchmarkDelayBetweenInstances measures the time from publishing on one instance to the arrival at a reader of another.
func BenchmarkDelayBetweenInstances(b *testing.B) {
	both := instances(b, testserver.StartRedis(b), 2)
	ann, token := both[0].user(0)
	lamp := both[0].device(ownedBy(ann.UserID))
	s := both[1].open(b, token, channels(deviceChannel(lamp)), "")
	s.head(b)
	var delays []time.Duration
	for b.Loop() {
		time.Sleep(2 * time.Millisecond)
		began := time.Now()
		both[0].node.Publish(heartbeat(lamp, 1))
		if _, ok := s.next(b); !ok {
			b.Fatal("the stream ended")
		}
		delays = append(delays, time.Since(began))
	}
	slices.Sort(delays)
	b.ReportMetric(float64(delays[len(delays)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(delays[len(delays)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTrafficOfInstances measures what Redis sends for an event that has one reader, by the number of instances.
func BenchmarkTrafficOfInstances(b *testing.B) {
	for _, count := range []int{2, 8} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			server := testserver.StartRedis(b)
			all := instances(b, server, count)
			ann, token := all[0].user(0)
			lamps := make([]hearth.Device, count)
			streams := make([]*eventStream, count)
			for i, w := range all { // each instance has a reader, of a device of its own
				lamps[i] = all[0].device(ownedBy(ann.UserID))
				streams[i] = w.open(b, token, channels(deviceChannel(lamps[i])), "")
				streams[i].head(b)
			}
			sent := func() (bytes float64) {
				_, rest, _ := strings.Cut(server.Do("INFO", "stats"), "total_net_output_bytes:")
				number, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
				bytes, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
				if err != nil {
					b.Fatal(err)
				}
				return bytes
			}
			before := sent()
			for b.Loop() {
				all[0].node.Publish(heartbeat(lamps[1], 1))
				if _, ok := streams[1].next(b); !ok {
					b.Fatal("the stream ended")
				}
			}
			b.ReportMetric((sent()-before)/float64(b.N), "bytes/event")
		})
	}
}
