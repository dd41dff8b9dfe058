package app_test

import (
	"fmt"
	"strings"
	"testing"

	"hearth/internal/apitest"
	"hearth/internal/mqtt/mqtttest"
	"hearth/internal/mqtt/packet"
)

// gatewayToken makes a gateway's token of the device.
func (w *commander) gatewayToken(t *testing.T) string {
	t.Helper()
	made := w.want(t, w.call(t, 0, "POST", "/devices/"+w.device+"/tokens", w.user, apitest.Object{"gateway": true}), 201, "")
	if made.body["gateway"] != true {
		t.Errorf("the token is %s", made.raw)
	}
	return made.text("token")
}

// bySerial returns the user's device of a serial; nil if there is none.
func (w *commander) bySerial(t *testing.T, token, serial string) apitest.Object {
	t.Helper()
	list := w.want(t, w.call(t, 1, "GET", "/devices?serial="+strings.ReplaceAll(serial, " ", "%20"), token, nil), 200, "")
	items := list.body["items"].([]any)
	if len(items) == 0 {
		return nil
	}
	return items[0].(map[string]any)
}

func (w *commander) as(device, token string) *commander {
	other := *w
	other.device, other.token = device, token
	return &other
}

func TestAGatewayMakesAndServesTheDevicesBehindIt(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		w.signUp(t, "bob@example.com")
		bob := w.login(t, "bob@example.com").text("access_token")
		w.want(t, w.call(t, 0, "POST", "/devices", bob, apitest.Object{"name": "bob's", "type": "lamp", "serial": "S 1"}), 201, "")
		connect := mqtttest.Connect{Version: packet.V5, Username: w.gatewayToken(t), KeepAlive: 600}
		d := mqtttest.Login(t, w.mqtt[0], connect)
		for i, topic := range []string{"g/S 1/t", "g/S-2/t", "g/S 1/t", "t"} {
			if reason := d.Acknowledged(topic, fmt.Sprintf(`{"ts":%d,"n":%d}`, 1764392400000+i, i), uint16(i+1)); reason != packet.Success {
				t.Fatalf("%s was answered %s", topic, reason)
			}
		}
		first, second := w.bySerial(t, w.user, "S 1"), w.bySerial(t, w.user, "S-2")
		if first == nil || second == nil || first["name"] != "S 1" || first["connection"] != "online" || second["connection"] != "online" {
			t.Fatalf("made are %v and %v", first, second)
		}
		behind := w.as(first["id"].(string), "")
		for of, want := range map[*commander]string{w: "n=3", behind: "n=0 n=2", w.as(second["id"].(string), ""): "n=1"} {
			if got := of.logs(t); got != want {
				t.Errorf("stored are %s, want %s", got, want)
			}
		}
		d.Acknowledged("g/S 1/h", `{"status":"error"}`, 5)
		d.Acknowledged("g/S 1/r", `{"level":1}`, 6)
		d.Acknowledged("g/S 1/t/door", `ON`, 7)
		if now := behind.deviceNow(t, 1); now["status"] != "error" || !strings.HasSuffix(behind.logs(t), `door="ON"`) {
			t.Errorf("the device is %v with %s", now, behind.logs(t))
		}
		// Commands and the delta of every device behind it, and of one alone.
		if got := d.Subscribe("g/+/d", 0); got != 0 {
			t.Errorf("the subscription to all deltas was answered %s", got)
		}
		got := map[string]bool{d.Received().Text: true, d.Received().Text: true}
		if !got["g/S 1/d {}"] || !got["g/S-2/d {}"] {
			t.Errorf("the deltas are %v", got)
		}
		w.want(t, w.call(t, 1, "PATCH", "/devices/"+behind.device+"/twin/desired", w.user, `{"level":3}`), 200, "")
		if text := d.Received().Text; text != `g/S 1/d {"level":3}` {
			t.Errorf("got %s", text)
		}
		d.Subscribe("g/+/c", 1)
		made := behind.want(t, behind.send(t, 1, "", apitest.Object{"name": "set"}), 202, "")
		c := d.Received()
		if want := `g/S 1/c {"id":"` + made.text("id") + `","name":"set","params":null}`; c.Text != want {
			t.Errorf("got %s, want %s", c.Text, want)
		}
		d.Ack(c.ID)
		eventually(t, "the command is delivered", func() bool { return w.look(t, made.text("id"))["state"] == "delivered" })
		d.Acknowledged("g/S 1/c/"+made.text("id"), `{"ok":true,"result":7}`, 8)
		if now := w.look(t, made.text("id")); now["state"] != "succeeded" || now["result"] != 7.0 {
			t.Errorf("the command is %v", now)
		}
		// Nothing of another scope: not the other user's device of the serial, nor one that has left the scope.
		if theirs := w.bySerial(t, bob, "S 1"); theirs["connection"] != "never" || theirs["id"] == behind.device {
			t.Errorf("the other user's device is %v", theirs)
		}
		if reason := d.Acknowledged("g/S-2/c/"+made.text("id"), `{"ok":true}`, 9); reason != packet.TopicNameInvalid {
			t.Errorf("the result of another device's command was answered %s", reason)
		}
		org := w.want(t, w.call(t, 0, "POST", "/organizations", w.user, apitest.Object{"name": "works"}), 201, "").text("id")
		w.want(t, w.call(t, 0, "POST", "/devices/"+behind.device+"/transfer", w.user, apitest.Object{"organization_id": org}), 200, "")
		behind.want(t, behind.send(t, 0, "", apitest.Object{"name": "stay"}), 202, "")
		eventually(t, "the serial is a new device's", func() bool { // other instances learn of a transfer within a second
			d.Acknowledged("g/S 1/t", `{"n":9}`, 10)
			list := w.want(t, w.call(t, 1, "GET", "/devices?serial=S%201", w.user, nil), 200, "")
			return len(list.body["items"].([]any)) == 2
		})
		if now := behind.deviceNow(t, 0); now["organization_id"] != org {
			t.Errorf("the device that left is %v", now)
		}
		if c := w.want(t, w.call(t, 0, "GET", "/devices/"+behind.device+"/commands?limit=1", w.user, nil), 200, ""); !strings.Contains(c.raw, `"state":"queued"`) {
			t.Errorf("the command of the device that left is %s", c.raw)
		}
		// They go offline with it.
		d.Send([]byte{0xE0, 0})
		eventually(t, "the devices are offline", func() bool {
			return w.bySerial(t, w.user, "S-2")["connection"] == "offline" && w.deviceNow(t, 1)["connection"] == "offline"
		})
		list := w.want(t, w.call(t, 0, "GET", "/devices/"+w.device+"/tokens", w.user, nil), 200, "").body["items"].([]any)
		if len(list) != 2 || list[0].(map[string]any)["gateway"] != false || list[1].(map[string]any)["gateway"] != true {
			t.Errorf("the tokens are %v", list)
		}
	})
}

func TestAGatewaysTopicsAreClosedToOthers(t *testing.T) {
	t.Parallel()
	w := newCommander(t, apitest.Embedded)
	gateway := w.gatewayToken(t)
	for _, topic := range []string{"g/S1/t", "v1/gateway/telemetry", "v1/gateway/connect"} {
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token})
		d.Publish(topic, `{"S1":{"n":1}}`, 1)
		if got := d.Closed(); got != packet.NotAuthorized {
			t.Errorf("%s ends with %s", topic, got)
		}
	}
	d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: w.token})
	for _, filter := range []string{"g/+/c", "g/S1/c", "g/+/d", "v1/gateway/rpc", "v1/gateway/attributes"} {
		if got := d.Subscribe(filter, 1); got != packet.NotAuthorized {
			t.Errorf("%s was answered %s", filter, got)
		}
	}
	d = mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: gateway})
	for _, filter := range []string{"g/#", "g/+/t", "g/+", "g/+/c/+", "g//c", "g/a\x01/c", "#", "v1/#", "v1/gateway/telemetry"} {
		if got := d.Subscribe(filter, 1); got != packet.NotAuthorized {
			t.Errorf("%s was answered %s", filter, got)
		}
	}
	for topic, want := range map[string]packet.Reason{
		"g/S1/t": 0, "g/S/1/t": packet.NotAuthorized, "g/S1": packet.NotAuthorized, "g/S1/g/S2/t": packet.NotAuthorized, "g/S1/x": packet.NotAuthorized,
		"g/" + strings.Repeat("x", 65) + "/t": packet.PayloadFormatInvalid, "g/ü/t": packet.PayloadFormatInvalid,
	} {
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: gateway})
		if want == packet.NotAuthorized {
			d.Publish(topic, `{"n":1}`, 1)
			if got := d.Closed(); got != want {
				t.Errorf("%s ends with %s", topic, got)
			}
		} else if got := d.Acknowledged(topic, `{"n":1}`, 1); got != want {
			t.Errorf("%s was answered %s", topic, got)
		}
	}
	// Over HTTP the token is as any other.
	child := w.bySerial(t, w.user, "S1")["id"].(string)
	w.want(t, w.call(t, 0, "POST", "/devices/"+child+"/logs", gateway, apitest.Object{"event": "n", "value": 1}), 404, "not_found")
	w.want(t, w.call(t, 0, "GET", "/devices/"+child, gateway, nil), 404, "not_found")
	w.want(t, w.call(t, 0, "POST", "/devices/"+w.device+"/logs", gateway, apitest.Object{"event": "n", "value": 1}), 201, "")
}

func TestThingsBoardFirmwareIsServed(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token})
		desire := func(instance int, body string) {
			t.Helper()
			w.want(t, w.call(t, instance, "PATCH", "/devices/"+w.device+"/twin/desired", w.user, body), 200, "")
		}
		expect := func(want string) uint16 {
			t.Helper()
			got := d.Received()
			if got.Text != want {
				t.Errorf("got %s, want %s", got.Text, want)
			}
			if got.QoS > 0 {
				d.Ack(got.ID)
			}
			return got.ID
		}
		d.Acknowledged("v1/devices/me/telemetry", `{"ts":1764392400123,"values":{"temperature":21.4,"humidity":48,"door":false}}`, 1)
		d.Acknowledged("v1/devices/me/attributes", `{"fw":"1.0","net":{"rssi":-60}}`, 2)
		if got := w.logs(t); got != "temperature=21.4 humidity=48 door=false" && got != "door=false humidity=48 temperature=21.4" {
			t.Errorf("stored are %s", got)
		}
		desire(0, `{"power":true,"level":2}`)
		for _, filter := range []string{
			"v1/devices/me/attributes", "v1/devices/me/attributes/response/+", "v1/devices/me/rpc/request/+", "v1/devices/me/rpc/response/+",
		} {
			if got := d.Subscribe(filter, 1); got != 1 {
				t.Errorf("%s was answered %s", filter, got)
			}
		}
		desire(1, `{"level":3}`)
		expect(`v1/devices/me/attributes {"level":3}`)
		desire(0, `{"power":null}`)
		expect(`v1/devices/me/attributes {"deleted":["power"]}`)
		d.Publish("v1/devices/me/attributes/request/7", `{"clientKeys":"fw,none","sharedKeys":"level"}`, 0)
		expect(`v1/devices/me/attributes/response/7 {"client":{"fw":"1.0"},"shared":{"level":3}}`)
		d.Publish("v1/devices/me/rpc/request/1", `{"method":"getSessionLimits","params":{}}`, 0)
		expect(`v1/devices/me/rpc/response/1 {"maxPayloadSize":262144,"maxInflightMessages":1024,"rateLimits":{}}`)
		order := func(n int) string {
			t.Helper()
			id := w.want(t, w.send(t, n%2, "", apitest.Object{"name": "setGpio", "params": apitest.Object{"pin": n}}), 202, "").text("id")
			expect(fmt.Sprintf(`v1/devices/me/rpc/request/%d {"method":"setGpio","params":{"pin":%d}}`, n, n))
			eventually(t, "the command is delivered", func() bool { return w.look(t, id)["state"] == "delivered" })
			return id
		}
		first := order(1)
		d.Close()
		// The ids go on over connections, so that a late answer is of the command that it answers.
		d = mqtttest.Login(t, w.mqtt[len(w.mqtt)-1], mqtttest.Connect{Username: w.token})
		d.Subscribe("v1/devices/me/rpc/request/+", 1)
		second := order(2)
		d.Acknowledged("v1/devices/me/rpc/response/1", `{"done":true}`, 3)
		d.Acknowledged("v1/devices/me/rpc/response/2", `ok`, 4)
		for id, want := range map[string]string{first: `{"done":true}`, second: `"ok"`} {
			if now := w.look(t, id); now["state"] != "succeeded" || asJSON(t, now["result"]) != want {
				t.Errorf("the command is %v", now)
			}
		}
	})
}

func TestThingsBoardGatewaysAreServed(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		d := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.gatewayToken(t)})
		d.Acknowledged("v1/gateway/connect", `{"device":"Boiler 1","type":"boiler"}`, 1)
		d.Acknowledged("v1/gateway/telemetry", `{"Boiler 1":[{"ts":1764392400000,"values":{"flow":3.2}}],"Boiler 2":[{"ts":1764392400000,"values":{"flow":0}}]}`, 2)
		d.Acknowledged("v1/gateway/attributes", `{"Boiler 1":{"fw":"1"},"Boiler 2":{"fw":"2"}}`, 3)
		one, two := w.bySerial(t, w.user, "Boiler 1"), w.bySerial(t, w.user, "Boiler 2")
		if one == nil || two == nil || one["type"] != "boiler" || one["connection"] != "online" {
			t.Fatalf("made are %v and %v", one, two)
		}
		first := w.as(one["id"].(string), "")
		if got := first.logs(t) + " " + w.as(two["id"].(string), "").logs(t); got != "flow=3.2 flow=0" {
			t.Errorf("stored are %s", got)
		}
		for _, filter := range []string{"v1/gateway/attributes", "v1/gateway/attributes/response", "v1/gateway/rpc"} {
			if got := d.Subscribe(filter, 0); got != 0 {
				t.Errorf("%s was answered %s", filter, got)
			}
		}
		expect := func(want string) {
			t.Helper()
			if got := d.Received(); got.Text != want {
				t.Errorf("got %s, want %s", got.Text, want)
			}
		}
		w.want(t, w.call(t, 1, "PATCH", "/devices/"+first.device+"/twin/desired", w.user, `{"target":60}`), 200, "")
		expect(`v1/gateway/attributes {"data":{"target":60},"device":"Boiler 1"}`)
		d.Publish("v1/gateway/attributes/request", `{"id":1,"device":"Boiler 1","client":true,"key":"fw"}`, 0)
		expect(`v1/gateway/attributes/response {"device":"Boiler 1","id":1,"value":"1"}`)
		d.Publish("v1/gateway/attributes/request", `{"id":2,"device":"Boiler 1","client":["fw"],"shared":["target"]}`, 0)
		expect(`v1/gateway/attributes/response {"client":{"fw":"1"},"device":"Boiler 1","id":2,"shared":{"target":60}}`)
		id := first.want(t, first.send(t, 1, "", apitest.Object{"name": "flush"}), 202, "").text("id")
		expect(`v1/gateway/rpc {"data":{"id":1,"method":"flush","params":{}},"device":"Boiler 1"}`)
		d.Acknowledged("v1/gateway/rpc", `{"device":"Boiler 1","id":1,"data":{"success":true}}`, 4)
		if now := w.look(t, id); now["state"] != "succeeded" || asJSON(t, now["result"]) != `{"success":true}` {
			t.Errorf("the command is %v", now)
		}
		d.Acknowledged("v1/gateway/disconnect", `{"device":"Boiler 1"}`, 5)
		eventually(t, "the device is offline", func() bool { return w.bySerial(t, w.user, "Boiler 1")["connection"] == "offline" })
		if now := w.bySerial(t, w.user, "Boiler 2"); now["connection"] != "online" {
			t.Errorf("the other device is %v", now["connection"])
		}
	})
}
