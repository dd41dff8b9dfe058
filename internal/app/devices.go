package app

import (
	"context"
	"time"

	"hearth/internal/core/devices"
)

// idleEvery is how often silent devices are looked for: how late InactiveAfter may be.
const idleEvery = 5 * time.Minute

// openFleet builds the devices. They are watched from Run on.
func (a *App) openFleet() (err error) {
	if a.others != nil { // before those who tell people: whoever hears of a change finds it on every instance
		a.events.all = append(a.events.all, a.others)
	}
	a.fleet, err = devices.New(devices.Options{Store: a.store, Clock: a.options.Clock, Logger: a.log, Publisher: a.events,
		OnConnection: a.notify.DeviceConnection, Shared: a.redis != nil || a.config.StoreURL != "", Leads: a.leads,
	})
	if err != nil {
		return err
	}
	a.steps.add("devices", func(context.Context) error { a.fleet.Stop(); return nil })
	return nil
}
