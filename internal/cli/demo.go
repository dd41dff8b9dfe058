package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"hearth/internal/app"
	"hearth/internal/demo"
)

type demoCommand struct{ Settings }

// Help says what the flags cannot.
func (c *demoCommand) Help() string {
	return "Starts a server with an account and the readings of a real smart home that end now; its devices continue to report. " +
		"Without a data directory everything is in a temporary one, which is deleted at the end."
}

// Run serves the demo until a signal ends it.
func (c *demoCommand) Run(ctx context.Context, p *Process) (err error) {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	if cfg.IsDefault("mqtt_addr") && portFree(ctx, demoMQTT) {
		cfg.MQTTAddr = demoMQTT
	}
	if cfg.IsDefault("data_dir") {
		if cfg.DataDir, err = os.MkdirTemp("", "hearth-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.DataDir)) }()
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		_, _ = fmt.Fprintln(p.Stderr, "importing the readings of a real smart home …")
		return app.RunDemo(ctx, s, func(serving app.Serving, d *demo.Demo) { printDemo(p.Stdout, d, serving) })
	})
}

// demoMQTT is where devices reach the demo, unless another program is there or the settings say otherwise.
const demoMQTT = "127.0.0.1:1883"

func portFree(ctx context.Context, addr string) bool {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// printDemo says where the demo is and what to try. Who cannot read it can still use the server.
func printDemo(out io.Writer, d *demo.Demo, serving app.Serving) {
	const login = `TOKEN=$(curl -s %[1]s/api/v1/auth/login -H 'Content-Type: application/json' -d '{"email":"%[2]s","password":"%[3]s"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`
	_, _ = fmt.Fprintf(out, `
hearth is running with %[4]d readings of %[5]d devices of a real flat, and they go on live. Ten more are simulated: switch a lamp.

URL:      %[1]s
API:      %[1]s/docs
e-mail:   %[2]s
password: %[3]s

Sign in, look at the week, and watch what comes in:

  `+login+`
  curl -s "%[1]s/api/v1/analytics/dashboard?range=7d" -H "Authorization: Bearer $TOKEN"
  curl -sN %[1]s/api/v1/realtime/sse -H "Authorization: Bearer $TOKEN"
%[7]s
%[6]s
`, serving.URL, d.Email, d.Password, d.Rows, d.Devices, demo.Attribution, mqttLines(serving))
}

// mqttLines say how to be a device that speaks MQTT, after the login.
func mqttLines(serving app.Serving) string {
	host, port, err := net.SplitHostPort(serving.MQTT)
	if err != nil {
		return ""
	}
	host = cmp.Or(host, "localhost")
	const id = `sed 's/.*"id":"\([^"]*\)".*/\1/'`
	return fmt.Sprintf(`
Or be a device yourself, over MQTT:

  DEVICE=$(curl -s %[1]s/api/v1/devices -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"name":"My sensor","type":"sensor"}' | `+id+`)
  DEVICE_TOKEN=$(curl -s -X POST %[1]s/api/v1/devices/$DEVICE/tokens -H "Authorization: Bearer $TOKEN" | sed 's/.*"token":"\([^"]*\)".*/\1/')
  mosquitto_pub -h %[2]s -p %[3]s -u "$DEVICE_TOKEN" -q 1 -t t -m '{"temperature":21.5,"door":true}'
  mosquitto_sub -h %[2]s -p %[3]s -u "$DEVICE_TOKEN" -q 1 -v -t c -t d
`, serving.URL, host, port)
}
