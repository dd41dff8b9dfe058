package api

import (
	"context"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
	"hearth/internal/calendar"
	"hearth/internal/core/analytics"
)

const tagAnalytics = "Analytics"

// Summary sums up the values of a range. Of no values, count and total are 0 and the rest is null.
type Summary struct {
	Count   int64    `json:"count" doc:"Exact." example:"288"`
	Total   float64  `json:"total" doc:"The sum of the values." example:"6192"`
	Average *float64 `json:"average" example:"21.5"`
	Min     *float64 `json:"min" doc:"Exact." example:"19.8"`
	Max     *float64 `json:"max" doc:"Exact." example:"24.1"`
	P50     *float64 `json:"p50" doc:"The median, within 1 % relative error; so are the others." example:"21.4"`
	P95     *float64 `json:"p95" example:"23.6"`
	P99     *float64 `json:"p99" example:"24"`
	Movement
}

// Movement is how the values of one event changed in time.
type Movement struct {
	First    *Value   `json:"first" doc:"The first value, where one event of one device is asked for; else null."`
	Last     *Value   `json:"last" doc:"The last value, where one event of one device is asked for; else null."`
	Increase *float64 `json:"increase" doc:"The sum of the rises from each reading to the next, the one before the bucket included, where one event is asked for; else null. A fall is a reset to zero: the new value counts whole. Of several devices it is the sum of theirs." example:"12.5"`
}

// wireMovement leaves out what is of several devices, unless single.
func wireMovement(c *hearth.ValueChange, of *hearth.Stats, single bool) (wire Movement) {
	if c == nil {
		return wire
	}
	if single {
		wire.First, wire.Last = (*Value)(&c.First), (*Value)(&c.Last)
	}
	if of.Numbers() > 0 {
		wire.Increase = &c.Increase
	}
	return wire
}

func wireSummary(s analytics.Summary) Summary {
	wire := Summary{Count: s.Count, Total: s.Sum, Movement: wireMovement(s.Change, &s.Stats, true)}
	if s.Numbers() > 0 {
		average := s.Average()
		wire.Average, wire.Min, wire.Max, wire.P50, wire.P95, wire.P99 = &average, &s.Min, &s.Max, &s.P50, &s.P95, &s.P99
	}
	return wire
}

// TrendPoint is one bucket of a trend.
type TrendPoint struct {
	At      rest.Time `json:"at" doc:"The start of the bucket, also of a first one that the range cuts."`
	Count   int64     `json:"count" doc:"Strings are counted too." example:"12"`
	Total   float64   `json:"total" doc:"Of numbers and booleans, which count as 1 and 0." example:"258"`
	Average *float64  `json:"average" doc:"Of numbers and booleans, as the others; null without any." example:"21.5"`
	Min     *float64  `json:"min" example:"21.2"`
	Max     *float64  `json:"max" example:"21.9"`
	Movement
}

// wireTrend returns the trend of one device or, unless single, of several.
func wireTrend(trend analytics.Trend, single bool) []TrendPoint {
	wire := make([]TrendPoint, len(trend))
	for i, p := range trend {
		wire[i] = TrendPoint{At: rest.TimeOfMillis(p.At), Count: p.Count, Total: p.Sum, Movement: wireMovement(p.Change, &p.Stats, single)}
		if p.Numbers() > 0 {
			average := p.Average()
			wire[i].Average, wire[i].Min, wire[i].Max = &average, &p.Min, &p.Max
		}
	}
	return wire
}

// Usage is what one device reported.
type Usage struct {
	DeviceID   string       `json:"device_id" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	DeviceName string       `json:"device_name" example:"Kitchen"`
	From       rest.Time    `json:"from"`
	To         rest.Time    `json:"to"`
	Interval   string       `json:"interval" enum:"minute,hour,day,week,month" example:"hour"`
	Summary    Summary      `json:"summary"`
	Trend      []TrendPoint `json:"trend" nullable:"false" doc:"Oldest first; empty buckets are left out."`
}

// Dashboard is everything at a glance.
type Dashboard struct {
	From    rest.Time         `json:"from"`
	To      rest.Time         `json:"to"`
	Summary DashboardSummary  `json:"summary"`
	Devices []DashboardDevice `json:"devices" nullable:"false" doc:"The ten with the most logs in the range."`
	Trend   []DashboardPoint  `json:"trend" nullable:"false" doc:"By the hour up to 7 days, then by the day; oldest first, empty buckets left out."`
	Events  []DashboardEvent  `json:"events" nullable:"false" doc:"The most frequent first."`
}

// DashboardSummary are the figures of the whole.
type DashboardSummary struct {
	TotalDevices  int64   `json:"total_devices" example:"20"`
	ActiveDevices int64   `json:"active_devices" doc:"Devices whose status is active." example:"19"`
	OnlineDevices int64   `json:"online_devices" doc:"Devices whose connection is online." example:"18"`
	TotalLogs     int64   `json:"total_logs" doc:"Of all time." example:"213604"`
	Logs          int64   `json:"logs" doc:"Of the range." example:"3673"`
	TotalValue    float64 `json:"total_value" doc:"The sum of all values of the range." example:"81234.5"`
}

// DashboardDevice is a device's part in the range.
type DashboardDevice struct {
	DeviceID     string     `json:"device_id" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	DeviceName   string     `json:"device_name" example:"Kitchen"`
	DeviceType   string     `json:"device_type" example:"multisensor"`
	LogCount     int64      `json:"log_count" example:"432"`
	TotalValue   float64    `json:"total_value" example:"9288"`
	LastActiveAt *rest.Time `json:"last_active_at" doc:"The last heartbeat; null before the first."`
}

// DashboardPoint is one bucket of the dashboard's trend.
type DashboardPoint struct {
	At         rest.Time `json:"at" doc:"The start of the bucket."`
	LogCount   int64     `json:"log_count" example:"153"`
	TotalValue float64   `json:"total_value" example:"3312.5"`
}

// DashboardEvent is an event's part in the range.
type DashboardEvent struct {
	Event      string  `json:"event" example:"temperature"`
	Count      int64   `json:"count" example:"863"`
	TotalValue float64 `json:"total_value" example:"18554.5"`
}

// Comparison is several devices side by side.
type Comparison struct {
	From    rest.Time        `json:"from"`
	To      rest.Time        `json:"to"`
	Devices []ComparedDevice `json:"devices" nullable:"false" doc:"In the order asked for."`
}

// ComparedDevice is one device of a comparison.
type ComparedDevice struct {
	DeviceID   string       `json:"device_id" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	DeviceName string       `json:"device_name" example:"Kitchen"`
	Summary    Summary      `json:"summary"`
	Trend      []TrendPoint `json:"trend" nullable:"false" doc:"By the hour up to 7 days, then by the day; oldest first, empty buckets left out."`
}

// Trends is the trend of everything.
type Trends struct {
	From     rest.Time    `json:"from"`
	To       rest.Time    `json:"to"`
	Interval string       `json:"interval" enum:"minute,hour,day,week,month" example:"hour"`
	Trend    []TrendPoint `json:"trend" nullable:"false" doc:"Oldest first; empty buckets are left out."`
}

// EventFigures are the figures of one event.
type EventFigures struct {
	Event      string   `json:"event" example:"temperature"`
	Count      int64    `json:"count" doc:"Exact." example:"863"`
	TotalValue float64  `json:"total_value" example:"18554.5"`
	Average    *float64 `json:"average" doc:"Of numbers and booleans, as the others; null without any." example:"21.5"`
	Min        *float64 `json:"min" doc:"Exact." example:"19.8"`
	Max        *float64 `json:"max" doc:"Exact." example:"24.1"`
	P50        *float64 `json:"p50" doc:"The median, within 1 % relative error; so are the others." example:"21.4"`
	P95        *float64 `json:"p95" example:"23.6"`
	P99        *float64 `json:"p99" example:"24"`
}

// Events are the figures of every event.
type Events struct {
	From   rest.Time      `json:"from"`
	To     rest.Time      `json:"to"`
	Events []EventFigures `json:"events" nullable:"false" doc:"The most frequent first."`
}

// RealtimeFigures are what goes on now.
type RealtimeFigures struct {
	At                  rest.Time `json:"at"`
	OnlineDevices       int64     `json:"online_devices" example:"18"`
	ActiveDevices       int64     `json:"active_devices" doc:"Devices whose status is active." example:"19"`
	HeartbeatsPerSecond float64   `json:"heartbeats_per_second" doc:"The mean of the last 10 seconds." example:"0.4"`
	LogsPerSecond       float64   `json:"logs_per_second" doc:"The mean of the last 10 seconds." example:"2.5"`
	Connections         int       `json:"connections" doc:"Open streams: an admin sees those of all users, a user their own." example:"1"`
}

// IntervalParam is the step of a trend.
type IntervalParam struct {
	Interval string `query:"interval" enum:"minute,hour,day,week,month" default:"hour" doc:"The width of the trend's buckets. Weeks begin on Monday. A trend has at most 100,000 of them."`
}

// ZoneParam is the time zone of a trend.
type ZoneParam struct {
	TZ string `query:"tz" maxLength:"64" doc:"The time zone, an IANA name, whose hours, midnights, Mondays and firsts of the month the buckets start at; your account's time_zone, if nothing is said." example:"Europe/Berlin"`
}

func (p ZoneParam) zone(caller hearth.Caller) (*time.Location, error) {
	name := p.TZ
	if name == "" {
		name = caller.TimeZone
	}
	zone, err := hearth.TimeZone(name)
	if err != nil {
		return nil, hearth.Invalid(hearth.FieldError{Location: "query.tz", Message: err.Error()})
	}
	return zone, nil
}

// OrganizationParam narrows a question to one organization.
type OrganizationParam struct {
	OrganizationID string `query:"organization_id" maxLength:"64" doc:"Only this organization's devices; otherwise all that you may read."`
}

// EventParam narrows a question to one event.
type EventParam struct {
	Event string `query:"event" maxLength:"64" doc:"Only logs of this event." example:"temperature"`
}

const rangeNote = " About the last 24 hours, unless `range`, or `from` (and `to`), says otherwise."

func (a *API) registerAnalytics() {
	operationOf := func(id, path, summary, description string) rest.Operation {
		return rest.Operation{
			ID: id, Method: http.MethodGet, Path: path, Tag: tagAnalytics,
			Access: rest.ForUsers, Key: hearth.KeyTelemetryRead, ETag: true, Summary: summary,
			Description: description, Codes: []hearth.Code{hearth.CodeNotFound},
		}
	}
	usage := operationOf("device-usage", "/devices/{id}/usage", "Sum up a device's logs",
		"The figures of one device and their trend."+rangeNote+" Counts, minima and maxima are exact for every range.")
	usage.Tag = tagLogs
	rest.Register(a.Router, usage, a.usage)
	rest.Register(a.Router, operationOf("dashboard", "/analytics/dashboard", "See everything at a glance",
		"Over all that you may read, or one organization."+rangeNote), a.dashboard)
	rest.Register(a.Router, operationOf("comparison", "/analytics/comparison", "Compare devices",
		"The figures of 2 to 20 devices side by side."+rangeNote), a.comparison)
	rest.Register(a.Router, operationOf("trends", "/analytics/trends", "Get the trend of all logs",
		"Over all that you may read, or one organization."+rangeNote), a.trends)
	rest.Register(a.Router, operationOf("events", "/analytics/events", "Sum up by event",
		"The figures of each event over all that you may read, or one organization."+rangeNote), a.events)
	realtime := operationOf("realtime-figures", "/analytics/realtime", "Get the current activity", "Devices online, and logs and heartbeats a second, at all "+
		"instances together. Never cached; the figures of another instance are at most a second old.")
	realtime.ETag = false
	rest.Register(a.Router, realtime, a.realtimeFigures)
}

type usageInput struct {
	ID string `path:"id" maxLength:"64" doc:"The device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	timerange.Params
	IntervalParam
	ZoneParam
	EventParam
}

func (a *API) usage(ctx context.Context, in *usageInput) (*rest.Body[Usage], error) {
	span, err := in.ForAnalytics(a.Now())
	if err != nil {
		return nil, err
	}
	zone, err := in.zone(rest.CallerOf(ctx))
	if err != nil {
		return nil, err
	}
	u, err := a.options.Analytics.Usage(ctx, analytics.UsageAsk{
		Caller: rest.CallerOf(ctx), DeviceID: in.ID, Range: span, Interval: analytics.Interval{Unit: calendar.Unit(in.Interval), Zone: zone}, Event: in.Event,
	})
	if err != nil {
		return nil, err
	}
	return &rest.Body[Usage]{Body: Usage{
		DeviceID: u.Device.ID, DeviceName: u.Device.Name, From: rest.Time(u.Span.From), To: rest.Time(u.Span.To), Interval: in.Interval,
		Summary: wireSummary(u.Summary), Trend: wireTrend(u.Trend, true),
	}}, nil
}

// AnalyticsInput are the parameters of every analytics operation.
type AnalyticsInput struct {
	timerange.Params
	OrganizationParam
}

func (a *API) ask(ctx context.Context, in AnalyticsInput) (analytics.Ask, error) {
	span, err := in.ForAnalytics(a.Now())
	return analytics.Ask{Caller: rest.CallerOf(ctx), OrganizationID: in.OrganizationID, Range: span}, err
}

// ZonedInput are the parameters of an analytics operation that has a trend.
type ZonedInput struct {
	AnalyticsInput
	ZoneParam
}

func (a *API) zonedAsk(ctx context.Context, in ZonedInput) (analytics.Ask, error) {
	ask, err := a.ask(ctx, in.AnalyticsInput)
	if err == nil {
		ask.Zone, err = in.zone(ask.Caller)
	}
	return ask, err
}

func (a *API) dashboard(ctx context.Context, in *ZonedInput) (*rest.Body[Dashboard], error) {
	ask, err := a.zonedAsk(ctx, *in)
	if err != nil {
		return nil, err
	}
	d, err := a.options.Analytics.Dashboard(ctx, ask)
	if err != nil {
		return nil, err
	}
	out := Dashboard{
		From: rest.Time(d.Span.From), To: rest.Time(d.Span.To),
		Summary: DashboardSummary{
			TotalDevices: d.Counts.Total, ActiveDevices: d.Counts.Active, OnlineDevices: d.Counts.Online, TotalLogs: d.TotalLogs,
			Logs: d.Count, TotalValue: d.Sum,
		},
		Devices: make([]DashboardDevice, len(d.Devices)), Trend: make([]DashboardPoint, len(d.Trend)),
		Events: make([]DashboardEvent, len(d.Events)),
	}
	for i, share := range d.Devices {
		out.Devices[i] = DashboardDevice{
			DeviceID: share.Device.ID, DeviceName: share.Device.Name, DeviceType: share.Device.Type, LogCount: share.Count,
			TotalValue: share.Sum, LastActiveAt: rest.TimeOrNull(share.Device.LastActiveAt),
		}
	}
	for i, p := range d.Trend {
		out.Trend[i] = DashboardPoint{At: rest.TimeOfMillis(p.At), LogCount: p.Count, TotalValue: p.Sum}
	}
	for i, share := range d.Events {
		out.Events[i] = DashboardEvent{Event: share.Event, Count: share.Count, TotalValue: share.Sum}
	}
	return &rest.Body[Dashboard]{Body: out}, nil
}

type comparisonInput struct {
	ZonedInput
	DeviceIDs []string `query:"device_ids" required:"true" maxItems:"20" doc:"2 to 20 devices, separated by commas." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b,0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c"`
}

func (a *API) comparison(ctx context.Context, in *comparisonInput) (*rest.Body[Comparison], error) {
	ask, err := a.zonedAsk(ctx, in.ZonedInput)
	if err != nil {
		return nil, err
	}
	usages, err := a.options.Analytics.Comparison(ctx, analytics.ComparisonAsk{Ask: ask, DeviceIDs: in.DeviceIDs})
	if err != nil {
		return nil, err
	}
	out := Comparison{From: rest.Time(usages[0].Span.From), To: rest.Time(usages[0].Span.To), Devices: make([]ComparedDevice, len(usages))}
	for i, u := range usages {
		out.Devices[i] = ComparedDevice{
			DeviceID: u.Device.ID, DeviceName: u.Device.Name, Summary: wireSummary(u.Summary), Trend: wireTrend(u.Trend, true),
		}
	}
	return &rest.Body[Comparison]{Body: out}, nil
}

type trendsInput struct {
	ZonedInput
	IntervalParam
	EventParam
}

func (a *API) trends(ctx context.Context, in *trendsInput) (*rest.Body[Trends], error) {
	ask, err := a.zonedAsk(ctx, in.ZonedInput)
	if err != nil {
		return nil, err
	}
	span, trend, err := a.options.Analytics.Trends(ctx, analytics.TrendAsk{Ask: ask, Unit: calendar.Unit(in.Interval), Event: in.Event})
	if err != nil {
		return nil, err
	}
	return &rest.Body[Trends]{Body: Trends{From: rest.Time(span.From), To: rest.Time(span.To), Interval: in.Interval, Trend: wireTrend(trend, false)}}, nil
}

func (a *API) events(ctx context.Context, in *AnalyticsInput) (*rest.Body[Events], error) {
	ask, err := a.ask(ctx, *in)
	if err != nil {
		return nil, err
	}
	span, shares, err := a.options.Analytics.Events(ctx, ask)
	if err != nil {
		return nil, err
	}
	out := Events{From: rest.Time(span.From), To: rest.Time(span.To), Events: make([]EventFigures, len(shares))}
	for i, s := range shares {
		figures := wireSummary(s.Summary)
		out.Events[i] = EventFigures{
			Event: s.Event, Count: s.Count, TotalValue: s.Sum, Average: figures.Average, Min: figures.Min, Max: figures.Max,
			P50: figures.P50, P95: figures.P95, P99: figures.P99,
		}
	}
	return &rest.Body[Events]{Body: out}, nil
}

func (a *API) realtimeFigures(ctx context.Context, in *struct{ OrganizationParam }) (*rest.Body[RealtimeFigures], error) {
	f, err := a.options.Analytics.Realtime(ctx, rest.CallerOf(ctx), in.OrganizationID)
	if err != nil {
		return nil, err
	}
	return &rest.Body[RealtimeFigures]{Body: RealtimeFigures{
		At: rest.Time(f.At), OnlineDevices: f.Counts.Online, ActiveDevices: f.Counts.Active, HeartbeatsPerSecond: f.HeartbeatsPerSecond,
		LogsPerSecond: f.LogsPerSecond, Connections: f.Connections,
	}}, nil
}
