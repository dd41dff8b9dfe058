package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

// The benchmarks read raw bytes and count a mark in each event, so that the clients cost little: they share the machine
// with the server. Compare "bare", a centrifuge node with its own memory broker, with hearth's two transports.

// mark ends the time in each event and is nowhere else in it, nor in a frame's head.
var mark = []byte("!~")

// audience is many open connections that count what they get.
type audience struct {
	conns    []net.Conn
	received atomic.Int64
	mu       sync.Mutex
	delays   []time.Duration
	readers  sync.WaitGroup
}

// read counts the marks and samples the delay of the first event of each read.
func (a *audience) read(conn net.Conn) {
	buffer, kept := make([]byte, 16<<10), 0
	for {
		n, err := conn.Read(buffer[kept:])
		if err != nil {
			return
		}
		data := buffer[:kept+n]
		if end := bytes.Index(data, mark); end >= 0 {
			now := time.Now()
			a.received.Add(int64(bytes.Count(data, mark)))
			if sent, err := strconv.ParseInt(string(data[max(0, end-19):end]), 10, 64); err == nil {
				a.mu.Lock()
				a.delays = append(a.delays, now.Sub(time.Unix(0, sent)))
				a.mu.Unlock()
			}
		}
		// The first half of a mark waits for the second.
		if kept = 0; data[len(data)-1] == mark[0] {
			buffer[0], kept = mark[0], 1
		}
	}
}

// await waits until so many events have come.
func (a *audience) await(b *testing.B, events int64) {
	b.Helper()
	deadline := time.Now().Add(patience)
	for a.received.Load() < events {
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d events have come", a.received.Load(), events)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (a *audience) close() {
	for _, conn := range a.conns {
		_ = conn.Close()
	}
	a.readers.Wait()
}

func (a *audience) percentile(p float64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.delays)
	if len(a.delays) == 0 {
		return 0
	}
	return a.delays[min(len(a.delays)-1, int(p*float64(len(a.delays))))]
}

// stage is a server with as many users as there are channels; publish sends one event to one of them.
type stage struct {
	address string
	tokens  []string
	path    string
	publish func(channel int)
	// joined counts the subscriptions, one for each connection.
	joined func() int
	close  func()
}

func encodeTime(hearth.Event) (json.RawMessage, error) {
	return fmt.Appendf(nil, `{"device_id":"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a51","event":"temperature","value":21.5,"t":"%d%s"}`,
		time.Now().UnixNano(), mark), nil
}

func hearthStage(b *testing.B, path string, channels int) *stage {
	b.Helper()
	w := newFixture(b, func(o *Options) {
		o.Encode, o.Recheck = encodeTime, time.Hour
		o.Heartbeat = 25 * time.Second // no client answers pings here: a benchmark is over sooner
	})
	s := &stage{address: w.server.Listener.Addr().String(), path: path, close: func() {}, joined: w.node.node.Hub().NumSubscriptions}
	users := make([]string, channels)
	for i := range channels {
		caller, token := w.user(0)
		users[i], s.tokens = caller.UserID, append(s.tokens, token)
	}
	s.publish = func(i int) { w.node.Publish(note(users[i], 0)) }
	return s
}

// bareStage is centrifuge as it comes, with the same history and recovery.
func bareStage(b *testing.B, channels int) *stage {
	b.Helper()
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		b.Fatal(err)
	}
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{UserID: e.Token},
			Subscriptions: map[string]centrifuge.SubscribeOptions{"user:" + e.Token: subscribeOptions},
		}, nil
	})
	if err := node.Run(); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		CheckOrigin: func(*http.Request) bool { return true },
	}))
	s := &stage{address: server.Listener.Addr().String(), path: "/ws", joined: node.Hub().NumSubscriptions}
	for range channels {
		s.tokens = append(s.tokens, newID())
	}
	s.publish = func(i int) {
		payload, _ := encodeTime(hearth.Event{})
		data, err := envelope(hearth.EventNotification, time.Now(), payload)
		if err != nil {
			b.Error(err)
		}
		if _, err := node.Publish("user:"+s.tokens[i], data, centrifuge.WithHistory(1000, 5*time.Minute)); err != nil {
			b.Error(err)
		}
	}
	s.close = func() {
		_ = node.Shutdown(context.Background())
		server.Close()
	}
	return s
}

// fill opens connections, spread over the channels.
func (s *stage) fill(b *testing.B, connections int, read bool) *audience {
	b.Helper()
	a := &audience{conns: make([]net.Conn, connections)}
	for i := range connections {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			b.Fatal(err)
		}
		a.conns[i] = conn
		token := s.tokens[i%len(s.tokens)]
		if s.path == "/sse" {
			fmt.Fprintf(conn, "GET /sse HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
			continue
		}
		fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		head := make([]byte, 4096)
		for got := 0; !bytes.Contains(head[:got], []byte("\r\n\r\n")); {
			n, err := conn.Read(head[got:])
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
		command := fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token)
		frame := []byte{0x81, 0x80 | 126, byte(len(command) >> 8), byte(len(command)), 0, 0, 0, 0}
		if _, err := conn.Write(append(frame, command...)); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all are connected", func() bool { return s.joined() == connections })
	if read {
		for _, conn := range a.conns {
			a.readers.Go(func() { a.read(conn) })
		}
	}
	return a
}

// stages are what is compared.
func stages(b *testing.B, run func(b *testing.B, open func(channels int) *stage)) {
	b.Helper()
	for name, open := range map[string]func(*testing.B, int) *stage{
		"bare":      bareStage,
		"websocket": func(b *testing.B, channels int) *stage { return hearthStage(b, "/ws", channels) },
		"sse":       func(b *testing.B, channels int) *stage { return hearthStage(b, "/sse", channels) },
	} {
		b.Run(name, func(b *testing.B) {
			run(b, func(channels int) *stage { return open(b, channels) })
		})
	}
}

// BenchmarkFanOut returns the deliveries a second that everything together manages.
func BenchmarkFanOut(b *testing.B) {
	for _, shape := range []struct{ channels, connections int }{{1, 1000}, {1, 5000}, {1000, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", shape.channels, shape.connections/shape.channels), func(b *testing.B) {
			stages(b, func(b *testing.B, open func(int) *stage) {
				s := open(shape.channels)
				defer s.close()
				a := s.fill(b, shape.connections, true)
				defer a.close()
				// One op is an event to every connection: one event to all, or one to each.
				published := int64(0)
				const ahead = 20
				for b.Loop() {
					for i := range shape.channels {
						s.publish(i)
					}
					published += int64(shape.connections)
					a.await(b, published-ahead*int64(shape.connections))
				}
				a.await(b, published)
				b.ReportMetric(float64(published)/b.Elapsed().Seconds(), "deliveries/s")
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

// BenchmarkDelay returns how long events take at 20,000 deliveries a second.
func BenchmarkDelay(b *testing.B) {
	for _, connections := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("1x%d", connections), func(b *testing.B) {
			stages(b, func(b *testing.B, open func(int) *stage) {
				s := open(1)
				defer s.close()
				a := s.fill(b, connections, true)
				defer a.close()
				ticker := time.NewTicker(time.Duration(connections) * time.Second / 20_000)
				defer ticker.Stop()
				const events = 100
				for b.Loop() {
					for range events {
						<-ticker.C
						s.publish(0)
					}
				}
				want := int64(b.N) * events * int64(connections)
				a.await(b, want)
				b.ReportMetric(float64(a.percentile(0.5).Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(a.percentile(0.99).Microseconds())/1000, "p99-ms")
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

// BenchmarkIdle returns the memory of a connection that nothing happens on, the client's socket included.
func BenchmarkIdle(b *testing.B) {
	const connections = 8_000 // two descriptors each
	stages(b, func(b *testing.B, open func(int) *stage) {
		for b.Loop() {
			s := open(100)
			before := inUse()
			a := s.fill(b, connections, false)
			if s.path == "/sse" {
				for _, conn := range a.conns {
					if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(inUse()-before)/connections, "B/connection")
			b.ReportMetric(0, "ns/op")
			a.close()
			s.close()
		}
	})
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkPublishUnwatched measures what an event without readers costs a writer; BenchmarkPublishWatched, one with readers.
func BenchmarkPublishUnwatched(b *testing.B) {
	w := newFixture(b)
	event := heartbeat(w.device(ownedBy(newID())), 1)
	b.ReportAllocs()
	for b.Loop() {
		w.node.Publish(event)
	}
}

func BenchmarkPublishWatched(b *testing.B) {
	w := newFixture(b)
	ann, token := w.user(0)
	w.open(b, token, "", "")
	event := heartbeat(w.device(ownedBy(ann.UserID)), 1)
	b.ReportAllocs()
	for b.Loop() {
		w.node.Publish(event)
	}
}
