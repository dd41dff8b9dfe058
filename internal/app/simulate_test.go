package app_test

import (
	"context"
	"testing"
	"time"

	client "hearth/client/go"
	"hearth/internal/apitest"
	simulation "hearth/internal/simulate"
)

// simulated runs devices until the end of the test or until stop is called.
func simulated(t *testing.T, o simulation.Options) (run *simulation.Run, stop func()) {
	t.Helper()
	run, err := simulation.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the run ended with %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return run, stop
}

func TestSimulatedDevicesReportAndObey(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http", "mqtt"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			url := apitest.Start(t, apitest.Unlimited(t))
			person, err := client.New(url, client.WithPassword(annsMail, apitest.Password))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := person.SignUp(t.Context(), client.SignUpRequest{Name: "Ann", Email: annsMail, Password: apitest.Password}); err != nil {
				t.Fatal(err)
			}
			o := simulation.Options{URL: url, Email: annsMail, Password: apitest.Password, Profile: "home", Devices: 10, Interval: time.Second}
			if protocol == "mqtt" {
				o.MQTT = simulation.WebSocket(url)
			}
			run, stop := simulated(t, o)
			eventually(t, "that all devices report", func() bool { f := run.Figures(); return f.Ready == 10 && f.Reports >= 20 })
			devices := map[string]string{}
			for device, err := range person.AllDevices(t.Context(), client.ListDevicesParams{Tag: "simulated"}) {
				if err != nil {
					t.Fatal(err)
				}
				devices[*device.Serial] = device.ID
			}
			lamp := devices["sim-home-0002"]
			if len(devices) != 10 || lamp == "" {
				t.Fatalf("there are the devices %v", devices)
			}
			latest, err := person.LatestLogs(t.Context(), lamp, client.LatestLogsParams{})
			if err != nil || len(latest.Items) != 3 {
				t.Errorf("the lamp reports %v, %v", latest, err)
			}

			if _, err := person.UpdateTwinDesired(t.Context(), lamp, map[string]any{"power": true, "brightness": 20}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "that the lamp is what it should be", func() bool {
				twin, err := person.GetTwin(t.Context(), lamp)
				return err == nil && len(twin.Delta) == 0 && twin.Reported["power"] == true && twin.Reported["brightness"] == 20.0
			})
			command, err := person.SendCommand(t.Context(), lamp, client.NewCommand{Name: "identify"}, client.SendCommandParams{Wait: "30s"})
			if err != nil || command.State != client.CommandStateSucceeded {
				t.Errorf("the command came to %+v, %v", command, err)
			}
			stop()

			// Another run takes up the same devices, and leaves no key behind.
			run, _ = simulated(t, o)
			eventually(t, "that they report again", func() bool { return run.Figures().Reports >= 10 })
			list, err := person.ListDevices(t.Context(), client.ListDevicesParams{Count: true})
			if err != nil || list.Total == nil || *list.Total != 10 {
				t.Errorf("there are %+v devices, %v", list, err)
			}
			eventually(t, "that no provisioning key is left", func() bool {
				keys, err := person.ListProvisioningKeys(t.Context(), client.ListProvisioningKeysParams{})
				return err == nil && len(keys.Items) == 0
			})
		})
	}
}
