package api

import (
	"context"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
)

// States says how long each value of an event held.
type States struct {
	Event     string         `json:"event" example:"door"`
	From      rest.Time      `json:"from"`
	To        rest.Time      `json:"to"`
	Totals    []StateTotal   `json:"totals" nullable:"false" doc:"By value, the longest first."`
	Segments  []StateSegment `json:"segments" nullable:"false" doc:"In order of time, at most 1,000. Equal successive values are one segment; the one that held before the range starts with it."`
	Truncated bool           `json:"truncated,omitempty" doc:"There are more segments than these; totals are of all."`
}

// StateTotal sums up the segments of one value.
type StateTotal struct {
	Value   Value   `json:"value"`
	Seconds float64 `json:"seconds" doc:"How long the value held." example:"5400"`
	Count   int64   `json:"count" doc:"How many of its segments began within the range." example:"3"`
	Share   float64 `json:"share" doc:"The part of the time of which the value is known, from 0 to 1." example:"0.25"`
}

// StateSegment is a time in which one value held.
type StateSegment struct {
	Value Value     `json:"value"`
	From  rest.Time `json:"from"`
	To    rest.Time `json:"to"`
}

func (a *API) registerStates() {
	rest.Register(a.Router, rest.Operation{
		ID: "device-states", Method: http.MethodGet, Path: "/devices/{id}/states", Tag: tagAnalytics, Access: rest.ForUsers, Key: hearth.KeyTelemetryRead,
		Class: rest.ClassAnalytics, Codes: []hearth.Code{hearth.CodeNotFound},
		Summary: "Read how long each value of an event held",
		Description: "For doors, modes and other states: the times in which each value held, from the last log before the range on. The last 24 hours if no range is given; " +
			"an end in the future is now. Values may be of any type. More than 2,000,000 logs or 10,000 different values in the range are `validation_failed`.",
	}, a.deviceStates)
}

type deviceStatesInput struct {
	ID    string `path:"id" maxLength:"64" doc:"The device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Event string `query:"event" required:"true" minLength:"1" maxLength:"64" doc:"The event." example:"door"`
	timerange.Params
}

type deviceStatesOutput struct{ Body States }

func (a *API) deviceStates(ctx context.Context, in *deviceStatesInput) (*deviceStatesOutput, error) {
	now := a.Now()
	r, err := in.ForAnalytics(now)
	if err != nil {
		return nil, err
	}
	span := r.At(now).Span
	if end := now.Add(time.Millisecond).Truncate(time.Millisecond); span.To.After(end) {
		span.To = end
	}
	if span.To.Before(span.From) {
		span.To = span.From
	}
	states, err := a.options.Telemetry.States(ctx, rest.CallerOf(ctx), in.ID, in.Event, span)
	if err != nil {
		return nil, err
	}
	return &deviceStatesOutput{Body: wireStates(in.Event, span, states)}, nil
}

func wireStates(event string, span hearth.Span, states hearth.States) States {
	out := States{
		Event: event, From: rest.Time(span.From), To: rest.Time(span.To), Truncated: states.Truncated,
		Totals: make([]StateTotal, len(states.Totals)), Segments: make([]StateSegment, len(states.Segments)),
	}
	known := int64(0)
	for _, total := range states.Totals {
		known += total.Held
	}
	for i, total := range states.Totals {
		out.Totals[i] = StateTotal{
			Value: Value(total.Value), Seconds: float64(total.Held) / 1000, Count: total.Count, Share: float64(total.Held) / float64(max(known, 1)),
		}
	}
	for i, s := range states.Segments {
		out.Segments[i] = StateSegment{Value(s.Value), rest.Time(time.UnixMilli(s.From).UTC()), rest.Time(time.UnixMilli(s.To).UTC())}
	}
	return out
}
