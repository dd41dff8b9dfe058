package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hearth"
	"hearth/internal/core/account"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/importer"
	"hearth/internal/simulate"
)

// userEmail is the account that a demo makes.
const userEmail = "demo@hearth.example"

// Options are the parts of the program that a demo works with. All are required.
type Options struct {
	// DataDir is where a demo stores what it has to remember.
	DataDir string
	Store   interface {
		UserByEmail(ctx context.Context, email string) (hearth.User, error)
	}
	Accounts  *account.Service
	Devices   *devices.Service
	Telemetry *telemetry.Service
	Importer  *importer.Importer
	Clock     hearth.Clock
	Logger    *slog.Logger
}

// Demo is a demo's account and what its data came to.
type Demo struct {
	Email    string
	Password string
	Devices  int
	Rows     int64

	o   Options
	ids map[string]string // of the devices, by name
}

var _ Reporter = (*Demo)(nil)

// state is stored in the data directory, so that the next start shows the same account and adds no data twice.
type state struct {
	Password string    `json:"password"`
	Days     int       `json:"days"`
	Until    time.Time `json:"until"`
}

// New makes the demo's account and imports its data, or finds them where an earlier demo left them.
func New(ctx context.Context, o Options) (*Demo, error) {
	s, err := loadState(o.DataDir, o.Clock.Now())
	if err != nil {
		return nil, err
	}
	user, err := o.Store.UserByEmail(ctx, userEmail)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		user, err = o.Accounts.CreateUser(ctx, account.NewUser{Name: "Demo", Email: userEmail, Password: s.Password, Role: hearth.RoleAdmin})
	}
	if err != nil {
		return nil, err
	}
	progress, err := o.Importer.CSV(ctx, importer.Import{Owner: user.Email, Columns: importer.DefaultColumns()},
		func() (io.ReadCloser, error) { return Open(s.Days, s.Until) })
	if err != nil {
		return nil, err
	}
	readings, err := LastDay()
	if err != nil {
		return nil, err
	}
	d := &Demo{Email: user.Email, Password: s.Password, Devices: len(devicesIn(readings)), Rows: progress.Before + progress.Rows, o: o}
	d.ids, err = o.Importer.DevicesOf(ctx, hearth.UserScope(user.ID))
	return d, err
}

// loadState returns what an earlier demo stored, or stores a new state.
func loadState(dir string, now time.Time) (s state, err error) {
	path := filepath.Join(dir, "demo.json")
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s = state{Password: strings.ToLower(rand.Text()[:16]), Days: ShiftTo(now), Until: now}
		if data, err = json.Marshal(s); err != nil {
			return s, err
		}
		// Whole or not at all: the account's password stands nowhere else.
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			return s, fmt.Errorf("store the state of the demo: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return s, fmt.Errorf("store the state of the demo: %w", err)
		}
		return s, nil
	case err != nil:
		return s, fmt.Errorf("read the state of the demo: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read the state of the demo in %s: %w", path, err)
	}
	return s, nil
}

// Run has the demo's devices report until ctx ends.
func (d *Demo) Run(ctx context.Context) {
	err := Live(ctx, d, Pace{}, func(err error) {
		d.o.Logger.WarnContext(ctx, "a demo device could not report", "err", err)
	})
	if err != nil {
		d.o.Logger.ErrorContext(ctx, "the demo's devices stopped", "err", err)
	}
}

// simulated is how many devices are simulated: one of each kind of a home at least.
const simulated = 10

// Simulate adds devices that obey until ctx ends: lamps, plugs, a thermostat. They speak MQTT where that address is not empty, and HTTP otherwise.
func (d *Demo) Simulate(ctx context.Context, url, mqtt string) {
	o := simulate.Options{URL: url, Email: d.Email, Password: d.Password, Profile: "home", Devices: simulated, Interval: 10 * time.Second}
	if mqtt != "" {
		o.MQTT = "tcp://" + mqtt
	}
	run, err := simulate.New(o)
	if err == nil {
		err = run.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		d.o.Logger.WarnContext(ctx, "the demo simulates no devices", "err", err)
	}
}

// Heartbeat implements Reporter, with the rights of the device itself.
func (d *Demo) Heartbeat(ctx context.Context, device string) error {
	id := d.ids[device]
	_, err := d.o.Devices.Heartbeat(ctx, hearth.Caller{DeviceID: id}, id, "")
	return unlessDeleted(err)
}

// Log implements Reporter, with the rights of the device itself.
func (d *Demo) Log(ctx context.Context, reading Reading) error {
	id := d.ids[reading.Device]
	_, err := d.o.Telemetry.Add(ctx, hearth.Caller{DeviceID: id}, telemetry.Single{DeviceID: id, Entry: hearth.LogEntry{
		Event: reading.Event, Value: hearth.Number(reading.Value), At: d.o.Clock.Now().UnixMilli(),
	}})
	return unlessDeleted(err)
}

// unlessDeleted returns err, but nil for a device that its owner has deleted.
func unlessDeleted(err error) error {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	return err
}
