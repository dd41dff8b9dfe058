package analytics

import (
	"cmp"
	"context"
	"sort"
	"time"

	"hearth"
	"hearth/internal/calendar"
)

// topDevices is how many devices a dashboard names.
const topDevices = 10

// Ask is a question about everything that a caller may read.
type Ask struct {
	Caller hearth.Caller
	// OrganizationID, if set, narrows it to one organization.
	OrganizationID string
	Range          Range
	// Zone is that of the hours and days of trends; nil is UTC.
	Zone *time.Location
}

// Dashboard is the whole at a glance.
type Dashboard struct {
	Span   hearth.Span
	Counts hearth.DeviceCounts
	// TotalLogs is of all time; Stats is of the span.
	TotalLogs int64
	hearth.Stats
	// Devices are those with the most logs in the span.
	Devices []DeviceShare
	Trend   Trend
	Events  []EventShare
}

// DeviceShare is a device's part in the whole.
type DeviceShare struct {
	Device hearth.Device
	hearth.Stats
}

// EventShare is an event's part in the whole.
type EventShare struct {
	Event string
	Summary
}

// dashboardFigures are the part of a dashboard that only logs change.
type dashboardFigures struct {
	From, To  int64
	TotalLogs int64
	Stats     hearth.Stats
	Top       []keyedStats
	Trend     Trend
	Events    []EventShare
}

type keyedStats struct {
	Device int64
	hearth.Stats
}

// Dashboard returns the whole at a glance. CodeNotFound for an organization that the caller may not read.
func (s *Service) Dashboard(ctx context.Context, ask Ask) (Dashboard, error) {
	reach, err := ask.Caller.Reach(ask.OrganizationID)
	if err != nil {
		return Dashboard{}, err
	}
	interval := intervalFor(ask.Range, ask.Zone)
	if err := interval.check(ask.Range, "query.from"); err != nil {
		return Dashboard{}, err
	}
	figures, err := cached(ctx, s, question{kind: "dashboard", reach: reach, span: ask.Range, rest: []string{interval.String()}},
		func(ctx context.Context, span Range) (dashboardFigures, error) {
			return s.dashboardFigures(ctx, reach, span, interval)
		})
	if err != nil {
		return Dashboard{}, err
	}
	d := Dashboard{
		Span: hearth.Span{From: time.UnixMilli(figures.From).UTC(), To: time.UnixMilli(figures.To).UTC()}, TotalLogs: figures.TotalLogs,
		Stats: figures.Stats, Trend: figures.Trend, Events: figures.Events,
	}
	if d.Counts, err = s.options.Devices.CountDevices(ctx, reach, s.options.Clock.Now()); err != nil {
		return Dashboard{}, err
	}
	d.Devices, err = s.named(ctx, figures.Top)
	return d, err
}

func (s *Service) dashboardFigures(ctx context.Context, reach hearth.Reach, span Range, interval Interval) (dashboardFigures, error) {
	groups, err := s.options.Logs.Rollups(ctx, hearth.RollupQuery{
		Reach: reach, Span: span.Span,
		Groupings: []hearth.Grouping{{ByDevice: true}, interval.grouping(span.Span, hearth.Grouping{}), {ByEvent: true}},
	})
	if err != nil {
		return dashboardFigures{}, err
	}
	figures := dashboardFigures{From: span.From.UnixMilli(), To: span.To.UnixMilli(), Trend: trendOf(groups[1])}
	for _, group := range groups[0] {
		figures.Stats.Merge(group.Stats)
		figures.Top = append(figures.Top, keyedStats{group.Device, group.Stats})
	}
	sort.Slice(figures.Top, func(i, j int) bool {
		a, b := &figures.Top[i], &figures.Top[j]
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Device, b.Device)) < 0
	})
	figures.Top = figures.Top[:min(len(figures.Top), topDevices)]
	figures.Events = eventShares(groups[2])
	figures.TotalLogs, err = s.options.Logs.CountLogs(ctx, reach)
	return figures, err
}

// eventShares returns the most frequent event first.
func eventShares(groups []hearth.Rollup) []EventShare {
	shares := make([]EventShare, len(groups))
	for i, group := range groups {
		shares[i] = EventShare{group.Event, summaryOf(group)}
	}
	sort.Slice(shares, func(i, j int) bool {
		a, b := &shares[i], &shares[j]
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Event, b.Event)) < 0
	})
	return shares
}

// named finds the devices of keys. One that is gone since is left out.
func (s *Service) named(ctx context.Context, top []keyedStats) ([]DeviceShare, error) {
	if len(top) == 0 {
		return nil, nil
	}
	keys := make([]int64, len(top))
	for i, share := range top {
		keys[i] = share.Device
	}
	devices, err := s.options.Devices.DevicesByKey(ctx, keys)
	if err != nil {
		return nil, err
	}
	byKey := make(map[int64]hearth.Device, len(devices))
	for _, device := range devices {
		byKey[device.Key] = device
	}
	shares := make([]DeviceShare, 0, len(top))
	for _, share := range top {
		if device, ok := byKey[share.Device]; ok {
			shares = append(shares, DeviceShare{device, share.Stats})
		}
	}
	return shares, nil
}

// Events returns each event's figures, the most frequent first. CodeNotFound as for Dashboard.
func (s *Service) Events(ctx context.Context, ask Ask) (hearth.Span, []EventShare, error) {
	reach, err := ask.Caller.Reach(ask.OrganizationID)
	if err != nil {
		return hearth.Span{}, nil, err
	}
	type answer struct {
		Span   hearth.Span
		Events []EventShare
	}
	got, err := cached(ctx, s, question{kind: "events", reach: reach, span: ask.Range},
		func(ctx context.Context, span Range) (answer, error) {
			groups, err := s.options.Logs.Rollups(ctx, hearth.RollupQuery{
				Reach: reach, Span: span.Span, Groupings: []hearth.Grouping{{ByEvent: true, Sketch: true}},
			})
			if err != nil {
				return answer{}, err
			}
			return answer{span.Span, eventShares(groups[0])}, nil
		})
	return got.Span, got.Events, err
}

// TrendAsk asks for a trend; Event, if set, is the only one counted.
type TrendAsk struct {
	Ask
	Unit  calendar.Unit
	Event string
}

// Trends returns the trend of everything. CodeNotFound as for Dashboard, CodeValidationFailed for too many buckets.
func (s *Service) Trends(ctx context.Context, ask TrendAsk) (hearth.Span, Trend, error) {
	interval := Interval{ask.Unit, ask.Zone}
	reach, err := ask.Caller.Reach(ask.OrganizationID)
	if err == nil {
		err = interval.check(ask.Range, "query.interval")
	}
	if err != nil {
		return hearth.Span{}, nil, err
	}
	type answer struct {
		Span  hearth.Span
		Trend Trend
	}
	q := question{kind: "trends", reach: reach, span: ask.Range, rest: []string{interval.String(), ask.Event}}
	got, err := cached(ctx, s, q, func(ctx context.Context, span Range) (answer, error) {
		groups, err := s.options.Logs.Rollups(ctx, hearth.RollupQuery{
			Reach: reach, Event: ask.Event, Span: span.Span, Groupings: []hearth.Grouping{interval.grouping(span.Span, hearth.Grouping{Changes: ask.Event != ""})},
		})
		if err != nil {
			return answer{}, err
		}
		return answer{span.Span, trendOf(groups[0])}, nil
	})
	return got.Span, got.Trend, err
}

// Flow is what goes through the service now.
type Flow struct {
	// The rates are means of the last ten seconds.
	HeartbeatsPerSecond float64
	LogsPerSecond       float64
	Connections         int
}

// Realtime is what goes on now.
type Realtime struct {
	At     time.Time
	Counts hearth.DeviceCounts
	Flow
}

// Realtime returns what goes on now. It is never kept. CodeNotFound as for Dashboard.
func (s *Service) Realtime(ctx context.Context, caller hearth.Caller, organizationID string) (Realtime, error) {
	reach, err := caller.Reach(organizationID)
	if err != nil {
		return Realtime{}, err
	}
	now := s.options.Clock.Now()
	counts, err := s.options.Devices.CountDevices(ctx, reach, now)
	if err != nil {
		return Realtime{}, err
	}
	return Realtime{At: now, Counts: counts, Flow: s.options.Flow(ctx, caller, reach)}, nil
}
