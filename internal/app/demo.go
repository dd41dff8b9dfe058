package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hearth"
	"hearth/internal/core/telemetry"
	"hearth/internal/demo"
	"hearth/internal/importer"
)

// DemoAttribution names where the demo's data comes from.
const DemoAttribution = demo.Attribution

// demoEmail is the account that a demo makes.
const demoEmail = "demo@hearth.example"

// Demo is a demo's account and what its data came to.
type Demo struct {
	Email    string
	Password string
	Devices  int
	Rows     int64
}

// demoState is what a demo remembers in its data directory, so that the next start shows the same account and adds no
// data twice.
type demoState struct {
	Password string    `json:"password"`
	Days     int       `json:"days"`
	Until    time.Time `json:"until"`
}

// OpenDemo makes the demo's account and brings its data in, or finds them where an earlier demo left them.
func (a *App) OpenDemo(ctx context.Context) (Demo, error) {
	state, err := a.demoState()
	if err != nil {
		return Demo{}, err
	}
	user, err := a.store.UserByEmail(ctx, demoEmail)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		user, err = a.CreateUser(ctx, NewUser{Name: "Demo", Email: demoEmail, Password: state.Password, Role: hearth.RoleAdmin})
	}
	if err != nil {
		return Demo{}, err
	}
	progress, err := a.importer().CSV(ctx, importer.Import{Owner: user.Email, Columns: importer.DefaultColumns()},
		func() (io.ReadCloser, error) { return demo.Open(state.Days, state.Until) })
	if err != nil {
		return Demo{}, err
	}
	counts, err := a.store.CountDevices(ctx, hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope(user.ID)}}, a.options.Clock.Now())
	return Demo{Email: user.Email, Password: state.Password, Devices: int(counts.Total), Rows: progress.Before + progress.Rows}, err
}

// demoState reads what an earlier demo remembered, or begins a demo.
func (a *App) demoState() (state demoState, err error) {
	path := filepath.Join(a.config.DataDir, "demo.json")
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		now := a.options.Clock.Now()
		state = demoState{Password: strings.ToLower(rand.Text()[:16]), Days: demo.ShiftTo(now), Until: now}
		if data, err = json.Marshal(state); err != nil {
			return state, err
		}
		// Whole or not at all: the account's password stands nowhere else.
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			return state, fmt.Errorf("remember the demo: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return state, fmt.Errorf("remember the demo: %w", err)
		}
		return state, nil
	case err != nil:
		return state, fmt.Errorf("read what the demo remembered: %w", err)
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("read what the demo remembered in %s: %w", path, err)
	}
	return state, nil
}

// RunDemo is Run with the demo's devices reporting.
func (a *App) RunDemo(ctx context.Context, ready func(url string)) error {
	user, err := a.store.UserByEmail(ctx, demoEmail)
	if err != nil {
		return err
	}
	names, err := a.importer().DevicesOf(ctx, hearth.UserScope(user.ID))
	if err != nil {
		return err
	}
	return a.Run(ctx, func(url string) {
		a.startDemoDevices(ctx, names)
		ready(url)
	})
}

func (a *App) startDemoDevices(ctx context.Context, names map[string]string) {
	living, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		err := demo.Live(living, &demoDevices{app: a, ids: names}, demo.Pace{}, func(err error) {
			a.log.WarnContext(living, "a demo device could not report", "err", err)
		})
		if err != nil {
			a.log.ErrorContext(living, "the demo's devices stopped", "err", err)
		}
	})
	a.steps.add("demo devices", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// demoDevices speak for themselves, as devices with their tokens do.
type demoDevices struct {
	app *App
	ids map[string]string // by name
}

// Heartbeat implements demo.Reporter.
func (d *demoDevices) Heartbeat(ctx context.Context, device string) error {
	id := d.ids[device]
	_, err := d.app.fleet.Heartbeat(ctx, hearth.Caller{DeviceID: id}, id, "")
	return d.unlessDeleted(err)
}

// Log implements demo.Reporter.
func (d *demoDevices) Log(ctx context.Context, reading demo.Reading) error {
	id := d.ids[reading.Device]
	_, err := d.app.telemetry.Add(ctx, hearth.Caller{DeviceID: id}, telemetry.Single{DeviceID: id, Entry: hearth.LogEntry{
		Event: reading.Event, Value: reading.Value, At: d.app.options.Clock.Now().UnixMilli(),
	}})
	return d.unlessDeleted(err)
}

// unlessDeleted passes over the failure of a device that its owner has deleted.
func (d *demoDevices) unlessDeleted(err error) error {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	return err
}
