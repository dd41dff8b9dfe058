package demo

import (
	"cmp"
	"context"
	"time"
)

// Reporter is what the devices speak to.
type Reporter interface {
	// Heartbeat is a sign of life of a device, by name.
	Heartbeat(ctx context.Context, device string) error
	// Log is a reading that was made now.
	Log(ctx context.Context, reading Reading) error
}

// Pace says how lively the devices are. Zero fields are their defaults.
type Pace struct {
	// BetweenLogs is the time from one reading of any device to the next; 0 is 500 ms.
	BetweenLogs time.Duration
	// BetweenHeartbeats is the time from one heartbeat of a device to its next; 0 is 20 s.
	BetweenHeartbeats time.Duration
}

// Live has the devices report the last day's readings, over and over, until ctx ends. Failures go to failed, and the
// devices go on.
func Live(ctx context.Context, to Reporter, pace Pace, failed func(error)) error {
	pace.BetweenLogs = cmp.Or(pace.BetweenLogs, 500*time.Millisecond)
	pace.BetweenHeartbeats = cmp.Or(pace.BetweenHeartbeats, 20*time.Second)
	readings, err := LastDay()
	if err != nil {
		return err
	}
	devices := devicesIn(readings)
	report := func(err error) {
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
	for _, device := range devices {
		report(to.Heartbeat(ctx, device))
	}
	// The heartbeats are spread evenly, as those of devices that know nothing of each other are.
	heartbeats := time.NewTicker(pace.BetweenHeartbeats / time.Duration(len(devices)))
	defer heartbeats.Stop()
	logs := time.NewTicker(pace.BetweenLogs)
	defer logs.Stop()
	for beat, reading := 0, 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-heartbeats.C:
			report(to.Heartbeat(ctx, devices[beat%len(devices)]))
			beat++
		case <-logs.C:
			report(to.Log(ctx, readings[reading%len(readings)]))
			reading++
		}
	}
}

// devicesIn returns the devices of readings, in the order in which they come.
func devicesIn(readings []Reading) (devices []string) {
	seen := map[string]bool{}
	for _, reading := range readings {
		if !seen[reading.Device] {
			seen[reading.Device] = true
			devices = append(devices, reading.Device)
		}
	}
	return devices
}
