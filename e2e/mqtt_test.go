package e2e

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"hearth/internal/mqtt/mqtttest"
	"hearth/internal/mqtt/packet"
	"hearth/internal/testserver"
)

// serveMQTT is serve with an address for devices.
func serveMQTT(t *testing.T, env ...string) *server {
	t.Helper()
	addr := testserver.FreeAddr(t)
	s := serve(t, append([]string{"HEARTH_MQTT_ADDR=" + addr, "HEARTH_ACCESS_TTL=12h"}, env...)...)
	s.mqtt = addr
	return s
}

// deviceToken makes a token of a device.
func (c *client) deviceToken(device string) string {
	c.s.t.Helper()
	var made struct{ Token string }
	c.do("POST", "/devices/"+device+"/tokens", nil, 201).Into(c.s.t, &made)
	return made.Token
}

// The lines of the page run one after the other with Mosquitto's clients, over TCP and TLS.
func TestTheLinesOfThePageAboutMQTTRun(t *testing.T) {
	t.Parallel()
	dir, secure := t.TempDir(), testserver.FreeAddr(t)
	certify(t, dir)
	s := serveMQTT(t, "HEARTH_MQTTS_ADDR="+secure, "HEARTH_TLS_CERT="+filepath.Join(dir, "tls.crt"), "HEARTH_TLS_KEY="+filepath.Join(dir, "tls.key"))
	_, port, _ := net.SplitHostPort(s.mqtt)
	_, securePort, _ := net.SplitHostPort(secure)
	script := "set -euo pipefail; J='Content-Type: application/json'\n" + strings.Join(scripts(t, "mqtt.md", "sh"), "\n")
	var lines []string
	for line := range strings.Lines(script) {
		if !strings.HasSuffix(line, "hearth serve\n") { // it runs, with these settings
			lines = append(lines, line)
		}
	}
	script = strings.NewReplacer(
		"-h localhost -p 8883", "-h localhost -p "+securePort, "-h localhost", "-h localhost -p "+port, "--cafile cert.pem", "--cafile "+filepath.Join(dir, "tls.crt"),
	).Replace(strings.Join(lines, ""))
	ann, _ := s.signup("ann@example.com")
	out := runScript(t, s, script, "A=Authorization: Bearer "+ann.token, "DEVICE="+ann.device("lamp"))
	for _, want := range []string{
		`"event":"temperature","value":21.5`, `"event":"door","value":true`, "d {}\n", `"name":"blink","params":{"times":3}}`, "d {\"power\":true}\n",
		`{"code":"validation_failed","message":"the name \"my temperature\" must be`, `"serial":"SN-1042"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, "urn:hearth:error:") {
		t.Errorf("a line is refused:\n%s", out)
	}
}

// The sketch of the page sends these bytes, as its library does, and is answered.
func TestTheSketchOfThePageIsServed(t *testing.T) {
	t.Parallel()
	sketch := scripts(t, "mqtt.md", "cpp")[0]
	if n := strings.Count(sketch, "\n"); n > 40 {
		t.Errorf("the sketch has %d lines", n)
	}
	s := serveMQTT(t)
	ann, _ := s.signup("ann@example.com")
	device := ann.device("lamp")
	token := ann.deviceToken(device)
	conn, err := net.Dial("tcp", s.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := mqtttest.Over(t, conn, packet.V311)
	// mqtt.connect("lamp", TOKEN, ""): a clean session, a user name and an empty password, a keep-alive of 15 s.
	connect := append(mqtttest.Text("MQTT"), 4, 0xC2, 0, 15)
	connect = append(append(append(connect, mqtttest.Text("lamp")...), mqtttest.Text(token)...), mqtttest.Text("")...)
	d.Send(mqtttest.Raw(0x10, connect))
	if connack := d.Want(packet.CONNACK); connack.Body[1] != 0 {
		t.Fatalf("CONNECT was answered % x", connack.Body)
	}
	says := func(code string) {
		t.Helper()
		if !strings.Contains(sketch, code) {
			t.Errorf("the sketch does not say %s", code)
		}
	}
	for i, topic := range []string{"c", "d"} {
		says(`mqtt.subscribe("` + topic + `", 1)`)
		d.Send(mqtttest.Raw(0x82, append(append([]byte{0, byte(2 + i)}, mqtttest.Text(topic)...), 1)))
		d.Want(packet.SUBACK)
	}
	want := func(text string) packet.Publish {
		t.Helper()
		m := d.Received()
		if !strings.HasPrefix(m.Text, text) {
			t.Errorf("got %s, want %s", m.Text, text)
		}
		d.Ack(m.ID) // the library does, after the callback
		return m.Publish
	}
	want("d {}")
	ann.do("PATCH", "/devices/"+device+"/twin/desired", map[string]any{"power": true}, 200)
	want(`d {"power":true}`)
	says(`mqtt.publish("r", on ? "{\"power\":true}"`)
	d.Publish("r", `{"power":true}`, 0)
	want("d {}")
	var sent struct{ ID string }
	ann.do("POST", "/devices/"+device+"/commands", map[string]any{"name": "blink"}, 202).Into(t, &sent)
	c := want(`c {"id":"` + sent.ID + `"`)
	says(`text.substring(7, 43)`)
	d.Publish("c/"+string(c.Payload)[7:43], `{"ok":true}`, 0)
	says(`mqtt.publish("t", ("{\"temperature\":" + String(temperatureRead()) + "}")`)
	d.Publish("t", `{"temperature":53.33}`, 0)
	d.Send([]byte{0xC0, 0})
	d.Want(packet.PINGRESP)
	within(t, 10*time.Second, "the sketch's messages are stored", func() string {
		var ended struct{ State string }
		ann.do("GET", "/commands/"+sent.ID, nil, 200).Into(t, &ended)
		if n := len((&crashLoad{device: device}).stored(t, ann)); ended.State != "succeeded" || n != 1 {
			return fmt.Sprint("the command is ", ended.State, ", values: ", n)
		}
		return ""
	})
}

// pahoDevice is a device that uses Eclipse Paho and answers its commands.
func pahoDevice(t *testing.T, broker string, config *tls.Config, token string) paho.Client {
	t.Helper()
	options := paho.NewClientOptions().AddBroker(broker).SetTLSConfig(config).SetClientID("paho").SetUsername(token).
		SetCleanSession(false).SetKeepAlive(30 * time.Second).SetMaxReconnectInterval(100 * time.Millisecond).SetConnectRetry(true).SetConnectRetryInterval(100 * time.Millisecond)
	options.SetOnConnectHandler(func(c paho.Client) {
		c.Subscribe("c", 1, func(c paho.Client, m paho.Message) {
			var command struct {
				ID     string
				Params json.RawMessage
			}
			if err := json.Unmarshal(m.Payload(), &command); err != nil {
				t.Errorf("a command is %s", m.Payload())
			}
			c.Publish("c/"+command.ID, 1, false, `{"ok":true,"result":`+string(command.Params)+`}`)
		})
	})
	c := paho.NewClient(options)
	if token := c.Connect(); !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("paho does not connect to %s: %v", broker, token.Error())
	}
	t.Cleanup(func() { c.Disconnect(100) })
	return c
}

// A device with a common library reports and answers commands over each way in, and comes back after a restart with what it has not sent.
func TestPahoReportsAndAnswersCommandsThroughARestart(t *testing.T) {
	t.Parallel()
	dir, secure, https := t.TempDir(), testserver.FreeAddr(t), testserver.FreeAddr(t)
	trust := certify(t, dir)
	s := serveMQTT(t, "HEARTH_MQTTS_ADDR="+secure, "HEARTH_TLS_CERT="+filepath.Join(dir, "tls.crt"), "HEARTH_TLS_KEY="+filepath.Join(dir, "tls.key"),
		"HEARTH_TLS_ADDR="+https)
	ann, _ := s.signup("ann@example.com")
	type connected struct {
		device string
		paho.Client
	}
	devices := map[string]connected{}
	for _, broker := range []string{"tcp://" + s.mqtt, "ssl://" + secure, "ws://" + s.addr + "/api/v1/mqtt", "wss://" + https + "/api/v1/mqtt"} {
		device := ann.device(broker)
		devices[broker] = connected{device, pahoDevice(t, broker, trust, ann.deviceToken(device))}
	}
	answers := func(n int) {
		t.Helper()
		for broker, d := range devices {
			var c struct {
				State  string
				Result map[string]int
			}
			ann.do("POST", "/devices/"+d.device+"/commands?wait=20s", map[string]any{"name": "set", "params": map[string]int{"n": n}}, 200).Into(t, &c)
			if c.State != "succeeded" || c.Result["n"] != n {
				t.Errorf("%s: the command is %+v", broker, c)
			}
		}
	}
	answers(1)
	// The API is served over HTTPS with the same certificate.
	over := &server{t: t, url: "https://" + https, transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	if me, _ := over.login("ann@example.com", password); len(me.do("GET", "/devices", nil, 200).Body) == 0 {
		t.Error("the API over HTTPS answers nothing")
	}
	s.stop()
	for _, d := range devices { // while the server is away; the library's own token is of no use: a reconnection completes it
		d.Publish("t", 1, false, fmt.Sprintf(`{"ts":%d,"values":{"temperature":21.5}}`, time.Now().UnixMilli()))
	}
	s.start()
	for broker, d := range devices {
		within(t, 30*time.Second, broker+": what was published while the server was away is stored", func() string {
			if got := len((&crashLoad{device: d.device}).stored(t, ann)); got != 1 {
				return fmt.Sprint(got, " values are")
			}
			return ""
		})
	}
	answers(2)
}

// mqttLoad is a device that counts, and sends each value with its time until it is acknowledged.
type mqttLoad struct {
	crashLoad
	token   string
	version packet.Version
	began   int64 // the time of the value 0, in Unix milliseconds
	// waiting are the values that were sent and not acknowledged, in order.
	waiting []int
	// left says that the server has said once that it shuts down.
	left bool
}

func newMQTTLoad(ann *client, i int) *mqttLoad {
	device := ann.device(fmt.Sprint("counter ", i))
	return &mqttLoad{
		crashLoad: crashLoad{device: device, acked: map[int]bool{}, sent: map[int]bool{}}, token: ann.deviceToken(device),
		version: []packet.Version{packet.V311, packet.V5}[i%2], began: time.Now().Add(-time.Hour).UnixMilli(),
	}
}

// run connects and sends until the connection ends, or, with rounds, that many times. It reports whether everything was acknowledged.
func (l *mqttLoad) run(t *testing.T, addr string, rng *rand.Rand, rounds int) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	d := mqtttest.Over(t, conn, l.version)
	if d.SendMaybe(mqtttest.Encode(mqtttest.Connect{Version: l.version, Username: l.token})) != nil {
		return false
	}
	if connack, err := d.Next(); err != nil || connack.Body[1] != 0 {
		return false
	}
	again := len(l.waiting)
	for round := 0; rounds == 0 || round < rounds; round++ {
		for range 1 + rng.IntN(40) {
			l.sent[l.next] = true
			l.waiting = append(l.waiting, l.next)
			l.next++
		}
		var out []byte
		for i, n := range l.waiting {
			payload := fmt.Appendf(nil, `{"ts":%d,"values":{"count":%d}}`, l.began+int64(n), n)
			out = packet.AppendPublish(out, l.version, packet.Publish{Topic: "t", QoS: 1, ID: uint16(i + 1), Dup: i < again, Payload: payload})
		}
		again = 0
		if d.SendMaybe(out) != nil {
			return false
		}
		for id := uint16(1); len(l.waiting) > 0; id++ {
			p, err := d.Next()
			if err != nil || p.Type != packet.PUBACK {
				l.left = l.left || err == nil && p.Type == packet.DISCONNECT && packet.Reason(p.Body[0]) == packet.ShuttingDown
				return false
			}
			if binary.BigEndian.Uint16(p.Body) != id || len(p.Body) > 2 && p.Body[2] != 0 {
				t.Errorf("message %d was answered % x", id, p.Body)
			}
			n := l.waiting[0]
			l.waiting, l.acked[n] = l.waiting[1:], true
			delete(l.sent, n)
		}
	}
	return true
}

// check holds what is stored against what was sent and acknowledged: each value once.
func (l *mqttLoad) check(t *testing.T, ann *client) int {
	t.Helper()
	found := l.stored(t, ann)
	for n := range l.next {
		if found[n] != 1 {
			t.Errorf("value %d is stored %d times; acknowledged %v", n, found[n], l.acked[n])
		}
	}
	if len(found) != l.next || len(l.acked) == 0 {
		t.Errorf("%d values were sent, %d acknowledged, %d are stored", l.next, len(l.acked), len(found))
	}
	return len(found)
}

// A crash between a message and its acknowledgement loses nothing that was acknowledged, and doubles nothing that has its time; and a stop
// stores and acknowledges what was read, and says goodbye.
func TestKillingTheServerLosesNoAcknowledgedMessage(t *testing.T) {
	t.Parallel()
	s := serveMQTT(t)
	ann, _ := s.signup("ann@example.com")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	loads := make([]*mqttLoad, 4)
	for i := range loads {
		loads[i] = newMQTTLoad(ann, i)
	}
	const stops = 5
	for round := range kills + stops {
		var wg sync.WaitGroup
		for i, l := range loads {
			own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			wg.Go(func() { l.run(t, s.mqtt, own, 0) })
		}
		// The moment of a crash is any moment.
		time.Sleep(time.Duration(20+rng.IntN(150)) * time.Millisecond)
		if round < kills {
			s.kill()
		} else {
			s.stop()
		}
		wg.Wait()
		s.start()
	}
	total := 0
	for i, l := range loads {
		if !l.run(t, s.mqtt, rng, 1) {
			t.Errorf("device %d is not served after the last start", i)
		}
		if l.version == packet.V5 && !l.left {
			t.Errorf("device %d never heard that the server shuts down", i)
		}
		total += l.check(t, ann)
	}
	t.Logf("%d values are stored after %d kills and %d stops", total, kills, stops)
	s.stop()
	checkIntegrity(t, filepath.Join(s.dir, "hearth.db"))
}

// Devices of a fleet connect through nginx: when an instance dies, they come back at the other, and commands find them there.
func TestDevicesOfAFleetComeBackThroughNginx(t *testing.T) {
	t.Parallel()
	f := newFleet(t, fleetOptions{mqtt: true})
	ann, _ := f.signup("ann@example.com")
	device := ann.device("paho")
	c := pahoDevice(t, "ssl://"+f.mqtt, f.front.tls, ann.deviceToken(device))
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	loads := []*mqttLoad{newMQTTLoad(ann, 0), newMQTTLoad(ann, 1), newMQTTLoad(ann, 2)}
	plain := func(l *mqttLoad, rng *rand.Rand, rounds int) bool { // past nginx's TLS: what is measured is the instances
		return l.run(t, f.apis[rng.IntN(2)].mqtt, rng, rounds)
	}
	for round := range 4 {
		var wg sync.WaitGroup
		stopping := make(chan struct{})
		for i, l := range loads {
			own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			wg.Go(func() {
				for {
					plain(l, own, 0)
					select {
					case <-stopping:
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			})
		}
		time.Sleep(time.Duration(100+rng.IntN(200)) * time.Millisecond)
		dying := f.apis[round%2]
		dying.kill()
		c.Publish("t", 1, false, fmt.Sprintf(`{"ts":%d,"values":{"count":%d}}`, time.Now().UnixMilli(), round))
		var result struct{ State string }
		f.of(1-round%2, ann).do("POST", "/devices/"+device+"/commands?wait=25s", map[string]any{"name": "set", "params": 1}, 200).Into(t, &result)
		if result.State != "succeeded" {
			t.Errorf("round %d: the command is %s", round, result.State)
		}
		close(stopping)
		f.apis[1-round%2].endConnections(t, loads)
		wg.Wait()
		dying.start()
	}
	for i, l := range loads {
		if !plain(l, rng, 1) {
			t.Errorf("device %d is not served at the end", i)
		}
		l.check(t, ann)
	}
	within(t, 20*time.Second, "the four messages through nginx are stored", func() string {
		if got := (&crashLoad{device: device}).stored(t, ann); len(got) != 4 {
			return fmt.Sprint(len(got), " are")
		}
		return ""
	})
}

// endConnections takes over the connections of devices, and leaves.
func (s *server) endConnections(t *testing.T, loads []*mqttLoad) {
	t.Helper()
	for _, l := range loads {
		mqtttest.Login(t, s.mqtt, mqtttest.Connect{Username: l.token}).Close()
	}
}

// A device that does not read what it subscribed to is disconnected, and delays nobody else.
func TestADeviceThatDoesNotReadIsDisconnected(t *testing.T) {
	t.Parallel()
	s := serveMQTT(t)
	ann, _ := s.signup("ann@example.com")
	slow, good := ann.device("slow"), ann.device("good")
	conn, err := net.Dial("tcp", s.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	d := mqtttest.Over(t, conn, packet.V311)
	d.Connect(mqtttest.Connect{Username: ann.deviceToken(slow), KeepAlive: 600})
	d.Subscribe("d", 0)
	other := mqtttest.Login(t, s.mqtt, mqtttest.Connect{Username: ann.deviceToken(good)})
	big := strings.Repeat("x", 30<<10)
	began, slowest, ended := time.Now(), time.Duration(0), false
	for i := 0; !ended && time.Since(began) < 60*time.Second; i++ {
		ann.do("PATCH", "/devices/"+slow+"/twin/desired", map[string]any{"text": big[:len(big)-i%1000], "n": i}, 200)
		start := time.Now()
		other.Acknowledged("t/n", fmt.Sprint(i), uint16(1+i%1000))
		slowest = max(slowest, time.Since(start))
		if i > 500 { // the buffers of the kernel are full by now
			time.Sleep(100 * time.Millisecond)
			_, err := conn.Write([]byte{0xC0, 0})
			ended = err != nil
		}
	}
	if !ended || slowest > 2*time.Second {
		t.Errorf("ended %v after %v; the other device waited up to %v", ended, time.Since(began), slowest)
	}
}

// Whatever bytes devices send, before they log in and after, the others are served.
func TestHostilePacketsHarmNoOtherConnection(t *testing.T) {
	t.Parallel()
	s := serveMQTT(t)
	ann, _ := s.signup("ann@example.com")
	good := mqtttest.Login(t, s.mqtt, mqtttest.Connect{Username: ann.deviceToken(ann.device("good"))})
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	seed := rng.Uint64()
	rng = rand.New(rand.NewPCG(seed, 2))
	token := ann.deviceToken(ann.device("hostile"))
	silent, err := net.Dial("tcp", s.mqtt) // it says nothing at all
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	quiet := time.Now()
	for i := range 600 {
		version := []packet.Version{packet.V311, packet.V5}[i%2]
		d := mqtttest.Dial(t, s.mqtt, version)
		out := mqtttest.Encode(mqtttest.Connect{Version: version, Username: token, WillTopic: "t/x", WillPayload: "1"})
		if i%3 > 0 {
			out = append(out, hostile(rng, d, version)...)
		}
		if i%3 == 0 || i%5 == 0 {
			out = mutated(rng, out)
		}
		_ = d.SendMaybe(out)
		d.Close()
		good.Acknowledged("t/n", fmt.Sprint(i), uint16(1+i))
	}
	if !s.running() {
		t.Fatalf("the program ended; the seed is %d", seed)
	}
	_ = silent.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := silent.Read(make([]byte, 1)); err == nil || n > 0 || time.Since(quiet) > 15*time.Second {
		t.Errorf("a connection that says nothing ends with %v after %v", err, time.Since(quiet))
	}
	if text := s.log.String(); strings.Contains(text, "panic") {
		t.Errorf("the seed is %d: %s", seed, tail(text, 2000))
	}
}

// hostile returns packets of every type, some of which were changed.
func hostile(rng *rand.Rand, d *mqtttest.Device, version packet.Version) (out []byte) {
	filter := append(mqtttest.Text("c"), 1)
	if version == packet.V5 {
		filter = append([]byte{0}, filter...)
	}
	all := [][]byte{
		d.Message("t", `{"a":1}`, 1), d.Message("t/b", "2", 0), d.Message("r", `{"a":{"b":1}}`, 3), d.Message("c/x", `{"ok":true}`, 4),
		mqtttest.Raw(0x82, append([]byte{0, 1}, filter...)), mqtttest.Raw(0xA2, append([]byte{0, 2}, filter[:len(filter)-1]...)),
		packet.AppendPuback(nil, version, 1, packet.Success, ""), {0xC0, 0}, {0xE0, 0}, {0xF0, 0}, {0x62, 2, 0, 1}, {0x30, 0xFF, 0xFF, 0xFF, 0x7F}, {0x82, 0},
		mqtttest.Encode(mqtttest.Connect{Version: version}), mqtttest.Raw(0x30, make([]byte, 300<<10)),
	}
	for range 1 + rng.IntN(8) {
		one := all[rng.IntN(len(all))]
		if rng.IntN(2) == 0 {
			one = mutated(rng, one)
		}
		out = append(out, one...)
	}
	return out
}

// mutated returns bytes with some changed, missing or added.
func mutated(rng *rand.Rand, data []byte) []byte {
	data = append([]byte(nil), data...)
	for range 1 + rng.IntN(4) {
		at := rng.IntN(len(data))
		switch rng.IntN(3) {
		case 0:
			data[at] = byte(rng.Uint32())
		case 1:
			data = append(data[:at], data[min(len(data), at+1+rng.IntN(4)):]...)
		case 2:
			data = append(data[:at:at], append([]byte{byte(rng.Uint32())}, data[at:]...)...)
		}
		if len(data) == 0 {
			return []byte{0}
		}
	}
	return data
}
