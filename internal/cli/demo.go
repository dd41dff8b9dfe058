package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	if cfg.IsDefault("data_dir") {
		if cfg.DataDir, err = os.MkdirTemp("", "hearth-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.DataDir)) }()
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		_, _ = fmt.Fprintln(p.Stderr, "importing the readings of a real smart home …")
		return app.RunDemo(ctx, s, func(serving app.Serving, d *demo.Demo) { printDemo(p.Stdout, d, serving.URL) })
	})
}

// printDemo says where the demo is and what to try. Who cannot read it can still use the server.
func printDemo(out io.Writer, d *demo.Demo, url string) {
	const login = `TOKEN=$(curl -s %[1]s/api/v1/auth/login -H 'Content-Type: application/json' -d '{"email":"%[2]s","password":"%[3]s"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`
	_, _ = fmt.Fprintf(out, `
hearth is running with %[4]d readings of %[5]d devices of a real flat, and they go on live.

URL:      %[1]s
API:      %[1]s/docs
e-mail:   %[2]s
password: %[3]s

Sign in, look at the week, and watch what comes in:

  `+login+`
  curl -s "%[1]s/api/v1/analytics/dashboard?range=7d" -H "Authorization: Bearer $TOKEN"
  curl -sN %[1]s/api/v1/realtime/sse -H "Authorization: Bearer $TOKEN"

%[6]s
`, url, d.Email, d.Password, d.Rows, d.Devices, demo.Attribution)
}
