package app_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/mqtt/mqtttest"
	"hearth/internal/mqtt/packet"
)

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come true", what)
		}
	}
}

func (w *commander) deviceNow(t *testing.T, instance int) apitest.Object {
	t.Helper()
	return w.want(t, w.call(t, instance, "GET", "/devices/"+w.device, w.user, nil), 200, "").body
}

// logs returns the device's logs, the oldest first, as event=value.
func (w *commander) logs(t *testing.T) string {
	t.Helper()
	list := w.want(t, w.call(t, 0, "GET", "/devices/"+w.device+"/logs?order=asc&limit=200", w.user, nil), 200, "")
	var all []string
	for _, item := range list.body["items"].([]any) {
		log := item.(map[string]any)
		all = append(all, fmt.Sprintf("%s=%s", log["event"], asJSON(t, log["value"])))
	}
	return strings.Join(all, " ")
}

var bothVersions = []packet.Version{packet.V311, packet.V5} // never written to

func TestWhatADevicePublishesIsStoredBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		for _, version := range bothVersions {
			w.device, w.token = w.newDevice(t, "one of a version")
			d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: version, Username: "anything", Password: w.token, KeepAlive: 60})
			for i, payload := range []string{`{"a":{"b":1},"c":[true,null,"x"]}`, `[{"d":2}]`, `{"ts":1764392400,"values":{"old":3}}`} {
				if reason := d.Acknowledged("t", payload, uint16(i+1)); reason != packet.Success {
					t.Errorf("%s was answered %s", payload, reason)
				}
			}
			d.Acknowledged("t/door/front", "ON", 7)
			d.Acknowledged("t", `{"ts":1764392400,"values":{"old":3}}`, 4) // sent again, it is stored once
			want := `old=3 a.b=1 c.0=true c.2="x" d=2 door/front="ON"`
			if got := w.logs(t); got != want {
				t.Errorf("stored are %s, want %s", got, want)
			}
			d.Acknowledged("h", `{"status":"error"}`, 8)
			d.Acknowledged("r", `{"on":true}`, 9)
			if now := w.deviceNow(t, 1); now["status"] != "error" || now["connection"] != "online" || now["last_error"] != nil {
				t.Errorf("the device is %v", now)
			}
			if twin := w.call(t, 0, "GET", "/devices/"+w.device+"/twin", w.token, nil); twin.compact(t, "reported") != `{"on":true}` {
				t.Errorf("the twin is %s", twin.raw)
			}
			// What can never be stored is acknowledged, with the reason where there is one, and shown.
			for _, wrong := range []struct{ topic, payload, code string }{
				{"t", `{"a":1,"b c":2}`, "validation_failed"}, {"t/x", `{}`, "validation_failed"}, {"h", `{"status":"x"}`, "validation_failed"}, {"r", `[1`, "malformed_body"},
			} {
				reason := d.Acknowledged(wrong.topic, wrong.payload, 10)
				if want := map[packet.Version]packet.Reason{packet.V5: packet.PayloadFormatInvalid}[version]; reason != want {
					t.Errorf("%s on %s was answered %s, want %s", wrong.payload, wrong.topic, reason, want)
				}
			}
			eventually(t, "the first error is shown", func() bool {
				shown, _ := w.deviceNow(t, 0)["last_error"].(map[string]any)
				return shown != nil && shown["code"] == "validation_failed" && shown["topic"] == "t" && strings.Contains(shown["message"].(string), "b c") && shown["at"] != ""
			})
			if got := w.logs(t); got != want {
				t.Errorf("after the errors, stored are %s", got)
			}
		}
	})
}

func TestManyMessagesAtOnceAreAcknowledgedInTheirOrder(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token})
		const n = 3000 // more than the queue holds
		var all []byte
		for i := 1; i <= n; i++ {
			all = append(all, d.Message("t", fmt.Sprintf(`{"ts":%d,"n":%d}`, 1764392400000+i, i), uint16(i))...)
		}
		sent := make(chan error, 1)
		go func() { sent <- d.SendMaybe(all) }()
		for i := 1; i <= n; i++ {
			if ack := d.Want(packet.PUBACK); binary.BigEndian.Uint16(ack.Body) != uint16(i) {
				t.Fatalf("the acknowledgement %d is of %d", i, binary.BigEndian.Uint16(ack.Body))
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		usage := w.want(t, w.call(t, 1, "GET", "/devices/"+w.device+"/usage?event=n&from=2025-11-29T00:00:00Z&to=2025-11-30T00:00:00Z&interval=hour", w.user, nil), 200, "")
		if got := usage.body["summary"].(map[string]any); got["count"] != float64(n) || got["total"] != float64(n*(n+1)/2) {
			t.Errorf("stored are %v", got)
		}
	})
}

func TestLoginsAndTopicsAreRefusedAsTheStandardSays(t *testing.T) {
	t.Parallel()
	w := newCommander(t, apitest.Embedded)
	login := func(c mqtttest.Connect) byte {
		t.Helper()
		return mqtttest.Dial(t, w.mqtt[0], c.Version).Connect(c).Body[1]
	}
	for _, c := range []struct {
		connect mqtttest.Connect
		want    [2]byte // of 3.1.1 and of 5
	}{
		{mqtttest.Connect{Username: w.token}, [2]byte{0, 0}},
		{mqtttest.Connect{Username: "x", Password: w.token}, [2]byte{0, 0}},
		{mqtttest.Connect{Username: w.token, Password: "x"}, [2]byte{5, 0x87}},
		{mqtttest.Connect{Username: "hd_" + strings.Repeat("x", 43)}, [2]byte{5, 0x87}},
		{mqtttest.Connect{}, [2]byte{5, 0x87}},
		{mqtttest.Connect{Username: w.token, WillTopic: "elsewhere", WillPayload: "1"}, [2]byte{5, 0x87}},
		{mqtttest.Connect{Username: w.token, WillTopic: "t/on", WillPayload: "false", WillQoS: 1}, [2]byte{0, 0}},
		{mqtttest.Connect{Username: w.token, WillTopic: "h", WillQoS: 2}, [2]byte{0, 0x9B}},
		{mqtttest.Connect{Username: w.token, WillTopic: "h", WillRetain: true}, [2]byte{0, 0x9A}},
		{mqtttest.Connect{Username: w.token, Persistent: true}, [2]byte{2, 0}},
		{mqtttest.Connect{Username: w.token, Persistent: true, ClientID: "x"}, [2]byte{0, 0}},
		{mqtttest.Connect{Version: 6, Username: w.token}, [2]byte{0x84, 0x84}},
		{mqtttest.Connect{Version: 3, Username: w.token}, [2]byte{1, 1}},
	} {
		for i, version := range bothVersions {
			if c.connect.Version < 4 || c.connect.Version == packet.V311 || c.connect.Version == packet.V5 {
				if c.connect.Version != 3 {
					c.connect.Version = version
				}
			}
			if got := login(c.connect); got != c.want[i] {
				t.Errorf("%+v was answered 0x%02X, want 0x%02X", c.connect, got, c.want[i])
			}
		}
	}
	for i, version := range bothVersions {
		connect := mqtttest.Connect{Version: version, Username: w.token}
		d := mqtttest.Login(t, w.mqtt[0], connect)
		for topic, want := range map[string][2]packet.Reason{
			"c": {1, 1}, "d": {1, 1}, "#": {0x80, 0x87}, "t": {0x80, 0x87}, "+": {0x80, 0x87}, "c/x": {0x80, 0x87}, "other/c": {0x80, 0x87}, "$share/g/c": {0x80, 0x87},
		} {
			got := d.Subscribe(topic, 2)
			if got != want[i] {
				t.Errorf("the subscription to %s was answered %s, want %s", topic, got, want[i])
			}
			if topic == "d" {
				d.Received()
			}
		}
		for what, wrong := range map[string]struct {
			send []byte
			want packet.Reason
		}{
			"another topic":    {d.Message("other/t", "1", 1), packet.NotAuthorized},
			"another's c":      {d.Message("c", "1", 1), packet.NotAuthorized},
			"QoS 2":            {mqtttest.Raw(0x34, append(append(mqtttest.Text("t"), 0, 1), 0)), packet.QoSNotSupported},
			"a second CONNECT": {mqtttest.Encode(connect), packet.ProtocolError},
			"a PUBREL":         {[]byte{0x62, 2, 0, 1}, packet.ProtocolError},
			"a large packet":   {[]byte{0x30, 0x81, 0x80, 0x10}, packet.TooLarge},
			"no packet":        {[]byte{0x00, 0}, packet.Malformed},
		} {
			d := mqtttest.Login(t, w.mqtt[0], connect)
			d.Send(wrong.send)
			want := wrong.want
			if version != packet.V5 {
				want = packet.Success
			}
			if got := d.Closed(); got != want {
				t.Errorf("MQTT %d: %s ends with %s, want %s", version, what, got, want)
			}
		}
	}
	retained := mqtttest.Raw(0x31, append(mqtttest.Text("t/r"), '1'))
	d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token})
	d.Send(retained)
	d.Acknowledged("t/after", "1", 1)
	if got := w.logs(t); !strings.HasSuffix(got, "r=1 after=1") {
		t.Errorf("a retained message of MQTT 3.1.1 was not taken: %s", got)
	}
	d = mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token})
	d.Send(mqtttest.Raw(0x31, append(mqtttest.Text("t/r"), 0, '1')))
	if got := d.Closed(); got != packet.RetainNotSupported {
		t.Errorf("a retained message of MQTT 5 ends with %s", got)
	}
}

func TestCommandsGoToTheConnectionAndBack(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		ids := make([]string, 3)
		send := func(i int) {
			ids[i] = w.want(t, w.send(t, i, "", apitest.Object{"name": fmt.Sprint("do", i), "params": apitest.Object{"n": i}}), 202, "").text("id")
		}
		want := func(got mqtttest.Message, i int, qos byte) {
			t.Helper()
			if text := fmt.Sprintf(`c {"id":%q,"name":"do%d","params":{"n":%d}}`, ids[i], i, i); got.Text != text || got.QoS != qos {
				t.Errorf("got %s with QoS %d, want %s", got.Text, got.QoS, text)
			}
		}
		state := func(i int, state string) {
			t.Helper()
			eventually(t, fmt.Sprintf("command %d is %s", i, state), func() bool { return w.look(t, ids[i])["state"] == state })
		}
		send(0) // while it is not connected
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token, Properties: []byte{0x21, 0, 2}})
		if got := d.Subscribe("c", 1); got != 1 {
			t.Fatalf("the subscription was answered %s", got)
		}
		first := d.Received()
		want(first, 0, 1)
		if first.Expiry < 3500 || first.Expiry > 3600 {
			t.Errorf("the command is of use for %d s", first.Expiry)
		}
		state(0, "sent")
		send(1) // to the other instance
		second := d.Received()
		want(second, 1, 1)
		send(2) // it has accepted as many as it does at once
		d.Ack(first.ID)
		state(0, "delivered")
		want(d.Received(), 2, 1)
		d.Acknowledged("c/"+ids[0], `{"ok":true,"result":{"a":1}}`, 1)
		if now := w.look(t, ids[0]); now["state"] != "succeeded" || asJSON(t, now["result"]) != `{"a":1}` {
			t.Errorf("the command is %v", now)
		}
		if reason := d.Acknowledged("c/nothing", `{"ok":true}`, 2); reason != packet.TopicNameInvalid {
			t.Errorf("the result of no command was answered %s", reason)
		}
		d.Close()
		// What was not acknowledged is sent again, in order, on any instance; at QoS 0 the result acknowledges.
		d = mqtttest.Login(t, w.mqtt[len(w.mqtt)-1], mqtttest.Connect{Username: w.token})
		d.Subscribe("c", 0)
		want(d.Received(), 1, 0)
		want(d.Received(), 2, 0)
		state(1, "sent")
		d.Acknowledged("c/"+ids[1], `{"ok":false,"error":"no"}`, 1)
		if now := w.look(t, ids[1]); now["state"] != "failed" || now["error"] != "no" || now["attempts"] != 2.0 {
			t.Errorf("the command is %v", now)
		}
		d.Close()
		d = mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token})
		d.Subscribe("c", 1)
		again := d.Received()
		want(again, 2, 1)
		if !again.Dup {
			t.Error("a command that is sent again does not say so")
		}
	})
}

func TestASessionThatIsKeptGoesOn(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		connect := mqtttest.Connect{Username: w.token, ClientID: "lamp", Persistent: true}
		expiry := mqtttest.Connect{Version: packet.V5, Username: w.token, Persistent: true, Properties: []byte{0x11, 0, 0, 0, 60}}
		login := func(instance int, c mqtttest.Connect, present byte) *mqtttest.Device {
			t.Helper()
			d := mqtttest.Dial(t, w.mqtt[instance], c.Version)
			if connack := d.Connect(c); connack.Body[0] != present || connack.Body[1] != 0 {
				t.Errorf("%+v was answered % x, want the session to be there: %d", c, connack.Body[:2], present)
			}
			return d
		}
		d := login(0, connect, 0)
		d.Subscribe("c", 1)
		d.Subscribe("v1/devices/me/attributes", 0)
		d.Subscribe("v1/devices/me/rpc/response/+", 0)
		d.Send(mqtttest.Raw(0xA2, append([]byte{0, 7}, mqtttest.Text("v1/devices/me/attributes")...)))
		d.Want(packet.UNSUBACK)
		d.Close()
		id := w.want(t, w.send(t, 0, "", apitest.Object{"name": "blink"}), 202, "").text("id")
		packetID := uint16(0)
		for i, c := range []mqtttest.Connect{connect, expiry} { // on any instance, in any version, until it is acknowledged
			d = login((i+1)%len(w.mqtt), c, 1)
			if got := d.Received(); got.Dup != (i > 0) || !strings.HasPrefix(got.Text, `c {"id":"`+id) {
				t.Errorf("got %s, sent again: %v", got.Text, got.Dup)
			} else if i > 0 && got.ID != packetID {
				t.Errorf("what is sent again has the packet id %d, not %d", got.ID, packetID)
			} else {
				packetID = got.ID
			}
			d.Close()
		}
		d = login(0, expiry, 1)
		d.Ack(d.Received().ID)
		d.Send([]byte{0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0}) // it ends with the connection after all
		d.Closed()
		d = login(0, connect, 0)
		d.Close()
		login(len(w.mqtt)-1, connect, 1).Close()
		login(0, mqtttest.Connect{Username: w.token}, 0).Close() // a clean one ends it
		login(0, connect, 0).Close()
	})
}

func TestTheDeltaOfTheTwinFollowsItsChanges(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		desire := func(instance int, body string) {
			t.Helper()
			w.want(t, w.call(t, instance, "PATCH", "/devices/"+w.device+"/twin/desired", w.user, body), 200, "")
		}
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token})
		d.Subscribe("d", 1)
		expect := func(want string) {
			t.Helper()
			got := d.Received()
			if got.Text != "d "+want {
				t.Errorf("got %s, want %s", got.Text, want)
			}
			d.Ack(got.ID)
		}
		expect(`{}`)
		desire(0, `{"power":true}`)
		expect(`{"power":true}`)
		desire(1, `{"level":3}`)
		expect(`{"level":3,"power":true}`)
		d.Publish("r", `{"power":true,"other":1}`, 0)
		expect(`{"level":3}`)
		w.want(t, w.call(t, 1, "PATCH", "/devices/"+w.device+"/twin/reported", w.token, `{"level":3}`), 200, "")
		expect(`{}`)
	})
}

func TestPresenceFollowsTheConnection(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		is := func(want string) func() bool {
			return func() bool { return w.deviceNow(t, 1)["connection"] == want }
		}
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token, KeepAlive: 600})
		if !is("online")() {
			t.Error("it is not online once it is connected")
		}
		d.Publish("t/x", "1", 0)
		d.Send([]byte{0xE0, 0})
		d.Closed()
		eventually(t, "DISCONNECT makes it offline", is("offline"))
		if got := w.logs(t); got != "x=1" {
			t.Errorf("what came before DISCONNECT is %s", got)
		}
		start := time.Now()
		d = mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token, KeepAlive: 2, WillTopic: "t/gone", WillPayload: "true"})
		d.Close()
		eventually(t, "the will is stored", func() bool { return w.logs(t) == "x=1 gone=true" })
		if !is("online")() && time.Since(start) < 2*time.Second {
			t.Error("a lost connection makes it offline at once")
		}
		eventually(t, "1.5 times the keep-alive make it offline", is("offline"))
		if took := time.Since(start); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("it was offline after %v", took)
		}
		// A device that falls silent is disconnected.
		d = mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token, KeepAlive: 1})
		d.Send([]byte{0xC0, 0})
		d.Want(packet.PINGRESP)
		if got := d.Closed(); got != packet.KeepAliveTimeout {
			t.Errorf("silence ends with %s", got)
		}
		d = mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token, WillTopic: "t/will", WillPayload: "1"})
		d.Send([]byte{0xE0, 1, 0x04})
		eventually(t, "a DISCONNECT that asks for it publishes the will", func() bool { return strings.HasSuffix(w.logs(t), "will=1") })
	})
}

func TestASecondConnectionTakesOverAndARevokedTokenEndsOne(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		connect := mqtttest.Connect{Version: packet.V5, Username: w.token, ClientID: "one"}
		old := mqtttest.Login(t, w.mqtt[0], connect)
		for i := range 4 { // within an instance, and from one to another
			connect.ClientID = fmt.Sprint("other", i)
			now := mqtttest.Login(t, w.mqtt[(i/2)%len(w.mqtt)], connect)
			if got := old.Closed(); got != packet.TakenOver {
				t.Errorf("take-over %d ends with %s", i, got)
			}
			now.Acknowledged("t/n", fmt.Sprint(i), 1)
			old = now
		}
		if now := w.deviceNow(t, 0); now["connection"] != "online" {
			t.Errorf("after the take-overs it is %v", now["connection"])
		}
		tokens := w.want(t, w.call(t, 0, "GET", "/devices/"+w.device+"/tokens", w.user, nil), 200, "")
		id := tokens.body["items"].([]any)[0].(map[string]any)["id"].(string)
		start := time.Now()
		w.want(t, w.call(t, 1, "DELETE", "/devices/"+w.device+"/tokens/"+id, w.user, nil), 204, "")
		if got := old.Closed(); got != packet.NotAuthorized || time.Since(start) > 5*time.Second {
			t.Errorf("the revoked token ends with %s after %v", got, time.Since(start))
		}
		eventually(t, "the revoked token is refused everywhere", func() bool {
			return mqtttest.Dial(t, w.mqtt[0], packet.V5).Connect(connect).Body[1] == 0x87
		})
		device, token := w.newDevice(t, "other")
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: token})
		w.want(t, w.call(t, 1, "DELETE", "/devices/"+device, w.user, nil), 204, "")
		if got := d.Closed(); got != packet.NotAuthorized {
			t.Errorf("the deleted device's connection ends with %s", got)
		}
	})
}

func TestTopicAliasesStandForTopics(t *testing.T) {
	t.Parallel()
	w := newCommander(t, apitest.Embedded)
	d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token})
	publish := func(topic string, alias byte, payload string) {
		body := append(mqtttest.Text(topic), 3, 0x23, 0, alias)
		d.Send(mqtttest.Raw(0x30, append(body, payload...)))
	}
	publish("t/a", 1, "1")
	publish("", 1, "2")
	publish("t/b", 1, "3")
	publish("", 1, "4")
	d.Acknowledged("t/end", "5", 1)
	if got := w.logs(t); got != "a=1 a=2 b=3 b=4 end=5" {
		t.Errorf("stored are %s", got)
	}
	publish("", 2, "6")
	if got := d.Closed(); got != packet.TopicAliasInvalid {
		t.Errorf("an unknown alias ends with %s", got)
	}
}

func TestMQTTOverAWebSocket(t *testing.T) {
	t.Parallel()
	w := newCommander(t, apitest.Embedded)
	d := mqtttest.Over(t, webSocket(t, w.urls[0]), packet.V5)
	// Packets lie in messages in any way.
	all := mqtttest.Encode(mqtttest.Connect{Version: packet.V5, Username: w.token})
	all = append(all, d.Message("t/a", "1", 1)...)
	for _, b := range all[:20] {
		d.Send([]byte{b})
	}
	d.Send(all[20:])
	d.Want(packet.CONNACK)
	d.Want(packet.PUBACK)
	if got := w.logs(t); got != "a=1" {
		t.Errorf("stored are %s", got)
	}
	refused, err := http.Get(w.urls[0] + "/api/v1/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	if _ = refused.Body.Close(); refused.StatusCode != http.StatusBadRequest {
		t.Errorf("without a handshake: %d", refused.StatusCode)
	}
}
