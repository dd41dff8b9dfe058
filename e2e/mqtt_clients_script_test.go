//go:build clients

package e2e

import "testing"

func TestMQTTJSIsServed(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"4", "5"} {
		for _, way := range []string{"tcp", "ws"} {
			t.Run(way+version, func(t *testing.T) {
				t.Parallel()
				s := serveMQTT(t)
				ann, _ := s.signup("ann@example.com")
				broker := "tcp://" + s.mqtt
				if way == "ws" {
					broker = "ws://" + s.addr + "/api/v1/mqtt"
				}
				aDeviceIsServed(t, s, ann, broker, version, "node", "mqttjs.mjs")
			})
		}
	}
}
