package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	_ "github.com/pocketbase/pocketbase/migrations" // its own tables
	"github.com/pocketbase/pocketbase/tools/types"
)

// peerAccess is what a client of the peer needs to know: written to peer.json in its folder.
type peerAccess struct {
	Token  string `json:"token"`
	Device string `json:"device"`
}

const signedIn = `@request.auth.id != ""`

// servePeer runs PocketBase with a collection of devices and one of telemetry, both for signed-in people only. It keeps
// its own defaults, synchronous=NORMAL among them: it does not promise what hearth does after a power cut.
func servePeer(addr, dir string) error {
	app := core.NewBaseApp(core.BaseAppConfig{DataDir: dir})
	if err := app.Bootstrap(); err != nil {
		return err
	}
	if err := app.RunAllMigrations(); err != nil {
		return err
	}
	app.Settings().Batch.Enabled = true
	app.Settings().Batch.MaxRequests = 5000
	app.Settings().Batch.Timeout = 60
	app.Settings().RateLimits.Enabled = false
	app.Settings().Logs.MaxDays = 0
	if err := app.Save(app.Settings()); err != nil {
		return err
	}
	devices := core.NewBaseCollection("devices")
	devices.Fields.Add(&core.TextField{Name: "name"}, &core.TextField{Name: "status"}, &core.AutodateField{Name: "updated", OnCreate: true, OnUpdate: true})
	telemetry := core.NewBaseCollection("telemetry")
	telemetry.Fields.Add(&core.TextField{Name: "device"}, &core.TextField{Name: "event"}, &core.NumberField{Name: "value"}, &core.DateField{Name: "at"})
	telemetry.AddIndex("telemetry_device_at", false, "device, at", "")
	for _, c := range []*core.Collection{devices, telemetry} {
		c.ListRule, c.ViewRule, c.CreateRule, c.UpdateRule =
			types.Pointer(signedIn), types.Pointer(signedIn), types.Pointer(signedIn), types.Pointer(signedIn)
		if err := app.Save(c); err != nil {
			return err
		}
	}
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	user := core.NewRecord(users)
	user.SetEmail("bench@example.com")
	user.SetPassword("bench password 1")
	if err := app.Save(user); err != nil {
		return err
	}
	token, err := user.NewAuthToken()
	if err != nil {
		return err
	}
	var first string
	for range 50 {
		device := core.NewRecord(devices)
		device.Set("name", "bench device")
		if err := app.Save(device); err != nil {
			return err
		}
		first = device.Id
	}
	access, err := json.Marshal(peerAccess{Token: token, Device: first})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "peer.json"), access, 0o600); err != nil {
		return err
	}
	return apis.Serve(app, apis.ServeConfig{HttpAddr: addr})
}
