// Package simulate has devices behave as those of a home, an office or a factory do: they follow the day, drop out and send late what they
// measured meanwhile, obey commands and become what they should be. They speak with a server as any device does.
package simulate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	client "hearth/client/go"
)

const (
	// MaxDevices bounds the devices of one run.
	MaxDevices = 100_000
	// MinInterval is the shortest time from one report of a device to its next.
	MinInterval = time.Second

	// provisioners is how many devices are made at a time.
	provisioners = 8
	// keyFor is how long the keys live by which the devices provision themselves, if a run does not come to delete them.
	keyFor = time.Hour
	// tag is what the devices can be found by.
	tag = "simulated"
)

// Options say what is simulated. URL, Email, Password and Profile are required.
type Options struct {
	// URL is the server's address, such as http://127.0.0.1:8080.
	URL string
	// Email and Password are of the person who gets the devices.
	Email, Password string
	// OrganizationID is the organization that gets them; "": the person.
	OrganizationID string
	// Profile is one of Profiles; Devices is how many there are, up to MaxDevices.
	Profile string
	Devices int
	// MQTT is where the devices connect, such as tcp://127.0.0.1:1883 or ws://127.0.0.1:8080/api/v1/mqtt; "": they speak HTTP.
	MQTT string
	// Interval is the time from one report of a device to its next, at least MinInterval.
	Interval time.Duration
}

// WebSocket returns where devices speak MQTT at a server's address.
func WebSocket(address string) string {
	return "ws" + strings.TrimPrefix(strings.TrimSuffix(address, "/"), "http") + "/api/v1/mqtt"
}

// Figures are how a run goes.
type Figures struct {
	// Ready is how many devices the server knows, and Online how many are connected now.
	Ready, Online int64
	// Reports counts those that the server has, and Late those that came later than they were made; Commands those that were answered.
	Reports, Late, Commands int64
	// Failures counts what the server did not take at once; LastError is the last of them.
	Failures  int64
	LastError string
}

type counts struct {
	ready, online, reports, late, commands, failures atomic.Int64
	last                                             atomic.Pointer[string]
}

// fail counts a failure, unless ctx has ended: then it is none.
func (c *counts) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		text := err.Error()
		c.last.Store(&text)
		c.failures.Add(1)
	}
}

// Run is a number of devices.
type Run struct {
	options Options
	// person calls the server as the one who gets the devices.
	person    *client.Client
	transport *http.Transport
	count     counts
}

// New returns devices that do nothing yet.
func New(o Options) (*Run, error) {
	switch {
	case kinds[o.Profile] == nil:
		return nil, fmt.Errorf("the profile must be one of %s", strings.Join(Profiles(), ", "))
	case o.Devices < 1 || o.Devices > MaxDevices:
		return nil, fmt.Errorf("there must be 1 to %d devices", MaxDevices)
	case o.Interval < MinInterval:
		return nil, fmt.Errorf("the interval must be at least %s", MinInterval)
	}
	// Each device holds up to two connections: one of them waits for commands.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2*o.Devices + provisioners, ResponseHeaderTimeout: time.Minute}
	r := &Run{options: o, transport: transport}
	var err error
	r.person, err = client.New(o.URL, client.WithPassword(o.Email, o.Password), r.http())
	return r, err
}

func (r *Run) http() client.Option {
	return client.WithHTTPClient(&http.Client{Transport: r.transport})
}

// Figures returns how it goes.
func (r *Run) Figures() Figures {
	c := &r.count
	f := Figures{c.ready.Load(), c.online.Load(), c.reports.Load(), c.late.Load(), c.commands.Load(), c.failures.Load(), ""}
	if last := c.last.Load(); last != nil {
		f.LastError = *last
	}
	return f
}

// Run makes the devices, or finds those of an earlier run, and has them report until ctx ends. An error means that they could not be made.
func (r *Run) Run(ctx context.Context) error {
	defer r.transport.CloseIdleConnections()
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	var devices sync.WaitGroup
	defer devices.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var makers sync.WaitGroup
	for range provisioners {
		makers.Go(func() {
			for n := range next {
				d := newDevice(r.options.Profile, n, r.options.Interval, &r.count)
				if err := r.provision(ctx, d, keys[d.kind.name]); err != nil {
					cancel(fmt.Errorf("make the device %s: %w", d.serial, err))
					continue
				}
				r.count.ready.Add(1)
				devices.Go(func() { d.run(ctx) })
			}
		})
	}
	for n := range r.options.Devices {
		if ctx.Err() != nil {
			break
		}
		next <- n
	}
	close(next)
	makers.Wait()
	r.deleteKeys(context.WithoutCancel(ctx), keys)
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

type key struct{ id, text string }

// keys makes a provisioning key for each kind of device.
func (r *Run) keys(ctx context.Context) (map[string]key, error) {
	keys := map[string]key{}
	for _, k := range kinds[r.options.Profile] {
		made, err := r.person.CreateProvisioningKey(ctx, client.NewProvisioningKey{
			Name: "hearth simulate: " + k.name, DeviceType: k.name, Tags: []string{tag}, OrganizationID: r.options.OrganizationID, ExpiresAt: time.Now().Add(keyFor),
		})
		if err != nil {
			return nil, err
		}
		keys[k.name] = key{made.ID, made.Key}
	}
	return keys, nil
}

// deleteKeys deletes the keys once all devices are made. One that stays expires by itself.
func (r *Run) deleteKeys(ctx context.Context, keys map[string]key) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, k := range keys {
		if err := r.person.DeleteProvisioningKey(ctx, k.id); err != nil {
			r.count.fail(ctx, err)
		}
	}
}

// provision makes a device, or takes up the one of an earlier run.
func (r *Run) provision(ctx context.Context, d *device, k key) error {
	// A later run proves itself by the secret. It needs to be none: whoever may provision here may have the simulated devices.
	secret := sha256.Sum256([]byte(r.options.Email + "\x00" + d.serial))
	stranger, err := client.New(r.options.URL, r.http(), client.WithRetries(20, time.Minute))
	if err != nil {
		return err
	}
	made, err := stranger.ProvisionDevice(ctx, client.ProvisionRequest{Key: k.text, Serial: d.serial, Name: d.name, Secret: hex.EncodeToString(secret[:16])})
	if err != nil {
		return err
	}
	if r.options.MQTT != "" {
		d.link = &mqttLink{url: r.options.MQTT, serial: d.serial, token: made.Token}
		return nil
	}
	itself, err := client.New(r.options.URL, client.WithToken(made.Token), r.http())
	d.link = &httpLink{client: itself, id: made.DeviceID}
	return err
}
