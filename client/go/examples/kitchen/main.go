// Command kitchen makes a device, reports values of it, watches it live, and sums it up.
//
//	HEARTH_URL=http://127.0.0.1:8080 HEARTH_EMAIL=… HEARTH_PASSWORD=… go run ./examples/kitchen
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	hearth "hearth/client/go"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

var errSeen = errors.New("the last value was seen")

func run(ctx context.Context) error {
	client, err := hearth.New(os.Getenv("HEARTH_URL"), hearth.WithPassword(os.Getenv("HEARTH_EMAIL"), os.Getenv("HEARTH_PASSWORD")))
	if err != nil {
		return err
	}
	device, err := client.CreateDevice(ctx, hearth.NewDevice{Name: "Kitchen", Type: "thermostat", Tags: []string{"example"}})
	if err != nil {
		return err
	}
	reported := make(chan error, 1)
	err = client.Follow(ctx, hearth.FollowOptions{
		Channels: []string{"device:" + device.ID},
		Opened:   func() { reported <- report(ctx, client, device.ID) },
	}, func(event hearth.LiveEvent) error {
		value, err := event.Value()
		if live, ok := value.(hearth.LiveLog); ok && live.Value == 20.9 {
			return errSeen
		}
		return err
	})
	if !errors.Is(err, errSeen) {
		return err
	}
	if err := <-reported; err != nil {
		return err
	}
	usage, err := client.DeviceUsage(ctx, device.ID, hearth.DeviceUsageParams{Range: "1h", Event: "temperature"})
	if err != nil {
		return err
	}
	fmt.Printf("%d values, %.1f on average\n", usage.Summary.Count, *usage.Summary.Average)
	return client.DeleteDevice(ctx, device.ID)
}

// report reports ten values; a real program would measure them.
func report(ctx context.Context, client *hearth.Client, id string) error {
	writer := client.NewWriter(hearth.WriterOptions{})
	for i := range 10 {
		if err := writer.Write(ctx, hearth.NewDeviceLog{DeviceID: id, Event: "temperature", Value: 20 + float64(i)/10}); err != nil {
			return err
		}
	}
	return writer.Close(ctx)
}
