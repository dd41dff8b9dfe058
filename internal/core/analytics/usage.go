package analytics

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth"
)

// Usage is what one device reported.
type Usage struct {
	Device  hearth.Device
	Span    hearth.Span
	Summary Summary
	Trend   Trend
}

// UsageAsk asks for the usage of one device. Event, if set, is the only one counted.
type UsageAsk struct {
	Caller   hearth.Caller
	DeviceID string
	Range    Range
	Interval Interval
	Event    string
}

// usageFigures are the part of usages that only logs change.
type usageFigures struct {
	From, To int64
	Devices  []usageFigure
}

type usageFigure struct {
	Device  int64
	Summary Summary
	Trend   Trend
}

// Usage returns what one device reported. CodeNotFound if the caller may not read it, CodeValidationFailed for too many
// buckets.
func (s *Service) Usage(ctx context.Context, ask UsageAsk) (Usage, error) {
	devices, err := s.readable(ctx, ask.Caller, []string{ask.DeviceID})
	if err == nil {
		err = ask.Interval.check(ask.Range, "query.interval")
	}
	if err != nil {
		return Usage{}, err
	}
	figures, err := s.usages(ctx, usageAsk{kind: "usage", devices: devices, span: ask.Range, interval: ask.Interval, event: ask.Event})
	if err != nil {
		return Usage{}, err
	}
	return figures.of(devices)[0], nil
}

// The bounds of a comparison.
const (
	MinCompared = 2
	MaxCompared = 20
)

// ComparisonAsk asks for several devices side by side. OrganizationID, if set, is the one that they must all belong to.
type ComparisonAsk struct {
	Ask
	DeviceIDs []string
}

// Comparison returns the usage of several devices, in the order asked for. CodeValidationFailed for another number of
// devices than MinCompared to MaxCompared and for one named twice, CodeNotFound if one may not be read.
func (s *Service) Comparison(ctx context.Context, ask ComparisonAsk) ([]Usage, error) {
	invalid := func(message string) error {
		return hearth.Invalid(hearth.FieldError{Location: "query.device_ids", Message: message})
	}
	ids := slices.Clone(ask.DeviceIDs)
	slices.Sort(ids)
	if len(ids) != len(slices.Compact(ids)) {
		return nil, invalid("names a device twice")
	}
	if len(ask.DeviceIDs) < MinCompared || len(ask.DeviceIDs) > MaxCompared {
		return nil, invalid("must name 2 to 20 devices")
	}
	reach, err := ask.Caller.Reach(ask.OrganizationID)
	if err != nil {
		return nil, err
	}
	devices, err := s.readable(ctx, ask.Caller, ask.DeviceIDs)
	if err != nil {
		return nil, err
	}
	for _, device := range devices {
		if !reach.All && !slices.Contains(reach.Scopes, device.Scope()) {
			return nil, hearth.NotFound("device")
		}
	}
	interval := intervalFor(ask.Range, ask.Zone)
	if err := interval.check(ask.Range, "query.from"); err != nil {
		return nil, err
	}
	figures, err := s.usages(ctx, usageAsk{kind: "comparison", devices: devices, span: ask.Range, interval: interval})
	if err != nil {
		return nil, err
	}
	return figures.of(devices), nil
}

// readable returns the devices in the order of ids, if the caller may read them all.
func (s *Service) readable(ctx context.Context, caller hearth.Caller, ids []string) ([]hearth.Device, error) {
	found, err := s.options.Devices.DevicesByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]hearth.Device, len(found))
	for _, device := range found {
		byID[device.ID] = device
	}
	devices := make([]hearth.Device, len(ids))
	for i, id := range ids {
		device, ok := byID[id]
		if !ok {
			return nil, hearth.NotFound("device")
		}
		if err := caller.Allow(device, hearth.MayRead); err != nil {
			return nil, err
		}
		devices[i] = device
	}
	return devices, nil
}

type usageAsk struct {
	kind     string
	devices  []hearth.Device
	span     Range
	interval Interval
	event    string
}

func (s *Service) usages(ctx context.Context, ask usageAsk) (usageFigures, error) {
	var reach hearth.Reach
	keys := make([]int64, len(ask.devices))
	names := make([]string, len(ask.devices))
	for i, device := range ask.devices {
		if scope := device.Scope(); !slices.Contains(reach.Scopes, scope) {
			reach.Scopes = append(reach.Scopes, scope)
		}
		keys[i] = device.Key
	}
	slices.Sort(keys)
	for i, key := range keys {
		names[i] = strconv.FormatInt(key, 10)
	}
	q := question{
		kind: ask.kind, reach: reach, span: ask.span,
		rest: []string{strings.Join(names, ","), ask.interval.String(), ask.event},
	}
	return cached(ctx, s, q, func(ctx context.Context, span Range) (usageFigures, error) {
		groups, err := s.options.Logs.Rollups(ctx, hearth.RollupQuery{
			Reach: reach, Devices: keys, Event: ask.event, Span: span.Span,
			Groupings: []hearth.Grouping{
				{ByDevice: true, Sketch: true, Changes: ask.event != ""},
				ask.interval.grouping(span.Span, hearth.Grouping{ByDevice: true, Changes: ask.event != ""}),
			},
		})
		if err != nil {
			return usageFigures{}, err
		}
		figures := usageFigures{From: span.From.UnixMilli(), To: span.To.UnixMilli(), Devices: make([]usageFigure, len(keys))}
		for i, key := range keys {
			figures.Devices[i] = usageFigure{Device: key, Trend: Trend{}}
		}
		place := func(key int64) *usageFigure {
			i, _ := slices.BinarySearch(keys, key)
			return &figures.Devices[i]
		}
		for _, group := range groups[0] {
			place(group.Device).Summary = summaryOf(group)
		}
		for _, group := range groups[1] {
			of := place(group.Device)
			of.Trend = append(of.Trend, Point{group.At, group.Stats, group.Change})
		}
		return figures, nil
	})
}

// of returns each device its figures.
func (f usageFigures) of(devices []hearth.Device) []Usage {
	span := hearth.Span{From: time.UnixMilli(f.From).UTC(), To: time.UnixMilli(f.To).UTC()}
	usages := make([]Usage, len(devices))
	for i, device := range devices {
		usages[i] = Usage{Device: device, Span: span}
		for _, figure := range f.Devices {
			if figure.Device == device.Key {
				usages[i].Summary, usages[i].Trend = figure.Summary, figure.Trend
			}
		}
	}
	return usages
}
