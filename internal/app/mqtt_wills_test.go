package app_test

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	"hearth/internal/apitest"
	"hearth/internal/config"
	"hearth/internal/mqtt/mqtttest"
	"hearth/internal/mqtt/packet"
	"hearth/internal/testserver"
)

// willing is a CONNECT of MQTT 5 whose will sets gone to a number, after a delay, for a session that is kept for some time, both in seconds.
func (w *commander) willing(gone string, delay, expiry uint32) mqtttest.Connect {
	return mqtttest.Connect{
		Version: packet.V5, Username: w.token, Persistent: true, WillTopic: "t/gone", WillPayload: gone,
		WillProperties: binary.BigEndian.AppendUint32([]byte{0x18}, delay), Properties: binary.BigEndian.AppendUint32([]byte{0x11}, expiry),
	}
}

// leaveWithWill ends a connection as one that is lost, and returns when the server has ended it.
func leaveWithWill(d *mqtttest.Device) {
	d.Send([]byte{0xE0, 1, byte(packet.DisconnectWithWill)})
	d.Closed()
}

const hour = 3600

func TestAWillWaitsForItsDelay(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		var admins []string
		w := &commander{instances: newInstances(t, m, func(cfg *config.Config) {
			cfg.AdminAddr = testserver.FreeAddr(t)
			admins = append(admins, cfg.AdminAddr)
		})}
		w.signUp(t, "ann@example.com")
		w.user = w.login(t, "ann@example.com").text("access_token")
		w.device, w.token = w.newDevice(t, "lamp")
		waiting := func(want string) func() bool {
			return func() bool {
				resp, err := http.Get("http://" + admins[0] + "/metrics")
				if err != nil {
					return false
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				return strings.Contains(string(text), "\nhearth_mqtt_wills_waiting "+want+"\n")
			}
		}
		last := len(w.mqtt) - 1
		back := mqtttest.Connect{Version: packet.V5, Username: w.token, Persistent: true, Properties: []byte{0x11, 0, 0, 0, 60}}
		cleanly := mqtttest.Connect{Version: packet.V5, Username: w.token}
		expect := func(d *mqtttest.Device, want string) {
			t.Helper()
			d.Acknowledged("t/here", "1", 1) // everything before is stored
			if got := w.logs(t); got != want {
				t.Errorf("stored is %s, want %s", got, want)
			}
		}

		// The device is back in time, at another instance.
		leaveWithWill(mqtttest.Login(t, w.mqtt[0], w.willing("1", hour, 2*hour)))
		eventually(t, "a will waits", waiting("1"))
		d := mqtttest.Login(t, w.mqtt[last], back)
		eventually(t, "no will waits once the device is back", waiting("0"))
		expect(d, "here=1")
		// It takes over its connection, and the session goes on.
		mqtttest.Login(t, w.mqtt[last], w.willing("2", hour, 2*hour))
		d = mqtttest.Login(t, w.mqtt[last], back)
		expect(d, "here=1 here=1")
		// The session ends: with a new one, here and elsewhere, and when its time is over, before the delay is.
		leaveWithWill(mqtttest.Login(t, w.mqtt[0], w.willing("3", hour, 2*hour)))
		d = mqtttest.Login(t, w.mqtt[0], cleanly)
		expect(d, "here=1 here=1 gone=3 here=1")
		leaveWithWill(mqtttest.Login(t, w.mqtt[0], w.willing("4", hour, 2*hour)))
		mqtttest.Login(t, w.mqtt[last], cleanly)
		eventually(t, "the will of a session that another instance ended is stored", func() bool { return strings.HasSuffix(w.logs(t), " gone=4") })
		leaveWithWill(mqtttest.Login(t, w.mqtt[0], w.willing("5", hour, 1)))
		eventually(t, "the will of a session that has expired is stored", func() bool { return strings.HasSuffix(w.logs(t), " gone=5") })
		leaveWithWill(mqtttest.Login(t, w.mqtt[0], w.willing("6", 1, hour)))
		eventually(t, "a will is stored after its delay", func() bool { return strings.HasSuffix(w.logs(t), " gone=6") })
		// Without a delay a connection that is taken over has its will published first, in both versions.
		mqtttest.Login(t, w.mqtt[0], w.willing("7", 0, hour))
		mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Username: w.token, WillTopic: "t/gone", WillPayload: "8"})
		d = mqtttest.Login(t, w.mqtt[0], cleanly)
		d.Acknowledged("t/here", "1", 1)
		if got := w.logs(t); !strings.HasSuffix(got, " gone=7 gone=8 here=1") {
			t.Errorf("stored is %s", got)
		}
		// A token that has ended publishes nothing.
		leaveWithWill(mqtttest.Login(t, w.mqtt[0], w.willing("9", hour, 2*hour)))
		tokens := w.want(t, w.call(t, 0, "GET", "/devices/"+w.device+"/tokens", w.user, nil), 200, "")
		cleanly.Username = w.want(t, w.call(t, 0, "POST", "/devices/"+w.device+"/tokens", w.user, nil), 201, "").text("token")
		w.want(t, w.call(t, 0, "DELETE", "/devices/"+w.device+"/tokens/"+tokens.body["items"].([]any)[0].(map[string]any)["id"].(string), w.user, nil), 204, "")
		d = mqtttest.Login(t, w.mqtt[0], cleanly)
		d.Acknowledged("t/here", "2", 1)
		if got := w.logs(t); !strings.HasSuffix(got, " here=1 here=2") {
			t.Errorf("stored is %s", got)
		}
	})
}
