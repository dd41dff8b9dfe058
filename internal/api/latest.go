package api

import (
	"context"
	"net/http"
	"strings"

	"hearth"
	"hearth/internal/api/rest"
)

// LatestValue is the newest value of an event.
type LatestValue struct {
	Value     Value     `json:"value" doc:"Of the JSON type that was sent."`
	Timestamp rest.Time `json:"timestamp" doc:"When it was measured."`
}

// LatestLog is the newest value of an event, with its name.
type LatestLog struct {
	Event string `json:"event" doc:"What was measured." example:"temperature"`
	LatestValue
}

func (a *API) registerLatest() {
	rest.Register(a.Router, rest.Operation{
		ID: "latest-logs", Method: http.MethodGet, Path: "/devices/{id}/latest", Tag: tagLogs, Access: rest.ForUsers, Key: hearth.KeyTelemetryRead, ETag: true,
		Codes:   []hearth.Code{hearth.CodeNotFound},
		Summary: "Read a device's latest values",
		Description: "The newest log of each event, by the name of the event; up to 500. The newest is the one of the latest `timestamp`; of the same time, " +
			"the one that was stored later; in a fleet, of what one instance stored.",
	}, a.latestLogs)
}

type latestLogsInput struct {
	ID    string `path:"id" maxLength:"64" doc:"The device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Event string `query:"event" maxLength:"8192" doc:"Only these events, separated by commas." example:"temperature,door"`
}

type latestLogsOutput struct {
	Body struct {
		Items []LatestLog `json:"items" nullable:"false"`
	}
}

func (a *API) latestLogs(ctx context.Context, in *latestLogsInput) (*latestLogsOutput, error) {
	var events []string
	if in.Event != "" {
		events = strings.Split(in.Event, ",")
	}
	logs, err := a.options.Telemetry.Latest(ctx, rest.CallerOf(ctx), in.ID, events)
	if err != nil {
		return nil, err
	}
	out := &latestLogsOutput{}
	out.Body.Items = make([]LatestLog, len(logs))
	for i, log := range logs {
		out.Body.Items[i] = LatestLog{log.Event, wireLatest(log)}
	}
	return out, nil
}

func wireLatest(log hearth.Log) LatestValue {
	return LatestValue{Value: Value(log.Value), Timestamp: rest.Time(log.At)}
}

// wireWithLatest returns what makes the wire form of devices with their latest values.
func (a *API) wireWithLatest(ctx context.Context, devices []hearth.Device) (func(hearth.Device) Device, error) {
	logs, err := a.options.Telemetry.LatestOf(ctx, devices)
	return func(d hearth.Device) Device {
		wire := a.wireDevice(d)
		wire.Latest = make(map[string]LatestValue, len(logs[d.ID]))
		for _, log := range logs[d.ID] {
			wire.Latest[log.Event] = wireLatest(log)
		}
		return wire
	}, err
}
