package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hearth/internal/simulate"
)

type simulateCommand struct {
	PasswordInput
	URL          string        `name:"url" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server (default: http://127.0.0.1:8080)."`
	Email        string        `required:"" placeholder:"E" help:"E-mail address of the account that gets the devices."`
	Organization string        `placeholder:"ID" help:"Organization of the account that gets them."`
	Devices      int           `default:"20" placeholder:"N" help:"How many devices, up to 100000 (default: 20)."`
	Profile      string        `default:"home" enum:"home,office,factory" placeholder:"NAME" help:"home, office or factory (default: home)."`
	HTTP         bool          `name:"http" help:"The devices speak HTTP. That is so unless --mqtt is given."`
	MQTT         bool          `name:"mqtt" help:"The devices speak MQTT, over a WebSocket unless --mqtt-url says otherwise."`
	MQTTURL      string        `name:"mqtt-url" placeholder:"URL" help:"Where they connect, such as tcp://127.0.0.1:1883; means --mqtt."`
	Interval     time.Duration `default:"10s" placeholder:"D" help:"From one report of a device to its next (default: 10s)."`
}

// Help says what the flags cannot.
func (c *simulateCommand) Help() string {
	return "Simulates devices that follow the day, drop out and send late what they measured meanwhile, obey the commands identify and set, and " +
		"become what their desired state says. They provision themselves as any device does, and are found by the tag simulated; another run takes up those of an earlier one."
}

// sayEvery is how often it is said how it goes.
const sayEvery = 5 * time.Second

// Run simulates until a signal ends it.
func (c *simulateCommand) Run(ctx context.Context, p *Process) error {
	o := simulate.Options{
		URL: c.URL, Email: c.Email, OrganizationID: c.Organization, Profile: c.Profile, Devices: c.Devices, MQTT: c.MQTTURL, Interval: c.Interval,
	}
	switch {
	case c.HTTP && (c.MQTT || c.MQTTURL != ""):
		return usageError{errors.New("--http and --mqtt exclude one another")}
	case c.MQTT && o.MQTT == "":
		o.MQTT = simulate.WebSocket(c.URL)
	}
	var err error
	if o.Password, err = c.read(ctx, p, "Password: "); err != nil {
		return err
	}
	devices, err := simulate.New(o)
	if err != nil {
		return usageError{err}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- devices.Run(running) }()
	ticker := time.NewTicker(sayEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			sayFigures(p.Stderr, devices.Figures(), c.Devices)
		case err := <-ended:
			sayFigures(p.Stderr, devices.Figures(), c.Devices)
			return err
		}
	}
}

func sayFigures(out io.Writer, f simulate.Figures, devices int) {
	_, _ = fmt.Fprintf(out, "%d of %d devices, %d online; %d reports, %d late; %d commands answered; %d failures", f.Ready, devices, f.Online, f.Reports, f.Late,
		f.Commands, f.Failures)
	if f.LastError != "" {
		_, _ = fmt.Fprintf(out, ", the last: %s", f.LastError)
	}
	_, _ = fmt.Fprintln(out)
}
