package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/config"
	"hearth/internal/mqtt/mqtttest"
	"hearth/internal/mqtt/packet"
	"hearth/internal/testserver"
)

// bridged are instances with an integration, and its broker.
type bridged struct {
	*instances
	broker      *testserver.Mosquitto
	integration string
}

func newBridged(t *testing.T, m apitest.Mode, body apitest.Object) *bridged {
	t.Helper()
	w := &bridged{instances: newInstances(t, m), broker: testserver.StartMosquitto(t, "sys_interval 1")}
	body["name"], body["url"] = "House", w.broker.URL()
	w.integration = w.want(t, w.call(t, 0, "POST", "/integrations", w.admin, body), 201, "").text("id")
	w.await(t, "connected")
	return w
}

func (w *bridged) await(t *testing.T, status string) {
	t.Helper()
	eventually(t, "the integration is "+status, func() bool { return w.state(t)["status"] == status })
	if status == "connected" && len(w.urls) > 1 { // all instances are, soon after the first
		w.awaitClients(t, len(w.urls))
	}
}

// awaitClients waits until the broker has so many clients other than the one that asks: it says so at each change.
func (w *bridged) awaitClients(t *testing.T, want int) {
	t.Helper()
	d := mqtttest.Login(t, w.broker.Addr(), mqtttest.Connect{KeepAlive: 60})
	defer d.Close()
	d.Subscribe("$SYS/broker/clients/connected", 0)
	for n := 0; n < want+1; {
		_, _ = fmt.Sscan(string(d.Received().Payload), &n)
	}
}

func (w *bridged) state(t *testing.T) apitest.Object {
	t.Helper()
	return w.want(t, w.call(t, 0, "GET", "/integrations/"+w.integration, w.admin, nil), 200, "").body
}

// device waits for the device of a name, and returns it.
func (w *bridged) device(t *testing.T, name string) (device apitest.Object) {
	t.Helper()
	eventually(t, "the device "+name, func() bool {
		list := w.call(t, 0, "GET", "/devices?q="+strings.ReplaceAll(name, " ", "%20"), w.admin, nil)
		for _, item := range list.body["items"].([]any) {
			if device = item.(map[string]any); device["name"] == name {
				return true
			}
		}
		return false
	})
	return device
}

// logs returns a device's logs, the oldest first, as event=value.
func (w *bridged) logs(t *testing.T, device apitest.Object) string {
	t.Helper()
	list := w.want(t, w.call(t, 0, "GET", "/devices/"+apitest.Text(device, "id")+"/logs?order=asc&limit=200", w.admin, nil), 200, "")
	var all []string
	for _, item := range list.body["items"].([]any) {
		log := item.(map[string]any)
		all = append(all, fmt.Sprintf("%s=%s", log["event"], asJSON(t, log["value"])))
	}
	return strings.Join(all, " ")
}

// reported waits until a device's reported state is a JSON text.
func (w *bridged) reported(t *testing.T, device apitest.Object, want string) {
	t.Helper()
	eventually(t, "the reported state "+want, func() bool {
		twin := w.want(t, w.call(t, 1, "GET", "/devices/"+apitest.Text(device, "id")+"/twin", w.admin, nil), 200, "")
		return asJSON(t, twin.body["reported"]) == want
	})
}

func (w *bridged) desire(t *testing.T, device apitest.Object, state apitest.Object) {
	t.Helper()
	w.want(t, w.call(t, 1, "PATCH", "/devices/"+apitest.Text(device, "id")+"/twin/desired", w.admin, state), 200, "")
}

// command sends a command and returns it when it has ended.
func (w *bridged) command(t *testing.T, device apitest.Object, name string, params any) apitest.Object {
	t.Helper()
	body := apitest.Object{"name": name, "params": params}
	return w.want(t, w.call(t, 1, "POST", "/devices/"+apitest.Text(device, "id")+"/commands?wait=20s", w.admin, body), 200, "").body
}

// retained publishes a message that the broker keeps.
func retained(d *mqtttest.Device, topic, payload string) {
	m := d.Message(topic, payload, 0)
	m[0] |= 1
	d.Send(m)
}

// simulate is a device that answers what comes on a topic by messages.
func simulate(t *testing.T, broker *testserver.Mosquitto, topic string, answer func(topic, payload string) [][2]string) *mqtttest.Device {
	t.Helper()
	d := mqtttest.Login(t, broker.Addr(), mqtttest.Connect{ClientID: topic, KeepAlive: 600})
	d.Subscribe(topic, 0)
	go func() {
		for {
			p, err := d.Next()
			if err != nil {
				return
			}
			m, err := packet.DecodePublish(p.Header, p.Body, packet.V311)
			if err != nil {
				return
			}
			for _, out := range answer(m.Topic, string(m.Payload)) {
				if d.SendMaybe(d.Message(out[0], out[1], 0)) != nil {
					return
				}
			}
		}
	}()
	return d
}

// tasmotaPlug answers cmnd/plug/Power.
func tasmotaPlug(t *testing.T, broker *testserver.Mosquitto) *mqtttest.Device {
	t.Helper()
	on := false
	d := simulate(t, broker, "cmnd/plug/+", func(topic, payload string) [][2]string {
		if topic != "cmnd/plug/Power" {
			return [][2]string{{"stat/plug/RESULT", `{"Command":"Unknown"}`}}
		}
		on = payload == "ON" || payload == "TOGGLE" && !on
		return [][2]string{{"stat/plug/RESULT", fmt.Sprintf(`{"POWER":%q}`, map[bool]string{true: "ON", false: "OFF"}[on])}}
	})
	retained(d, "tasmota/discovery/DC4F22/config", `{"dn":"Tasmota","fn":["Kettle"],"md":"Sonoff S31","t":"plug","sw":"14.3.0","rl":[1]}`)
	retained(d, "tele/plug/LWT", "Online")
	return d
}

// zigbeeLamp answers zigbee2mqtt/lamp/set.
func zigbeeLamp(t *testing.T, broker *testserver.Mosquitto) *mqtttest.Device {
	t.Helper()
	d := simulate(t, broker, "zigbee2mqtt/lamp/set", func(_, payload string) [][2]string {
		return [][2]string{{"zigbee2mqtt/lamp", payload}}
	})
	retained(d, "zigbee2mqtt/bridge/devices", `[{"type":"Router","friendly_name":"lamp","definition":{"model":"LED1545G12","vendor":"IKEA",
		"exposes":[{"type":"light","features":[{"property":"state","access":7},{"property":"brightness","access":7}]}]}}]`)
	retained(d, "zigbee2mqtt/lamp/availability", `{"state":"online"}`)
	return d
}

// shellyRelay answers shellyplus1-a0b1/rpc.
func shellyRelay(t *testing.T, broker *testserver.Mosquitto) *mqtttest.Device {
	t.Helper()
	const id = "shellyplus1-a0b1"
	on := false
	d := simulate(t, broker, id+"/rpc", func(_, payload string) [][2]string {
		var r struct {
			ID     int
			Src    string
			Method string
			Params struct{ On bool }
		}
		_ = json.Unmarshal([]byte(payload), &r)
		answer := func(result string) [2]string {
			return [2]string{r.Src + "/rpc", fmt.Sprintf(`{"id":%d,"src":%q,"dst":%q,"result":%s}`, r.ID, id, r.Src, result)}
		}
		was := on
		switch r.Method {
		case "Switch.Set":
			on = r.Params.On
		case "Switch.Toggle":
			on = !on
		case "Shelly.GetDeviceInfo":
			return [][2]string{answer(`{"name":"Boiler","model":"SNSW-001X16EU","ver":"1.4.4"}`)}
		default:
			return nil
		}
		status := fmt.Sprintf(`{"src":%q,"method":"NotifyStatus","params":{"ts":%d.52,"switch:0":{"id":0,"output":%t}}}`, id, time.Now().Unix(), on)
		return [][2]string{answer(fmt.Sprintf(`{"was_on":%t}`, was)), {id + "/events/rpc", status}}
	})
	retained(d, id+"/online", "true")
	return d
}

func TestDevicesBehindABrokerAppearAndAreSwitched(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newBridged(t, m, apitest.Object{"dialects": []string{"tasmota", "zigbee2mqtt", "shelly"}, "time_zone": "Europe/Berlin"})
		plug := tasmotaPlug(t, w.broker)
		zigbeeLamp(t, w.broker)
		shellyRelay(t, w.broker)
		kettle, lamp, boiler := w.device(t, "Kettle"), w.device(t, "lamp"), w.device(t, "Boiler")
		for _, tt := range []struct {
			device                    apitest.Object
			kind, manufacturer, model string
		}{
			{kettle, "switch", "Tasmota", "Sonoff S31"}, {lamp, "light", "IKEA", "LED1545G12"}, {boiler, "switch", "Shelly", "SNSW-001X16EU"},
		} {
			eventually(t, "the device is online, and known as the "+tt.model, func() bool { // what it says of itself may come after its name
				device := w.device(t, apitest.Text(tt.device, "name"))
				about, _ := device["metadata"].(map[string]any)
				return device["type"] == tt.kind && about["manufacturer"] == tt.manufacturer && about["model"] == tt.model && device["connection"] == "online"
			})
			w.desire(t, tt.device, apitest.Object{"power": true})
			w.reported(t, tt.device, `{"power":true}`)
			w.desire(t, tt.device, apitest.Object{"power": false})
			w.reported(t, tt.device, `{"power":false}`)
		}
		if got := w.logs(t, kettle); got != "power=true power=false" {
			t.Errorf("the plug's logs are %s", got)
		}
		for _, tt := range []struct {
			device        apitest.Object
			name          string
			params        any
			state, result string
		}{
			{kettle, "Power", "TOGGLE", "succeeded", `{"POWER":"ON"}`}, {kettle, "Nonsense", nil, "failed", "null"},
			{lamp, "set", apitest.Object{"brightness": 7}, "succeeded", "null"}, {lamp, "blink", nil, "failed", "null"},
			{boiler, "Switch.Toggle", apitest.Object{"id": 0}, "succeeded", `{"was_on":false}`},
		} {
			if c := w.command(t, tt.device, tt.name, tt.params); c["state"] != tt.state || asJSON(t, c["result"]) != tt.result {
				t.Errorf("%s ended as %v", tt.name, c)
			}
		}
		plug.Publish("tele/plug/SENSOR", `{"Time":"2026-03-01T12:00:00","ENERGY":{"Power":41}}`, 0)
		plug.Publish("tele/plug/SENSOR", `{"Time":"2026-03-01T12:00:00","ENERGY":{"Power":41}}`, 0)
		eventually(t, "the reading", func() bool { return strings.HasPrefix(w.logs(t, kettle), "ENERGY.Power=41 power=true") })
		retained(plug, "tele/plug/LWT", "Offline")
		eventually(t, "the plug is offline", func() bool { return w.device(t, "Kettle")["connection"] == "offline" })
	})
}

// Each message is stored once, though it has no time of its own and several instances are there to take it.
func TestInstancesShareTheMessagesOfABroker(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newBridged(t, m, apitest.Object{"dialects": []string{"json"}, "topics": []string{"site/{device}/{event}"}})
		d := mqtttest.Login(t, w.broker.Addr(), mqtttest.Connect{KeepAlive: 60})
		const n = 100
		var want []string
		for i := range n {
			d.Acknowledged("site/cellar/count", fmt.Sprint(i), uint16(i+1))
			want = append(want, fmt.Sprintf("count=%d", i))
		}
		cellar := w.device(t, "cellar")
		eventually(t, "all readings are stored", func() bool { return strings.Count(w.logs(t, cellar), "=") >= n })
		got := w.logs(t, cellar)
		for _, one := range want {
			if strings.Count(got+" ", one+" ") != 1 {
				t.Fatalf("%s is not stored once: %s", one, got)
			}
		}
		eventually(t, "the messages are counted", func() bool {
			counts := w.state(t)["counts"].(map[string]any)
			return counts["messages"] == float64(n) && counts["readings"] == float64(n) && counts["devices"] == 1.0
		})
		d.Publish("site/cellar/broken", "{", 0)
		eventually(t, "the failure is shown", func() bool {
			failure, _ := w.state(t)["last_error"].(map[string]any)
			return failure["topic"] == "site/cellar/broken" && w.state(t)["counts"].(map[string]any)["refused"] == 1.0
		})
	})
}

func TestABrokerThatIsKilledIsConnectedAgain(t *testing.T) {
	t.Parallel()
	w := newBridged(t, apitest.Embedded, apitest.Object{"dialects": []string{"json"}, "topics": []string{"site/{device}/{event}"}})
	w.broker.Kill()
	w.await(t, "error")
	if failure, _ := w.state(t)["last_error"].(map[string]any); failure["code"] != "unavailable" {
		t.Errorf("the failure is %v", failure)
	}
	w.broker.Restart()
	w.await(t, "connected")
	d := mqtttest.Login(t, w.broker.Addr(), mqtttest.Connect{KeepAlive: 60})
	d.Acknowledged("site/cellar/t", "21.5", 1)
	if got := w.device(t, "cellar"); got["type"] != "sensor" {
		t.Errorf("the device is %v", got)
	}
	w.want(t, w.call(t, 0, "PATCH", "/integrations/"+w.integration, w.admin, apitest.Object{"enabled": false}), 200, "")
	w.await(t, "off")
}

// What is announced and kept by the broker comes again at every connection; what users deleted does not.
func TestADeletedDeviceDoesNotComeBack(t *testing.T) {
	t.Parallel()
	w := newBridged(t, apitest.Embedded, apitest.Object{"dialects": []string{"homeassistant", "json"}, "topics": []string{"site/{device}/{event}"}})
	d := mqtttest.Login(t, w.broker.Addr(), mqtttest.Connect{KeepAlive: 60})
	retained(d, "homeassistant/sensor/pico/config", `{"stat_t":"pico/t","val_tpl":"{{ value_json.t }}","dev":{"ids":"pico","name":"Pico"}}`)
	pico := w.device(t, "Pico")
	eventually(t, "a reading is stored", func() bool {
		d.Publish("pico/t", `{"t":20}`, 0)
		return strings.HasPrefix(w.logs(t, pico), "pico=20")
	})
	w.want(t, w.call(t, 0, "DELETE", "/devices/"+apitest.Text(pico, "id"), w.admin, nil), 204, "")
	d.Publish("pico/t", `{"t":21}`, 0)
	w.want(t, w.call(t, 0, "PATCH", "/integrations/"+w.integration, w.admin, apitest.Object{"name": "again"}), 200, "")
	w.await(t, "connected")
	retained(d, "homeassistant/sensor/pico/config", `{"stat_t":"pico/t","val_tpl":"{{ value_json.t }}","dev":{"ids":"pico","name":"Pico"}}`)
	d.Publish("pico/t", `{"t":22}`, 0)
	d.Publish("site/after/x", "1", 0)
	w.device(t, "after")
	list := w.call(t, 0, "GET", "/devices?count=true", w.admin, nil)
	if list.body["total"] != 1.0 {
		t.Errorf("there are %s", list.raw)
	}
}

// A device of hearth reports over a broker by its id, with the broker's own logins. The configuration is that of docs/scaling.md.
func TestADeviceOfHearthReportsOverAnExternalBroker(t *testing.T) {
	t.Parallel()
	admin := testserver.FreeAddr(t)
	w := newInstances(t, apitest.Embedded, func(cfg *config.Config) { cfg.AdminAddr = admin })
	w.signUp(t, "ann@example.com")
	user := w.login(t, "ann@example.com").text("access_token")
	id := w.want(t, w.call(t, 0, "POST", "/devices", user, apitest.Object{"name": "pump", "type": "pump"}), 201, "").text("id")
	folder := t.TempDir()
	passwords, rules := filepath.Join(folder, "passwords"), filepath.Join(folder, "acl")
	for _, login := range []string{"hearth:hearths", id + ":devices"} {
		name, password, _ := strings.Cut(login, ":")
		args := []string{"-b", passwords, name, password}
		if name == "hearth" {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.CommandContext(t.Context(), "mosquitto_passwd", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v %s", err, out)
		}
	}
	guide, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	_, acl, _ := strings.Cut(string(guide), "```text\nuser hearth\n")
	acl, _, found := strings.Cut(acl, "```")
	if err := os.WriteFile(rules, []byte("user hearth\n"+acl), 0o600); err != nil || !found {
		t.Fatal("the guide has no access list", err)
	}
	broker := testserver.StartMosquitto(t, "allow_anonymous false", "password_file "+passwords, "acl_file "+rules)
	made := w.want(t, w.call(t, 0, "POST", "/integrations", w.admin, apitest.Object{
		"name": "Fleet", "url": broker.URL(), "username": "hearth", "password": "hearths", "dialects": []string{"json"}, "topics": []string{"d/{device}/{event}"},
	}), 201, "")
	if made.body["has_password"] != true || strings.Contains(made.raw, "hearths") {
		t.Errorf("made: %s", made.raw)
	}
	eventually(t, "the integration is connected", func() bool {
		return w.call(t, 0, "GET", "/integrations/"+made.text("id"), w.admin, nil).text("status") == "connected"
	})
	d := mqtttest.Login(t, broker.Addr(), mqtttest.Connect{ClientID: id, Username: id, Password: "devices", KeepAlive: 60})
	d.Subscribe("d/"+id+"/desired", 1)
	d.Acknowledged("d/"+id+"/t", `{"flow":3.2}`, 1)
	d.Acknowledged("d/"+id+"/reported", `{"power":false}`, 2)
	d.Acknowledged("d/another/t", `{"flow":9}`, 3) // the broker acknowledges it and passes it to no one
	eventually(t, "the reading is stored", func() bool {
		latest := w.call(t, 0, "GET", "/devices/"+id+"/latest", user, nil)
		return strings.Contains(latest.raw, `"event":"t.flow","value":3.2`)
	})
	w.want(t, w.call(t, 0, "PATCH", "/devices/"+id+"/twin/desired", user, apitest.Object{"power": true}), 200, "")
	if got := d.Received().Text; got != "d/"+id+`/desired {"power":true}` {
		t.Errorf("the device is sent %s", got)
	}
	if list := w.call(t, 0, "GET", "/devices?count=true", w.admin, nil); list.body["total"] != 1.0 {
		t.Errorf("there are %s", list.raw)
	}
	token := w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/tokens", user, nil), 201, "").text("token")
	question, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+admin+"/internal/mqtt/auth", strings.NewReader(`{"password":"`+token+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(question)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(body), `"topic":"d/`+id+`/#"`) {
		t.Errorf("the broker is answered %s, %v", body, err)
	}
}
