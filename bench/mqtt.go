package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"hearth/internal/mqtt/packet"
)

const (
	// window is how many messages a device sends before it waits for their PUBACKs, where it does not send one after the other.
	window = 20
	// mqttPace is the load at which delays to a reader are measured, in messages a second.
	mqttPace = 2000
	// commandPace is the load at which the way of a command and back is timed, in commands a second.
	commandPace = 100
)

// link is the connection of a device.
type link struct {
	net.Conn
	reader *bufio.Reader
	body   []byte
}

// connectMQTT logs in from an address of this machine; nil is any.
func connectMQTT(ctx context.Context, addr string, from net.IP, user string) (*link, error) {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, reader: bufio.NewReaderSize(conn, 512)}
	connect := packet.AppendConnect(nil, packet.Connect{Version: packet.V311, Clean: true, KeepAlive: 600, ClientID: user, Username: user})
	if err := l.exchange(connect, packet.CONNACK); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

// exchange writes packets and reads the next one, which must be of that type.
func (l *link) exchange(out []byte, want packet.Type) error {
	if _, err := l.Write(out); err != nil {
		return err
	}
	h, err := l.next()
	if err == nil && (h.Type != want || want == packet.CONNACK && l.body[1] != 0) {
		err = fmt.Errorf("a packet of type %d is answered with type %d, % x", out[0]>>4, h.Type, l.body)
	}
	return err
}

func (l *link) subscribe(topic string) error {
	return l.exchange(packet.AppendSubscribe(nil, packet.V311, 1, []packet.Filter{{Topic: topic, QoS: 1}}), packet.SUBACK)
}

// next reads a packet, whose body is kept until the next one.
func (l *link) next() (packet.Header, error) {
	h, err := packet.ReadHeader(l.reader)
	if err != nil {
		return h, err
	}
	l.body = slices.Grow(l.body[:0], h.Length)[:h.Length]
	_, err = io.ReadFull(l.reader, l.body)
	return h, err
}

// publish publishes messages until ctx ends, so many at most without a PUBACK, and returns how many were acknowledged.
func (l *link) publish(ctx context.Context, topic string, window int) (acknowledged int, err error) {
	var out []byte
	for sent := 0; ctx.Err() == nil; {
		out = out[:0]
		for ; sent < acknowledged+window; sent++ {
			payload := strconv.AppendFloat(make([]byte, 0, 16), float64(sent%400)/10, 'f', 1, 64)
			out = packet.AppendPublish(out, packet.V311, packet.Publish{Topic: topic, QoS: 1, ID: uint16(sent%60_000 + 1), Payload: payload})
		}
		if err := l.exchange(out, packet.PUBACK); err != nil {
			return acknowledged, err
		}
		for acknowledged++; l.reader.Buffered() >= 4; acknowledged++ { // a PUBACK of MQTT 3.1.1
			if _, err := l.next(); err != nil {
				return acknowledged, err
			}
		}
	}
	return acknowledged, nil
}

// launchMosquitto starts mosquitto as Debian has it, which stores nothing.
func launchMosquitto(ctx context.Context, dir string) (*process, string, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(addr)
	config := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(config, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\n"), 0o644); err != nil {
		return nil, "", err
	}
	program, err := exec.LookPath("mosquitto")
	program = cmp.Or(program, "/usr/sbin/mosquitto") // where Debian has it, which is not in the path of every user
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		return nil, "", err
	}
	p := &process{cmd: exec.Command(program, "-c", config), log: &bytes.Buffer{}}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		return nil, "", err
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return p, addr, conn.Close()
		}
		if ctx.Err() != nil || time.Since(began) > 10*time.Second {
			return nil, "", errors.Join(fmt.Errorf("mosquitto does not answer: %.2000s", p.log), err, p.stop())
		}
	}
}

// hearthMQTT is a hearth with devices that have a token each.
type hearthMQTT struct {
	*hearth
	addr        string
	ids, tokens []string
}

func launchMQTT(ctx context.Context, o options, dir string, devices int) (*hearthMQTT, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	h, err := launchHearth(ctx, o, dir, "HEARTH_MQTT_ADDR="+addr, "HEARTH_QUOTAS=off")
	if err != nil {
		return nil, err
	}
	m := &hearthMQTT{hearth: h, addr: addr, tokens: make([]string, devices)}
	if m.ids, err = h.devices(devices); err == nil {
		err = atOnce(ctx, devices, "tokens", func(i int) error {
			var made struct {
				Token string `json:"token"`
			}
			err := h.call("POST", "/devices/"+m.ids[i]+"/tokens", nil, &made)
			m.tokens[i] = made.Token
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return m, nil
}

// atOnce does something n times, openers at a time, and shows how far it is.
func atOnce(ctx context.Context, n int, what string, do func(i int) error) error {
	const step = 1000
	var next, done atomic.Int64
	failures := make([]error, openers)
	var wg sync.WaitGroup
	for o := range openers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					failures[o] = fmt.Errorf("%s %d: %w", what, i, err)
					return
				}
				if d := done.Add(1); d%step == 0 {
					fmt.Fprintf(os.Stderr, "  %s: %d of %d\n", what, d, n)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(failures, ctx.Err())...)
}

// side is one of those that devices publish to.
type mqttSide struct {
	addr string
	on   *process
	// users and topics are those of each device.
	users, topics []string
}

// run has all devices publish, and returns how many messages a second were acknowledged, and the server's processor time for one in µs.
func (s mqttSide) run(ctx context.Context, length time.Duration, window int) (perSecond, cost float64, err error) {
	links := make([]*link, len(s.users))
	defer func() {
		for _, l := range links {
			if l != nil {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	for i, user := range s.users {
		if links[i], err = connectMQTT(ctx, s.addr, nil, user); err != nil {
			return 0, 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var total atomic.Int64
	failures := make([]error, len(links))
	before, began := s.on.cpu(), time.Now()
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() {
			n, err := l.publish(ctx, s.topics[i], window)
			total.Add(int64(n))
			if failures[i] = err; err != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	n := float64(max(1, total.Load()))
	return n / time.Since(began).Seconds(), 1e6 * (s.on.cpu() - before).Seconds() / n, errors.Join(failures...)
}

// measureMQTTPublish: values one by one over o.connections connections, each acknowledged when it is durable: over MQTT at mosquitto, which
// stores nothing, at hearth, and by HTTP at hearth.
func measureMQTTPublish(ctx context.Context, o options, dir string, r *report) (err error) {
	broker, addr, err := launchMosquitto(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.stop()) }()
	h, err := launchMQTT(ctx, o, dir, o.connections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	topic := make([]string, o.connections)
	floor, mine := mqttSide{addr, broker, h.ids, h.ids}, mqttSide{h.addr, h.process, h.tokens, topic}
	for i := range topic {
		topic[i] = "t/temperature"
	}
	http := load{url: h.url, clients: o.connections, length: o.seconds, status: 201, next: func(client, n int, req *fasthttp.Request) {
		request("POST", h.tokens[client], func(client, _ int) string { return "/api/v1/devices/" + h.ids[client] + "/logs" },
			func(_, n int) []byte {
				return fmt.Appendf(nil, `{"event":"temperature","value":%.1f}`, float64(n%400)/10)
			})(client, n, req)
	}}
	var posts, postCosts []float64
	var rates, costs [2][2][]float64 // by window, by side
	windows := []int{1, window}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "  round %d of %d\n", round+1, o.rounds)
		before := h.cpu()
		posted, err := http.run(ctx)
		if err != nil {
			return err
		}
		posts = append(posts, posted.perSecond)
		postCosts = append(postCosts, 1e6*(h.cpu()-before).Seconds()/(posted.perSecond*o.seconds.Seconds()))
		for w, window := range windows {
			for s, side := range []mqttSide{floor, mine} {
				rate, cost, err := side.run(ctx, o.seconds, window)
				if err != nil {
					return err
				}
				rates[w][s], costs[w][s] = append(rates[w][s], rate), append(costs[w][s], cost)
			}
		}
	}
	for w, how := range []string{"one after the other", fmt.Sprintf("%d at once", window)} {
		name := fmt.Sprintf("QoS 1 publishes over %d connections, %s", o.connections, how)
		r.add(figure{Name: name, Unit: "messages/s", Floor: median(rates[w][0]), Hearth: median(rates[w][1]), Goal: "≥ 0.5",
			Note: "floor: mosquitto without persistence; hearth: durable"})
		r.add(figure{Name: name, Unit: "messages/s", Floor: median(posts), Hearth: median(rates[w][1]), Goal: "≥ 1.5", Against: "hearth's single logs by HTTP"})
		r.add(figure{Name: name + ", processor time of the server", Unit: "µs", Floor: median(costs[w][0]), Hearth: median(costs[w][1]),
			Note: fmt.Sprintf("a log by HTTP: %.0f µs", median(postCosts))})
	}
	return nil
}

// stamps reads a stream and notes the delays of values that are times, in microseconds since began.
func stamps(stream io.Reader, began time.Time, heard func(delay time.Duration)) {
	const mark = `"value":`
	lines := bufio.NewReaderSize(stream, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		now := time.Since(began)
		if at := bytes.Index(line, []byte(mark)); at >= 0 {
			digits := line[at+len(mark):]
			if sent, err := strconv.ParseInt(string(digits[:bytes.IndexAny(digits, ",}")]), 10, 64); err == nil {
				heard(now - time.Duration(sent)*time.Microsecond)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// measureMQTTLive: from a device's PUBLISH, which is stored, to a reader of server-sent events, at a fixed pace.
func measureMQTTLive(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchMQTT(ctx, o, dir, o.connections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	var middles, tails []float64
	for range o.rounds {
		delays, err := h.publishToReader(ctx, o)
		if err != nil {
			return err
		}
		slices.Sort(delays)
		middles, tails = append(middles, ms(delays[len(delays)/2])), append(tails, ms(delays[len(delays)*99/100]))
	}
	note := fmt.Sprintf("%d messages/s over %d connections, each stored; one reader of all", mqttPace, o.connections)
	r.add(figure{Name: "PUBLISH to a reader of SSE, p50", Unit: "ms", Hearth: median(middles), Note: note})
	r.add(figure{Name: "PUBLISH to a reader of SSE, p99", Unit: "ms", Hearth: median(tails), Goal: "≤ 20", Note: note})
	return nil
}

// publishToReader returns the delays of one round.
func (h *hearthMQTT) publishToReader(ctx context.Context, o options) ([]time.Duration, error) {
	var me struct {
		ID string `json:"id"`
	}
	if err := h.call("GET", "/users/me", nil, &me); err != nil {
		return nil, err
	}
	stream, err := openSSE(h.url[len("http://"):], "/api/v1/realtime/sse", h.token, "user:"+me.ID)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var delays []time.Duration
	var read atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stamps(stream, began, func(delay time.Duration) { delays = append(delays, delay); read.Add(1) })
	}()
	links := make([]*link, len(h.tokens))
	failures := make([]error, len(links))
	var wg sync.WaitGroup
	for i, token := range h.tokens {
		if links[i], err = connectMQTT(ctx, h.addr, nil, token); err != nil {
			return nil, err
		}
		wg.Go(func() { // PUBACKs
			for {
				if _, err := links[i].next(); err != nil {
					return
				}
			}
		})
	}
	sent := int64(0)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for begin := time.Now(); time.Since(begin) < o.seconds && ctx.Err() == nil; <-ticker.C {
		for due := int64(time.Since(begin).Seconds() * mqttPace); sent < due; sent++ {
			i := int(sent) % len(links)
			message := packet.Publish{
				Topic: "t/at", QoS: 1, ID: uint16(sent%60_000 + 1), Payload: strconv.AppendInt(nil, time.Since(began).Microseconds(), 10),
			}
			if _, err := links[i].Write(packet.AppendPublish(nil, packet.V311, message)); err != nil {
				failures[i] = err
			}
		}
	}
	for deadline := time.Now().Add(10 * time.Second); read.Load() < sent && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for _, l := range links {
		_ = l.Close()
	}
	wg.Wait()
	err = errors.Join(append(failures, stream.Close())...)
	<-ended
	if int64(len(delays)) < sent*99/100 { // values of one device in one step are one event
		err = errors.Join(err, fmt.Errorf("%d of %d messages have come", len(delays), sent))
	}
	return delays, err
}

// measureMQTTCommands: a user sends commands and waits for their results, at a fixed pace and as fast as they come; devices answer at once.
func measureMQTTCommands(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchMQTT(ctx, o, dir, latencyDevices)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	for _, token := range h.tokens {
		l, err := connectMQTT(ctx, h.addr, nil, token)
		if err == nil {
			err = l.subscribe("c")
		}
		if err != nil {
			return err
		}
		defer l.Close()
		go l.answer()
	}
	side := load{url: h.url, clients: latencyDevices, length: o.seconds, status: 200, next: request("POST", h.token,
		func(client, _ int) string { return "/api/v1/devices/" + h.ids[client] + "/commands?wait=20s" },
		func(int, int) []byte { return []byte(`{"name":"set-level","params":{"level":3}}`) })}
	calm := paced{url: h.url, perSecond: commandPace, clients: latencyDevices, length: o.seconds, next: side.next}
	var tails, middles, rates, costs []float64
	for range o.rounds {
		tail, err := calm.run(ctx)
		if err != nil {
			return err
		}
		before := h.cpu()
		got, err := side.run(ctx)
		if err != nil {
			return err
		}
		costs = append(costs, 1e6*(h.cpu()-before).Seconds()/(got.perSecond*o.seconds.Seconds()))
		tails, middles, rates = append(tails, ms(tail)), append(middles, ms(got.p50)), append(rates, got.perSecond)
	}
	r.add(figure{Name: "command to a device and back, p99", Unit: "ms", Hearth: median(tails), Goal: "≤ 20",
		Note: fmt.Sprintf("from POST to its answer with the result; %d devices, %d commands/s", latencyDevices, commandPace)})
	note := fmt.Sprintf("%d devices, each with the next command once the last has ended", latencyDevices)
	r.add(figure{Name: "commands to devices and back", Unit: "commands/s", Hearth: median(rates), Note: note})
	r.add(figure{Name: "commands to devices and back, p50", Unit: "ms", Hearth: median(middles), Note: note})
	r.add(figure{Name: "command to a device and back, processor time of the server", Unit: "µs", Hearth: median(costs)})
	return nil
}

// answer acknowledges and answers commands until the connection ends.
func (l *link) answer() {
	for {
		h, err := l.next()
		if err != nil {
			return
		}
		if h.Type != packet.PUBLISH {
			continue
		}
		m, err := packet.DecodePublish(h, l.body, packet.V311)
		var command struct {
			ID string `json:"id"`
		}
		if err != nil || json.Unmarshal(m.Payload, &command) != nil {
			return
		}
		out := packet.AppendPuback(nil, packet.V311, m.ID, packet.Success, "")
		out = packet.AppendPublish(out, packet.V311, packet.Publish{Topic: "c/" + command.ID, Payload: []byte(`{"ok":true}`)})
		if _, err := l.Write(out); err != nil {
			return
		}
	}
}
